/* Attention of one warp over its pages: whole pages stream from memory to registers (16 bytes a
 * lane and load) and are multiplied on the matrix unit, all q heads of the group at once:
 *
 *     S[16 slots][8 heads] = K[16][d] q[d][8]     O[d][8] += V^T[d][16] P[16][8]
 *
 * with the running softmax of FlashAttention (arXiv 2205.14135). */
#pragma once

#include "engine/kernels/cuda_attend_items.cuh"

/* Rotates two dims (one word) of a slot and their partners half a head further on. */
static __device__ __forceinline__ void rotate_word(uint32_t *low, uint32_t *high, const float *rope,
                                                   int half, int d) {
    float a[2] = {__uint_as_float(*low << 16), __uint_as_float(*low & 0xffff0000)};
    float b[2] = {__uint_as_float(*high << 16), __uint_as_float(*high & 0xffff0000)};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float c = rope[d + i], s = rope[half + d + i], x = a[i], y = b[i];
        a[i] = x * c - y * s, b[i] = y * c + x * s;
    }
    *low = float_bf16x2(a[0], a[1]), *high = float_bf16x2(b[0], b[1]);
}

/* Keys that are kept unrotated: by their slots' ranks. */
template <int DT>
static __device__ __forceinline__ void rotate_keys(uint4 k[DT], const int32_t *rank,
                                                   const float *rope, int lane) {
    const int head = DT * 16, half = head / 2;
    const float *low = rope + (size_t)rank[lane / 4] * head;
    const float *high = rope + (size_t)rank[lane / 4 + 8] * head;
#pragma unroll
    for (int j = 0; j < DT / 2; j++) {
        const int d = j * 16 + lane % 4 * 2;
        rotate_word(&k[j].x, &k[j + DT / 2].x, low, half, d);
        rotate_word(&k[j].y, &k[j + DT / 2].y, high, half, d);
        rotate_word(&k[j].z, &k[j + DT / 2].z, low, half, d + 8);
        rotate_word(&k[j].w, &k[j + DT / 2].w, high, half, d + 8);
    }
}

/* s: scores of one tile, scaled; dead slots -inf. Turns them into exp(s - max) as B fragments. */
template <int DT, int GT>
static __device__ __forceinline__ uint2 soften(state<DT, GT> &w, int t, float s[4]) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
        float most = fmaxf(s[j], s[j + 2]);
#pragma unroll
        for (int i = 4; i <= 16; i *= 2)
            most = fmaxf(most, __shfl_xor_sync(~0u, most, i));
        most = fmaxf(most, w.max[t][j]);
        const float base = most == -CUDART_INF_F ? 0 : most;
        const float factor = __expf(w.max[t][j] - base);
        s[j] = __expf(s[j] - base), s[j + 2] = __expf(s[j + 2] - base);
        w.sum[t][j] = w.sum[t][j] * factor + (s[j] + s[j + 2]);
        w.max[t][j] = most;
#pragma unroll
        for (int d = 0; d < DT; d++)
            w.out[t][d][j] *= factor, w.out[t][d][j + 2] *= factor;
    }
    return make_uint2(transpose(float_bf16x2(s[0], s[1])), transpose(float_bf16x2(s[2], s[3])));
}

/* Scores of one page, before the softmax, where the plan wants them. */
static __device__ void store_scores(const cuda_pass &p, const item &it, int place, int t,
                                    const float s[4], int lane) {
    const size_t stride = (size_t)p.cache.room * PAGE;
    float *score = p.score + head_of(p, it) * p.shape.group * stride;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const int head = t * 8 + lane % 4 * 2 + j % 2, slot = lane / 4 + j / 2 * 8;
        if (head < p.shape.group)
            score[head * stride + (size_t)place * PAGE + slot] = s[j];
    }
}

template <int DT>
static __device__ __forceinline__ const uint16_t *page_at(const cuda_pass &p, int32_t id,
                                                          int lane) {
    return p.cache.kv + (size_t)id * page_elements(16 * DT) + lane * 8;
}
template <int DT>
static __device__ __forceinline__ void load_tiles(const uint16_t *from, uint4 x[DT]) {
#pragma unroll
    for (int d = 0; d < DT; d++)
        x[d] = load_once(from + d * 256);
}

template <int DT>
static __device__ __forceinline__ void load_page(const uint16_t *page, bool look, uint4 k[DT],
                                                 uint4 v[DT]) {
    load_tiles<DT>(page, k);
    if (!look)
        load_tiles<DT>(page + DT * 256, v);
}

/* k, v: keys and values of the first page, on their way; afterwards those of the first page of the
 * item ahead. A page's loads are issued as soon as the registers of the one before are free. */
template <int DT, int GT, bool RANK, int WARPS>
static __device__ __forceinline__ void
attend_pages(const cuda_pass &p, const item &it, bool look, const uint2 (*q)[DT][32], int warp,
             int lane, const warp_pages &pages, const warp_pages &ahead, uint4 k[DT], uint4 v[DT],
             state<DT, GT> &w) {
    for (int i = 0; i < pages.n; i++) {
        const int place = place_of<WARPS>(it, warp, i);
        const uint32_t live = pages.live_of(i);
        const bool more = i + 1 < pages.n, any = more || ahead.n > 0;
        const uint16_t *next = page_at<DT>(p, more ? pages.id_of(i + 1) : ahead.id_of(0), lane);
        float s[GT][4] = {};
        if (RANK && it.flags & CUDA_WORK_RANK)
            rotate_keys<DT>(k, p.rank + (head_of(p, it) * p.cache.room + place) * PAGE, p.rope,
                            lane);
#pragma unroll
        for (int t = 0; t < GT; t++)
#pragma unroll
            for (int d = 0; d < DT; d++)
                mma(s[t], k[d], q[t][d][lane]);
        if (any)
            load_tiles<DT>(next, k);
#pragma unroll
        for (int t = 0; t < GT; t++) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                s[t][j] = live >> (lane / 4 + j / 2 * 8) & 1 ? s[t][j] * p.scale : -CUDART_INF_F;
            if (it.flags & CUDA_WORK_MASS)
                store_scores(p, it, place, t, s[t], lane);
            const uint2 prob = soften<DT, GT>(w, t, s[t]);
            if (!look)
#pragma unroll
                for (int d = 0; d < DT; d++)
                    mma(w.out[t][d], v[d], prob);
        }
        if (any && !look)
            load_tiles<DT>(next + DT * 256, v);
    }
}

/* What the warps of a block have found of an item becomes outputs, or where the head has more
 * chunks a part of them. */
template <int DT, int WARPS>
static __device__ void merge_item(const cuda_pass &p, const item &it, bool look, float *results,
                                  merging &merge, const cuda_acts &acts) {
    const int group = p.shape.group, size = attend_part_floats(group, DT * 16);
    const parts warps = {results, size, WARPS, DT * 16, group};
    weigh<WARPS>(warps, merge, threadIdx.x / 32, threadIdx.x % 32);
    if (it.n_chunks == 1)
        store_head<WARPS>(p, it.row, it.kv, look, it.flags & CUDA_WORK_MASS, warps, merge, acts);
    else
        store_chunk<WARPS>(warps, merge, part_of(p, it.row, it.kv, it.chunk));
}
