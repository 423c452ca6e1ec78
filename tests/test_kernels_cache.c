/* Attention and cache of every table of CPU kernels that this machine runs, against plain double
 * arithmetic on odd and tiny shapes; dead slots and other heads change no bit. */
#include "tests/kernels.h"

struct cache {
    int group, head_size, n_pages;
    void **pages;
    uint16_t *live;
    float *keys, *values, *q, *prob, *out; /* keys, values: as the cache holds them */
};

static struct cache cache_make(int group, int head_size, int n_pages) {
    struct cache c = {group, head_size, n_pages, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    size_t slots = (size_t)n_pages * PAGE, size = (size_t)head_size;
    c.pages = test_malloc((size_t)n_pages * sizeof *c.pages);
    c.live = test_malloc((size_t)n_pages * sizeof *c.live);
    c.keys = random_floats(slots * size);
    c.values = random_floats(slots * size);
    c.q = random_floats((size_t)group * size);
    for (size_t i = 0; i < (size_t)group * size; i++)
        c.q[i] *= 3;
    c.prob = random_floats((size_t)group * slots);
    c.out = random_floats((size_t)group * size);
    for (int p = 0; p < n_pages; p++) {
        uint32_t kind = next_word() % 4;
        c.live[p] = (uint16_t)(kind == 0 ? 0xffff : kind == 1 ? 0 : next_word());
        c.pages[p] = aligned(cpu_page_bytes(table, head_size));
        memset(c.pages[p], 0xff, cpu_page_bytes(table, head_size)); /* dead slots hold NaN */
    }
    c.live[next_word() % (uint32_t)n_pages] |= 0x20;
    for (size_t i = 0; i < slots; i++)
        if (c.live[i / PAGE] >> i % PAGE & 1) {
            float *k = c.keys + i * size, *v = c.values + i * size;
            table->append(c.pages[i / PAGE], (int)(i % PAGE), head_size, k, v, NULL, false);
            table->read(c.pages[i / PAGE], (int)(i % PAGE), head_size, k, v);
        }
    return c;
}

static void cache_free(struct cache *c) {
    for (int p = 0; p < c->n_pages; p++)
        free(c->pages[p]);
    void *all[] = {c->pages, c->live, c->keys, c->values, c->q, c->prob, c->out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        test_free(all[i]);
}

static void attend(const struct cache *c, int g, int group, float *prob, float *out) {
    table->attend(&(struct cpu_attention){.group = group,
                                          .head_size = c->head_size,
                                          .n_pages = c->n_pages,
                                          .scale = 0.3f,
                                          .q = c->q + g * c->head_size,
                                          .pages = (const void *const *)c->pages,
                                          .live = c->live,
                                          .prob = prob,
                                          .out = out});
}

static void check_attention(const struct cache *c) {
    int slots = c->n_pages * PAGE, size = c->head_size;
    double *weight = test_malloc((size_t)slots * sizeof *weight);
    for (int g = 0; g < c->group; g++) {
        double max = -INFINITY, sum = 0;
        for (int i = 0; i < slots; i++) {
            weight[i] = 0;
            for (int d = 0; d < size; d++)
                weight[i] += 0.3 * (double)c->q[g * size + d] * (double)c->keys[i * size + d];
            if (c->live[i / PAGE] >> i % PAGE & 1 && weight[i] > max)
                max = weight[i];
        }
        for (int i = 0; i < slots; i++)
            sum += weight[i] = c->live[i / PAGE] >> i % PAGE & 1 ? exp(weight[i] - max) : 0;
        for (int i = 0; i < slots; i++) {
            float got = c->prob[g * slots + i];
            if (!(weight[i] == 0 ? got == 0
                                 : fabs((double)got - weight[i] / sum) < 2e-6 + 4e-8 * size))
                fail_msg("%s: group %d head size %d: probability of slot %d is %.9g, expected %.9g",
                         table->isa, c->group, size, i, (double)got, weight[i] / sum);
        }
        for (int d = 0; d < size; d++) {
            double out = 0;
            for (int i = 0; i < slots; i++)
                if (weight[i] != 0)
                    out += weight[i] / sum * (double)c->values[i * size + d];
            if (!(fabs((double)c->out[g * size + d] - out) < 4e-6 + 8e-8 * size))
                fail_msg("%s: group %d head size %d: out[%d] = %.9g, expected %.9g", table->isa,
                         c->group, size, d, (double)c->out[g * size + d], out);
        }
    }
    test_free(weight);
}

static const int groups[] = {1, 2, 3, 4, 7, 16}, head_sizes[] = {2, 6, 32, 64, 80, 90, 128, 256};
static const int page_counts[] = {1, 2, 3, 5, 8, 21};

static void test_kernels_cache_attend_matches_double(void **state) {
    (void)state;
    for (int i = 0; i < 6 * 8 * 6; i++) {
        struct cache c = cache_make(groups[i % 6], head_sizes[i / 6 % 8], page_counts[i / 48]);
        attend(&c, 0, c.group, c.prob, c.out);
        check_attention(&c);
        cache_free(&c);
    }
}

static void test_kernels_cache_attend_depends_on_own_head_and_live_slots_only(void **state) {
    (void)state;
    for (int i = 0; i < 6 * 8; i++) {
        struct cache c = cache_make(groups[i % 6], head_sizes[i / 6 % 8], 7);
        size_t slots = 7 * PAGE, size = (size_t)c.head_size;
        float *prob = random_floats(slots), *out = random_floats(size);
        attend(&c, 0, c.group, c.prob, c.out);
        /* dead slots filled with something else; each head alone */
        for (size_t s = 0; s < slots; s++)
            if (!(c.live[s / PAGE] >> s % PAGE & 1))
                table->append(c.pages[s / PAGE], (int)(s % PAGE), c.head_size, c.keys + s * size,
                              c.values + s * size, NULL, false);
        for (int g = 0; g < c.group; g++) {
            attend(&c, g, 1, prob, out);
            assert_memory_equal(prob, c.prob + (size_t)g * slots, slots * sizeof *prob);
            assert_memory_equal(out, c.out + (size_t)g * size, size * sizeof *out);
        }
        test_free(prob);
        test_free(out);
        cache_free(&c);
    }
}

static void test_kernels_cache_attend_passes_nan_of_live_slots_on(void **state) {
    (void)state;
    struct cache c = cache_make(2, 64, 4);
    c.live[2] = 0xffff; /* what was dead there is NaN */
    memset(c.pages[2], 0xff, cpu_page_bytes(table, 64));
    attend(&c, 0, 2, c.prob, c.out);
    assert_true(isnan(c.out[0]) && isnan(c.out[127]));
    cache_free(&c);
}

/* --- cache and bounds --- */

static void test_kernels_cache_append_keeps_slots_and_widens_bounds(void **state) {
    (void)state;
    enum { SIZE = 48 };
    void *page = aligned(cpu_page_bytes(table, SIZE)),
         *bounds = aligned(cpu_bounds_bytes(table, SIZE));
    float k[PAGE][SIZE], v[PAGE][SIZE], got_k[SIZE], got_v[SIZE], q[3 * SIZE], bound[3];
    for (int s = 0; s < PAGE; s++) {
        for (int d = 0; d < SIZE; d++)
            k[s][d] = next_float() * 10, v[s][d] = next_float() - 5;
        table->append(page, s, SIZE, k[s], v[s], bounds, s == 0);
    }
    for (int s = 0; s < PAGE; s++) {
        table->read(page, s, SIZE, got_k, NULL);
        table->read(page, s, SIZE, NULL, got_v);
        for (int d = 0; d < SIZE; d++) {
            assert_true(got_k[d] == stored(table->cache_size, k[s][d]));
            assert_true(got_v[d] == stored(table->cache_size, v[s][d]));
        }
    }
    for (int i = 0; i < 3 * SIZE; i++)
        q[i] = next_float();
    table->bounds(q, 3, SIZE, (const void *const *)&bounds, 1, bound);
    for (int g = 0; g < 3; g++) {
        double expected = 0;
        for (int d = 0; d < SIZE; d++) {
            double best = -INFINITY;
            for (int s = 0; s < PAGE; s++)
                best = fmax(best,
                            (double)q[g * SIZE + d] * (double)stored(table->cache_size, k[s][d]));
            expected += best;
        }
        assert_true(fabs((double)bound[g] - expected) < 1e-6 * SIZE * 10);
    }
    free(page);
    free(bounds);
}

static void test_kernels_cache_bounds_of_each_record_stand_alone(void **state) {
    (void)state;
    for (int h = 0; h < 8; h++) {
        enum { N = 9 };
        int size = head_sizes[h];
        void *page = aligned(cpu_page_bytes(table, size)), *record[N];
        float *q = random_floats(7 * (size_t)size), all[7 * N], one;
        for (int i = 0; i < N; i++) {
            record[i] = aligned(cpu_bounds_bytes(table, size));
            for (int s = 0; s < 2; s++) {
                float *k = random_floats((size_t)size);
                table->append(page, s, size, k, k, record[i], s == 0);
                test_free(k);
            }
        }
        table->bounds(q, 7, size, (const void *const *)record, N, all);
        for (int i = 0; i < 7 * N; i++) {
            table->bounds(q + i / N * size, 1, size, (const void *const *)record + i % N, 1, &one);
            assert_true(one == all[i]);
        }
        for (int i = 0; i < N; i++)
            free(record[i]);
        free(page);
        test_free(q);
    }
}

/* Ties, signs, overflow and what is no number, at every place of a register and of a tail. */
static void test_kernels_cache_conversion_rounds_to_nearest_even(void **state) {
    (void)state;
    static const float x[] = {0.0f,     -0.0f,     1.0f,    1.00390625f, 1.01171875f, -1.00390625f,
                              3.4e38f,  1e-30f,    -7.123f, 65535.0f,    1.0039063f,  1.0117187f,
                              INFINITY, -INFINITY, NAN,     -1.0117188f, 2.5f};
    enum { N = sizeof x / sizeof *x, SIZE = 40 };
    void *page = aligned(cpu_page_bytes(table, SIZE));
    for (int shift = 0; shift < N; shift++) {
        float row[SIZE], act[SIZE], k[SIZE], v[SIZE];
        uint16_t half[SIZE];
        for (int d = 0; d < SIZE; d++)
            row[d] = x[(d + shift) % N];
        table->convert(row, SIZE, table->act_size == 2 ? (void *)half : (void *)act);
        for (int d = 0; d < SIZE && table->act_size == 2; d++)
            memcpy(&act[d], &(uint32_t){(uint32_t)half[d] << 16}, sizeof *act);
        table->append(page, shift % PAGE, SIZE, row, row, NULL, false);
        table->read(page, shift % PAGE, SIZE, k, v);
        for (int d = 0; d < SIZE; d++) {
            float as_act = stored(table->act_size, row[d]);
            float as_cached = stored(table->cache_size, row[d]);
            if (isnan(row[d])) {
                assert_true(isnan(act[d]) && isnan(k[d]) && isnan(v[d]));
            } else {
                assert_true(act[d] == as_act && !signbit(act[d]) == !signbit(as_act));
                assert_true(k[d] == as_cached && v[d] == as_cached);
            }
        }
    }
    free(page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_cache_attend_matches_double),
        cmocka_unit_test(test_kernels_cache_attend_depends_on_own_head_and_live_slots_only),
        cmocka_unit_test(test_kernels_cache_attend_passes_nan_of_live_slots_on),
        cmocka_unit_test(test_kernels_cache_append_keeps_slots_and_widens_bounds),
        cmocka_unit_test(test_kernels_cache_bounds_of_each_record_stand_alone),
        cmocka_unit_test(test_kernels_cache_conversion_rounds_to_nearest_even),
    };
    int failed = 0;
    RUN_FOR_EACH_TABLE(tests, failed)
    return failed;
}
