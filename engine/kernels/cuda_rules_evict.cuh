/* What goes of one KV head when there is no room, by one block: the device's twin of
 * rules_evict.c. */
#pragma once

#include "engine/kernels/cuda_rules.cuh"
#include "engine/kernels/cuda_rules_likeness.cuh"

/* --- one unit ------------------------------------------------------------------------------- */

/* True in the thread that holds the least rank of all; a block without any cannot go on. */
static __device__ bool rules_least(rules_block &b, uint64_t rank) {
    uint64_t least = rank;
    for (int i = 16; i; i /= 2) {
        uint64_t other = __shfl_xor_sync(~0u, least, i);
        least = other < least ? other : least;
    }
    if (threadIdx.x % 32 == 0)
        b.shared->least[threadIdx.x / 32] = least;
    __syncthreads();
    for (int i = 0; i < RULES_WARPS; i++)
        least = b.shared->least[i] < least ? b.shared->least[i] : least;
    if (least == ~0ull)
        __trap();
    return rank == least;
}

static __device__ uint64_t victim_rank(const rules_head &h, int32_t position, float column) {
    uint32_t score = order_key(rules_keep(h, position, column, 0));
    return (uint64_t)score << 32 | (uint32_t)position;
}

static __device__ void evict_token(const rules_head &h, rules_block &b) {
    const cuda_cache &c = h.cache;
    int32_t loose = first_loose(h), recent = first_recent(h);
    uint64_t best = ~0ull;
    int victim = 0;
#pragma unroll 1
    for (int i = threadIdx.x; i < h.n_pages * PAGE; i += RULES_THREADS) {
        int32_t page = __ldcg(h.table + i / PAGE), at = page * PAGE + i % PAGE;
        int32_t position = __ldcg(c.position + at);
        float column = h.plan->slot_columns ? __ldcg(c.slot_column + at) : 0;
        bool live = __ldcg(c.live + page) >> i % PAGE & 1;
        if (!live || position < loose || position >= recent)
            continue;
        uint64_t rank = victim_rank(h, position, column);
        if (rank < best)
            best = rank, victim = i;
    }
    if (rules_least(b, best)) {
        uint32_t *live = c.live + __ldcg(h.table + victim / PAGE);
        *live = __ldcg(live) & ~(1u << victim % PAGE);
    }
    __syncthreads();
}

/* The table closes up; the freed page comes behind the others, as the one that is opened next. */
static __device__ void move_to_end(const rules_head &h, int victim) {
    int32_t freed = __ldcg(h.table + victim);
    for (int from = victim; from < h.n_pages; from += RULES_THREADS) {
        int i = from + (int)threadIdx.x;
        int32_t page = i < h.n_pages - 1 ? __ldcg(h.table + i + 1) : freed;
        __syncthreads();
        if (i < h.n_pages)
            h.table[i] = page;
    }
    if (threadIdx.x == 0)
        h.cache.live[freed] = 0;
    __syncthreads();
}

static __device__ void evict_page(const rules_head &h, rules_block &b) {
    const cuda_cache &c = h.cache;
    int32_t loose = first_loose(h), recent = first_recent(h);
    uint64_t best = ~0ull;
    int victim = 0;
#pragma unroll 1
    for (int i = threadIdx.x; i < h.n_pages; i += RULES_THREADS) {
        int32_t page = __ldcg(h.table + i), start = __ldcg(c.position + page * PAGE);
        if (start < loose || start + PAGE - 1 >= recent)
            continue;
        float column = h.plan->page_column ? __ldcg(c.page_column + page) : 0;
        uint64_t rank = victim_rank(h, start, column);
        if (rank < best)
            best = rank, victim = i;
    }
    if (rules_least(b, best))
        b.shared->at = victim;
    __syncthreads();
    move_to_end(h, b.shared->at);
}

/* --- many tokens ---------------------------------------------------------------------------- */

/* Scratch of an eviction of many tokens at once. */
struct rules_many {
    uint32_t *seen;     /* shared [now / 32 + 1]: bits of the positions that are held */
    int32_t *before;    /* shared, as many: tokens before each word of seen */
    float *words;       /* [CUDA_MANY][room * 16] of the head */
    const float *trace; /* likeness by position; NULL: that of the keys */
};

/* Marks the positions of all tokens, so that rank_of can count. Ends in a barrier. */
static __device__ void mark_positions(const rules_head &h, rules_block &b, uint32_t *seen,
                                      int32_t *before) {
    const cuda_cache &c = h.cache;
    const int words = h.now / 32 + 1, slots = h.n_pages * PAGE;
    int n = 0;
    for (int i = threadIdx.x; i < words; i += RULES_THREADS)
        seen[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < slots; i += RULES_THREADS) {
        const int32_t page = __ldcg(h.table + i / PAGE);
        const int32_t position = __ldcg(c.position + page * PAGE + i % PAGE);
        if (__ldcg(c.live + page) >> i % PAGE & 1)
            atomicOr(seen + position / 32, 1u << (position & 31));
    }
    __syncthreads();
    for (int from = 0; from < words; from += RULES_THREADS) {
        const int i = from + (int)threadIdx.x;
        const int place = rules_sum_before(b, i < words ? __popc(seen[i]) : 0, &n);
        if (i < words)
            before[i] = place;
    }
    __syncthreads();
}

