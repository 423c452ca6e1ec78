/* Attention over bf16 pages for one register width (vec256.h or vec512.h, included before). Inside
 * a page K is [head_size / 2][16][2] and V is [8][head_size][2]: two neighbours share a lane, so
 * one load widens to two vectors with a shift and a mask. Up to four heads share each widened
 * vector. */
#pragma once

#include <math.h>

#include "engine/cpu_kernels.h"
#include "engine/bf16.h"

enum { PAGE_VECS = PAGE / LANES, MAX_HEADS = 4 };

/* exp within 1 ulp: Taylor to r^7 leaves 5e-9 for |r| <= ln 2 / 2. 0 below -87, held at exp(88)
 * above 88. */
static inline vec v_exp(vec x) {
    const vec top = v_all(88.0f), bottom = v_all(-87.0f);
    vec held = v_max(bottom, v_min(top, x)); /* a NaN goes through */
    vec n = v_round(v_mul(held, v_all(1.44269504f)));
    vec r = v_fma(n, v_all(-0.693359375f), held);
    r = v_fma(n, v_all(2.12194440e-4f), r);
    vec e = v_all(1.0f / 5040);
    e = v_fma(e, r, v_all(1.0f / 720));
    e = v_fma(e, r, v_all(1.0f / 120));
    e = v_fma(e, r, v_all(1.0f / 24));
    e = v_fma(e, r, v_all(1.0f / 6));
    e = v_fma(e, r, v_all(0.5f));
    e = v_fma(e, r, v_all(1.0f));
    e = v_fma(e, r, v_all(1.0f));
    return v_unless_below(x, bottom, v_scale(e, n));
}

static inline float *prob_of(const struct cpu_attention *a, int g) {
    return a->prob + (size_t)g * (size_t)a->n_pages * PAGE;
}

/* Pages lie anywhere, and no machine guesses where the next one is: while one is read, the same
 * cache lines of the one `ahead` are asked for. Beyond the second cache that gains 10 to 40 %. */
ALWAYS void fetch(const struct cpu_attention *a, int page, int ahead, int offset) {
    if (page + ahead < a->n_pages)
        __builtin_prefetch((const uint16_t *)a->pages[page + ahead] + offset);
}

/* Scores of `heads` heads from g on, for `wide` vectors of slots from vector `first` (counted over
 * all pages) on. Dead slots are scored too; nothing reads those. */
ALWAYS void score_tile(const struct cpu_attention *a, int g, int first, const int heads,
                       const int wide) {
    const float *q = a->q + g * a->head_size;
    const uint16_t *keys[4];
    vec sum[MAX_HEADS][4];
#pragma GCC unroll 4
    for (int j = 0; j < wide; j++)
        keys[j] = (const uint16_t *)a->pages[(first + j) / PAGE_VECS] +
                  (first + j) % PAGE_VECS * LANES * 2;
#pragma GCC unroll 4
    for (int h = 0; h < heads; h++)
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            sum[h][j] = v_zero();
    for (int d = 0; d < a->head_size; d += 2) {
        pairs k[4];
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            k[j] = p_load(keys[j] + d * PAGE);
#pragma GCC unroll 4
        for (int j = 0; j < wide; j += PAGE_VECS)
            fetch(a, (first + j) / PAGE_VECS, wide / PAGE_VECS, d * PAGE);
#pragma GCC unroll 4
        for (int h = 0; h < heads; h++) {
            vec even = v_all(q[h * a->head_size + d]), odd = v_all(q[h * a->head_size + d + 1]);
#pragma GCC unroll 4
            for (int j = 0; j < wide; j++)
                sum[h][j] = v_fma(p_odd(k[j]), odd, v_fma(p_even(k[j]), even, sum[h][j]));
        }
    }
#pragma GCC unroll 4
    for (int h = 0; h < heads; h++)
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            v_store(prob_of(a, g + h) + (first + j) * LANES, v_mul(sum[h][j], v_all(a->scale)));
}

static void softmax_live(const struct cpu_attention *a, float *prob) {
    vec most = v_all(-INFINITY), sum = v_zero();
    for (int i = 0; i < a->n_pages * PAGE_VECS; i++) {
        uint32_t live = (uint32_t)a->live[i / PAGE_VECS] >> i % PAGE_VECS * LANES;
        most = v_max(v_select(live, v_load(prob + i * LANES), v_all(-INFINITY)), most);
    }
    const vec max = v_all(v_largest(most));
    for (int i = 0; i < a->n_pages * PAGE_VECS; i++) {
        uint32_t live = (uint32_t)a->live[i / PAGE_VECS] >> i % PAGE_VECS * LANES;
        vec e = v_select(live, v_exp(v_sub(v_load(prob + i * LANES), max)), v_zero());
        v_store(prob + i * LANES, e);
        sum = v_add(sum, e);
    }
    const vec factor = v_all(1 / v_sum(sum));
    for (int i = 0; i < a->n_pages * PAGE_VECS; i++)
        v_store(prob + i * LANES, v_mul(v_load(prob + i * LANES), factor));
}

