/* A decode pass begins: counts against the cache of the CPU under its own rules, lists of work,
 * embeddings. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/bf16.h"
#include "engine/cuda_device.h"
#include "tests/cuda_twin.h"
#include "tests/gpu.h"

enum { VOCAB = 61, MOST_ROWS = 2100, MOST_WORK = 1 << 16 };

struct fixture {
    int dim, n_rows, stride;
    struct cuda_pass pass;
    struct cuda_matrix embedding;
    struct cuda_acts acts;
    float *gain;           /* on the device */
    float *values, *gains; /* on the host: [VOCAB][dim], [dim] */
    size_t acts_bytes;
};

static void open_fixture(struct fixture *f, int dim, int n_rows, bool wide) {
    *f = (struct fixture){.dim = dim, .n_rows = n_rows, .stride = (n_rows + 7) / 8 * 8};
    int segment = cuda_segment(dim), tiles = (dim + 15) / 16;
    size_t bytes = cuda_matrix_bytes(VOCAB, segment);
    uint16_t *packed = test_calloc(1, bytes);
    f->values = gpu_random_floats((size_t)VOCAB * (size_t)dim, 1);
    f->gains = gpu_random_floats((size_t)dim, 1);
    for (int r = 0; r < VOCAB; r++)
        for (int d = 0; d < dim; d++) {
            float *value = &f->values[r * dim + d];
            *value = bf16_to_float(packed[matrix_at(segment, r, d)] = bf16_of(*value));
        }
    f->embedding = (struct cuda_matrix){gpu_copy_in(packed, bytes), VOCAB, dim, segment};
    test_free(packed);
    f->gain = gpu_copy_in(f->gains, (size_t)dim * sizeof(float));
    f->acts = cuda_acts_for(f->stride, dim);
    f->acts_bytes = cuda_acts_bytes(f->acts);
    f->acts.data = gpu_alloc(f->acts_bytes);
    f->pass = (struct cuda_pass){
        .shape = {.dim = dim, .vocab = VOCAB},
        .n_rows = n_rows,
        .wide = wide,
        .plans = gpu_copy_in(twin_device_plans, sizeof twin_device_plans),
        .rows = gpu_alloc((size_t)n_rows * sizeof(struct cuda_row)),
        .x = gpu_alloc((size_t)n_rows * (size_t)dim * sizeof(float)),
        .squares = gpu_alloc((size_t)(tiles * f->stride) * sizeof(float)),
        .work = gpu_alloc(2 * MOST_WORK * sizeof(struct cuda_work)),
        .n_work = gpu_alloc(3 * sizeof(int32_t)),
        .max_work = MOST_WORK,
    };
}

static void close_fixture(struct fixture *f) {
    test_free(f->values);
    test_free(f->gains);
}

/* Row i holds the embedding of ids[i], or still what it was poisoned with where that is < 0. */
static void check_embeddings(const struct fixture *f, const int32_t *ids, int n) {
    int tiles = (f->dim + 15) / 16;
    size_t x_size = (size_t)n * (size_t)f->dim * sizeof(float);
    size_t squares_size = (size_t)(tiles * f->stride) * sizeof(float);
    float *x = test_malloc(x_size), *squares = test_malloc(squares_size), poison;
    uint16_t *acts = test_malloc(f->acts_bytes);
    memset(&poison, 0xa5, sizeof poison);
    gpu_copy_out(x, f->pass.x, x_size);
    gpu_copy_out(squares, f->pass.squares, squares_size);
    gpu_copy_out(acts, f->acts.data, f->acts_bytes);
    for (int i = 0; i < n; i++) {
        double sums[64] = {0};
        for (int d = 0; d < f->dim; d++) {
            float got = x[i * f->dim + d];
            uint16_t act = acts[acts_at(f->acts, i, d)];
            if (ids[i] < 0) {
                assert_memory_equal(&got, &poison, sizeof got);
                assert_int_equal(act, 0xa5a5);
                continue;
            }
            float value = f->values[ids[i] * f->dim + d];
            assert_true(got == value);
            assert_int_equal(act, bf16_of(value * f->gains[d]));
            sums[d / 16] += (double)value * value;
        }
        for (int t = 0; t < tiles; t++)
            if (ids[i] < 0)
                assert_memory_equal(&squares[t * f->stride + i], &poison, sizeof poison);
            else
                assert_true(fabs(squares[t * f->stride + i] - sums[t]) <= 1e-6 * sums[t]);
    }
    test_free(x);
    test_free(squares);
    test_free(acts);
}

static void poison_work(const struct fixture *f) {
    static struct cuda_work poison[2 * MOST_WORK];
    memset(poison, 0xa5, sizeof poison);
    gpu_write(f->pass.work, poison, sizeof poison);
}

/* Lists of work and n_work of what the rows hold now. */
static void check_work(const struct fixture *f, const struct cuda_row *rows) {
    struct cuda_work *work = test_malloc(2 * MOST_WORK * sizeof *work);
    int32_t n_work[3], n[2] = {0, 0}, dense = 0;
    gpu_copy_out(work, f->pass.work, 2 * MOST_WORK * sizeof *work);
    gpu_copy_out(n_work, f->pass.n_work, sizeof n_work);
    for (int row = 0; row < f->n_rows; row++) {
        const struct cuda_row *r = &rows[row];
        const struct cuda_plan *plan = &twin_device_plans[r->plan];
        if (!r->active)
            continue;
        if (plan->select && plan->dense_layers > dense)
            dense = plan->dense_layers;
        int chunks[2];
        for (int list = 0; list < 2; list++) {
            int pages = list ? r->n_pages : attended_pages(r, plan);
            int chunk = chunk_pages(f->pass.wide, pages);
            chunks[list] = (pages + chunk - 1) / chunk;
        }
        for (int list = 0; list < 2; list++)
            for (int i = 0; i < chunks[list] || (list && i < chunks[0]); i++) {
                const struct cuda_work *w = &work[list * MOST_WORK + n[list]++];
                int pages = attended_pages(r, plan);
                assert_int_equal(w->row, row);
                assert_int_equal(w->chunk, i);
                assert_int_equal(w->n_chunks, chunks[0]);
                if (list)
                    continue;
                assert_int_equal(w->pages, pages);
                assert_int_equal(w->flags & CUDA_WORK_VIEW ? 1 : 0, pages < r->n_pages);
            }
    }
    assert_int_equal(n_work[0], n[0]);
    assert_int_equal(n_work[1], n[1]);
    assert_int_equal(n_work[2], dense);
    for (int list = 0; list < 2; list++)
        assert_int_equal(work[list * MOST_WORK + n[list]].row, (int32_t)0xa5a5a5a5);
    test_free(work);
}

