/* The chain of products of the tables with VDPBF16PS: activations are bf16 too. vec512.h comes
 * before. */
#pragma once

#include <string.h>

#include "engine/bf16.h"

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

static void narrow(const float *x, size_t count, void *out) {
    act *half = out;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        _mm256_storeu_si256((void *)(half + i), (__m256i)_mm512_cvtneps_pbh(v_load(x + i)));
    for (; i < count; i++)
        half[i] = bf16_of(x[i]);
}