/* out[d .. d + wide * LANES) of `heads` heads: the sum over live slots in order. */
ALWAYS void value_tile(const struct cpu_attention *a, int g, int d, const int heads,
                       const int wide) {
    vec sum[MAX_HEADS][4];
#pragma GCC unroll 4
    for (int h = 0; h < heads; h++)
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            sum[h][j] = v_zero();
    for (int p = 0; p < a->n_pages; p++) {
        const uint16_t *v = (const uint16_t *)a->pages[p] + PAGE * a->head_size + 2 * d;
        const float *prob = prob_of(a, g) + p * PAGE;
        for (int s = 0; s < PAGE; s += 2, v += 2 * a->head_size) {
            const bool live_0 = a->live[p] >> s & 1, live_1 = a->live[p] >> (s + 1) & 1;
            vec even[4], odd[4];
#pragma GCC unroll 4
            for (int j = 0; j < wide; j++) {
                pairs both = p_load(v + j * LANES * 2);
                even[j] = p_even_if(both, live_0);
                odd[j] = p_odd_if(both, live_1);
                fetch(a, p, 1, (PAGE + s) * a->head_size + 2 * d + j * LANES * 2);
            }
#pragma GCC unroll 4
            for (int h = 0; h < heads; h++) {
                const float *two = prob + (size_t)h * (size_t)a->n_pages * PAGE + s;
                vec p0 = v_all(two[0]), p1 = v_all(two[1]);
#pragma GCC unroll 4
                for (int j = 0; j < wide; j++)
                    sum[h][j] = v_fma(odd[j], p1, v_fma(even[j], p0, sum[h][j]));
            }
        }
    }
#pragma GCC unroll 4
    for (int h = 0; h < heads; h++)
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            v_store(a->out + (g + h) * a->head_size + d + j * LANES, sum[h][j]);
}

/* The last head_size % LANES elements. */
static void value_tail(const struct cpu_attention *a, int g, int d) {
    float sum = 0;
    for (int i = 0; i < a->n_pages * PAGE; i++) {
        const uint16_t *v = (const uint16_t *)a->pages[i / PAGE] + PAGE * a->head_size;
        if (a->live[i / PAGE] >> i % PAGE & 1)
            sum +=
                prob_of(a, g)[i] * bf16_to_float(v[(i % PAGE / 2 * a->head_size + d) * 2 + i % 2]);
    }
    a->out[g * a->head_size + d] = sum;
}

ALWAYS void attend_heads(const struct cpu_attention *a, int g, const int heads) {
    const int n_vecs = a->n_pages * PAGE_VECS, whole = a->head_size / LANES * LANES;
    int i = 0, d = 0;
    for (; i + SCORE_WIDTH(heads) <= n_vecs; i += SCORE_WIDTH(heads))
        score_tile(a, g, i, heads, SCORE_WIDTH(heads));
    for (; i < n_vecs; i++)
        score_tile(a, g, i, heads, 1);
    for (int h = 0; h < heads; h++)
        softmax_live(a, prob_of(a, g + h));
    for (; d + VALUE_WIDTH(heads) * LANES <= whole; d += VALUE_WIDTH(heads) * LANES)
        value_tile(a, g, d, heads, VALUE_WIDTH(heads));
    for (; d < whole; d += LANES)
        value_tile(a, g, d, heads, 1);
    for (; d < a->head_size; d++)
        for (int h = 0; h < heads; h++)
            value_tail(a, g + h, d);
}

static void attend_1(const struct cpu_attention *a, int g) { attend_heads(a, g, 1); }
static void attend_2(const struct cpu_attention *a, int g) { attend_heads(a, g, 2); }
static void attend_3(const struct cpu_attention *a, int g) { attend_heads(a, g, 3); }
static void attend_4(const struct cpu_attention *a, int g) { attend_heads(a, g, 4); }

static void fast_attend(const struct cpu_attention *a) {
    static void (*const attend[])(const struct cpu_attention *, int) = {NULL, attend_1, attend_2,
                                                                        attend_3, attend_4};
    int chunks = (a->group + MAX_HEADS - 1) / MAX_HEADS;
    for (int i = 0, g = 0; i < chunks; i++) { /* as equal as can be */
        int heads = (a->group - g + chunks - i - 1) / (chunks - i);
        attend[heads](a, g);
        g += heads;
    }
}
