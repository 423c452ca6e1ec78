/* Sampling on the device against advance() of the host: greedy, draws, forced ids, ends, logits
 * that are not finite; one row in many blocks and many rows in one each. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "engine/advance.h"
#include "engine/cuda_device.h"
#include "tests/gpu.h"

enum { MOST_ROWS = 600, MAX_TOTAL = 40 };

struct fixture {
    int vocab, width, n;
    struct config config;
    struct cuda_sampling s;
    struct sampler sampler;
    float *logits; /* [n][vocab] on the host, and at s.logits */
    int32_t row_of[MOST_ROWS];
    struct cuda_row rows[MOST_ROWS];
    int32_t forced[MOST_ROWS * MAX_TOTAL];
    int drawn, elsewhere; /* draws, and those that did not give the host's id */
};

static void open_fixture(struct fixture *f, int vocab, int ids_limit, int width) {
    memset(f, 0, sizeof *f);
    f->vocab = vocab, f->width = width;
    f->config = (struct config){.vocab = vocab, .n_eos = 1 + gpu_random_below(3)};
    f->s = (struct cuda_sampling){.width = width,
                                  .vocab = vocab,
                                  .ids_limit = ids_limit,
                                  .max_total = MAX_TOTAL,
                                  .n_eos = f->config.n_eos};
    for (int i = 0; i < f->config.n_eos; i++)
        f->config.eos[i] = f->s.eos[i] = gpu_random_below(vocab < 70 ? 3 : vocab);
    for (int i = 0; i < width * MAX_TOTAL; i++)
        f->forced[i] = gpu_random_below(vocab);
    sampler_init(&f->sampler, ids_limit);
    f->logits = test_malloc((size_t)(width * vocab) * sizeof(float));
    f->s.logits = gpu_alloc((size_t)(width * vocab) * sizeof(float));
    f->s.rows = gpu_alloc((size_t)width * sizeof(struct cuda_row));
    f->s.report = gpu_alloc((size_t)width * sizeof(struct cuda_report));
    f->s.forced = gpu_copy_in(f->forced, (size_t)(width * MAX_TOTAL) * sizeof(int32_t));
    char *zeros = test_calloc(1, cuda_sample_bytes(width));
    f->s.scratch = gpu_copy_in(zeros, cuda_sample_bytes(width));
    test_free(zeros);
}

static void close_fixture(struct fixture *f) {
    sampler_free(&f->sampler);
    test_free(f->logits);
    gpu_teardown(NULL);
}

static int one_of(int a, int b, int c) { return (int[]){a, b, c}[gpu_random_below(3)]; }

/* sampling: every second row draws */
static void random_row(struct cuda_row *r, bool sampling) {
    static const float temperatures[] = {0.6f, 1, 2.5f, 0.05f},
                       shares[] = {1, 0.95f, 0.5f, 0.9999f};
    *r = (struct cuda_row){.active = gpu_random_below(8) > 0,
                           .position = gpu_random_below(1 << 20),
                           .next = -7,
                           .n_live = gpu_random_below(1000),
                           .n_pages = gpu_random_below(100),
                           .evictions = gpu_random_below(1000),
                           .n_new = gpu_random_below(9),
                           .max_new = 1 + gpu_random_below(12),
                           .min_new = gpu_random_below(12),
                           .ignore_eos = gpu_random_below(4) == 0,
                           .forced = gpu_random_below(4) == 0,
                           .top_p = shares[gpu_random_below(4)],
                           .key = (uint64_t)gpu_random() << 32 | gpu_random()};
    if (r->forced) {
        r->n_forced = gpu_random_below(MAX_TOTAL + 1);
        r->n_fed = gpu_random_below(2) ? r->n_forced : gpu_random_below(r->n_forced + 1);
    }
    if (sampling && gpu_random_below(2))
        r->temperature = temperatures[gpu_random_below(4)];
}

/* Some rows are nearly flat, some have one peak, many have ties, some have an end token on top, few
 * are broken. */
static void random_logits(const struct fixture *f, float *logits) {
    float scale = (float)one_of(1, 4, 20) * 0.3f;
    bool coarse = gpu_random_below(2), positive = gpu_random_below(3) > 0;
    for (int i = 0; i < f->vocab; i++) {
        logits[i] = gpu_random_float() * scale + gpu_random_float() * scale;
        if (coarse)
            logits[i] = rintf(logits[i] * 4) / 4;
        if (!positive && logits[i] > 0)
            logits[i] = gpu_random_below(2) ? 0.0f : -0.0f;
    }
    if (gpu_random_below(3) == 0 && f->config.eos[0] < f->vocab)
        logits[f->config.eos[0]] = 50;
    if (gpu_random_below(12) == 0)
        logits[gpu_random_below(f->vocab)] = (float)one_of(0, 1, -1) * INFINITY; /* 0: NaN */
    if (gpu_random_below(12) == 0)
        logits[f->vocab - 1] = NAN; /* an id that may be out of bounds for the sampler */
}

