#include "engine/dtype.h"

#include <string.h>

/* --- plain numbers ------------------------------------------------------------ */

static uint16_t half_at(const uint8_t *data) { return (uint16_t)(data[0] | data[1] << 8); }

static float of_bits(uint32_t bits) {
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static float f16_at(const uint8_t *data) {
    uint16_t half = half_at(data);
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31,
             fraction = half & 0x3ff;
    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24 is exact */
        float small = (float)fraction * 0x1p-24f;
        return sign ? -small : small;
    }
    return of_bits(sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13);
}

static void widen_f32(const uint8_t *data, size_t n, float *out) {
    memcpy(out, data, n * sizeof *out);
}

static void widen_f16(const uint8_t *data, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = f16_at(data + 2 * i);
}

static void widen_bf16(const uint8_t *data, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = of_bits((uint32_t)half_at(data + 2 * i) << 16);
}

/* --- blocks of 32: a scale, perhaps a least value, then low nibbles of both halves ------------ */

static void widen_q4_0(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 18, out += 32) {
        float d = f16_at(b);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((b[2 + i] & 15) - 8);
            out[i + 16] = d * (float)((b[2 + i] >> 4) - 8);
        }
    }
}

static void widen_q4_1(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 20, out += 32) {
        float d = f16_at(b), least = f16_at(b + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(b[4 + i] & 15) + least;
            out[i + 16] = d * (float)(b[4 + i] >> 4) + least;
        }
    }
}

/* The fifth bits of all 32 numbers. */
static uint32_t bits_at(const uint8_t *b) {
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static int fifth(uint32_t bits, int i) { return (int)(bits >> i & 1) << 4; }

static void widen_q5_0(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 22, out += 32) {
        float d = f16_at(b);
        uint32_t high = bits_at(b + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(((b[6 + i] & 15) | fifth(high, i)) - 16);
            out[i + 16] = d * (float)((b[6 + i] >> 4 | fifth(high, i + 16)) - 16);
        }
    }
}

static void widen_q5_1(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 24, out += 32) {
        float d = f16_at(b), least = f16_at(b + 2);
        uint32_t high = bits_at(b + 4);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((b[8 + i] & 15) | fifth(high, i)) + least;
            out[i + 16] = d * (float)(b[8 + i] >> 4 | fifth(high, i + 16)) + least;
        }
    }
}

static void widen_q8_0(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 34, out += 32) {
        float d = f16_at(b);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)(int8_t)b[2 + i];
    }
}

/* --- blocks of 256: groups of 16 or 32 with small scales of their own
 * ----------------------------- */

/* scales[16], 2 bits each [64], scale, scale of the least values */
static void widen_q2_k(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 84, out += 256) {
        float d = f16_at(b + 80), least = f16_at(b + 82);
        for (int group = 0; group < 16; group++) {
            float scale = d * (float)(b[group] & 15), from = least * (float)(b[group] >> 4);
            const uint8_t *q = b + 16 + group / 8 * 32 + group % 2 * 16;
            int shift = group % 8 / 2 * 2;
            for (int i = 0; i < 16; i++)
                out[16 * group + i] = scale * (float)(q[i] >> shift & 3) - from;
        }
    }
}

/* The 6 bits of scale `group` of 16, less 32: low nibbles in 8 bytes, high pairs in 4. */
static int q3_scale(const uint8_t *scales, int group) {
    int low = scales[group % 8] >> (group / 8 * 4) & 15;
    return (low | (scales[8 + group % 4] >> (group / 4 * 2) & 3) << 4) - 32;
}

/* third bits[32], 2 bits each [64], scales[12], scale; a third bit that is 0 takes 4 off */
static void widen_q3_k(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 110, out += 256) {
        float d = f16_at(b + 108);
        for (int group = 0; group < 16; group++) {
            float scale = d * (float)q3_scale(b + 96, group);
            const uint8_t *q = b + 32 + group / 8 * 32 + group % 2 * 16, *high = b + group % 2 * 16;
            int shift = group % 8 / 2 * 2, bit = group / 2;
            for (int i = 0; i < 16; i++)
                out[16 * group + i] =
                    scale * (float)((q[i] >> shift & 3) - (high[i] >> bit & 1 ? 0 : 4));
        }
    }
}

