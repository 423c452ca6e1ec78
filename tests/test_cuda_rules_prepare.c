/* A head between its q, k, v and attention, step by step against the CPU under its own rules:
 * slots, positions, keys, values, bounds and columns bit by bit, the pages that are selected,
 * queries as attention takes them, ranks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/bf16.h"
#include "engine/cuda_parts.h"
#include "engine/kernels/cuda_rules.h"
#include "engine/rope.h"
#include "tests/cuda_rig.h"
#include "tests/tiny.h"

enum { ROWS = 5, LAYERS = 2, KV = 2, HEADS = ROWS * LAYERS * KV, ROOM = 21 };
enum { TOTAL = (ROOM - 1) * PAGE, IDLE = ROWS - 1, IDLE_FROM = 40 };

struct bench {
    struct rig rig;
    struct plan plans[ROWS];
    struct host_head twins[HEADS];
    struct rules_scratch scratch[HEADS]; /* with the view of the last step */
    float *qkv; /* of the step, [ROWS][...]; the CPU's is prepared in place */
    bool exact; /* signals come out the same in every order of sums */
};

static int head_at(int row, int layer, int kv) { return (row * LAYERS + layer) * KV + kv; }

/* exact: small whole numbers and no rotation, so that bounds are whole numbers too, with ties. */
static void bench_open(struct bench *b, const char *const policies[ROWS], int group, int head_size,
                       int cache_head, bool exact) {
    struct err e = {0};
    const struct cpu_kernels *kernels = cpu_kernels_find("avx2", &e);
    struct cuda_shape shape = {.n_layers = LAYERS,
                               .n_heads = group * KV,
                               .n_kv_heads = KV,
                               .group = group,
                               .head_size = head_size,
                               .cache_head = cache_head,
                               .eps = 1e-6f};
    assert_non_null(kernels);
    b->exact = exact;
    for (int i = 0; i < ROWS; i++)
        b->plans[i] = tiny_plan(policies[i]);
    rig_open(&b->rig, shape, ROWS, ROOM, b->plans, exact);
    for (int i = 0; i < ROWS; i++) {
        /* the prompt is fed like everything else, and only pinned */
        int32_t n_prompt = b->plans[i].pin_prompt ? 1 + gpu_random_below(20) : 1;
        b->rig.rows[i] = rig_row(&b->rig, i, n_prompt, TOTAL, gpu_random());
        b->rig.rows[i].position = -1;
    }
    for (int i = 0; i < HEADS; i++) {
        host_head_open(&b->twins[i], kernels, head_size, ROOM);
        rules_scratch_init(&b->scratch[i], TOTAL, group, b->twins[i].pool.page_bytes, 1);
    }
}

static void bench_close(struct bench *b) {
    for (int i = 0; i < HEADS; i++) {
        host_head_close(&b->twins[i]);
        rules_scratch_free(&b->scratch[i]);
    }
    rig_close(&b->rig);
}

static int row_floats(const struct bench *b) {
    return (b->rig.shape.n_heads + 2 * KV) * b->rig.shape.head_size;
}

static void draw_qkv(struct bench *b) {
    int n = ROWS * row_floats(b);
    b->qkv = gpu_random_floats((size_t)n, 1);
    for (int i = 0; b->exact && i < n; i++)
        b->qkv[i] = (float)(gpu_random_below(7) - 3);
    gpu_write(b->rig.pass.qkv, b->qkv, (size_t)n * sizeof *b->qkv);
}

/* q [group][head_size] of a head, k behind all q, v behind all k. */
static float *vector_of(struct bench *b, int row, int head) {
    return b->qkv + (size_t)(row * row_floats(b) + head * b->rig.shape.head_size);
}

static void rotate(struct bench *b, float *x, int32_t position) {
    int size = b->rig.shape.head_size;
    rope_rotate(x, b->rig.rope + (size_t)position * (size_t)size, size, 1, x);
}

