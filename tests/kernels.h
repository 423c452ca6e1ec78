/* What the tests of the CPU kernels share: the table under test, random numbers, exact rounding,
 * and a main that runs the group once for every table of this machine. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>

#include "engine/cpu_kernels.h"

static const struct cpu_kernels *table;

static uint32_t seed = 1;
static inline uint32_t next_word(void) {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}
static inline float next_float(void) { return (float)next_word() / 8388608.0f - 1; }

static inline float *random_floats(size_t count) {
    float *x = test_malloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = next_float();
    return x;
}

static float
to_bf16(float x) { /* to nearest even, by arithmetic on the distance between neighbours */
    if (x == 0 || !isfinite(x))
        return x;
    int exponent;
    frexpf(x, &exponent);
    float unit = ldexpf(1, exponent - 8);
    return rintf(x / unit) * unit;
}

static inline float stored(size_t size, float x) { return size == 2 ? to_bf16(x) : x; }

static inline void *aligned(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(p);
    return p;
}

#define RUN_FOR_EACH_TABLE(tests, failed)                                     \
    for (const struct cpu_kernels *const *t = cpu_kernels_all(); *t; t++) {   \
        table = *t;                                                           \
        failed += cmocka_run_group_tests_name(table->isa, tests, NULL, NULL); \
    }
