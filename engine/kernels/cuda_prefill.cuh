/* What the kernels of prefill share: places in the pack, queries and pages on the matrix unit. */
#pragma once

#include "engine/kernels/cuda_common.cuh"

#define LOG2_E 1.44269504f

/* A prompt's positions in 16 rows of the pack. */
struct pack_block {
    cuda_prompt prompt;
    int position; /* of the first row */
};
[[maybe_unused]] static __device__ __forceinline__ pack_block block_of(const cuda_prefill &p,
                                                                       int block) {
    pack_block b = {p.prompts[p.block_prompt[block]], 0};
    b.position = block * PAGE - b.prompt.first;
    return b;
}

[[maybe_unused]] static __device__ __forceinline__ size_t qkv_stride(const cuda_shape &s) {
    return (size_t)(s.n_heads + 2 * s.n_kv_heads) * s.head_size;
}
[[maybe_unused]] static __device__ __forceinline__ uint16_t *page_of(const cuda_prefill &p, int kv,
                                                                     int block) {
    return p.kv + ((size_t)kv * p.pages + block) * page_elements(p.shape.cache_head);
}

/* --- scores --------------------------------------------------------------------------------- */

/* DT: cache_head / 16. Eight queries as B fragments; head: of query lane / 4. */
template <int DT>
static __device__ __forceinline__ void load_queries(uint2 q[DT], const float *head, int size,
                                                    int lane) {
#pragma unroll
    for (int d = 0; d < DT; d++) {
        const int at = d * 16 + lane % 4 * 2;
        const float2 none = make_float2(0, 0);
        const float2 a = at < size ? *(const float2 *)(head + at) : none;
        const float2 b = at + 8 < size ? *(const float2 *)(head + at + 8) : none;
        q[d] = make_uint2(float_bf16x2(a.x, a.y), float_bf16x2(b.x, b.y));
    }
}

/* fragments: of the page, at this lane. */
[[maybe_unused]] static __device__ __forceinline__ uint4 load_fragment(const uint16_t *fragments,
                                                                       int d) {
    uint4 x; /* volatile keeps it where it is written: early */
    asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(fragments + d * 256));
    return x;
}

/* 2^x, 0 where that is subnormal. */
[[maybe_unused]] static __device__ __forceinline__ float power_of_2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