/* decode_head_task of cpu.c; the query is left in q. */
static void cpu_head(struct bench *b, int row, int layer, int kv, float *q) {
    const struct cuda_shape *c = &b->rig.shape;
    struct host_head *t = &b->twins[head_at(row, layer, kv)];
    struct head_step step = rig_step(&b->rig, t, row);
    bool by_rank = step.plan->keys == KEYS_RANK;
    float k[256], out[CUDA_GROUP * 256];
    step.layer = layer, step.kv_head = kv, step.now = b->rig.rows[row].position;
    memcpy(k, vector_of(b, row, c->n_heads + kv), (size_t)c->head_size * sizeof *k);
    if (!by_rank)
        rotate(b, k, step.now);
    struct rules_scratch *scratch = &b->scratch[head_at(row, layer, kv)];
    rules_make_room(&step, scratch);
    head_append(step.pool, step.head, step.needs, step.now, 0, k,
                vector_of(b, row, c->n_heads + KV + kv));
    for (int g = 0; g < c->group; g++) {
        memcpy(q + g * c->head_size, vector_of(b, row, kv * c->group + g),
               (size_t)c->head_size * sizeof *q);
        rotate(b, q + g * c->head_size, by_rank ? step.head->n_live - 1 : step.now);
    }
    rules_attend(&step, scratch, q, b->rig.pass.scale, INT32_MAX, b->rig.rope, out);
    for (int i = 0; step.plan->window && i < t->pool.n_pages * PAGE; i++)
        t->pool.slot_column[i] = 0; /* what follows from mass is not prepare's */
}

/* --- what a layer's prepare leaves behind besides the cache ---------------------------------- */

static void check_queries(const struct bench *b, int row, int kv, const float *q,
                          const char *what) {
    const struct cuda_shape *c = &b->rig.shape;
    int tiles = (c->group + 7) / 8, each = tiles * 8 * c->cache_head;
    uint16_t got[16 * 256];
    gpu_copy_out(got, b->rig.pass.q + (size_t)((row * KV + kv) * each), (size_t)each * sizeof *got);
    for (int i = 0; i < each; i++) {
        int e = i % 4, lane = i / 4 % 32, f = i / 128 % (c->cache_head / 16);
        int g = i / 128 / (c->cache_head / 16) * 8 + lane / 4;
        int d = f * 16 + lane % 4 * 2 + e / 2 * 8 + e % 2;
        float expected = g < c->group && d < c->head_size ? q[g * c->head_size + d] : 0;
        if (bf16_to_float(got[i]) != bf16_to_float(bf16_of(expected)))
            fail_msg("%s: q[%d][%d] is %g, expected %g", what, g, d, (double)bf16_to_float(got[i]),
                     (double)expected);
    }
}

static void check_view(const struct bench *b, int row, int layer, int kv, const char *what) {
    const struct rules_scratch *w = &b->scratch[head_at(row, layer, kv)];
    const struct cuda_row *r = &b->rig.rows[row];
    const struct plan *plan = &b->plans[row];
    int32_t view[ROOM];
    if (plan->select != UNIT_PAGE || layer < plan->dense_layers || r->n_pages <= r->budget / PAGE)
        return;
    gpu_copy_out(view, b->rig.pass.view + (size_t)((row * KV + kv) * ROOM), sizeof view);
    assert_int_equal(w->n_view, r->budget / PAGE);
    for (int i = 0; b->exact && i < w->n_view; i++)
        if (view[i] != rig_table(&b->rig, row, layer, kv)[w->index[i]])
            fail_msg("%s: place %d of the view is page %d, expected %d (number %d)", what, i,
                     view[i], rig_table(&b->rig, row, layer, kv)[w->index[i]], w->index[i]);
}

