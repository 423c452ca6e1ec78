/* What is left of a prompt after a layer: slots, keys, values, bounds and columns are those of the
 * CPU, bit by bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/bf16.h"
#include "tests/cuda_rig.h"
#include "tests/tiny.h"

enum { ROWS = 5, LAYERS = 2, KV = 2, ROOM = 48, TOTAL = (ROOM - 1) * PAGE };

struct workspace {
    struct cuda_prompt prompts[ROWS];
    int32_t pages;
    int32_t owner[ROWS * ROOM];
    float *k, *v, *mass; /* [KV][pages * 16][head_size], mass [KV][pages * 16] */
};

static struct workspace workspace_make(const struct rig *rig) {
    struct workspace w = {.pages = 0};
    for (int i = 0; i < ROWS; i++) { /* the pack is in another order than the batch */
        int row = (i + 2) % ROWS;
        w.prompts[i] = (struct cuda_prompt){
            .row = row, .first = w.pages * PAGE, .n = rig->rows[row].n_prompt, .plan = row};
        for (int j = 0; j < pages_of(rig->rows[row].n_prompt); j++)
            w.owner[w.pages++] = i;
    }
    size_t tokens = (size_t)KV * (size_t)w.pages * PAGE;
    w.k = gpu_random_floats(tokens * (size_t)rig->shape.head_size, 1);
    w.v = gpu_random_floats(tokens * (size_t)rig->shape.head_size, 1);
    w.mass = gpu_random_floats(tokens, 1);
    for (size_t i = 0; i < tokens; i++)
        w.mass[i] = 0.25f * (float)gpu_random_below(12);
    return w;
}

static float *token_of(const struct rig *rig, const struct workspace *w, float *x, int kv, int i,
                       int32_t position) {
    size_t token =
        ((size_t)kv * (size_t)w->pages * PAGE) + (size_t)(w->prompts[i].first + position);
    return x + token * (size_t)rig->shape.head_size;
}

/* Keys and values as cuda_prompt_append leaves them: dead slots are anything finite, padding is
 * zero. */
static uint16_t *pack(const struct rig *rig, const struct workspace *w) {
    size_t head = (size_t)rig->shape.cache_head, page_size = 32 * head;
    uint16_t *kv = test_calloc((size_t)KV * (size_t)w->pages * page_size, sizeof *kv);
    int size = rig->shape.head_size;
    for (int page = 0; page < KV * w->pages; page++)
        for (int slot = 0; slot < PAGE; slot++)
            for (int d = 0; d < size; d++) {
                size_t at = ((size_t)page * PAGE + (size_t)slot) * (size_t)size + (size_t)d;
                uint16_t *to = kv + (size_t)page * page_size;
                to[key_at(slot, d)] = bf16_of(w->k[at]);
                to[value_at((int)head, slot, d)] = bf16_of(w->v[at]);
            }
    return kv;
}

static void check_settled(const struct rig *rig, struct workspace *w, int i, int kv,
                          const struct cpu_kernels *kernels, int layer) {
    int row = w->prompts[i].row, size = rig->shape.head_size;
    struct host_head prompt, t;
    struct rules_scratch scratch;
    char what[300];
    host_head_open(&prompt, kernels, size, ROOM);
    host_head_open(&t, kernels, size, ROOM);
    struct head_step step = rig_step(rig, &prompt, row);
    step.layer = layer, step.kv_head = kv;
    for (int32_t p = 0; p < w->prompts[i].n; p++) {
        float column =
            w->mass[(size_t)kv * (size_t)w->pages * PAGE + (size_t)(w->prompts[i].first + p)];
        head_append(&prompt.pool, &prompt.head, step.needs, p,
                    step.plan->observe_prompt ? column : 0, token_of(rig, w, w->k, kv, i, p),
                    token_of(rig, w, w->v, kv, i, p));
    }
    step.now = w->prompts[i].n - 1;
    rules_scratch_init(&scratch, TOTAL, rig->shape.group, prompt.pool.page_bytes, 1);
    rules_shrink(&step, &scratch);
    rules_scratch_free(&scratch);
    host_head_settle(rig, &step, &t);
    snprintf(what, sizeof what, "%s, head size %d, prompt of %d, layer %d, head %d",
             step.plan->name, size, w->prompts[i].n, layer, kv);
    rig_check_head(rig, row, layer, kv, &t, true, what);
    host_head_close(&prompt);
    host_head_close(&t);
}

