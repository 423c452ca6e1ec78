/* Partial results of attention, and how they become one: over the warps of a block, then over the
 * chunks of a head. */
#pragma once

#include "engine/kernels/cuda_ring.cuh"

/* The chunks of heads that have several become their outputs. */
void merge_chunks(const cuda_pass *p, int layer, bool look, const cuda_acts *acts,
                  cudaStream_t stream);

/* DT: cache_head / 16. GT: tiles of 8 q heads. Lane l holds the columns (q heads) l % 4 * 2 and the
 * next of each tile, and the rows l / 4 and l / 4 + 8. */
template <int DT, int GT> struct state {
    float max[GT][2], sum[GT][2]; /* sum: of this lane's rows only */
    float out[GT][DT][4];
};

template <int DT, int GT> static __device__ __forceinline__ state<DT, GT> no_state() {
    state<DT, GT> w;
    memset(&w, 0, sizeof w);
#pragma unroll
    for (int t = 0; t < GT; t++)
        w.max[t][0] = w.max[t][1] = -CUDART_INF_F;
    return w;
}

/* Partial results as they lie in shared memory (one of each warp) and in p.part (one of each
 * chunk): [group][cache_head] of O, then the largest score and the sum of each head. */
struct parts {
    const float *data; /* of the first */
    int stride, n;     /* to the next; at most CUDA_PARTS */
    int head, group;
};

/* What merging needs of every part and head. */
struct merging {
    float weight[CUDA_PARTS][CUDA_GROUP], most[CUDA_GROUP], sum[CUDA_GROUP];
};

/* One warp per head weighs the parts; the order of the sum is that of the parts' numbers. */
template <int WARPS>
static __device__ void weigh(const parts &from, merging &m, int warp, int lane) {
    for (int h = warp; h < from.group; h += WARPS) {
        float most[2], sum[2];
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const int i = lane + 32 * k;
            const float *x = from.data + (size_t)i * from.stride + from.group * from.head + 2 * h;
            most[k] = i < from.n ? x[0] : -CUDART_INF_F;
            sum[k] = i < from.n ? x[1] : 0;
        }
        const float all = warp_max(fmaxf(most[0], most[1]));
        float total = 0;
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const float weight = most[k] == -CUDART_INF_F ? 0 : __expf(most[k] - all);
            if (lane + 32 * k < from.n)
                m.weight[lane + 32 * k][h] = weight;
            total += weight * sum[k];
        }
        total = warp_sum(total);
        if (lane == 0)
            m.most[h] = all, m.sum[h] = total;
    }
    __syncthreads();
}

static __device__ __forceinline__ void add_part(float4 &x, float weight, const float4 &y) {
    x.x += weight * y.x, x.y += weight * y.y, x.z += weight * y.z, x.w += weight * y.w;
}
/* Four dims of all parts, element e on, in the order of the parts. */
static __device__ __forceinline__ float4 value_of(const parts &from, const merging &m, int e) {
    const int h = e / from.head;
    float4 x = make_float4(0, 0, 0, 0);
#pragma unroll 8
    for (int i = 0; i < from.n; i++)
        add_part(x, m.weight[i][h], *(const float4 *)(from.data + (size_t)i * from.stride + e));
    return x;
}
/* Four dims of a finished head, element e on: x is their sum. */
static __device__ __forceinline__ void store_dims(const cuda_pass &p, int row, int kv, int head,
                                                  const merging &m, int e, const float4 &x,
                                                  const cuda_acts &acts) {
    const int h = e / head, d = e % head;
    const int k = (kv * p.shape.group + h) * p.shape.head_size + d;
    const float factor = 1 / m.sum[h], out[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (d + j < p.shape.head_size)
            acts.data[acts_at(acts, row, k + j)] = float_bf16(out[j] * factor);
}

static __device__ void store_softmax(const cuda_pass &p, int row, int kv, const merging &m) {
    if ((int)threadIdx.x >= p.shape.group)
        return;
    const size_t head = (size_t)row * p.shape.n_kv_heads + kv;
    float *out = p.softmax + (head * CUDA_GROUP + threadIdx.x) * 2;
    out[0] = m.most[threadIdx.x], out[1] = m.sum[threadIdx.x];
}

/* A head from parts that have been weighed. */
template <int WARPS>
static __device__ void store_head(const cuda_pass &p, int row, int kv, bool look, bool mass,
                                  const parts &from, const merging &m, const cuda_acts &acts) {
    for (int e = 4 * threadIdx.x; e < from.group * from.head && !look; e += 128 * WARPS)
        store_dims(p, row, kv, from.head, m, e, value_of(from, m, e), acts);
    if (mass)
        store_softmax(p, row, kv, m);
}

static __device__ float *part_of(const cuda_pass &p, int row, int kv, int chunk) {
    const size_t head = (size_t)row * p.shape.n_kv_heads + kv;
    return p.part +
           (head * p.max_chunks + chunk) * attend_part_floats(p.shape.group, p.shape.cache_head);
}

template <int WARPS>
static __device__ void store_chunk(const parts &from, const merging &m, float *out) {
    for (int e = 4 * threadIdx.x; e < from.group * from.head; e += 128 * WARPS)
        *(float4 *)(out + e) = value_of(from, m, e);
    if ((int)threadIdx.x < from.group) {
        out[from.group * from.head + 2 * threadIdx.x] = m.most[threadIdx.x];
        out[from.group * from.head + 2 * threadIdx.x + 1] = m.sum[threadIdx.x];
    }
}

/* The warps' results go to shared memory, heads of the group only. */
template <int DT, int GT>
static __device__ void store_warp(state<DT, GT> &w, float *out, int group, int lane) {
    const int head = DT * 16;
#pragma unroll
    for (int t = 0; t < GT; t++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int h = t * 8 + lane % 4 * 2 + j;
            float sum = w.sum[t][j];
#pragma unroll
            for (int i = 4; i <= 16; i *= 2)
                sum += __shfl_xor_sync(~0u, sum, i);
            if (h >= group)
                continue;
#pragma unroll
            for (int d = 0; d < DT; d++) {
                out[h * head + d * 16 + lane / 4] = w.out[t][d][j];
                out[h * head + d * 16 + lane / 4 + 8] = w.out[t][d][j + 2];
            }
            if (lane / 4 == 0) {
                out[group * head + 2 * h] = w.max[t][j];
                out[group * head + 2 * h + 1] = sum;
            }
        }
}
