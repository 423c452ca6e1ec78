/* A draw from the softmax of a row of logits, by one block: sampler_pick of sampler.h. Weights are
 * summed as integers, in units of 2^-44 of the largest, so that no order of the threads shows; what
 * is lighter than a unit is never drawn. */
#pragma once

#include "base/rng.h"
#include "engine/kernels/cuda_common.cuh"

enum {
    DRAW_LIST = 1024, /* heavy ids that are kept at hand */
    DRAW_DIGIT = 256,
    DRAW_UNROLL = 4,
    DRAW_UNIT = 44,
    DRAW_HEAVY = (127 - 10) << 23, /* bits of 2^-10 */
};

struct draw_shared {
    uint64_t warp[32];
    uint64_t before;
    uint32_t digit;
    int32_t n_listed, picked;
    uint32_t high[DRAW_DIGIT], low[DRAW_DIGIT];
    int32_t id[DRAW_LIST];
    uint32_t weight[DRAW_LIST];
};

struct draw {
    const float *logits;
    int n; /* ids that may be sampled */
    const int32_t *banned;
    int n_banned;
    float best, temperature; /* best: the largest logit of an id that may be drawn */
    bool listed;             /* the heavy ids at hand are all that is needed */
};

static __device__ __forceinline__ bool is_among(const int32_t *ids, int n, int32_t id) {
    for (int i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* --- sums over the block ---------------------------------------------------------------------- */

static __device__ __forceinline__ uint64_t warp_sum_wide(uint64_t x) {
    for (int i = 16; i; i /= 2)
        x += __shfl_xor_sync(~0u, x, i);
    return x;
}

/* Leaves the sum of every warp in shared->warp. */
static __device__ void sum_warps(draw_shared *shared, uint64_t x) {
    x = warp_sum_wide(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared->warp[threadIdx.x / 32] = x;
    __syncthreads();
}

static __device__ uint64_t sum_block(draw_shared *shared, uint64_t x) {
    sum_warps(shared, x);
    uint64_t sum = 0;
    for (int i = 0; i < (int)blockDim.x / 32; i++)
        sum += shared->warp[i];
    return sum;
}

/* --- weights ---------------------------------------------------------------------------------- */

/* The bits of exp((logit - best) / temperature), which order as the weights do; 0: too light. */
static __device__ __forceinline__ uint32_t weight_of(const draw &d, int32_t id, float logit) {
    float less = logit - d.best;
    if (less < -32 * d.temperature || is_among(d.banned, d.n_banned, id))
        return 0;
    uint32_t bits = __float_as_uint(expf(less / d.temperature));
    return bits >> 23 < 127 - DRAW_UNIT ? 0 : bits;
}

/* In units; the largest weight is 1. */
static __device__ __forceinline__ uint64_t units_of(uint32_t bits) {
    return (uint64_t)((bits & 0x7fffff) | 0x800000) << (DRAW_UNIT - 23) >> (127 - (bits >> 23));
}

/* f(id, bits) for every id first, first + step, ... before end that has a weight. */
template <typename F>
static __device__ __forceinline__ void each_weight(const draw &d, int first, int end, int step,
                                                   F f) {
    for (int base = first; base < end; base += step * DRAW_UNROLL) {
        float logit[DRAW_UNROLL];
#pragma unroll
        for (int k = 0; k < DRAW_UNROLL; k++)
            logit[k] = base + k * step < end ? __ldcg(d.logits + base + k * step) : -CUDART_INF_F;
#pragma unroll
        for (int k = 0; k < DRAW_UNROLL; k++) {
            uint32_t bits = weight_of(d, base + k * step, logit[k]);
            if (bits)
                f(base + k * step, bits);
        }
    }
}

/* The same for all ids, or for those at hand where they are enough. */
template <typename F>
static __device__ __forceinline__ void each_needed(const draw &d, const draw_shared *shared, F f) {
    if (!d.listed)
        each_weight(d, (int)threadIdx.x, d.n, (int)blockDim.x, f);
    else
        for (int i = (int)threadIdx.x; i < shared->n_listed; i += (int)blockDim.x)
            f(shared->id[i], shared->weight[i]);
}

/* `share` of 2^24 of a sum, rounded down. */
static __device__ __forceinline__ uint64_t share_of(uint64_t sum, uint64_t share) {
    return __umul64hi(sum, share) << 40 | sum * share >> 24;
}

/* --- by id order ------------------------------------------------------------------------------ */

/* The first id at which the running sum of measure(bits) is more than `point`; or, where share >=
 * 0, more than this share of 2^24 of the whole. The block closes in on it: every warp sums one
 * piece of what is left. */
template <typename M>
static __device__ int32_t pick_in_order(const draw &d, draw_shared *shared, uint64_t point,
                                        int64_t share, M measure) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int from = 0, to = d.n;;) {
        int piece = (to - from + warps - 1) / warps, first = from + warp * piece;
        uint64_t sum = 0;
        each_weight(d, first + lane, first + piece < to ? first + piece : to, 32,
                    [&](int32_t, uint32_t bits) { sum += measure(bits); });
        sum_warps(shared, sum);
        if (share >= 0) {
            uint64_t whole = 0;
            for (int i = 0; i < warps; i++)
                whole += shared->warp[i];
            point = share_of(whole, (uint64_t)share);
            share = -1;
        }
        int i = 0;
        while (i < warps - 1 && point >= shared->warp[i])
            point -= shared->warp[i++];
        from += i * piece;
        if (piece <= 1)
            return from;
        to = from + piece < to ? from + piece : to;
    }
}

/* --- by weight -------------------------------------------------------------------------------- */

/* How far the units of weights with this exponent are shifted beyond their 24 bits. */
static __device__ __forceinline__ int shift_of(int exponent) {
    return exponent > 150 - DRAW_UNIT ? exponent - (150 - DRAW_UNIT) : 0;
}

/* What the weights of a bin sum to. exponent < 0: it is the digit. */
static __device__ __forceinline__ uint64_t bin_of(const draw_shared *shared, int digit,
                                                  int exponent) {
    int e = exponent >= 0 ? exponent : digit < 127 ? digit : 127;
    return (((uint64_t)shared->high[digit] << 12) + shared->low[digit]) << shift_of(e);
}

/* One warp finds the digit, from the heaviest down, at which the running sum reaches `goal`. */
static __device__ void find_digit(draw_shared *shared, uint64_t before, uint64_t goal,
                                  int exponent) {
    int lane = threadIdx.x, each = DRAW_DIGIT / 32, digit = DRAW_DIGIT - 1 - lane * each;
    uint64_t own = 0;
    for (int i = 0; i < each; i++)
        own += bin_of(shared, digit - i, exponent);
    uint64_t sum = own;
    for (int i = 1; i < 32; i *= 2) {
        uint64_t other = __shfl_up_sync(~0u, sum, i);
        sum += lane >= i ? other : 0;
    }
    uint64_t at = before + sum - own;
    if (at >= goal || at + own < goal)
        return;
    for (uint64_t bin; at + (bin = bin_of(shared, digit, exponent)) < goal; digit--)
        at += bin;
    shared->before = at;
    shared->digit = (uint32_t)digit;
}

/* Walking from the heaviest weight down: the weight at which the running sum reaches `goal` (from 1
 * to the whole), and the sum of all that are heavier. First its exponent is found, then its
 * mantissa in three digits. A bin is counted in halves of 32 bits: all its units are shifted alike,
 * and CUDA_IDS weights of 24 bits fit. */
static __device__ uint32_t descend(const draw &d, draw_shared *shared, uint64_t goal,
                                   uint64_t *heavier) {
    uint32_t found = 0;
    *heavier = 0;
    for (int level = 0; level < 4; level++) {
        int low = level < 3 ? 23 - 8 * level : 0, high = level ? 31 - 8 * level : 31;
        for (int i = (int)threadIdx.x; i < DRAW_DIGIT; i += (int)blockDim.x)
            shared->high[i] = shared->low[i] = 0;
        __syncthreads();
        each_needed(d, shared, [&](int32_t, uint32_t bits) {
            if (bits >> high != found >> high)
                return;
            uint32_t units = (uint32_t)(units_of(bits) >> shift_of((int)(bits >> 23)));
            uint32_t digit = (bits & ((1u << high) - 1)) >> low;
            atomicAdd(&shared->high[digit], units >> 12);
            atomicAdd(&shared->low[digit], units & 0xfff);
        });
        __syncthreads();
        if (threadIdx.x < 32)
            find_digit(shared, *heavier, goal, level ? (int)(found >> 23) : -1);
        __syncthreads();
        found |= shared->digit << low;
        *heavier = shared->before;
    }
    return found;
}

/* Of the ids at hand with this weight, the one above `nth` others. */
static __device__ int32_t pick_listed(draw_shared *shared, uint32_t bits, int nth) {
    for (int i = (int)threadIdx.x; i < shared->n_listed; i += (int)blockDim.x) {
        if (shared->weight[i] != bits)
            continue;
        int lower = 0;
        for (int j = 0; j < shared->n_listed; j++)
            lower += shared->weight[j] == bits && shared->id[j] < shared->id[i];
        if (lower == nth)
            shared->picked = shared->id[i];
    }
    __syncthreads();
    return shared->picked;
}

/* From the smallest set of the heaviest ids whose weight reaches top_p of the whole, heaviest
 * first, of equals the lowest id. In most rows few ids hold nearly all weight: those are put at
 * hand, and the logits are read once. */
static __device__ int32_t draw_heavy(draw d, draw_shared *shared, float top_p, uint64_t share) {
    if (threadIdx.x == 0)
        shared->n_listed = 0;
    __syncthreads();
    uint64_t sum = 0, listed = 0;
    each_weight(d, (int)threadIdx.x, d.n, (int)blockDim.x, [&](int32_t id, uint32_t bits) {
        sum += units_of(bits);
        if (bits < DRAW_HEAVY || *(volatile int32_t *)&shared->n_listed > DRAW_LIST)
            return;
        int at = atomicAdd(&shared->n_listed, 1);
        if (at >= DRAW_LIST)
            return;
        shared->id[at] = id, shared->weight[at] = bits;
        listed += units_of(bits);
    });
    uint64_t whole = sum_block(shared, sum), at_hand = sum_block(shared, listed);
    uint64_t goal = (uint64_t)ceil((double)top_p * (double)whole), heavier;
    goal = goal < 1 ? 1 : goal > whole ? whole : goal;
    d.listed = shared->n_listed <= DRAW_LIST && at_hand >= goal;
    uint64_t units = units_of(descend(d, shared, goal, &heavier));
    uint64_t nucleus = heavier + (goal - heavier + units - 1) / units * units;
    uint64_t point = share_of(nucleus, share);
    uint32_t bits = descend(d, shared, point + 1, &heavier);
    uint64_t nth = (point - heavier) / units_of(bits);
    if (d.listed)
        return pick_listed(shared, bits, (int)nth);
    return pick_in_order(d, shared, nth, -1, [bits](uint32_t b) { return (uint64_t)(b == bits); });
}

/* The id that the key draws. All threads of the block come here and get it. */
static __device__ int32_t draw_id(const draw &d, draw_shared *shared, float top_p, uint64_t key) {
    uint64_t share = rng_mix(key) >> 40; /* rng_uniform, as an integer */
    if (top_p < 1)
        return draw_heavy(d, shared, top_p, share);
    return pick_in_order(d, shared, 0, (int64_t)share, units_of);
}