/* Prompts of all lengths under all plans, fed token by token beside the CPU's cache. */
static void test_cuda_step_counts_as_the_rules_do(void **state) {
    (void)state;
    gpu_or_skip();
    twin_parse_plans();
    enum { ROWS = 4 * TWIN_PLANS, STEPS = 180 };
    static struct twin twins[ROWS];
    struct cuda_row rows[ROWS];
    struct fixture f;
    open_fixture(&f, 40, ROWS, false);
    for (int i = 0; i < ROWS; i++) {
        twin_open(&twins[i], i % TWIN_PLANS, 1 + gpu_random_below(i < TWIN_PLANS ? 16 : 400));
        rows[i] = twin_row(&twins[i], gpu_random_below(VOCAB));
    }
    gpu_write(f.pass.rows, rows, sizeof rows);
    for (int step = 0; step < STEPS; step++) {
        if (step % 60 == 0)
            poison_work(&f);
        cuda_begin(&f.pass, &f.embedding, f.gain, &f.acts, NULL);
        gpu_copy_out(rows, f.pass.rows, sizeof rows);
        for (int i = 0; i < ROWS; i++) {
            uint64_t before = twins[i].head.evictions;
            twin_feed(&twins[i]);
            twin_check(&twins[i], &rows[i]);
            assert_int_equal(rows[i].evict, twins[i].head.evictions - before);
        }
        if (step % 60 == 0)
            check_work(&f, rows);
    }
    for (int i = 0; i < ROWS; i++)
        twin_close(&twins[i]);
    close_fixture(&f);
}

/* Rows in any state, few and many, some not in flight: the lists and the embeddings. */
static void test_cuda_step_lists_and_embeds(void **state) {
    (void)state;
    gpu_or_skip();
    twin_parse_plans();
    static const struct {
        int dim, rows, wide, most_pages;
    } cases[] = {{48, 1, 0, 2000}, {16, 7, 0, 300},     {23, 64, 0, 1200},      {40, 1024, 1, 500},
                 {256, 65, 1, 70}, {1000, 130, 1, 900}, {16, MOST_ROWS, 1, 300}};
    static struct cuda_row rows[MOST_ROWS];
    static int32_t ids[MOST_ROWS];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct fixture f;
        open_fixture(&f, cases[c].dim, cases[c].rows, cases[c].wide);
        for (int i = 0; i < cases[c].rows; i++) {
            int pages = 1 + gpu_random_below(cases[c].most_pages);
            rows[i] = (struct cuda_row){.active = c == 0 || gpu_random_below(4) > 0,
                                        .plan = gpu_random_below(TWIN_PLANS),
                                        .capacity = 1 << 20,
                                        .budget = PAGE * (1 + gpu_random_below(600)),
                                        .position = pages * PAGE - 1,
                                        .next = gpu_random_below(VOCAB),
                                        .n_live = pages * PAGE - gpu_random_below(PAGE),
                                        .n_pages = pages};
            ids[i] = rows[i].active ? rows[i].next : -1;
        }
        gpu_write(f.pass.rows, rows, (size_t)f.n_rows * sizeof *rows);
        poison_work(&f);
        cuda_begin(&f.pass, &f.embedding, f.gain, &f.acts, NULL);
        struct cuda_row *after = test_malloc((size_t)f.n_rows * sizeof *after);
        gpu_copy_out(after, f.pass.rows, (size_t)f.n_rows * sizeof *after);
        check_work(&f, after);
        check_embeddings(&f, ids, f.n_rows);
        for (int i = 0; i < f.n_rows; i++)
            if (!rows[i].active)
                assert_memory_equal(&after[i], &rows[i], sizeof *after);
        test_free(after);
        close_fixture(&f);
        gpu_teardown(NULL);
    }
}

static void test_cuda_step_embeds_prompts(void **state) {
    (void)state;
    gpu_or_skip();
    for (int c = 0; c < 6; c++) {
        struct fixture f;
        int n = 16 * (1 + gpu_random_below(9));
        int32_t ids[16 * 10];
        open_fixture(&f, 1 + gpu_random_below(500), n + 8, false);
        for (int i = 0; i < n + 8; i++)
            ids[i] = i < n ? gpu_random_below(VOCAB) : -1;
        const int32_t *device_ids = gpu_copy_in(ids, (size_t)n * sizeof *ids);
        cuda_embed(&f.pass.shape, device_ids, n, f.stride, &f.embedding, f.gain, f.pass.x,
                   f.pass.squares, &f.acts, NULL);
        check_embeddings(&f, ids, n + 8);
        close_fixture(&f);
        gpu_teardown(NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cuda_step_counts_as_the_rules_do, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_step_lists_and_embeds, gpu_teardown),
        cmocka_unit_test_teardown(test_cuda_step_embeds_prompts, gpu_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
