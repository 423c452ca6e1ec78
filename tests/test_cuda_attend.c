/* Attention of a decode pass: against double loops over odd heads, groups and lengths, with dead
 * slots, selected pages, chosen slots and keys by rank; and the same bits beside any neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "engine/bf16.h"
#include "engine/cuda_device.h"
#include "tests/gpu.h"

enum { ROWS = 3, KV = 2, LAYERS = 2, LAYER = 1 };
enum kind { PLAIN, MASS, PAGES, TOKENS, RANK };

struct fixture {
    enum kind kind;
    int head, padded, group, room, pages[ROWS];
    struct cuda_pass pass;
    struct cuda_acts acts;
    /* host copies */
    uint16_t *kv;
    uint32_t *live, *chosen;
    int32_t *table, *view, *rank;
    float *q, *rope; /* q [ROWS][KV][group][head], already bf16 */
    size_t n_pages;
};

static float draw(struct rng *r) { return (float)(4 * rng_real(r) - 2); }

static void fill_pages(struct fixture *f, struct rng *r) {
    size_t size = (size_t)(2 * 16 * f->padded);
    f->kv = calloc(f->n_pages * size, sizeof *f->kv);
    f->live = calloc(f->n_pages, sizeof *f->live);
    for (size_t p = 0; p < f->n_pages; p++) {
        f->live[p] = 0xffff;
        for (int s = 0; s < PAGE; s++)
            for (int d = 0; d < f->head; d++) {
                f->kv[p * size + (size_t)key_at(s, d)] = bf16_of(draw(r));
                f->kv[p * size + (size_t)value_at(f->padded, s, d)] = bf16_of(draw(r));
            }
        if (rng_below(r, 3) == 0)
            f->live[p] = rng_below(r, 0x10000) | 1;
    }
}

static void fill_tables(struct fixture *f, struct rng *r) {
    size_t n = (size_t)(ROWS * LAYERS * KV * f->room), heads = (size_t)(ROWS * KV * f->room);
    f->table = calloc(n, sizeof *f->table);
    f->view = calloc(heads, sizeof *f->view);
    f->chosen = calloc(heads, sizeof *f->chosen);
    f->rank = calloc(heads * PAGE, sizeof *f->rank);
    for (size_t i = 0; i < n; i++)
        f->table[i] = (int32_t)((i * 7 + 3) % f->n_pages);
    for (size_t i = 0; i < heads; i++) {
        f->view[i] = (int32_t)((i * 5 + 1) % f->n_pages);
        f->chosen[i] = rng_below(r, 0x10000) | 1;
    }
    for (size_t i = 0; i < heads * PAGE; i++)
        f->rank[i] = (int32_t)rng_below(r, 40);
}

static uint16_t *pack_q(const struct fixture *f, size_t *bytes) {
    int tiles = (f->group + 7) / 8;
    *bytes = (size_t)(ROWS * KV * tiles * f->padded * 16);
    uint16_t *q = calloc(1, *bytes);
    for (int h = 0; h < ROWS * KV; h++)
        for (int g = 0; g < f->group; g++)
            for (int d = 0; d < f->head; d++) {
                int j = d % 16, lane = g % 8 * 4 + j % 8 / 2;
                size_t at =
                    ((size_t)(h * tiles + g / 8) * (size_t)(f->padded / 16) + (size_t)(d / 16)) *
                        32 +
                    (size_t)lane;
                q[at * 4 + (size_t)(j / 8 * 2 + j % 2)] =
                    bf16_of(f->q[(h * f->group + g) * f->head + d]);
            }
    return q;
}

static struct cuda_plan plan_of(enum kind kind) {
    return (struct cuda_plan){.select = kind == PAGES    ? UNIT_PAGE
                                        : kind == TOKENS ? UNIT_TOKEN
                                                         : UNIT_NONE,
                              .observe = kind == MASS ? SIGNAL_MASS : SIGNAL_NONE,
                              .mass = kind == MASS || kind == TOKENS,
                              .keys = kind == RANK ? KEYS_RANK : KEYS_ABSOLUTE};
}

