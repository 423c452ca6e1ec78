/* Products on the device: against double loops on odd and tiny shapes, and the same bits for a row
 * whatever the number of rows and its place. */
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

enum { STRIDE = 256 }; /* rows that every buffer has */

struct setup { /* one matrix and its inputs, on both sides */
    int n, k, fragment_rows;
    float *w, *x;   /* [n][k], [STRIDE][k]: already bf16 */
    float *squares; /* [tiles][STRIDE] */
    struct cuda_matrix matrix;
    struct cuda_acts acts;
    float *device_squares, *part, *rms;
    int32_t *arrived;
};

static float draw(struct rng *r) { return (float)(2 * rng_real(r) - 1); }
static float rounded(float x) { return bf16_to_float(bf16_of(x)); }

static struct cuda_acts new_acts(int k) {
    struct cuda_acts a = cuda_acts_for(STRIDE, k);
    void *zero = calloc(1, cuda_acts_bytes(a));
    a.data = gpu_copy_in(zero, cuda_acts_bytes(a));
    free(zero);
    return a;
}

static struct setup make(int n, int k, uint64_t seed) {
    struct rng r = {.key = seed};
    struct setup s = {.n = n, .k = k};
    int tiles = (k + 15) / 16;
    s.w = malloc((size_t)n * (size_t)k * sizeof(float));
    s.x = malloc((size_t)STRIDE * (size_t)k * sizeof(float));
    s.squares = calloc((size_t)tiles * STRIDE, sizeof(float));
    for (int i = 0; i < n * k; i++)
        s.w[i] = rounded(draw(&r));
    for (int i = 0; i < STRIDE * k; i++)
        s.x[i] = rounded(draw(&r));
    for (int i = 0; i < tiles * STRIDE; i++)
        s.squares[i] = 1 + 4 * (float)rng_real(&r);
    s.matrix = (struct cuda_matrix){.n = n, .k = k, .segment = cuda_segment(k)};
    size_t bytes = cuda_matrix_bytes(n, s.matrix.segment);
    uint16_t *packed = calloc(1, bytes);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < k; j++)
            packed[matrix_at(s.matrix.segment, i, j)] = bf16_of(s.w[i * k + j]);
    s.matrix.data = gpu_copy_in(packed, bytes);
    free(packed);
    s.acts = new_acts(k);
    uint16_t *acts = calloc(1, cuda_acts_bytes(s.acts));
    struct cuda_acts host = s.acts;
    host.data = acts;
    for (int row = 0; row < STRIDE; row++)
        for (int j = 0; j < k; j++)
            acts[acts_at(host, row, j)] = bf16_of(s.x[row * k + j]);
    gpu_free(s.acts.data);
    s.acts.data = gpu_copy_in(acts, cuda_acts_bytes(s.acts));
    free(acts);
    s.device_squares = gpu_copy_in(s.squares, (size_t)tiles * STRIDE * sizeof(float));
    size_t part = 0;
    for (int rows = 16; rows <= STRIDE; rows *= 2) {
        size_t need = cuda_product_part_bytes(n, s.matrix.segment, rows);
        part = need > part ? need : part;
    }
    s.part = gpu_alloc(part + 16);
    s.rms = gpu_alloc(STRIDE * sizeof(float));
    int32_t zero[8 * 512] = {0};
    s.arrived = gpu_copy_in(zero, sizeof zero);
    return s;
}

static void drop(struct setup *s) {
    free(s->w), free(s->x), free(s->squares);
    gpu_free((void *)s->matrix.data), gpu_free(s->acts.data), gpu_free(s->device_squares);
    gpu_free(s->part), gpu_free(s->rms), gpu_free(s->arrived);
}

static struct cuda_product product_of(const struct setup *s, enum cuda_epilogue epilogue,
                                      int rows) {
    return (struct cuda_product){.w = s->matrix,
                                 .acts = s->acts,
                                 .epilogue = epilogue,
                                 .squares = s->device_squares,
                                 .n_squares = (s->k + 15) / 16,
                                 .squares_stride = STRIDE,
                                 .dim = s->k,
                                 .eps = 1e-5f,
                                 .rows = rows,
                                 .rms = rows > CUDA_NARROW ? s->rms : NULL,
                                 .part = s->part,
                                 .arrived = s->arrived};
}

