/* Products and rows of every table of CPU kernels that this machine runs, against plain double
 * arithmetic on odd and tiny shapes, and against themselves bit for bit: neighbours, row places,
 * panel splits and threads change nothing. */
#include "tests/kernels.h"

#include "base/pool.h"

/* --- matmul --- */

struct product {
    struct cpu_matrix w;
    int m, panels;
    float *rows, *x;
    void *act;
};

static struct product product_make(int n, int k, int m) {
    struct product p = {.w = {.n = n, .k = k}, .m = m, .panels = (n + CPU_PANEL - 1) / CPU_PANEL};
    p.rows = random_floats((size_t)n * (size_t)k);
    p.x = random_floats((size_t)m * (size_t)k);
    p.w.data = aligned(table->pack_bytes(n, k));
    table->pack(&p.w, 0, n, p.rows);
    /* exactly as long as needed: a kernel that reads past the last row is caught by the sanitizer
     */
    p.act = test_malloc((size_t)m * (size_t)k * table->act_size);
    table->convert(p.x, (size_t)m * (size_t)k, p.act);
    return p;
}

static void product_free(struct product *p) {
    test_free(p->rows);
    test_free(p->x);
    test_free(p->act);
    free(p->w.data);
}

static void check_product(const struct product *p, const float *y, size_t ldy, const float *old) {
    for (int r = 0; r < p->m; r++)
        for (int j = 0; j < p->w.n; j++) {
            double sum = old         ? (double)old[j]
                         : p->w.bias ? (double)p->w.bias[j]
                                     : 0,
                   size = fabs(sum);
            for (int i = 0; i < p->w.k; i++) {
                double product = (double)stored(table->act_size, p->x[r * p->w.k + i]) *
                                 (double)stored(table->cache_size, p->rows[j * p->w.k + i]);
                sum += product, size += fabs(product);
            }
            double error = fabs((double)y[(size_t)r * ldy + (size_t)j] - sum);
            if (!(error <= (p->w.k + 2) * 6e-8 * size))
                fail_msg("%s: n %d k %d m %d: y[%d][%d] = %.9g, expected %.9g", table->isa, p->w.n,
                         p->w.k, p->m, r, j, (double)y[(size_t)r * ldy + (size_t)j], sum);
        }
}

static const int shapes[][2] = {{1, 1},   {1, 2},   {31, 3},  {32, 16},  {33, 17},
                                {65, 64}, {7, 130}, {128, 9}, {97, 129}, {200, 255}};
static const int heights[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 31, 33, 64, 70};

static void test_kernels_matmul_matches_double(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t h = 0; h < sizeof heights / sizeof *heights; h++) {
            struct product p = product_make(shapes[s][0], shapes[s][1], heights[h]);
            size_t ldy = (size_t)p.w.n + 3;
            float *y = random_floats(ldy * (size_t)p.m), *old = random_floats((size_t)p.w.n);
            float beyond = y[p.w.n];
            table->matmul(&p.w, p.act, p.m, 0, p.panels, y, ldy, false);
            check_product(&p, y, ldy, NULL);
            for (int r = 0; r < p.m; r++)
                memcpy(y + (size_t)r * ldy, old, (size_t)p.w.n * sizeof *y);
            table->matmul(&p.w, p.act, p.m, 0, p.panels, y, ldy, true);
            check_product(&p, y, ldy, old);
            p.w.bias = old;
            table->matmul(&p.w, p.act, p.m, 0, p.panels, y, ldy, false);
            check_product(&p, y, ldy, NULL);
            assert_true(y[p.w.n] == beyond); /* nothing written between the rows */
            product_free(&p);
            test_free(y);
            test_free(old);
        }
}

struct shared_product {
    struct product *p;
    float *y;
};

static void one_panel(void *context, int task, int thread) {
    (void)thread;
    struct shared_product *s = context;
    table->matmul(&s->p->w, s->p->act, s->p->m, task, task + 1, s->y, (size_t)s->p->w.n, false);
}