static struct cuda_work work_of(const struct fixture *f, int row, int c, int chunks, int n) {
    bool view = f->kind == PAGES && f->pages[row] > 3;
    return (struct cuda_work){
        .row = row,
        .chunk = (uint16_t)c,
        .n_chunks = (uint16_t)chunks,
        .pages = (uint16_t)n,
        .flags = (uint16_t)((view ? CUDA_WORK_VIEW : 0) |
                            (f->kind == TOKENS ? CUDA_WORK_CHOSEN | CUDA_WORK_MASS : 0) |
                            (f->kind == MASS ? CUDA_WORK_MASS : 0) |
                            (f->kind == RANK ? CUDA_WORK_RANK : 0))};
}

/* only: this row alone is active, or -1. */
static void upload(struct fixture *f, int wide, int only) {
    struct cuda_pass *p = &f->pass;
    int heads = ROWS * KV, most = 0;
    size_t bytes;
    *p = (struct cuda_pass){.n_rows = ROWS, .wide = wide, .scale = 1 / sqrtf((float)f->head)};
    p->shape = (struct cuda_shape){.n_layers = LAYERS,
                                   .n_heads = KV * f->group,
                                   .n_kv_heads = KV,
                                   .group = f->group,
                                   .head_size = f->head,
                                   .cache_head = f->padded};
    p->cache = (struct cuda_cache){.room = f->room, .head = f->padded};
    p->cache.kv = gpu_copy_in(f->kv, f->n_pages * (size_t)(2 * 16 * f->padded) * 2);
    p->cache.live = gpu_copy_in(f->live, f->n_pages * sizeof *f->live);
    p->cache.table = gpu_copy_in(f->table, (size_t)(heads * LAYERS * f->room) * 4);
    p->view = gpu_copy_in(f->view, (size_t)(heads * f->room) * 4);
    p->chosen = f->kind == TOKENS ? gpu_copy_in(f->chosen, (size_t)(heads * f->room) * 4) : NULL;
    p->rank = f->kind == RANK ? gpu_copy_in(f->rank, (size_t)(heads * f->room * PAGE) * 4) : NULL;
    p->rope = gpu_copy_in(f->rope, (size_t)(64 * f->head) * sizeof(float));
    uint16_t *q = pack_q(f, &bytes);
    p->q = gpu_copy_in(q, bytes);
    free(q);
    struct cuda_plan plan = plan_of(f->kind);
    p->plans = gpu_copy_in(&plan, sizeof plan);
    struct cuda_row rows[ROWS] = {{0}};
    struct cuda_work work[2 * ROWS * 64] = {{0}};
    int32_t n_work[4] = {0};
    for (int r = 0; r < ROWS; r++) {
        rows[r] = (struct cuda_row){.active = only < 0 || only == r, .n_pages = f->pages[r]};
        rows[r].n_live = f->pages[r] * PAGE;
        rows[r].budget = f->kind == PAGES ? 3 * PAGE : f->kind == TOKENS ? 1 : 0;
        int n = attended_pages(&rows[r], &plan), each = chunk_pages(wide, n);
        int chunks = (n + each - 1) / each;
        most = chunks > most ? chunks : most;
        for (int c = 0; rows[r].active && c < chunks; c++)
            work[n_work[0]++] = work_of(f, r, c, chunks, n);
    }
    p->rows = gpu_copy_in(rows, sizeof rows);
    p->max_work = ROWS * 64, p->max_chunks = most;
    p->work = gpu_copy_in(work, sizeof work);
    p->n_work = gpu_copy_in(n_work, sizeof n_work);
    p->score = gpu_alloc((size_t)(heads * f->group * f->room * PAGE) * 4);
    p->softmax = gpu_alloc((size_t)(heads * CUDA_GROUP * 2) * 4);
    p->part = gpu_alloc((size_t)(heads * most * attend_part_floats(f->group, f->padded)) * 4);
    f->acts = cuda_acts_for(8, KV * f->group * f->head);
    f->acts.data = gpu_alloc(cuda_acts_bytes(f->acts));
}