static double rms_of(const struct setup *s, int row) {
    double sum = 0;
    for (int t = 0; t < (s->k + 15) / 16; t++)
        sum += s->squares[t * STRIDE + row];
    return 1 / sqrt(sum / s->k + 1e-5);
}
static double dot(const struct setup *s, int row, int r) {
    double sum = 0;
    for (int j = 0; j < s->k; j++)
        sum += (double)s->w[r * s->k + j] * (double)s->x[row * s->k + j];
    return sum;
}

static const int all_rows[] = {1, 4, 8, 16, 32, 64, 128, 256};
enum { N_ROWS = sizeof all_rows / sizeof *all_rows };

static void assert_close(double got, double want, double scale) {
    if (!(fabs(got - want) <= 2e-5 * scale + 1e-6))
        fail_msg("got %g, want %g", got, want);
}

/* y of all counts of rows: right, and the same bits. */
static void check_normed(int n, int k) {
    struct setup s = make(n, k, (uint64_t)(n * 1000 + k));
    size_t bytes = (size_t)STRIDE * (size_t)n * sizeof(float);
    float *first = malloc(bytes), *y = malloc(bytes);
    float *bias = malloc((size_t)n * sizeof *bias);
    struct rng r = {.key = 5};
    for (int i = 0; i < n; i++)
        bias[i] = draw(&r);
    float *device_bias = gpu_copy_in(bias, (size_t)n * sizeof *bias);
    for (int i = N_ROWS - 1; i >= 0; i--) {
        float *device_y = gpu_alloc(bytes);
        struct cuda_product p = product_of(&s, CUDA_QKV, all_rows[i]);
        p.bias = device_bias;
        p.y = device_y, p.ldy = n;
        for (int again = 0; again < 2; again++) /* counters are zero again */
            cuda_product_run(&p, 0);
        gpu_copy_out(y, device_y, bytes);
        gpu_free(device_y);
        if (i == N_ROWS - 1)
            memcpy(first, y, bytes);
        assert_memory_equal(first, y, (size_t)all_rows[i] * (size_t)n * sizeof(float));
    }
    for (int row = 0; row < STRIDE; row += row < 8 ? 1 : 37)
        for (int o = 0; o<n; o += n> 600 ? 7 : 1)
            assert_close(first[row * n + o], dot(&s, row, o) * rms_of(&s, row) + bias[o],
                         sqrt(k) * rms_of(&s, row));
    free(first), free(y), free(bias);
    gpu_free(device_bias);
    drop(&s);
}

/* The last one: 256 rows of it are whole items and cut ones on a GPU of 132 multiprocessors. */
static const int shapes[][2] = {{5, 7},       {16, 16},     {61, 48},    {130, 100},
                                {512, 256},   {256, 704},   {809, 256},  {2048, 1536},
                                {1536, 8960}, {17000, 512}, {9000, 4200}};

static void test_cuda_products_are_right_and_the_same_for_any_number_of_rows(void **state) {
    (void)state;
    gpu_or_skip();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_normed(shapes[i][0], shapes[i][1]);
}