static void check_ranks(const struct bench *b, int row, int layer, int kv, const char *what) {
    const struct host_head *t = &b->twins[head_at(row, layer, kv)];
    int32_t rank[ROOM * PAGE], n = t->head.n_pages * PAGE, position[ROOM * PAGE];
    if (b->plans[row].keys != KEYS_RANK)
        return;
    gpu_copy_out(rank, b->rig.pass.rank + (size_t)((row * KV + kv) * ROOM * PAGE), sizeof rank);
    for (int i = 0; i < n; i++)
        position[i] = t->head.live[i / PAGE] >> i % PAGE & 1
                          ? t->pool.position[t->head.table[i / PAGE] * PAGE + i % PAGE]
                          : INT32_MAX;
    for (int i = 0; i < n; i++) {
        int32_t expected = 0;
        for (int j = 0; position[i] < INT32_MAX && j < n; j++)
            expected += position[j] < position[i];
        if (rank[i] != expected)
            fail_msg("%s: place %d has rank %d, expected %d", what, i, rank[i], expected);
    }
}

/* --- steps ------------------------------------------------------------------------------------ */

static void feed_rows(struct bench *b, int step) {
    for (int i = 0; i < ROWS; i++) {
        struct cuda_plan plan = cuda_plan_of(&b->plans[i]);
        b->rig.rows[i].active = i != IDLE || step < IDLE_FROM;
        if (b->rig.rows[i].active)
            rules_feed_row(&b->rig.rows[i], &plan);
    }
    rig_put_rows(&b->rig);
}

static void take_step(struct bench *b, int step) {
    char what[300];
    feed_rows(b, step);
    draw_qkv(b);
    for (int layer = 0; layer < LAYERS; layer++) {
        cuda_prepare(&b->rig.pass, layer, NULL, NULL, NULL);
        gpu_check();
        rig_get(&b->rig);
        for (int i = 0; i < ROWS * KV; i++) {
            int row = i / KV, kv = i % KV;
            float q[CUDA_GROUP * 256];
            snprintf(what, sizeof what, "%s, group %d, head size %d, step %d, layer %d, head %d",
                     b->plans[row].name, b->rig.shape.group, b->rig.shape.head_size, step, layer,
                     kv);
            if (b->rig.rows[row].active) {
                cpu_head(b, row, layer, kv, q);
                check_queries(b, row, kv, q, what);
                check_view(b, row, layer, kv, what);
                check_ranks(b, row, layer, kv, what);
            }
            rig_check_head(&b->rig, row, layer, kv, &b->twins[head_at(row, layer, kv)], true, what);
        }
    }
    test_free(b->qkv);
}

static void run(const char *const policies[ROWS], int group, int head_size, int cache_head,
                bool exact, int steps) {
    struct bench *b = test_calloc(1, sizeof *b);
    bench_open(b, policies, group, head_size, cache_head, exact);
    for (int i = 0; i < steps; i++)
        take_step(b, i);
    bench_close(b);
    test_free(b);
}

static const int shapes[][3] = {{1, 32, 32},    {7, 128, 128}, {2, 64, 64},  {8, 20, 32},
                                {16, 128, 128}, {9, 256, 256}, {4, 80, 128}, {3, 256, 256},
                                {12, 64, 64},   {11, 32, 32}};