/* What the host makes of the row, and the report that says so. */
static struct cuda_report expected_report(struct fixture *f, int i, struct cuda_row *r) {
    struct sequence q = {.sampling = {r->temperature, r->top_p},
                         .max_new = r->max_new,
                         .min_new = r->min_new,
                         .ignore_eos = r->ignore_eos,
                         .forced = r->forced ? f->forced + f->row_of[i] * MAX_TOTAL : NULL,
                         .n_forced = r->n_forced,
                         .key = r->key};
    struct standing standing = {
        .sequence = &q, .position = r->position, .n_new = r->n_new, .n_forced = r->n_fed};
    float *copy = test_malloc((size_t)f->vocab * sizeof *copy);
    memcpy(copy, f->logits + (size_t)i * (size_t)f->vocab, (size_t)f->vocab * sizeof *copy);
    enum finish finish = advance(&standing, &f->config, &f->sampler, copy);
    test_free(copy);
    r->next = standing.next;
    r->n_new = standing.n_new;
    r->n_fed = standing.n_forced;
    r->active = finish == FINISH_NOT;
    return (struct cuda_report){standing.next, (int32_t)finish, r->n_live, r->n_pages,
                                r->evictions};
}

static void check_row(struct fixture *f, int i, const struct cuda_row *got,
                      const struct cuda_report *report) {
    struct cuda_row want;
    memcpy(&want, &f->rows[f->row_of[i]], sizeof want);
    bool draws = want.temperature > 0 && !(want.forced && want.n_fed < want.n_forced);
    if (!want.active) {
        assert_int_equal(report->id, CUDA_ABSENT);
        assert_memory_equal(got, &want, sizeof want);
        return;
    }
    struct cuda_report says = expected_report(f, i, &want);
    if (draws && says.id >= 0) {
        f->drawn++;
        if (report->id != says.id) {
            assert_true(report->id >= 0 && report->id < f->s.ids_limit);
            f->elsewhere++;
            return;
        }
    }
    assert_memory_equal(report, &says, sizeof says);
    assert_memory_equal(got, &want, sizeof want);
}

/* Rows of the batch that take part: all in order, or some in any order. */
static void choose_rows(struct fixture *f, bool all) {
    for (int i = 0; i < f->width; i++)
        f->row_of[i] = i;
    f->n = all ? f->width : 1 + gpu_random_below(f->width);
    for (int i = 0; i < f->width && !all; i++) {
        int j = gpu_random_below(f->width);
        int32_t row = f->row_of[i];
        f->row_of[i] = f->row_of[j], f->row_of[j] = row;
    }
    f->s.n = f->n;
    f->s.row_of = all ? NULL : gpu_copy_in(f->row_of, (size_t)f->n * sizeof(int32_t));
}

static void run_step(struct fixture *f, struct cuda_row *rows, struct cuda_report *reports) {
    gpu_write(f->s.rows, f->rows, (size_t)f->width * sizeof *f->rows);
    cuda_sample(&f->s, NULL);
    gpu_copy_out(rows, f->s.rows, (size_t)f->width * sizeof *rows);
    gpu_copy_out(reports, f->s.report, (size_t)f->width * sizeof *reports);
}

static void check_step(struct fixture *f, bool all, bool sampling) {
    static struct cuda_row rows[MOST_ROWS];
    static struct cuda_report reports[MOST_ROWS];
    choose_rows(f, all);
    for (int i = 0; i < f->width; i++)
        random_row(&f->rows[i], sampling);
    for (int i = 0; i < f->n; i++)
        random_logits(f, f->logits + (size_t)i * (size_t)f->vocab);
    gpu_write((void *)f->s.logits, f->logits, (size_t)(f->n * f->vocab) * sizeof(float));
    run_step(f, rows, reports);
    for (int i = 0; i < f->n; i++)
        check_row(f, i, &rows[f->row_of[i]], &reports[f->row_of[i]]);
    for (int i = f->n; i < f->width; i++) {
        assert_int_equal(reports[f->row_of[i]].id, CUDA_ABSENT);
        assert_memory_equal(&rows[f->row_of[i]], &f->rows[f->row_of[i]], sizeof *rows);
    }
}

/* exp() rounds differently on the host, and so does a sum of its values: a draw that falls between
 * two ids by less than that may fall on the other side. */
static void check_draws(const struct fixture *f) { assert_true(f->elsewhere <= 1 + f->drawn / 50); }

static void test_cuda_sample_is_the_hosts(void **state) {
    (void)state;
    gpu_or_skip();
    static struct fixture f;
    static const struct {
        int vocab, ids_limit, width, steps;
    } cases[] = {{61, 61, 9, 20},     {61, 50, MOST_ROWS, 2}, {1, 1, 3, 4},
                 {809, 809, 70, 6},   {809, 777, 1, 20},      {2000, 1999, 300, 1},
                 {5000, 5000, 40, 2}, {151936, 151665, 4, 2}, {152064, 152064, 1, 5}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        open_fixture(&f, cases[c].vocab, cases[c].ids_limit, cases[c].width);
        for (int step = 0; step < cases[c].steps; step++)
            check_step(&f, step % 2 == 0, step % 3 < 2);
        check_draws(&f);
        close_fixture(&f);
    }
}