/* Outputs of all rows [ROWS][KV * group * head] after a launch. */
static void attend(struct fixture *f, int wide, int only, float *out) {
    upload(f, wide, only);
    for (int again = 0; again < 2; again++)
        cuda_attend(&f->pass, LAYER, false, &f->acts, 0);
    size_t bytes = cuda_acts_bytes(f->acts);
    struct cuda_acts host = f->acts;
    host.data = malloc(bytes);
    gpu_copy_out(host.data, f->acts.data, bytes);
    int n = KV * f->group * f->head;
    for (int r = 0; r < ROWS; r++)
        for (int k = 0; k < n; k++)
            out[r * n + k] = bf16_to_float(host.data[acts_at(host, r, k)]);
    free(host.data);
}

static double key_of(const struct fixture *f, int head, int place, int32_t page, int s, int d) {
    const uint16_t *k = f->kv + (size_t)page * (size_t)(2 * 16 * f->padded);
    double x = bf16_to_float(k[key_at(s, d)]);
    if (f->kind != RANK)
        return x;
    int half = f->head / 2, i = d % half;
    const float *rope = f->rope + f->rank[(head * f->room + place) * PAGE + s] * f->head;
    double other = bf16_to_float(k[key_at(s, d < half ? d + half : d - half)]);
    return x * (double)rope[i] + (d < half ? -1 : 1) * other * (double)rope[half + i];
}

/* One q head in double; scores[place * 16 + s] is -inf for what takes no part. */
static void expect(const struct fixture *f, int row, int kv, int g, double *out, double *scores) {
    int head = row * KV + kv, n = f->kind == PAGES && f->pages[row] > 3 ? 3 : f->pages[row];
    const int32_t *ids = f->kind == PAGES && f->pages[row] > 3
                             ? f->view + head * f->room
                             : f->table + ((row * LAYERS + LAYER) * KV + kv) * f->room;
    const float *q = f->q + (head * f->group + g) * f->head;
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n * PAGE; i++) {
        int32_t page = ids[i / PAGE];
        uint32_t live = f->live[page];
        if (f->kind == TOKENS)
            live &= f->chosen[head * f->room + i / PAGE];
        scores[i] = -INFINITY;
        if (!(live >> i % PAGE & 1))
            continue;
        scores[i] = 0;
        for (int d = 0; d < f->head; d++)
            scores[i] += key_of(f, head, i / PAGE, page, i % PAGE, d) * (double)q[d];
        scores[i] /= sqrt(f->head);
        most = fmax(most, scores[i]);
    }
    memset(out, 0, (size_t)f->head * sizeof *out);
    for (int i = 0; i < n * PAGE; i++) {
        double p = exp(scores[i] - most);
        sum += p;
        const uint16_t *v = f->kv + (size_t)ids[i / PAGE] * (size_t)(2 * 16 * f->padded);
        for (int d = 0; d < f->head && p > 0; d++)
            out[d] += p * (double)bf16_to_float(v[value_at(f->padded, i % PAGE, d)]);
    }
    for (int d = 0; d < f->head; d++)
        out[d] /= sum;
}

static void check_scores(const struct fixture *f, int row, int kv, int g, const double *scores) {
    int head = row * KV + kv;
    size_t stride = (size_t)(f->room * PAGE), n = (size_t)(f->pages[row] * PAGE);
    float *score = malloc(n * sizeof *score), softmax[2];
    gpu_copy_out(score, f->pass.score + ((size_t)(head * f->group + g)) * stride,
                 n * sizeof *score);
    gpu_copy_out(softmax, f->pass.softmax + (head * CUDA_GROUP + g) * 2, sizeof softmax);
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, scores[i]);
        if (scores[i] > -INFINITY)
            assert_true(fabs((double)score[i] - scores[i]) < 1e-4);
    }
    for (size_t i = 0; i < n; i++)
        sum += exp(scores[i] - most);
    assert_true(fabs((double)softmax[0] - most) < 1e-4);
    assert_true(fabs((double)softmax[1] - sum) < 1e-3 * sum);
    free(score);
}

