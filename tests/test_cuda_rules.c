/* The rules of every policy on the device against rules.c: the same recorded signals go through
 * both, ties included, and slots, columns and what is attended agree at every step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/kernels/cuda_rules.h"
#include "engine/rules.h"
#include "tests/cuda_rig.h"
#include "tests/spellings.h"
#include "tests/tiny.h"

enum { ROOM = 48, TOTAL = (ROOM - 1) * PAGE, STEPS = 520, HEAD = 32 };
_Static_assert(STEPS >= 500 && TOTAL - STEPS > 200, "a prompt and at least 500 steps fit");

/* --- one head on the CPU, without keys and values ------------------------------------------- */

static void no_attention(const struct cpu_attention *a) { (void)a; }
static void no_append(void *page, int s, int head_size, const float *k, const float *v,
                      void *bounds, bool first) {
    (void)page, (void)s, (void)head_size, (void)k, (void)v, (void)bounds, (void)first;
}
static void read_zeros(const void *page, int s, int head_size, float *k, float *v) {
    (void)page, (void)s;
    for (int d = 0; d < head_size; d++) {
        if (k)
            k[d] = 0;
        if (v)
            v[d] = 0;
    }
}
static const struct cpu_kernels no_arithmetic = {.isa = "none",
                                                 .cache_size = 2,
                                                 .attend = no_attention,
                                                 .append = no_append,
                                                 .read = read_zeros};

/* --- replay ----------------------------------------------------------------------------------- */

struct trace {
    int32_t n_prompt;
    float *signal; /* [TOTAL queries][TOTAL] */
    float *mass;   /* [n_prompt] of the prompt's tokens over its observed queries, in their order */
};

/* Few values, so that many signals tie; their sums are exact. */
static struct trace trace_make(int32_t n_prompt, int32_t observed) {
    struct trace t = {n_prompt, test_malloc(TOTAL * TOTAL * sizeof(float)),
                      test_calloc((size_t)n_prompt, sizeof(float))};
    int kinds = 2 + gpu_random_below(30);
    for (int i = 0; i < TOTAL * TOTAL; i++)
        t.signal[i] = 0.0625f * (float)gpu_random_below(kinds);
    for (int32_t query = observed; query < n_prompt; query++)
        for (int32_t key = 0; key <= query; key++)
            t.mass[key] += t.signal[query * TOTAL + key];
    return t;
}

static void trace_free(struct trace *t) {
    test_free(t->signal);
    test_free(t->mass);
}

static void feed_prompt(const struct rig *rig, const struct trace *trace,
                        struct rules_scratch *scratch, struct host_head *to) {
    struct host_head prompt;
    float zero[HEAD] = {0}, q[CUDA_GROUP * HEAD] = {0}, out[CUDA_GROUP * HEAD];
    host_head_open(&prompt, &no_arithmetic, HEAD, ROOM);
    struct head_step step = rig_step(rig, &prompt, 0);
    for (int32_t t = 0; t < trace->n_prompt; t++) {
        step.now = t, step.raw = trace->signal + (size_t)t * TOTAL;
        head_append(step.pool, step.head, step.needs, t, 0, zero, zero);
        rules_attend(&step, scratch, q, 1, t + 1, NULL, out);
    }
    step.now = trace->n_prompt - 1, step.raw = NULL; /* keys are zero, and all alike */
    rules_shrink(&step, scratch);
    host_head_settle(rig, &step, to);
    host_head_close(&prompt);
}

/* What the CPU holds, attends to and stores after a step, as cuda_rules_replay tells it. */
static void record(const struct rig *rig, const struct host_head *t,
                   const struct rules_scratch *scratch, int32_t *held, int32_t *attended,
                   float *columns) {
    struct page_needs needs = plan_page_needs(&rig->plans[0]);
    int n = 0;
    for (int i = 0; i < ROOM * PAGE; i++)
        held[i] = attended[i] = -1, columns[i] = -1;
    for (int i = 0; i < t->head.n_pages; i++) {
        int32_t page = t->head.table[i];
        for (unsigned bits = t->head.live[i]; bits; bits &= bits - 1) {
            int slot = __builtin_ctz(bits);
            held[i * PAGE + slot] = t->pool.position[page * PAGE + slot];
            if (needs.slot_columns)
                columns[i * PAGE + slot] = t->pool.slot_column[page * PAGE + slot];
        }
        if (needs.page_column)
            columns[i] = t->pool.page_column[page];
    }
    for (int i = 0; i < scratch->n_view; i++)
        for (unsigned bits = scratch->live[i]; bits; bits &= bits - 1)
            attended[n++] =
                t->pool.position[t->head.table[scratch->index[i]] * PAGE + __builtin_ctz(bits)];
}

