/* Upper bounds of q k for whole pages (Quest, arXiv 2406.10774), for all q heads of a group:
 *
 *     sum_d max(q_d lo_d, q_d hi_d) = sum_d min(q_d, 0) lo_d + max(q_d, 0) hi_d
 *
 * is a matrix product. Pages are its rows: a record of lo and hi goes from memory to registers and
 * is an operand there as it is. q is cut into three bf16 parts, which hold every bit of an fp32
 * number, so that products are exact and only sums round. */
#pragma once

#include "engine/kernels/cuda_rules.cuh"

enum { Q_PARTS = 3 };
enum bound_use {
    BOUND_MAX,    /* signal: the largest bound of the group */
    BOUND_GATHER, /* keeps the softmax of each head over pages */
    BOUND_SHARE,  /* signal: the largest share of the group */
};

/* Softmax of a head over pages, as far as it has been seen. */
struct bound_softmax {
    float most, sum;
};
static __device__ __forceinline__ bound_softmax merged(bound_softmax a, bound_softmax b) {
    float most = fmaxf(a.most, b.most), base = most == -CUDART_INF_F ? 0 : most;
    return {most, a.sum * expf(a.most - base) + b.sum * expf(b.most - base)};
}

/* What a block has at hand. Bounds lie as [page][2][CH]. */
struct bound_task {
    const uint16_t *bounds;
    const int32_t *pages; /* shared [n] */
    int n, group;
    float factor;        /* of a bound, in its softmax */
    const uint2 *q;      /* shared: store_parts */
    float *signal;       /* shared [n] */
    bound_softmax *soft; /* shared [2 GT][RULES_THREADS]: what a thread has seen of its heads */
};

/* --- q as operands -------------------------------------------------------------------------- */

/* Inputs of a matrix instruction are 16 dims of a record in an order of their own: a load of 16
 * bytes brings a lane 8 neighbours, its inputs 2j, 2j + 1, 2j + 8, 2j + 9 of two instructions. */
template <int CH, int GT> constexpr int BOUND_PARTS = CH / 8 * GT *Q_PARTS * 32;

static __device__ __forceinline__ void cut_into_parts(float x, float part[Q_PARTS]) {
#pragma unroll
    for (int i = 0; i < Q_PARTS; i++) {
        part[i] = bf16_float(float_bf16(x));
        x -= part[i];
    }
}

/* q: [group][CH] in shared memory; out: [CH / 8][GT][Q_PARTS][32]. */
template <int CH, int GT>
static __device__ void store_parts(const float *q, int group, uint2 *out) {
    for (int i = threadIdx.x; i < CH / 8 * GT * 32; i += RULES_THREADS) {
        int lane = i % 32, head = i / 32 % GT * 8 + lane / 4, step = i / 32 / GT;
        int at = step / 2 * 32 + lane % 4 * 8 + step % 2 * 4;
        float part[4][Q_PARTS];
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float x = head < group ? q[head * CH + at % CH + e] : 0;
            cut_into_parts(at < CH ? fminf(x, 0) : fmaxf(x, 0), part[e]);
        }
#pragma unroll
        for (int k = 0; k < Q_PARTS; k++)
            out[(i / 32 * Q_PARTS + k) * 32 + lane] = make_uint2(
                float_bf16x2(part[0][k], part[1][k]), float_bf16x2(part[2][k], part[3][k]));
    }
}

/* --- the stream of bounds ------------------------------------------------------------------- */

/* Sixteen bytes of the records of two pages: rows lane / 4 and lane / 4 + 8 of a tile of 16. */
struct record_pair {
    uint4 low, high;
};
struct record_rows {
    uint32_t low, high; /* in steps of 16 bytes from the first record */
};

template <int CH>
static __device__ __forceinline__ record_rows rows_of(const bound_task &t, int tile, int lane) {
    const int i = tile * 16 + lane / 4;
    return {(uint32_t)t.pages[min(i, t.n - 1)] * (CH / 4) + lane % 4,
            (uint32_t)t.pages[min(i + 8, t.n - 1)] * (CH / 4) + lane % 4};
}

/* Past the first cache: each record is read once, and this block may just have written it. */
static __device__ __forceinline__ record_pair load_pair(const bound_task &t,
                                                        const record_rows &rows, int unit) {
    const uint4 *from = (const uint4 *)t.bounds + unit * 4;
    return {__ldcg(from + rows.low), __ldcg(from + rows.high)};
}

template <int GT> struct bound_sums { float c[GT][Q_PARTS][4]; };

/* 32 dims of a tile: two instructions a part. */
template <int GT>
static __device__ __forceinline__ void add_unit(const record_pair &r, const uint2 *q, int lane,
                                                bound_sums<GT> &sums) {
    const uint4 a[2] = {make_uint4(r.low.x, r.high.x, r.low.y, r.high.y),
                        make_uint4(r.low.z, r.high.z, r.low.w, r.high.w)};
#pragma unroll
    for (int step = 0; step < 2; step++)
#pragma unroll
        for (int t = 0; t < GT; t++)
#pragma unroll
            for (int k = 0; k < Q_PARTS; k++)
                mma(sums.c[t][k > 0], a[step], q[((step * GT + t) * Q_PARTS + k) * 32 + lane]);
}

