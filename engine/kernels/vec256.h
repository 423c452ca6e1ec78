/* What engine/kernels/fast.h needs of a register width: AVX2 with FMA, 8 floats. */
#pragma once

#include <float.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

typedef __m256 vec;
typedef __m256i pairs; /* bf16, two to a lane: the even one in the low half */
enum { LANES = 8 };

/* Rows and vectors of a product's tile: as many chains as the registers hold. */
#define TILE_ROWS 5
enum { WIDE_1 = 8, WIDE_2 = 4, WIDE_3 = 2, WIDE = 2 };
/* Vectors of a tile of attention, by heads (index 1 to 4): scores, values. */
#define SCORE_WIDTH(heads) ((heads) > 1 ? 2 : 4)
#define VALUE_WIDTH(heads) ((heads) > 2 ? 2 : 4)

static inline vec v_zero(void) { return _mm256_setzero_ps(); }
static inline vec v_all(float x) { return _mm256_set1_ps(x); }
static inline vec v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, vec a) { _mm256_storeu_ps(p, a); }
static inline vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
static inline vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
/* b where either is NaN */
static inline vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
static inline vec v_round(vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT); }
/* a * 2^n for whole n in [-126, 127] */
static inline vec v_scale(vec a, vec n) {
    __m256i power = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
}
/* value where !(x < limit), else 0 */
static inline vec v_unless_below(vec x, vec limit, vec value) {
    return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_NLT_UQ), value);
}
/* a where the bit of the lane is set, else b */
static inline vec v_select(uint32_t bits, vec a, vec b) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i set = _mm256_and_si256(_mm256_set1_epi32((int)bits), bit);
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit)));
}
static inline uint32_t v_equal(vec a, vec b) {
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}

static inline float v_sum(vec a) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
static inline float v_largest(vec a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

static inline pairs p_load(const uint16_t *p) { return _mm256_loadu_si256((const void *)p); }
static inline pairs p_xor(pairs a, pairs b) { return _mm256_xor_si256(a, b); }
static inline vec p_even(pairs a) { return _mm256_castsi256_ps(_mm256_slli_epi32(a, 16)); }
static inline vec p_odd(pairs a) {
    return _mm256_castsi256_ps(_mm256_and_si256(a, _mm256_set1_epi32((int)0xffff0000)));
}
/* 0 unless `live`, whatever the bits are */
static inline vec p_even_if(pairs a, bool live) {
    return p_even(_mm256_and_si256(a, _mm256_set1_epi32(-live)));
}
static inline vec p_odd_if(pairs a, bool live) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(a, _mm256_set1_epi32((int)(-(uint32_t)live << 16))));
}
/* LANES bf16 in order to floats */
static inline vec h_load(const uint16_t *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
/* LANES floats to bf16, to nearest even; a NaN stays one */
static inline void h_store(uint16_t *p, vec a) {
    __m256i bits = _mm256_castps_si256(a), one = _mm256_set1_epi32(1);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    __m256i near = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    near = _mm256_srli_epi32(_mm256_blendv_epi8(near, quiet, nan), 16);
    __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(near, near), 0xd8);
    _mm_storeu_si128((void *)p, _mm256_castsi256_si128(halves));
}
