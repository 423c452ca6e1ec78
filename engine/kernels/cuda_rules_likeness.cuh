/* How alike the keys of a head are (SIGNAL_LIKENESS), by one block: the device's twin of
 * compare_keys in rules_evict.c. A page of keys is an operand of the matrix unit as it is, on
 * either side of the product, so a warp multiplies 16 tokens with 16 others at once; it takes every
 * eighth page and goes over all pages in order. */
#pragma once

#include "engine/kernels/cuda_rules_block.cuh"

/* Keys of one KV head: of the pages in a table, or of a prompt, whose pages lie in order. */
struct key_set {
    const uint16_t *kv;
    int32_t n, n_pages, head; /* tokens; head: cache_head */
    const int32_t *table;     /* NULL: a prompt */
    const uint32_t *live;
    const int32_t *position;
};

static __device__ int32_t page_number(const key_set &k, int i) {
    return k.table ? __ldcg(k.table + i) : i;
}
static __device__ uint32_t live_slots(const key_set &k, int i) {
    if (k.table)
        return __ldcg(k.live + page_number(k, i));
    const int left = k.n - i * PAGE;
    return left < PAGE ? (1u << left) - 1 : ALL_SLOTS;
}
static __device__ int32_t position_in(const key_set &k, int i, int slot) {
    return k.table ? __ldcg(k.position + page_number(k, i) * PAGE + slot) : i * PAGE + slot;
}

/* Where a block works; each [n_pages * 16], by index into the table and slot. */
struct likeness_scratch {
    float *likeness; /* the inverse lengths of keys, at last what was asked for */
    float *sum;      /* of the cosines with all others */
    int32_t *spared; /* the newest token that is like this one, or -1 */
    float *relief;   /* its cosine */
};

/* Products of the keys of two pages: dot[t][e] of slot lane / 4 + e / 2 * 8 of the first and slot
 * t * 8 + lane % 4 * 2 + e % 2 of the second. */
static __device__ void dot_keys(const key_set &k, int i, int j, float dot[2][4]) {
    const size_t words = page_elements(k.head) / 8;
    const uint4 *kv = (const uint4 *)k.kv + threadIdx.x % 32;
    const uint4 *a = kv + page_number(k, i) * words, *b = kv + page_number(k, j) * words;
    for (int e = 0; e < 4; e++)
        dot[0][e] = dot[1][e] = 0;
#pragma unroll 4
    for (int f = 0; f < k.head / 16; f++) {
        const uint4 x = __ldcg(a + f * 32), y = __ldcg(b + f * 32);
        mma(dot[0], x, make_uint2(y.x, y.z));
        mma(dot[1], x, make_uint2(y.y, y.w));
    }
}

static __device__ void invert_lengths(const key_set &k, int i, float *inverse) {
    const int lane = threadIdx.x % 32;
    const uint32_t live = live_slots(k, i);
    float dot[2][4];
    dot_keys(k, i, i, dot);
    for (int t = 0; t < 2; t++)
        for (int e = 0; e < 4; e++) {
            const int slot = lane / 4 + e / 2 * 8;
            if (slot == t * 8 + lane % 4 * 2 + e % 2)
                inverse[i * PAGE + slot] =
                    live >> slot & 1 && dot[t][e] > 0 ? 1 / sqrtf(dot[t][e]) : 0;
        }
}

/* What a lane has seen of a token: lanes with the same lane / 4 share the others. */
struct compared {
    float sum, relief;
    int32_t newest, spared;
};

static __device__ void see_page(const key_set &k, const float *inverse, int i, int j,
                                compared seen[2]) {
    const int lane = threadIdx.x % 32;
    const uint32_t live = live_slots(k, j);
    float dot[2][4];
    dot_keys(k, i, j, dot);
    for (int t = 0; t < 2; t++)
        for (int e = 0; e < 4; e++) {
            const int own = lane / 4 + e / 2 * 8, other = t * 8 + lane % 4 * 2 + e % 2;
            if (!(live >> other & 1) || (i == j && own == other))
                continue;
            compared &s = seen[e / 2];
            const float cosine = dot[t][e] * (inverse[i * PAGE + own] * inverse[j * PAGE + other]);
            const int32_t position = position_in(k, j, other);
            s.sum += cosine;
            if (cosine > LIKENESS_LEAST && position > s.newest)
                s.newest = position, s.spared = j * PAGE + other, s.relief = cosine;
        }
}

static __device__ void compare_page(const key_set &k, const likeness_scratch &to, int i) {
    const int lane = threadIdx.x % 32;
    compared seen[2] = {{0, 0, -1, -1}, {0, 0, -1, -1}};
    for (int j = 0; j < k.n_pages; j++)
        see_page(k, to.likeness, i, j, seen);
    for (int r = 0; r < 2; r++) {
        compared &s = seen[r];
        for (int step = 1; step < 4; step *= 2) {
            const int32_t newest = __shfl_xor_sync(~0u, s.newest, step);
            const int32_t spared = __shfl_xor_sync(~0u, s.spared, step);
            const float relief = __shfl_xor_sync(~0u, s.relief, step);
            s.sum += __shfl_xor_sync(~0u, s.sum, step);
            if (newest > s.newest)
                s.newest = newest, s.spared = spared, s.relief = relief;
        }
        const int at = i * PAGE + lane / 4 + r * 8;
        if (lane % 4 == 0)
            to.sum[at] = s.sum, to.spared[at] = s.spared, to.relief[at] = s.relief;
    }
}

/* Into to.likeness; 0 in dead slots. Ends in a barrier. */
[[maybe_unused]] static __device__ __noinline__ void
rules_likeness(const key_set &k, rules_block &b, const likeness_scratch &to) {
    const int warp = threadIdx.x / 32, slots = k.n_pages * PAGE;
    for (int i = warp; i < k.n_pages; i += RULES_WARPS)
        invert_lengths(k, i, to.likeness);
    __syncthreads();
    for (int i = warp; i < k.n_pages; i += RULES_WARPS)
        compare_page(k, to, i);
    __syncthreads();
    float most = -CUDART_INF_F, sum = 0;
    for (int i = threadIdx.x; i < slots; i += RULES_THREADS) {
        float charge = to.sum[i];
        for (int j = 0; j < slots; j++)
            charge -= to.spared[j] == i ? to.relief[j] : 0;
        to.likeness[i] = charge;
        if (live_slots(k, i / PAGE) >> i % PAGE & 1)
            most = fmaxf(most, charge);
    }
    most = rules_most(b, most);
    for (int i = threadIdx.x; i < slots; i += RULES_THREADS) {
        const bool live = live_slots(k, i / PAGE) >> i % PAGE & 1;
        sum += to.likeness[i] = live ? expf((to.likeness[i] - most) / (float)k.n) : 0;
    }
    sum = rules_add(b, sum);
    for (int i = threadIdx.x; i < slots; i += RULES_THREADS)
        to.likeness[i] /= sum;
    __syncthreads();
}
