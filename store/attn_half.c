#include "store/attn_half.h"

#include <string.h>

#if defined __x86_64__ || defined __i386__
#include <immintrin.h>
#define HAS_F16C 1
#else
#define HAS_F16C 0
#endif

static uint16_t narrow(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000)
        return (uint16_t)(sign | HALF_NAN);
    if (rest >= 0x47800000) /* 65536 and more */
        return (uint16_t)(sign | 0x7c00);
    uint32_t shift = 13, value;
    if (rest < 0x38800000) { /* below 2^-14: subnormal, the point moves */
        shift = 126 - (rest >> 23);
        if (shift > 24)
            return (uint16_t)sign;
        value = (rest & 0x7fffff) | 0x800000;
    } else {
        value = rest - 0x38000000;
    }
    uint32_t half = value >> shift, cut = value & ((1u << shift) - 1), middle = 1u << (shift - 1);
    half += cut > middle || (cut == middle && (half & 1));
    return (uint16_t)(sign | half);
}

void half_narrow_plain(const float *from, size_t n, uint16_t *to) {
    for (size_t i = 0; i < n; i++)
        to[i] = narrow(from[i]);
}

#if HAS_F16C
__attribute__((target("avx,f16c"))) static void narrow_f16c(const float *from, size_t n,
                                                            uint16_t *to) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(to + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    half_narrow_plain(from + i, n - i, to + i);
}
#endif

void half_narrow(const float *from, size_t n, uint16_t *to) {
#if HAS_F16C
    if (__builtin_cpu_supports("f16c")) {
        narrow_f16c(from, n, to);
        return;
    }
#endif
    half_narrow_plain(from, n, to);
}

void half_widen(const uint16_t *from, size_t n, float *to) {
    for (size_t i = 0; i < n; i++) {
        uint32_t sign = (uint32_t)(from[i] & 0x8000) << 16, exponent = from[i] >> 10 & 31,
                 fraction = from[i] & 0x3ff, bits;
        if (exponent == 0) {
            float small = (float)fraction * 0x1p-24f;
            memcpy(&bits, &small, sizeof bits);
        } else {
            bits = (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
        }
        bits |= sign;
        memcpy(&to[i], &bits, sizeof bits);
    }
}