static void settle(const char *const policies[ROWS], int head_size, int cache_head) {
    struct err e = {0};
    const struct cpu_kernels *kernels = cpu_kernels_find("avx2", &e);
    struct plan plans[ROWS];
    struct cuda_shape shape = {.n_layers = LAYERS,
                               .n_heads = 3 * KV,
                               .n_kv_heads = KV,
                               .group = 3,
                               .head_size = head_size,
                               .cache_head = cache_head};
    struct rig rig;
    assert_non_null(kernels);
    for (int i = 0; i < ROWS; i++)
        plans[i] = tiny_plan(policies[i]);
    rig_open(&rig, shape, ROWS, ROOM, plans, false);
    for (int i = 0; i < ROWS; i++)
        rig.rows[i] = rig_row(&rig, i, 1 + gpu_random_below(i % 2 ? 300 : 60), TOTAL, gpu_random());
    rig.rows[0].n_prompt = 128, rig.rows[1].n_prompt = 1;
    for (int i = 0; i < 2; i++)
        rig.rows[i] = rig_row(&rig, i, rig.rows[i].n_prompt, TOTAL, gpu_random());
    rig_put_rows(&rig);
    struct workspace w = workspace_make(&rig);
    uint16_t *kv = pack(&rig, &w);
    size_t pages = (size_t)w.pages;
    struct cuda_prefill f = {.shape = shape,
                             .prompts = gpu_copy_in(w.prompts, sizeof w.prompts),
                             .n_prompts = ROWS,
                             .block_prompt = gpu_copy_in(w.owner, pages * sizeof *w.owner),
                             .pages = w.pages,
                             .kv =
                                 gpu_copy_in(kv, KV * pages * 32 * (size_t)cache_head * sizeof *kv),
                             .mass = gpu_copy_in(w.mass, KV * pages * PAGE * sizeof *w.mass),
                             .any_mass = 1,
                             .many = gpu_alloc(KV * CUDA_MANY * pages * PAGE * sizeof(float)),
                             .plans = rig.pass.plans,
                             .rope = rig.pass.rope};
    for (int layer = 0; layer < LAYERS; layer++)
        cuda_settle(&f, &rig.pass, layer, NULL);
    gpu_check();
    rig_get(&rig);
    for (int i = 0; i < ROWS; i++)
        for (int head = 0; head < KV * LAYERS; head++)
            check_settled(&rig, &w, i, head % KV, kernels, head / KV);
    void *all[] = {w.k, w.v, w.mass, kv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        test_free(all[i]);
    rig_close(&rig);
}

static void test_cuda_rules_settle_as_on_the_cpu(void **state) {
    (void)state;
    gpu_or_skip();
    static const char *const first[ROWS] = {"raas:budget=48,pin_prompt=0", "full",
                                            "quest:budget=48", "h2o:budget=40,pin_prompt=0",
                                            "streaming:budget=20"};
    static const char *const second[ROWS] = {
        "random:budget=64,unit=token,pin_prompt=0", "oracle:budget=40", "raas:budget=64",
        "streaming:budget=23,pos=rank", "streaming:budget=600,pos=rank"};
    static const char *const third[ROWS] = {
        "random:budget=48,pin_prompt=0", "fifo:budget=64,unit=token", "h2o:budget=7,pin_prompt=0",
        "fifo:budget=96,pin_prompt=0", "h2o:budget=600"};
    static const char *const fourth[ROWS] = {
        "snapkv:budget=40,every=16", "rkv:budget=48,every=32,lambda=0.3", "tova:budget=33",
        "rkv:budget=64,every=8,lambda=0", "snapkv:budget=20,every=20,pool=3,pin_prompt=1"};
    static const int sizes[][2] = {{32, 32}, {20, 32}, {64, 64}, {80, 128}, {128, 128}, {256, 256}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        settle(first, sizes[i][0], sizes[i][1]);
        settle(second, sizes[i][0], sizes[i][1]);
        settle(third, sizes[i][0], sizes[i][1]);
        settle(fourth, sizes[i][0], sizes[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cuda_rules_settle_as_on_the_cpu, gpu_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
