/* bf16 weights, cache and activations of products (VDPBF16PS); attention and the rest as avx512.c,
 * with fp32 queries. */
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")
#include <string.h>

#include "engine/kernels/vec512.h"

typedef uint16_t act;

static inline vec chain_word(vec sum, pairs w, uint32_t x) {
    return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)_mm512_set1_epi32((int)x));
}

static inline vec chain(vec sum, pairs w, const act *x) {
    uint32_t both;
    memcpy(&both, x, sizeof both);
    return chain_word(sum, w, both);
}

static inline vec chain_last(vec sum, pairs w, const act *x) { return chain_word(sum, w, x[0]); }

#include "engine/kernels/fast.h"

static void narrow(const float *x, size_t count, void *out) {
    act *half = out;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        _mm256_storeu_si256((void *)(half + i), (__m256i)_mm512_cvtneps_pbh(v_load(x + i)));
    for (; i < count; i++)
        half[i] = bf16_of(x[i]);
}

const struct cpu_kernels cpu_kernels_avx512bf16 = FAST_TABLE("avx512bf16", narrow);