/* How many tokens are older than a position, 0 to now. */
static __device__ int32_t rank_of(const uint32_t *seen, const int32_t *before, int32_t position) {
    return before[position / 32] + __popc(seen[position / 32] & ((1u << (position & 31)) - 1));
}

/* The largest of `pool` columns around place i, of those before n. */
static __device__ float pooled(const float *column, int i, int n, int pool) {
    float most = column[i];
    for (int j = max(i - pool / 2, 0); j <= min(i + pool / 2, n - 1); j++)
        most = fmaxf(most, column[j]);
    return most;
}

/* Of every slot: the more its token deserves to go, the larger; 0 if it must stay or there is
 * none. Ends in a barrier. */
static __device__ void rate_tokens(const rules_head &h, rules_block &b, const rules_many &m,
                                   const float *likeness, float *column, uint32_t *key) {
    const cuda_cache &c = h.cache;
    const int slots = h.n_pages * PAGE;
    const int32_t loose = first_loose(h), recent = first_recent(h);
    mark_positions(h, b, m.seen, m.before);
    for (int i = threadIdx.x; i < slots; i += RULES_THREADS) {
        const int32_t page = __ldcg(h.table + i / PAGE), at = page * PAGE + i % PAGE;
        if (__ldcg(c.live + page) >> i % PAGE & 1)
            column[rank_of(m.seen, m.before, __ldcg(c.position + at))] =
                h.plan->slot_columns ? __ldcg(c.slot_column + at) : 0;
    }
    __syncthreads();
    const int n = recent > 0 ? rank_of(m.seen, m.before, min(recent, h.now)) : 0;
    for (int i = threadIdx.x; i < slots; i += RULES_THREADS) {
        const int32_t page = __ldcg(h.table + i / PAGE);
        const int32_t position = __ldcg(c.position + page * PAGE + i % PAGE);
        const bool live = __ldcg(c.live + page) >> i % PAGE & 1;
        key[i] = 0;
        if (!live || position < loose || position >= recent)
            continue;
        const int rank = rank_of(m.seen, m.before, position);
        const float alike = !h.plan->keep_by ? 0 : m.trace ? m.trace[position] : likeness[i];
        const float score = rules_keep(h, position, pooled(column, rank, n, h.plan->pool), alike);
        key[i] = max(~order_key(score), 1u);
    }
    __syncthreads();
}

/* A function of its own: it is rare, and shall cost the others no registers. */
static __device__ __noinline__ void evict_tokens(const rules_head &h, rules_shared *shared,
                                                 const rules_many &m) {
    const cuda_cache &c = h.cache;
    rules_block b = {shared, 0};
    const int slots = h.n_pages * PAGE, lane = threadIdx.x % 32;
    const size_t stride = (size_t)c.room * PAGE;
    const likeness_scratch to = {m.words, m.words + stride, (int32_t *)m.words + 2 * stride,
                                 m.words + 3 * stride};
    const int32_t held = h.n_live - 1 + h.plan->every;
    if (h.plan->keep_by && !m.trace)
        rules_likeness({c.kv, held, h.n_pages, c.head, h.table, c.live, c.position}, b, to);
    uint32_t *keys = (uint32_t *)to.spared; /* no longer needed, as the sums */
    rate_tokens(h, b, m, to.likeness, to.sum, keys);
    auto key = [=](int i) { return keys[i]; };
    auto position = [&h](int i) {
        return __ldcg(h.cache.position + __ldcg(h.table + i / PAGE) * PAGE + i % PAGE);
    };
    const rules_cut cut = rules_best(b, slots, h.plan->every, key, position);
    for (int from = 0; from < slots; from += RULES_THREADS) {
        const int i = from + (int)threadIdx.x;
        const bool goes = i < slots && keys[i] && in_cut(cut, keys[i], position(i));
        const uint32_t mask = __ballot_sync(~0u, goes) >> lane / PAGE * PAGE & ALL_SLOTS;
        if (i < slots && i % PAGE == 0 && mask) {
            uint32_t *live = c.live + __ldcg(h.table + i / PAGE);
            *live = __ldcg(live) & ~mask;
        }
    }
    __syncthreads();
}

/* Before the append, where the row evicts. Ends in a barrier. */
[[maybe_unused]] static __device__ void rules_evict(const rules_head &h, rules_block &b,
                                                    const rules_many &m) {
    if (h.plan->every)
        evict_tokens(h, b.shared, m);
    else if (h.plan->evict == UNIT_TOKEN)
        evict_token(h, b);
    else
        evict_page(h, b);
}