/* The 6 bits of scale and least value `group` of 8, out of 12 bytes. */
static void k_scale(const uint8_t *s, int group, int *scale, int *least) {
    if (group < 4) {
        *scale = s[group] & 63;
        *least = s[group + 4] & 63;
    } else {
        *scale = (s[group + 4] & 15) | s[group - 4] >> 6 << 4;
        *least = s[group + 4] >> 4 | s[group] >> 6 << 4;
    }
}

/* scale, scale of the least values, scales[12], 4 bits each [128] */
static void widen_q4_k(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 144, out += 256)
        for (int group = 0; group < 8; group++) {
            int s, m;
            k_scale(b + 4, group, &s, &m);
            float scale = f16_at(b) * (float)s, from = f16_at(b + 2) * (float)m;
            const uint8_t *q = b + 16 + group / 2 * 32;
            int shift = group % 2 * 4;
            for (int i = 0; i < 32; i++)
                out[32 * group + i] = scale * (float)(q[i] >> shift & 15) - from;
        }
}

/* as Q4_K, with the fifth bits [32] before the others */
static void widen_q5_k(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 176, out += 256)
        for (int group = 0; group < 8; group++) {
            int s, m;
            k_scale(b + 4, group, &s, &m);
            float scale = f16_at(b) * (float)s, from = f16_at(b + 2) * (float)m;
            const uint8_t *high = b + 16, *q = b + 48 + group / 2 * 32;
            int shift = group % 2 * 4;
            for (int i = 0; i < 32; i++) {
                int number = (q[i] >> shift & 15) | (high[i] >> group & 1) << 4;
                out[32 * group + i] = scale * (float)number - from;
            }
        }
}

/* 4 bits each [128], 2 more [64], signed scales[16], scale */
static void widen_q6_k(const uint8_t *b, size_t n, float *out) {
    for (; n--; b += 210, out += 256) {
        float d = f16_at(b + 208);
        for (int group = 0; group < 16; group++) {
            float scale = d * (float)(int8_t)b[192 + group];
            const uint8_t *low = b + group / 8 * 64 + group % 4 * 16,
                          *high = b + 128 + group / 8 * 32 + group % 2 * 16;
            int low_shift = group % 8 / 4 * 4, high_shift = group % 8 / 2 * 2;
            for (int i = 0; i < 16; i++) {
                int number = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                out[16 * group + i] = scale * (float)(number - 32);
            }
        }
    }
}

const struct dtype_format dtype_formats[DTYPE_OTHER] = {
    [DTYPE_F32] = {"F32", 1, 4, widen_f32},        [DTYPE_F16] = {"F16", 1, 2, widen_f16},
    [DTYPE_BF16] = {"BF16", 1, 2, widen_bf16},     [DTYPE_Q4_0] = {"Q4_0", 32, 18, widen_q4_0},
    [DTYPE_Q4_1] = {"Q4_1", 32, 20, widen_q4_1},   [DTYPE_Q5_0] = {"Q5_0", 32, 22, widen_q5_0},
    [DTYPE_Q5_1] = {"Q5_1", 32, 24, widen_q5_1},   [DTYPE_Q8_0] = {"Q8_0", 32, 34, widen_q8_0},
    [DTYPE_Q2_K] = {"Q2_K", 256, 84, widen_q2_k},  [DTYPE_Q3_K] = {"Q3_K", 256, 110, widen_q3_k},
    [DTYPE_Q4_K] = {"Q4_K", 256, 144, widen_q4_k}, [DTYPE_Q5_K] = {"Q5_K", 256, 176, widen_q5_k},
    [DTYPE_Q6_K] = {"Q6_K", 256, 210, widen_q6_k},
};