static void check_residual(int n, int k) {
    struct setup s = make(n, k, (uint64_t)(n * 77 + k));
    int tiles = (n + 15) / 16;
    size_t x_bytes = (size_t)STRIDE * (size_t)n * sizeof(float);
    size_t square_bytes = (size_t)tiles * STRIDE * sizeof(float);
    float *x0 = malloc(x_bytes), *x = malloc(x_bytes), *first = malloc(x_bytes);
    float *gain = malloc((size_t)n * sizeof *gain), *squares = malloc(square_bytes);
    float *first_squares = malloc(square_bytes);
    struct rng r = {.key = 9};
    for (int i = 0; i < STRIDE * n; i++)
        x0[i] = draw(&r);
    for (int i = 0; i < n; i++)
        gain[i] = 1 + draw(&r);
    float *device_gain = gpu_copy_in(gain, (size_t)n * sizeof *gain);
    for (int i = N_ROWS - 1; i >= 0; i--) {
        int rows = all_rows[i];
        struct cuda_product p = product_of(&s, CUDA_RESIDUAL, rows);
        p.acts_out = new_acts(n);
        p.gain = device_gain;
        p.y = gpu_copy_in(x0, x_bytes), p.ldy = n;
        p.squares_out = gpu_alloc(square_bytes);
        uint16_t *acts = malloc(cuda_acts_bytes(p.acts_out));
        struct cuda_acts host = p.acts_out;
        cuda_product_run(&p, 0);
        gpu_copy_out(x, p.y, x_bytes);
        gpu_copy_out(squares, p.squares_out, square_bytes);
        gpu_copy_out(acts, p.acts_out.data, cuda_acts_bytes(p.acts_out));
        host.data = acts;
        if (i == N_ROWS - 1) {
            memcpy(first, x, x_bytes);
            memcpy(first_squares, squares, square_bytes);
        }
        assert_memory_equal(first, x, (size_t)rows * (size_t)n * sizeof(float));
        for (int row = 0; row < rows; row++) {
            for (int t = 0; t < tiles; t++)
                assert_true(squares[t * STRIDE + row] == first_squares[t * STRIDE + row]);
            for (int o = 0; o < n; o++)
                assert_int_equal(acts[acts_at(host, row, o)], bf16_of(x[row * n + o] * gain[o]));
        }
        for (int row = rows; row < STRIDE; row++) /* untouched */
            assert_memory_equal(x + row * n, x0 + row * n, (size_t)n * sizeof *x);
        free(acts);
        gpu_free(p.y), gpu_free(p.squares_out), gpu_free(p.acts_out.data);
    }
    for (int row = 0; row < STRIDE; row += 13)
        for (int t = 0; t < tiles; t++) {
            double sum = 0;
            for (int o = t * 16; o < n && o < t * 16 + 16; o++) {
                assert_close(first[row * n + o], x0[row * n + o] + dot(&s, row, o), sqrt(k));
                sum += (double)first[row * n + o] * (double)first[row * n + o];
            }
            assert_close(first_squares[t * STRIDE + row], sum, sum);
        }
    free(x0), free(x), free(first), free(gain), free(squares), free(first_squares);
    gpu_free(device_gain);
    drop(&s);
}

static void test_cuda_products_add_to_the_residual_and_feed_the_next_norm(void **state) {
    (void)state;
    gpu_or_skip();
    check_residual(48, 20);
    check_residual(96, 130);
    check_residual(256, 704);
    check_residual(1536, 1024);
    check_residual(1000, 4200); /* long enough to be cut for many rows, too */
}

/* n = 2 * ffn fragment rows: 8 gates, then their 8 ups. */
static void check_swiglu(int ffn, int k) {
    int padded = (ffn + 7) / 8 * 8;
    struct setup s = make(2 * padded, k, (uint64_t)(ffn * 31 + k));
    uint16_t *first = NULL;
    for (int i = N_ROWS - 1; i >= 0; i--) {
        int rows = all_rows[i];
        struct cuda_product p = product_of(&s, CUDA_SWIGLU, rows);
        p.acts_out = new_acts(padded);
        uint16_t *acts = malloc(cuda_acts_bytes(p.acts_out));
        struct cuda_acts host = p.acts_out;
        cuda_product_run(&p, 0);
        gpu_copy_out(acts, p.acts_out.data, cuda_acts_bytes(p.acts_out));
        host.data = acts;
        if (!first)
            first = memcpy(malloc(cuda_acts_bytes(p.acts_out)), acts, cuda_acts_bytes(p.acts_out));
        for (int row = 0; row < rows; row++)
            for (int o = 0; o < ffn; o++) {
                uint16_t got = acts[acts_at(host, row, o)];
                assert_int_equal(got, first[acts_at(host, row, o)]);
                if (row % 7 || (ffn > 1000 && o % 7))
                    continue;
                double rms = rms_of(&s, row);
                double gate = dot(&s, row, o / 8 * 16 + o % 8) * rms;
                double up = dot(&s, row, o / 8 * 16 + 8 + o % 8) * rms;
                double want = gate / (1 + exp(-gate)) * up;
                if (!(fabs(bf16_to_float(got) - want) <= 0.006 * fabs(want) + 1e-3))
                    fail_msg("got %g, want %g", bf16_to_float(got), want);
            }
        free(acts);
        gpu_free(p.acts_out.data);
    }
    free(first);
    drop(&s);
}

static void test_cuda_products_gate(void **state) {
    (void)state;
    gpu_or_skip();
    check_swiglu(5, 16);
    check_swiglu(80, 48);
    check_swiglu(704, 256);
    check_swiglu(500, 4200);  /* long enough to be cut for many rows, */
    check_swiglu(4500, 4200); /* and 256 rows of it behind whole items on 132 multiprocessors */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_products_are_right_and_the_same_for_any_number_of_rows),
        cmocka_unit_test(test_cuda_products_add_to_the_residual_and_feed_the_next_norm),
        cmocka_unit_test(test_cuda_products_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
