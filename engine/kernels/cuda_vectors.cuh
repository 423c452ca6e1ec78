/* q, k and v of one KV head on their way from the product to attention: head norms, rotation, q as
 * the matrix unit takes it, k and v into a page. By one block. Products are rounded before they are
 * added, so that these are the same bits in whichever kernel. */
#pragma once

#include "engine/kernels/cuda_common.cuh"

enum { VECTOR_THREADS = 256, VECTOR_WARPS = VECTOR_THREADS / 32 };

/* What a lane needs to rotate its pairs of dims d = lane + 32 i < head_size / 2. */
template <int CH> struct rotation { float c[(CH + 63) / 64], s[(CH + 63) / 64]; };

template <int CH>
static __device__ rotation<CH> load_rotation(const cuda_pass &p, int32_t position) {
    const int half = p.shape.head_size / 2;
    const float *rope = p.rope + (size_t)position * p.shape.head_size;
    rotation<CH> r = {};
#pragma unroll
    for (int i = 0; i < (CH + 63) / 64; i++) {
        const int d = threadIdx.x % 32 + 32 * i;
        if (d < half)
            r.c[i] = rope[d], r.s[i] = rope[half + d];
    }
    return r;
}

/* a x + b y */
static __device__ __forceinline__ float sum_of_two(float a, float x, float b, float y) {
    return __fadd_rn(__fmul_rn(a, x), __fmul_rn(b, y));
}

/* One vector by one warp: x[e] is dim lane + 32 e. gain, r: NULL for none. */
template <int CH>
static __device__ void finish_vector(const cuda_shape &shape, const float x[CH / 32],
                                     const float *gain, const rotation<CH> *r, float *to) {
    const int lane = threadIdx.x % 32, size = shape.head_size, half = size / 2;
    float squares = 0;
#pragma unroll
    for (int e = 0; e < CH / 32; e++)
        squares = __fadd_rn(squares, __fmul_rn(x[e], x[e]));
    squares = warp_sum(squares);
    const float factor = 1 / sqrtf(squares / (float)size + shape.eps);
#pragma unroll
    for (int e = 0; e < CH / 32; e++) {
        const int d = lane + 32 * e;
        to[d] = gain && d < size ? __fmul_rn(__fmul_rn(x[e], factor), gain[d]) : x[e];
    }
    if (!r)
        return;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < (CH + 63) / 64; i++) {
        const int d = lane + 32 * i;
        if (d >= half)
            continue;
        const float a = to[d], b = to[half + d];
        to[d] = sum_of_two(a, r->c[i], -b, r->s[i]);
        to[half + d] = sum_of_two(b, r->c[i], a, r->s[i]);
    }
}

/* What becomes of the vectors of a KV head: the q heads of its group, then k, then v. */
template <int CH> struct vectors {
    int row, kv, n;               /* n: group, or with k and v group + 2 */
    bool rotate_key;              /* keys that are kept by rank are not */
    const float *q_norm, *k_norm; /* gains, or NULL */
    rotation<CH> r;
};

/* Into to[n][CH], padding zero; all loads of a warp are on their way at once. */
template <int CH>
static __device__ void load_vectors(const cuda_pass &p, const vectors<CH> &v, float *to) {
    enum { EACH = (CUDA_GROUP + 2 + VECTOR_WARPS - 1) / VECTOR_WARPS };
    const cuda_shape &c = p.shape;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float *qkv = p.qkv + (size_t)v.row * (c.n_heads + 2 * c.n_kv_heads) * c.head_size;
    float x[EACH][CH / 32];
#pragma unroll
    for (int n = 0; n < EACH; n++) {
        const int i = warp + VECTOR_WARPS * n, kv = i - c.group;
        const int head = kv < 0 ? v.kv * c.group + i : c.n_heads + kv * c.n_kv_heads + v.kv;
#pragma unroll
        for (int e = 0; e < CH / 32; e++)
            x[n][e] = i < v.n && lane + 32 * e < c.head_size
                          ? __ldcg(qkv + head * c.head_size + lane + 32 * e)
                          : 0;
    }
#pragma unroll
    for (int n = 0; n < EACH; n++) {
        const int i = warp + VECTOR_WARPS * n, kv = i - c.group;
        if (i >= v.n)
            continue;
        const float *gain = kv < 0 ? v.q_norm : kv == 0 ? v.k_norm : NULL;
        const bool rotates = kv < 0 || (kv == 0 && v.rotate_key);
        finish_vector<CH>(c, x[n], gain, rotates ? &v.r : NULL, to + i * CH);
    }
}

/* q[group][CH] as attention takes it (cuda_pass.q), of one head. */
template <int CH, int GT>
static __device__ void store_queries(const cuda_shape &shape, const float *q, uint2 *out) {
    for (int i = threadIdx.x; i < GT * CH * 2; i += VECTOR_THREADS) {
        const int lane = i % 32, head = i / (CH * 2) * 8 + lane / 4;
        const float *x = q + head * CH + i / 32 % (CH / 16) * 16 + lane % 4 * 2;
        out[i] = head < shape.group ? make_uint2(float_bf16x2(x[0], x[1]), float_bf16x2(x[8], x[9]))
                                    : make_uint2(0, 0);
    }
}

/* A new page holds the token in slot 0 and zeros. */
template <int CH>
static __device__ void write_page(uint4 *page, const float *key, const float *value) {
    for (int i = threadIdx.x; i < 4 * CH; i += VECTOR_THREADS) {
        const int lane = i % 32, tile = i / 32 % (CH / 16) * 16;
        uint4 word = make_uint4(0, 0, 0, 0);
        if (i < 2 * CH && lane < 4) {
            const float *k = key + tile + lane * 2;
            word.x = float_bf16x2(k[0], k[1]), word.z = float_bf16x2(k[8], k[9]);
        } else if (i >= 2 * CH && lane % 4 == 0) {
            const float *v = value + tile + lane / 4;
            word.x = float_bf16(v[0]), word.y = float_bf16(v[8]);
        }
        page[i] = word;
    }
}

template <int CH>
static __device__ void write_slot(uint16_t *page, int slot, const float *key, const float *value) {
    const int d = threadIdx.x;
    if (d < CH / 2)
        *(uint32_t *)(page + key_at(slot, 2 * d)) = float_bf16x2(key[2 * d], key[2 * d + 1]);
    if (d < CH)
        page[value_at(CH, slot, d)] = float_bf16(value[d]);
}

/* Key and value of a token into a page of the cache; slot 0 opens it. */
template <int CH>
static __device__ void write_token(const cuda_cache &c, int32_t page, int slot, bool opens,
                                   const float *key, const float *value) {
    uint16_t *at = c.kv + (size_t)page * page_elements(CH);
    if (opens)
        write_page<CH>((uint4 *)at, key, value);
    else
        write_slot<CH>(at, slot, key, value);
}
