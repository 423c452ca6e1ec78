/* What engine/kernels/fast.h needs of a register width: AVX-512, 16 floats. */
#pragma once

#include <float.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

typedef __m512 vec;
typedef __m512i pairs; /* bf16, two to a lane: the even one in the low half */
enum { LANES = 16 };

/* Rows and vectors of a product's tile: as many chains as the registers hold. */
#define TILE_ROWS 12
enum { WIDE_1 = 8, WIDE_2 = 8, WIDE_3 = 4, WIDE = 2 };
/* Vectors of a tile of attention, by heads (index 1 to 4): scores, values. */
#define SCORE_WIDTH(heads) ((heads) > 2 ? 2 : 4)
#define VALUE_WIDTH(heads) 4

static inline vec v_zero(void) { return _mm512_setzero_ps(); }
static inline vec v_all(float x) { return _mm512_set1_ps(x); }
static inline vec v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vec a) { _mm512_storeu_ps(p, a); }
static inline vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
static inline vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
/* b where either is NaN */
static inline vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
static inline vec v_round(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
/* a * 2^n for whole n in [-126, 127] */
static inline vec v_scale(vec a, vec n) {
    __m512i power = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_mul_ps(a, _mm512_castsi512_ps(_mm512_slli_epi32(power, 23)));
}
/* value where !(x < limit), else 0 */
static inline vec v_unless_below(vec x, vec limit, vec value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), value);
}
/* a where the bit of the lane is set, else b */
static inline vec v_select(uint32_t bits, vec a, vec b) {
    return _mm512_mask_mov_ps(b, (__mmask16)bits, a);
}
static inline uint32_t v_equal(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }

static inline float v_sum(vec a) { return _mm512_reduce_add_ps(a); }
static inline float v_largest(vec a) { return _mm512_reduce_max_ps(a); }

static inline pairs p_load(const uint16_t *p) { return _mm512_loadu_si512(p); }
static inline pairs p_xor(pairs a, pairs b) { return _mm512_xor_si512(a, b); }
static inline vec p_even(pairs a) { return _mm512_castsi512_ps(_mm512_slli_epi32(a, 16)); }
static inline vec p_odd(pairs a) {
    return _mm512_castsi512_ps(_mm512_and_si512(a, _mm512_set1_epi32((int)0xffff0000)));
}
/* 0 unless `live`, whatever the bits are */
static inline vec p_even_if(pairs a, bool live) {
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32((__mmask16)-live, a, 16));
}
static inline vec p_odd_if(pairs a, bool live) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(a, _mm512_set1_epi32((int)(-(uint32_t)live << 16))));
}
/* LANES bf16 in order to floats */
static inline vec h_load(const uint16_t *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
/* LANES floats to bf16, to nearest even; a NaN stays one */
static inline void h_store(uint16_t *p, vec a) {
    __m512i bits = _mm512_castps_si512(a), one = _mm512_set1_epi32(1);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
    __m512i near = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    near = _mm512_mask_or_epi32(near, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(near, 16)));
}