static void test_cuda_rules_prepare_decides_as_the_cpu(void **state) {
    (void)state;
    gpu_or_skip();
    static const char *const policies[ROWS] = {
        "raas:budget=96,pin_prompt=0,r=0.4", "quest:budget=64,dense_layers=1",
        "raas:budget=80,alpha=0.0937", "quest:budget=16", "streaming:budget=37,pos=rank"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run(policies, shapes[i][0], shapes[i][1], shapes[i][2], true, 220);
}

/* Many tokens at once, by their keys alone: columns stay 0. */
static void test_cuda_rules_prepare_compares_keys_as_the_cpu(void **state) {
    (void)state;
    gpu_or_skip();
    static const char *const policies[ROWS] = {
        "rkv:budget=40,every=24", "rkv:budget=150,every=70,lambda=0", "snapkv:budget=20,every=9",
        "rkv:budget=33,every=8,window=1,pool=1", "full"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run(policies, shapes[i][0], shapes[i][1], shapes[i][2], false, 260);
}

static void test_cuda_rules_prepare_stores_as_the_cpu(void **state) {
    (void)state;
    gpu_or_skip();
    static const char *const policies[ROWS] = {
        "streaming:budget=33,pos=rank", "random:budget=50,unit=token,pin_prompt=0",
        "quest:budget=128", "random:budget=64,pin_prompt=0", "full"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run(policies, shapes[i][0], shapes[i][1], shapes[i][2], false, 120);
}

/* --- head norms ------------------------------------------------------------------------------- */

/* x / rms(x) * gain, then rotated, in double. */
static void expect_vector(const struct rig *rig, const float *x, const float *gain,
                          int32_t position, double *out) {
    int size = rig->shape.head_size, half = size / 2;
    const float *rope = rig->rope + (size_t)position * (size_t)size;
    double squares = 0, y[256];
    for (int d = 0; d < size; d++)
        squares += (double)x[d] * (double)x[d];
    for (int d = 0; d < size; d++)
        y[d] = (double)x[d] / sqrt(squares / size + (double)rig->shape.eps) * (double)gain[d];
    for (int d = 0; d < half; d++) {
        double c = (double)rope[d], s = (double)rope[half + d];
        out[d] = y[d] * c - y[half + d] * s;
        out[half + d] = y[half + d] * c + y[d] * s;
    }
}

static void check_near(uint16_t got, double expected, const char *what, int d) {
    double x = (double)bf16_to_float(got);
    if (!(fabs(x - expected) <= 0.004 * fabs(expected) + 1e-5))
        fail_msg("%s[%d] is %g, expected %g", what, d, x, expected);
}

static void test_cuda_rules_prepare_norms_heads(void **state) {
    (void)state;
    gpu_or_skip();
    static const char *const policies[ROWS] = {"full", "full", "full", "full", "full"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct bench *b = test_calloc(1, sizeof *b);
        int group = shapes[i][0], size = shapes[i][1], head = shapes[i][2];
        float *q_gain = gpu_random_floats((size_t)size, 1),
              *k_gain = gpu_random_floats((size_t)size, 1);
        bench_open(b, policies, group, size, head, false);
        for (int step = 0; step < 3; step++) {
            feed_rows(b, 0);
            draw_qkv(b);
            cuda_prepare(&b->rig.pass, 0, gpu_copy_in(q_gain, (size_t)size * sizeof *q_gain),
                         gpu_copy_in(k_gain, (size_t)size * sizeof *k_gain), NULL);
            gpu_check();
            rig_get(&b->rig);
            for (int h = 0; h < ROWS * KV; h++) {
                int row = h / KV, kv = h % KV, tiles = (group + 7) / 8;
                const uint16_t *page =
                    b->rig.kv + (size_t)rig_table(&b->rig, row, 0, kv)[0] * 32 * (size_t)head;
                double expected[256];
                uint16_t got[16 * 256];
                expect_vector(&b->rig, vector_of(b, row, group * KV + kv), k_gain, step, expected);
                for (int d = 0; d < size; d++)
                    check_near(page[key_at(step, d)], expected[d], "k", d);
                gpu_copy_out(got, b->rig.pass.q + (size_t)(h * tiles * 8 * head),
                             (size_t)(tiles * 8 * head) * sizeof *got);
                for (int g = 0; g < group; g++) {
                    expect_vector(&b->rig, vector_of(b, row, kv * group + g), q_gain, step,
                                  expected);
                    for (int d = 0; d < size; d++) {
                        int f = d / 16, lane = g % 8 * 4 + d % 8 / 2;
                        int at =
                            ((g / 8 * (head / 16) + f) * 32 + lane) * 4 + d % 16 / 8 * 2 + d % 2;
                        check_near(got[at], expected[d], "q", d);
                    }
                }
            }
            test_free(b->qkv);
        }
        bench_close(b);
        test_free(b);
        test_free(q_gain);
        test_free(k_gain);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cuda_rules_prepare_decides_as_the_cpu, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_rules_prepare_compares_keys_as_the_cpu, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_rules_prepare_stores_as_the_cpu, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_rules_prepare_norms_heads, gpu_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