/* Lane l has the heads l % 4 * 2 and the next of each tile of heads, for pages l / 4 and l / 4 + 8
 * of the tile. */
template <int GT>
static __device__ __forceinline__ void use_tile(const bound_task &t, bound_use use, int tile,
                                                int lane, const bound_sums<GT> &sums) {
#pragma unroll
    for (int row = 0; row < 2; row++) {
        int page = tile * 16 + lane / 4 + row * 8;
        float best = -CUDART_INF_F;
#pragma unroll
        for (int j = 0; j < 2 * GT; j++) {
            const float(*c)[4] = sums.c[j / 2];
            int e = row * 2 + j % 2;
            bound_softmax *soft = t.soft + j * RULES_THREADS + threadIdx.x;
            float x = c[0][e] + c[1][e];
            if (use == BOUND_GATHER && page < t.n)
                *soft = merged(*soft, {x * t.factor, 1});
            if (use == BOUND_SHARE)
                x = expf(x * t.factor - soft->most) * soft->sum;
            if (j / 2 * 8 + lane % 4 * 2 + j % 2 < t.group)
                best = fmaxf(best, x);
        }
        if (use == BOUND_GATHER)
            continue;
        best = fmaxf(best, __shfl_xor_sync(~0u, best, 1));
        best = fmaxf(best, __shfl_xor_sync(~0u, best, 2));
        if (lane % 4 == 0 && page < t.n)
            t.signal[page] = best;
    }
}

/* Warps take tiles of 16 pages in turn; DEPTH units that come next are always under way. */
template <int CH, int GT>
static __device__ __forceinline__ void stream_bounds(const bound_task &t, bound_use use) {
    constexpr int UNITS = CH / 16, DEPTH = UNITS < 4 ? UNITS : 4, STEP = 2 * GT * Q_PARTS * 32;
    const int lane = threadIdx.x % 32, tiles = (t.n + 15) / 16;
    int tile = threadIdx.x / 32;
    record_pair ring[DEPTH];
    if (tile >= tiles)
        return;
    record_rows rows = rows_of<CH>(t, tile, lane);
#pragma unroll
    for (int u = 0; u < DEPTH; u++)
        ring[u] = load_pair(t, rows, u);
    for (; tile < tiles; tile += RULES_WARPS) {
        bound_sums<GT> sums = {};
#pragma unroll 1
        for (int done = 0; done < UNITS; done += DEPTH) {
            const bool last = done + DEPTH == UNITS, more = !last || tile + RULES_WARPS < tiles;
            if (last)
                rows = rows_of<CH>(t, tile + RULES_WARPS, lane);
            const int next = last ? 0 : done + DEPTH;
#pragma unroll
            for (int u = 0; u < DEPTH; u++) {
                add_unit<GT>(ring[u], t.q + (done + u) * STEP, lane, sums);
                if (more)
                    ring[u] = load_pair(t, rows, next + u);
            }
        }
        use_tile<GT>(t, use, tile, lane, sums);
    }
}

/* Merges what the threads have seen of each head, in a fixed order; all get the result, with 1 /
 * sum in place of the sum. A head's threads are those with the same lane % 4. */
template <int GT> static __device__ void merge_softmax(const bound_task &t) {
    const int j = threadIdx.x / 32, lane = threadIdx.x % 32;
    __syncthreads();
    if (j < 2 * GT) {
        bound_softmax *all = t.soft + j * RULES_THREADS + lane, s = all[0];
        for (int warp = 1; warp < RULES_WARPS; warp++)
            s = merged(s, all[warp * 32]);
        for (int i = 4; i < 32; i *= 2)
            s = merged(s, {__shfl_xor_sync(~0u, s.most, i), __shfl_xor_sync(~0u, s.sum, i)});
        s.sum = 1 / s.sum;
        for (int warp = 0; warp < RULES_WARPS; warp++)
            all[warp * 32] = s;
    }
    __syncthreads();
}

/* Fills signal; begins and ends with a barrier. */
template <int CH, int GT> static __device__ void bound_signals(const bound_task &t, bool share) {
    if (share)
        for (int j = 0; j < 2 * GT; j++)
            t.soft[j * RULES_THREADS + threadIdx.x] = {-CUDART_INF_F, 0};
    __syncthreads();
#pragma unroll 1
    for (int use = share ? BOUND_GATHER : BOUND_MAX; use != -1;) {
        stream_bounds<CH, GT>(t, (bound_use)use);
        if (use == BOUND_GATHER)
            merge_softmax<GT>(t);
        use = use == BOUND_GATHER ? BOUND_SHARE : -1;
    }
    __syncthreads();
}