static void pack_positions(int32_t *list) {
    int n = 0;
    for (int i = 0; i < ROOM * PAGE; i++)
        if (list[i] >= 0)
            list[n++] = list[i];
    while (n < ROOM * PAGE)
        list[n++] = -1;
}

static void check_replay(const struct rig *rig, const struct trace *trace,
                         const struct rules_replay *r, const char *spelling) {
    enum { SLOTS = ROOM * PAGE };
    size_t size = (size_t)STEPS * SLOTS * sizeof(int32_t);
    int32_t *held = test_malloc(size), *attended = test_malloc(size);
    float *columns = test_malloc(size), expected_columns[SLOTS];
    int32_t expected_held[SLOTS], expected_attended[SLOTS];
    struct rules_scratch scratch;
    struct host_head t;
    float zero[HEAD] = {0}, q[CUDA_GROUP * HEAD] = {0}, out[CUDA_GROUP * HEAD];
    gpu_copy_out(held, r->held, size);
    gpu_copy_out(attended, r->attended, size);
    gpu_copy_out(columns, r->columns, size);
    host_head_open(&t, &no_arithmetic, HEAD, ROOM);
    rules_scratch_init(&scratch, TOTAL, rig->shape.group, t.pool.page_bytes, 1);
    feed_prompt(rig, trace, &scratch, &t);
    struct head_step step = rig_step(rig, &t, 0);
    for (int i = 0; i < STEPS; i++) {
        step.now = trace->n_prompt + i, step.raw = trace->signal + (size_t)step.now * TOTAL;
        rules_make_room(&step, &scratch);
        head_append(step.pool, step.head, step.needs, step.now, 0, zero, zero);
        rules_attend(&step, &scratch, q, 1, INT32_MAX, rig->rope, out);
        record(rig, &t, &scratch, expected_held, expected_attended, expected_columns);
        pack_positions(attended + i * SLOTS);
        if (memcmp(expected_held, held + i * SLOTS, sizeof expected_held) ||
            memcmp(expected_columns, columns + i * SLOTS, sizeof expected_columns) ||
            memcmp(expected_attended, attended + i * SLOTS, sizeof expected_attended))
            for (int j = 0; j < SLOTS; j++)
                if (expected_held[j] != held[i * SLOTS + j] ||
                    expected_attended[j] != attended[i * SLOTS + j] ||
                    expected_columns[j] != columns[i * SLOTS + j])
                    fail_msg("%s, prompt of %d: step %d, place %d: holds %d, column %g, attends to "
                             "%d, expected %d, %g, %d",
                             spelling, trace->n_prompt, i, j, held[i * SLOTS + j],
                             (double)columns[i * SLOTS + j], attended[i * SLOTS + j],
                             expected_held[j], (double)expected_columns[j], expected_attended[j]);
    }
    rig_check_head(rig, 0, 0, 0, &t, false, spelling);
    rules_scratch_free(&scratch);
    host_head_close(&t);
    test_free(held);
    test_free(attended);
    test_free(columns);
}