/* Many draws: the same ids as the host, whichever way they are found: few heavy ids, a flat row,
 * weights that vanish, one heavy id before a tail that is as heavy in all. */
static void test_cuda_sample_draws(void **state) {
    (void)state;
    gpu_or_skip();
    static struct fixture f;
    static struct cuda_row rows[MOST_ROWS];
    static struct cuda_report reports[MOST_ROWS];
    static const float shares[] = {1, 0.9f, 0.3f, 1e-6f, 0.999999f};
    for (int shape = 0; shape < 5; shape++) {
        open_fixture(&f, 4000 + shape, 3990, 200);
        choose_rows(&f, true);
        float spread = (float[]){0.01f, 8, 1, 40, 0.1f}[shape];
        for (int i = 0; i < f.n; i++) {
            float *logits = f.logits + (size_t)i * (size_t)f.vocab;
            for (int v = 0; v < f.vocab; v++)
                logits[v] = spread * gpu_random_normal();
            if (shape == 4)
                logits[gpu_random_below(3990)] = 8;
            f.rows[i] = (struct cuda_row){.active = 1,
                                          .max_new = 99,
                                          .ignore_eos = i % 2,
                                          .temperature = i % 7 ? 1 : 1e-30f,
                                          .top_p = shares[i % 5],
                                          .position = i,
                                          .key = gpu_random()};
        }
        gpu_write((void *)f.s.logits, f.logits, (size_t)(f.n * f.vocab) * sizeof(float));
        run_step(&f, rows, reports);
        for (int i = 0; i < f.n; i++)
            check_row(&f, i, &rows[i], &reports[i]);
        assert_true(f.drawn == f.n);
        check_draws(&f);
        close_fixture(&f);
    }
}

/* All weights are equal and the point falls exactly between two ids: the upper one is drawn. */
static void test_cuda_sample_draws_on_a_border(void **state) {
    (void)state;
    gpu_or_skip();
    static struct fixture f;
    static struct cuda_row rows[MOST_ROWS];
    static struct cuda_report reports[MOST_ROWS];
    open_fixture(&f, 4096, 4096, 60);
    choose_rows(&f, true);
    memset(f.logits, 0, (size_t)(f.n * f.vocab) * sizeof(float));
    for (int i = 0; i < f.n; i++) {
        struct cuda_row *r = &f.rows[i];
        *r = (struct cuda_row){.active = 1, .max_new = 99, .temperature = 1, .position = i};
        r->top_p = i % 2 ? 1 : 0.5f;
        do
            r->key = gpu_random();
        while ((int)(0x1p24f * rng_uniform(rng_key(rng_key(r->key, 0x73616d706c65u), i))) % 8192);
    }
    gpu_write((void *)f.s.logits, f.logits, (size_t)(f.n * f.vocab) * sizeof(float));
    run_step(&f, rows, reports);
    for (int i = 0; i < f.n; i++)
        check_row(&f, i, &rows[i], &reports[i]);
    assert_int_equal(f.elsewhere, 0);
    close_fixture(&f);
}

/* A row's id depends on nothing but the row: not on how many rows there are, nor on its place. */
static void test_cuda_sample_is_the_same_alone(void **state) {
    (void)state;
    gpu_or_skip();
    static struct fixture f;
    static struct cuda_row rows[MOST_ROWS], alone[MOST_ROWS];
    static struct cuda_report reports[MOST_ROWS], single[MOST_ROWS];
    for (int c = 0; c < 2; c++) {
        open_fixture(&f, c ? 50001 : 809, c ? 50000 : 809, 24);
        choose_rows(&f, true);
        for (int i = 0; i < f.n; i++) {
            random_row(&f.rows[i], true);
            random_logits(&f, f.logits + (size_t)i * (size_t)f.vocab);
        }
        const float *all = f.s.logits;
        gpu_write((void *)all, f.logits, (size_t)(f.n * f.vocab) * sizeof(float));
        run_step(&f, rows, reports);
        f.s.n = 1;
        for (int32_t i = 0; i < f.n; i++) {
            f.s.row_of = gpu_copy_in(&i, sizeof i);
            f.s.logits = all + (size_t)i * (size_t)f.vocab;
            run_step(&f, alone, single);
            assert_memory_equal(&alone[i], &rows[i], sizeof *rows);
            assert_memory_equal(&single[i], &reports[i], sizeof *reports);
        }
        close_fixture(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cuda_sample_is_the_hosts, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_sample_draws, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_sample_draws_on_a_border, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_sample_is_the_same_alone, gpu_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