static void check(enum kind kind, int head, int group, int wide, const int pages[ROWS]) {
    struct rng r = {.key = (uint64_t)(head * 100 + group + 17 * (int)kind)};
    struct fixture f = {.kind = kind, .head = head, .padded = 32, .group = group};
    while (f.padded < head)
        f.padded *= 2;
    for (int i = 0; i < ROWS; i++) {
        f.pages[i] = pages[i];
        f.room = pages[i] + 1 > f.room ? pages[i] + 1 : f.room;
    }
    f.n_pages = (size_t)(ROWS * KV * f.room);
    int n = ROWS * KV * group * head;
    f.q = malloc((size_t)n * sizeof *f.q);
    for (int i = 0; i < n; i++)
        f.q[i] = bf16_to_float(bf16_of(draw(&r)));
    f.rope = malloc((size_t)(64 * head) * sizeof *f.rope);
    for (int i = 0; i < 64 * head; i++)
        f.rope[i] = draw(&r) / 2;
    fill_pages(&f, &r);
    fill_tables(&f, &r);
    float *out = malloc((size_t)n * sizeof *out), *alone = malloc((size_t)n * sizeof *alone);
    double *want = malloc((size_t)head * sizeof *want);
    double *scores = malloc((size_t)(f.room * PAGE) * sizeof *scores);
    attend(&f, wide, -1, out);
    for (int h = 0; h < ROWS * KV * group; h++) {
        int row = h / (KV * group), kv = h / group % KV, g = h % group;
        expect(&f, row, kv, g, want, scores);
        for (int d = 0; d < head; d++)
            if (!(fabs((double)out[h * head + d] - want[d]) <= 0.02))
                fail_msg("kind %d head %d group %d wide %d row %d q head %d dim %d: %g, want %g",
                         (int)kind, head, group, wide, row, h, d, (double)out[h * head + d],
                         want[d]);
        if (kind == MASS)
            check_scores(&f, row, kv, g, scores);
    }
    gpu_teardown(NULL);
    for (int row = 0; row < ROWS; row++) {
        size_t at = (size_t)(row * KV * group * head), bytes = (size_t)(KV * group * head) * 4;
        attend(&f, wide, row, alone);
        assert_memory_equal(alone + at, out + at, bytes);
        gpu_teardown(NULL);
    }
    free(f.q), free(f.rope), free(f.kv), free(f.live), free(f.chosen), free(f.table);
    free(f.view), free(f.rank), free(out), free(alone), free(want), free(scores);
}

static const int short_rows[ROWS] = {1, 9, 3}, long_rows[ROWS] = {140, 8, 65};

static void test_cuda_attend_is_right_for_every_head_and_group(void **state) {
    (void)state;
    gpu_or_skip();
    static const int heads[] = {16, 32, 64, 96, 128, 256}, groups[] = {1, 2, 4, 6, 7, 8, 12, 16};
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 8; j++)
            check(PLAIN, heads[i], groups[j], 0, short_rows);
}

static void test_cuda_attend_merges_chunks(void **state) {
    (void)state;
    gpu_or_skip();
    for (int wide = 0; wide < 2; wide++) {
        check(PLAIN, 128, 7, wide, long_rows);
        check(PLAIN, 64, 2, wide, long_rows);
        check(PLAIN, 64, 16, wide, long_rows);
    }
}

static void test_cuda_attend_sees_selected_pages_and_chosen_slots(void **state) {
    (void)state;
    gpu_or_skip();
    for (int wide = 0; wide < 2; wide++) {
        check(PAGES, 64, 3, wide, long_rows);
        check(TOKENS, 64, 3, wide, long_rows);
        check(TOKENS, 128, 7, wide, short_rows);
    }
}

static void test_cuda_attend_tells_scores(void **state) {
    (void)state;
    gpu_or_skip();
    check(MASS, 128, 7, 0, long_rows);
    check(MASS, 64, 2, 1, long_rows);
    check(MASS, 32, 12, 0, short_rows);
}

static void test_cuda_attend_rotates_keys_by_rank(void **state) {
    (void)state;
    gpu_or_skip();
    static const int heads[] = {32, 64, 128, 256};
    for (int i = 0; i < 4; i++)
        check(RANK, heads[i], 3, 0, short_rows);
    check(RANK, 64, 12, 1, long_rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_attend_is_right_for_every_head_and_group),
        cmocka_unit_test(test_cuda_attend_merges_chunks),
        cmocka_unit_test(test_cuda_attend_sees_selected_pages_and_chosen_slots),
        cmocka_unit_test(test_cuda_attend_tells_scores),
        cmocka_unit_test(test_cuda_attend_rotates_keys_by_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
