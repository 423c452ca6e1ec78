/* The rest of a bf16 table for one register width: cache records, norms, activation. */
#pragma once

#include <float.h>
#include <math.h>

#include "engine/kernels/fast_attend.h"

static void fast_narrow(const float *x, size_t count, void *out) {
    uint16_t *half = out;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        h_store(half + i, v_load(x + i));
    for (; i < count; i++)
        half[i] = bf16_of(x[i]);
}

/* A NaN widens nothing. */
static void widen_bounds(const uint16_t *key, int head_size, uint16_t *lo, uint16_t *hi) {
    int d = 0;
    for (; d + LANES <= head_size; d += LANES) {
        h_store(lo + d, v_min(h_load(key + d), h_load(lo + d)));
        h_store(hi + d, v_max(h_load(key + d), h_load(hi + d)));
    }
    for (; d < head_size; d++) {
        lo[d] = bf16_to_float(key[d]) < bf16_to_float(lo[d]) ? key[d] : lo[d];
        hi[d] = bf16_to_float(key[d]) > bf16_to_float(hi[d]) ? key[d] : hi[d];
    }
}

static void fast_append(void *page, int s, int head_size, const float *k, const float *v,
                        void *bounds, bool first) {
    enum { MAX_HEAD = 256 };
    uint16_t key[MAX_HEAD], value[MAX_HEAD];
    uint16_t *keys = (uint16_t *)page + s * 2;
    uint16_t *values = (uint16_t *)page + (PAGE + s / 2 * 2) * head_size + s % 2;
    CHECK(head_size <= MAX_HEAD);
    fast_narrow(k, (size_t)head_size, key);
    fast_narrow(v, (size_t)head_size, value);
    for (int d = 0; d < head_size; d += 2)
        memcpy(keys + d * PAGE, key + d, 2 * sizeof *key);
    for (int d = 0; d < head_size; d++)
        values[d * 2] = value[d];
    if (bounds && first) {
        memcpy(bounds, key, (size_t)head_size * sizeof *key);
        memcpy((uint16_t *)bounds + head_size, key, (size_t)head_size * sizeof *key);
    } else if (bounds) {
        widen_bounds(key, head_size, bounds, (uint16_t *)bounds + head_size);
    }
}

static void fast_read(const void *page, int s, int head_size, float *k, float *v) {
    const uint16_t *keys = (const uint16_t *)page + s * 2;
    const uint16_t *values = (const uint16_t *)page + (PAGE + s / 2 * 2) * head_size + s % 2;
    for (int d = 0; k && d < head_size; d++)
        k[d] = bf16_to_float(keys[d / 2 * PAGE * 2 + d % 2]);
    for (int d = 0; v && d < head_size; d++)
        v[d] = bf16_to_float(values[d * 2]);
}

ALWAYS void bounds_of(const float *q, int head_size, const uint16_t *lo, int n, float *bound,
                      const int heads) {
    const uint16_t *hi = lo + head_size;
    vec sum[MAX_HEADS];
    int d = 0;
#pragma GCC unroll 4
    for (int h = 0; h < heads; h++)
        sum[h] = v_zero();
    for (; d + LANES <= head_size; d += LANES) {
        vec low = h_load(lo + d), high = h_load(hi + d);
#pragma GCC unroll 4
        for (int h = 0; h < heads; h++) {
            vec x = v_load(q + h * head_size + d);
            sum[h] = v_add(sum[h], v_max(v_mul(x, low), v_mul(x, high)));
        }
    }
    for (int h = 0; h < heads; h++) {
        float total = v_sum(sum[h]);
        for (int i = d; i < head_size; i++) {
            float x = q[h * head_size + i], a = x * bf16_to_float(lo[i]),
                  b = x * bf16_to_float(hi[i]);
            total += a > b ? a : b;
        }
        bound[h * n] = total;
    }
}

/* Records lie anywhere: the loop would wait for most of them. */
static inline void fetch_record(const void *record, int head_size) {
    for (int d = 0; d < 2 * head_size; d += 32)
        __builtin_prefetch((const uint16_t *)record + d);
}

static void fast_bounds(const float *q, int group, int head_size, const void *const *bounds, int n,
                        float *bound) {
    enum { AHEAD = 4 };
    for (int g = 0; g < group;) {
        const float *x = q + g * head_size;
        float *out = bound + g * n;
        int heads = group - g >= 4 ? 4 : group - g >= 2 ? 2 : 1;
        for (int i = 0; i < n; i++) {
            if (i + AHEAD < n)
                fetch_record(bounds[i + AHEAD], head_size);
            if (heads == 4)
                bounds_of(x, head_size, bounds[i], n, out + i, 4);
            else if (heads == 2)
                bounds_of(x, head_size, bounds[i], n, out + i, 2);
            else
                bounds_of(x, head_size, bounds[i], n, out + i, 1);
        }
        g += heads;
    }
}

static void fast_rmsnorm(const float *x, const float *gain, int dim, float eps, float *out) {
    vec sum = v_zero();
    int i = 0;
    for (; i + LANES <= dim; i += LANES)
        sum = v_fma(v_load(x + i), v_load(x + i), sum);
    float squares = v_sum(sum);
    for (; i < dim; i++)
        squares += x[i] * x[i];
    const float factor = 1 / sqrtf(squares / (float)dim + eps);
    for (i = 0; i + LANES <= dim; i += LANES)
        v_store(out + i, v_mul(v_mul(v_load(x + i), v_all(factor)), v_load(gain + i)));
    for (; i < dim; i++)
        out[i] = x[i] * factor * gain[i];
}

/* Below -88 silu is 0 to any precision that matters; a NaN goes through. */
static inline vec gated(vec gate, vec up) {
    vec g = v_max(v_all(-88.0f), gate);
    vec silu = v_div(g, v_add(v_all(1.0f), v_exp(v_sub(v_zero(), g))));
    return v_mul(silu, up);
}

static void fast_swiglu(const float *gate, const float *up, int count, float *out) {
    int i = 0;
    for (; i + LANES <= count; i += LANES)
        v_store(out + i, gated(v_load(gate + i), v_load(up + i)));
    if (i == count)
        return;
    float a[LANES] = {0}, b[LANES] = {0}; /* the tail goes the same way, so places do not matter */
    memcpy(a, gate + i, (size_t)(count - i) * sizeof *a);
    memcpy(b, up + i, (size_t)(count - i) * sizeof *b);
    v_store(a, gated(v_load(a), v_load(b)));
    memcpy(out + i, a, (size_t)(count - i) * sizeof *a);
}
