/* What the rules need of a block of threads: sums, and the best of many units in a fixed order. */
#pragma once

#include "engine/kernels/cuda_common.cuh"

enum { RULES_THREADS = 256, RULES_WARPS = RULES_THREADS / 32, RULES_FEW = 128 };
enum { ALL_SLOTS = (1 << PAGE) - 1 };

struct rules_cut { /* the best k units: key above, or equal and not younger than position */
    uint32_t key;
    int32_t position;
};

/* Scratch of a block. */
struct rules_shared {
    uint64_t least[RULES_WARPS];
    int32_t sums[2][RULES_WARPS];
    rules_cut cut;
    int32_t at;
};
struct rules_block {
    rules_shared *shared;
    int turn; /* of the two rows of sums: one is still read while the other is written */
};

/* --- sums and orders of a block ------------------------------------------------------------- */

/* Ascending as floats are; both zeros are one. */
[[maybe_unused]] static __device__ __forceinline__ uint32_t order_key(float x) {
    uint32_t bits = __float_as_uint(x + 0.0f);
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}
/* 0 is no unit's key: it marks what cannot be taken. */
[[maybe_unused]] static __device__ __forceinline__ uint32_t best_key(float signal) {
    return max(order_key(signal), 1u);
}

static __device__ __forceinline__ int rules_sum(rules_block &b, int value) {
    int warp = threadIdx.x / 32, sum = 0;
    int32_t *sums = b.shared->sums[b.turn];
    b.turn ^= 1;
    value = __reduce_add_sync(~0u, value);
    if (threadIdx.x % 32 == 0)
        sums[warp] = value;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < RULES_WARPS; i++)
        sum += sums[i];
    return sum;
}

/* The largest of all threads' numbers; their sum, in a fixed order. */
template <class Merge>
static __device__ float rules_merge(rules_block &b, float warps, Merge merge) {
    int32_t *all = b.shared->sums[b.turn];
    b.turn ^= 1;
    if (threadIdx.x % 32 == 0)
        all[threadIdx.x / 32] = __float_as_int(warps);
    __syncthreads();
    float x = __int_as_float(all[0]);
    for (int i = 1; i < RULES_WARPS; i++)
        x = merge(x, __int_as_float(all[i]));
    return x;
}
[[maybe_unused]] static __device__ float rules_most(rules_block &b, float x) {
    return rules_merge(b, warp_max(x), [](float x, float y) { return fmaxf(x, y); });
}
[[maybe_unused]] static __device__ float rules_add(rules_block &b, float x) {
    return rules_merge(b, warp_sum(x), [](float x, float y) { return x + y; });
}

/* *total and the sum over the threads before this one; adds the sum over all to *total. */
[[maybe_unused]] static __device__ int rules_sum_before(rules_block &b, int value, int *total) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = value, before = *total;
    int32_t *sums = b.shared->sums[b.turn];
    b.turn ^= 1;
    for (int i = 1; i < 32; i *= 2) {
        int other = __shfl_up_sync(~0u, sum, i);
        sum += lane >= i ? other : 0;
    }
    if (lane == 31)
        sums[warp] = sum;
    __syncthreads();
    for (int i = 0; i < RULES_WARPS; i++) {
        before += i < warp ? sums[i] : 0;
        *total += sums[i];
    }
    return before + sum - value;
}

static __device__ __forceinline__ bool in_cut(const rules_cut &cut, uint32_t key,
                                              int32_t position) {
    return key > cut.key || (key == cut.key && position <= cut.position);
}

/* Few units: each counts who is better. */
template <class Key, class Position>
static __device__ rules_cut best_of_few(rules_block &b, int n, int k, Key key, Position position) {
    if (threadIdx.x == 0)
        b.shared->cut = {1, INT32_MAX};
    __syncthreads();
    if ((int)threadIdx.x < n) {
        uint32_t own = key(threadIdx.x);
        int32_t age = position(threadIdx.x);
        int better = 0;
        for (int i = 0; i < n; i++) {
            uint32_t other = key(i);
            better += other > own || (other == own && position(i) < age);
        }
        if (own && better == k - 1)
            b.shared->cut = {own, age};
    }
    __syncthreads();
    rules_cut cut = b.shared->cut;
    __syncthreads();
    return cut;
}

/* The best k of n units by (key descending, position ascending); units with key 0 are none. Both
 * bounds are found bit by bit from the top, counting. key(i) and position(i) are called by any
 * thread, before the barriers in here or after them. */
template <class Key, class Position>
static __device__ rules_cut rules_best(rules_block &b, int n, int k, Key key, Position position) {
    if (k <= 0)
        return {~0u, -1};
    if (n <= RULES_FEW)
        return best_of_few(b, n, k, key, position);
    uint32_t least = 0;
    for (int bit = 31; bit >= 0; bit--) {
        uint32_t tried = least | 1u << bit;
        int own = 0;
#pragma unroll 4
        for (int i = threadIdx.x; i < n; i += RULES_THREADS)
            own += key(i) >= tried;
        int count = rules_sum(b, own);
        if (count >= k)
            least = tried;
        if (count == k)
            return {least, INT32_MAX};
    }
    if (!least)
        return {1, INT32_MAX};
    int above = 0;
    for (int i = threadIdx.x; i < n; i += RULES_THREADS)
        above += key(i) > least;
    int equals = k - rules_sum(b, above);
    int32_t last = 0;
    for (int bit = 30; bit >= 0; bit--) {
        int32_t tried = last | 1 << bit;
        int own = 0;
        for (int i = threadIdx.x; i < n; i += RULES_THREADS)
            own += key(i) == least && position(i) < tried;
        if (rules_sum(b, own) < equals)
            last = tried;
    }
    return {least, last};
}