static void test_kernels_matmul_ignores_neighbours_panels_and_threads(void **state) {
    (void)state;
    struct pool *pool = pool_open(3);
    struct product p = product_make(333, 147, 70);
    size_t n = (size_t)p.w.n, row = (size_t)p.w.k * table->act_size;
    float *whole = random_floats(n * 70), *part = random_floats(n * 70);
    table->matmul(&p.w, p.act, p.m, 0, p.panels, whole, n, false);
    for (int m = 1; m <= 70; m++) /* any number of rows, any place */
        for (int r = 0; r + m <= 70; r += m < 8 ? 3 : 31) {
            table->matmul(&p.w, (char *)p.act + (size_t)r * row, m, 0, p.panels, part, n, false);
            assert_memory_equal(part, whole + (size_t)r * n, (size_t)m * n * sizeof *part);
        }
    for (int step = 1; step <= p.panels; step++) { /* any split */
        for (int p0 = 0; p0 < p.panels; p0 += step)
            table->matmul(&p.w, p.act, 5, p0, p0 + step < p.panels ? p0 + step : p.panels, part, n,
                          false);
        assert_memory_equal(part, whole, 5 * n * sizeof *part);
    }
    memset(part, 0, n * 70 * sizeof *part);
    pool_run(pool, p.panels, one_panel, &(struct shared_product){&p, part});
    assert_memory_equal(part, whole, n * 70 * sizeof *part);
    /* a poisoned row stays alone */
    for (int i = 0; i < p.w.k; i++)
        p.x[3 * p.w.k + i] = NAN;
    table->convert(p.x, 70 * (size_t)p.w.k, p.act);
    table->matmul(&p.w, p.act, p.m, 0, p.panels, part, n, false);
    assert_true(isnan(part[3 * n]));
    assert_memory_equal(part, whole, 3 * n * sizeof *part);
    assert_memory_equal(part + 4 * n, whole + 4 * n, 66 * n * sizeof *part);
    product_free(&p);
    test_free(whole);
    test_free(part);
    pool_close(pool);
}

static void test_kernels_pack_in_pieces_equals_pack_at_once(void **state) {
    (void)state;
    struct product p = product_make(150, 33, 1);
    size_t bytes = table->pack_bytes(150, 33);
    struct cpu_matrix pieces = p.w;
    pieces.data = aligned(bytes);
    memset(pieces.data, 0xff, bytes);
    static const int cuts[] = {128, 0, 64, 150}; /* any order */
    table->pack(&pieces, 128, 22, p.rows + 128 * 33);
    for (int i = 1; i < 3; i++)
        table->pack(&pieces, cuts[i], 64, p.rows + cuts[i] * 33);
    assert_memory_equal(pieces.data, p.w.data, bytes);
    free(pieces.data);
    product_free(&p);
}

/* --- rows --- */

static void test_kernels_rmsnorm_matches_double(void **state) {
    (void)state;
    static const int dims[] = {1, 2, 15, 16, 17, 64, 250, 256, 1536};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        int dim = dims[i];
        float *x = random_floats((size_t)dim), *gain = random_floats((size_t)dim);
        float *out = random_floats((size_t)dim);
        double squares = 0;
        for (int d = 0; d < dim; d++)
            squares += (double)x[d] * (double)x[d];
        double factor = 1 / sqrt(squares / dim + 1e-5);
        table->rmsnorm(x, gain, dim, 1e-5f, out);
        for (int d = 0; d < dim; d++) {
            double expected = factor * (double)x[d] * (double)gain[d];
            assert_true(fabs((double)out[d] - expected) <= 5e-7 * fabs(expected) + 1e-30);
        }
        table->rmsnorm(x, gain, dim, 1e-5f, x); /* in place */
        assert_memory_equal(x, out, (size_t)dim * sizeof *x);
        test_free(x);
        test_free(gain);
        test_free(out);
    }
}