/* The prompt alone in a workspace, with keys and values of zero. */
static void settle_alone(struct rig *rig, const struct trace *trace) {
    int32_t pages = pages_of(trace->n_prompt), *owner = test_calloc((size_t)pages, sizeof *owner);
    struct cuda_prompt prompt = {.n = trace->n_prompt};
    float *mass = test_calloc((size_t)pages * PAGE, sizeof *mass);
    uint16_t *zeros = test_calloc((size_t)pages * 32 * HEAD, sizeof *zeros);
    memcpy(mass, trace->mass, (size_t)trace->n_prompt * sizeof *mass);
    struct cuda_prefill f = {.shape = rig->shape,
                             .prompts = gpu_copy_in(&prompt, sizeof prompt),
                             .n_prompts = 1,
                             .block_prompt = gpu_copy_in(owner, (size_t)pages * sizeof *owner),
                             .pages = pages,
                             .kv = gpu_copy_in(zeros, (size_t)pages * 32 * HEAD * sizeof *zeros),
                             .mass = gpu_copy_in(mass, (size_t)pages * PAGE * sizeof *mass),
                             .any_mass = 1,
                             .many = gpu_alloc((size_t)(pages * PAGE * CUDA_MANY) * sizeof(float)),
                             .plans = rig->pass.plans,
                             .rope = rig->pass.rope};
    cuda_settle(&f, &rig->pass, 0, NULL);
    gpu_check();
    test_free(owner);
    test_free(zeros);
    test_free(mass);
}

static void replay_policy(const char *spelling, int32_t n_prompt) {
    struct plan plan = tiny_plan(spelling);
    struct cuda_shape shape = {.n_layers = 1,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .group = 2,
                               .head_size = HEAD,
                               .cache_head = HEAD};
    int32_t capacity = plan_capacity(&plan, n_prompt, TOTAL);
    struct trace trace = trace_make(n_prompt, plan_first_observed(&plan, n_prompt, capacity));
    struct rig rig;
    rig_open(&rig, shape, 1, ROOM, &plan, false);
    rig.rows[0] = rig_row(&rig, 0, n_prompt, TOTAL, gpu_random());
    rig_put_rows(&rig);
    settle_alone(&rig, &trace);
    size_t size = (size_t)STEPS * ROOM * PAGE * sizeof(int32_t);
    struct rules_replay r = {
        .pass = rig.pass,
        .steps = STEPS,
        .stride = TOTAL,
        .signal = gpu_copy_in(trace.signal + (size_t)n_prompt * TOTAL,
                              (size_t)STEPS * TOTAL * sizeof(float)),
        .held = gpu_alloc(size),
        .attended = gpu_alloc(size),
        .columns = gpu_alloc(size),
    };
    cuda_rules_replay(&r, NULL);
    gpu_check();
    rig_get(&rig);
    check_replay(&rig, &trace, &r, spelling);
    rig_close(&rig);
    trace_free(&trace);
}

static void test_cuda_rules_replay_every_policy(void **state) {
    (void)state;
    gpu_or_skip();
    for (int i = 0; i < n_spellings; i++) {
        replay_policy(spellings[i], 1 + gpu_random_below(30));
        replay_policy(spellings[i], PAGE * (1 + gpu_random_below(8)));
        replay_policy(spellings[i], 60 + gpu_random_below(160));
    }
}

/* Budgets that leave holes in pages, and units by the hundred. */
static void test_cuda_rules_replay_odd_budgets(void **state) {
    (void)state;
    gpu_or_skip();
    static const char *const odd[] = {
        "h2o:budget=50,pin_prompt=0",
        "h2o:budget=401",
        "h2o:budget=399,pin_prompt=0",
        "streaming:budget=5",
        "streaming:budget=333",
        "raas:budget=16,pin_prompt=0",
        "raas:budget=512,r=0.3",
        "quest:budget=16",
        "quest:budget=256",
        "oracle:budget=1",
        "oracle:budget=300",
        "random:budget=97,unit=token",
        "tova:budget=1",
        "tova:budget=301",
        "snapkv:budget=300,every=33,window=32,pool=9",
        "snapkv:budget=9,every=1,window=1,pool=1",
        "rkv:budget=250,every=100,lambda=0.9",
        "rkv:budget=17,every=5,window=4,pin_prompt=1",
        "fifo:budget=35,unit=token",
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        replay_policy(odd[i], 1 + gpu_random_below(200));
        replay_policy(odd[i], 200);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cuda_rules_replay_every_policy, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_rules_replay_odd_budgets, gpu_teardown),
    };
    return cmocka_run_group_tests(tests, list_spellings, NULL);
}