static void test_kernels_swiglu_matches_double_over_the_whole_range(void **state) {
    (void)state;
    enum { N = 2011 };
    float gate[N], up[N], out[N], one;
    for (int i = 0; i < N; i++)
        gate[i] = (float)(i - 1000) * 0.12f, up[i] = next_float();
    gate[0] = -1e30f, gate[1] = 1e30f, gate[2] = 0;
    table->swiglu(gate, up, N, out);
    for (int i = 0; i < N; i++) {
        double g = (double)gate[i], expected = g / (1 + exp(-g)) * (double)up[i];
        if (!(fabs((double)out[i] - expected) <= 6e-7 * fabs(expected) + 1e-35))
            fail_msg("%s: swiglu(%g, %g) = %.9g, expected %.9g", table->isa, g, (double)up[i],
                     (double)out[i], expected);
        table->swiglu(gate + i, up + i, 1, &one); /* the same in a tail as in the middle */
        assert_memory_equal(&one, &out[i], sizeof one);
    }
    gate[5] = NAN;
    table->swiglu(gate, up, N, out);
    assert_true(isnan(out[5]) && !isnan(out[4]) && !isnan(out[6]));
}

static void test_kernels_find_names_what_runs_here(void **state) {
    (void)state;
    struct err e = {0};
    assert_ptr_equal(cpu_kernels_find(table->isa, &e), table);
    assert_string_equal(cpu_kernels_all()[0]->isa, "fp32");
    const struct cpu_kernels *best = cpu_kernels_find(NULL, &e), *const *last = cpu_kernels_all();
    while (last[1])
        last++;
    assert_ptr_equal(best, *last);
    assert_int_equal(e.code, 0);
    assert_null(cpu_kernels_find("sse9", &e));
    assert_int_equal(e.code, EXIT_USAGE);
    assert_non_null(strstr(e.text, "sse9"));
}

static uint64_t hash_bits(uint64_t hash, const float *x, size_t count) { /* FNV-1a over words */
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        hash = (hash ^ bits) * 1099511628211u;
    }
    return hash;
}

/* The specification gives the same bits on every machine. The number was printed by this test
 * itself and is the same with the reference's registers held to 16, 32 and 64 bytes; it changes
 * only where the specification does. */
static void test_kernels_reference_has_the_same_bits_everywhere(void **state) {
    (void)state;
    table = cpu_kernels_find("fp32", NULL);
    seed = 7;
    struct product p = product_make(99, 301, 6);
    float *y = random_floats(6 * 99);
    table->matmul(&p.w, p.act, 6, 0, p.panels, y, 99, false);
    uint64_t hash = hash_bits(14695981039346656037u, y, 6 * 99);
    table->swiglu(p.rows, p.x, 1000, p.rows);
    table->rmsnorm(p.rows, p.x, 1000, 1e-6f, p.rows);
    hash = hash_bits(hash, p.rows, 1000);
    float *page = random_floats(2 * PAGE * 40), *prob = random_floats(2 * PAGE),
          *out = random_floats(80);
    float bound[2];
    table->attend(&(struct cpu_attention){2, 40, 1, 0.7f, p.x, (const void *const[]){page},
                                          (const uint16_t[]){0xb7fd}, prob, out});
    table->bounds(p.x, 2, 40, (const void *const[]){page}, 1, bound);
    hash = hash_bits(hash_bits(hash_bits(hash, prob, 2 * PAGE), out, 80), bound, 2);
    if (hash != 0x9caa932e3f62c188u)
        fail_msg("reference bits hash to 0x%016llx", (unsigned long long)hash);
    test_free(page);
    test_free(prob);
    test_free(out);
    test_free(y);
    product_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_matmul_matches_double),
        cmocka_unit_test(test_kernels_matmul_ignores_neighbours_panels_and_threads),
        cmocka_unit_test(test_kernels_pack_in_pieces_equals_pack_at_once),
        cmocka_unit_test(test_kernels_rmsnorm_matches_double),
        cmocka_unit_test(test_kernels_swiglu_matches_double_over_the_whole_range),
        cmocka_unit_test(test_kernels_find_names_what_runs_here),
    };
    int failed = 0;
    RUN_FOR_EACH_TABLE(tests, failed)
    const struct CMUnitTest reference[] = {
        cmocka_unit_test(test_kernels_reference_has_the_same_bits_everywhere),
    };
    failed += cmocka_run_group_tests_name("reference", reference, NULL, NULL);
    return failed;
}
