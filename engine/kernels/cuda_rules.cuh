/* The rules of a plan for one KV head, decided by one block: the device's twin of rules.c and
 * cache.c. Signals come from elsewhere (bounds, softmax mass, a recorded trace); here is what
 * follows from them. Everything is in a fixed order, and ties go to the older one. */
#pragma once

#include "base/rng.h"
#include "engine/kernels/cuda_rules_block.cuh"
#include "policies_device.h"

/* One KV head of a row in a pass. It lies in shared memory: registers are for what streams. */
struct rules_head {
    cuda_cache cache;
    const cuda_plan *plan;
    int32_t *table;
    int32_t row, layer, kv, n_prompt, capacity, budget;
    int32_t now; /* position of the token under way */
    int32_t n_live, n_pages;
    float mean;           /* what keep sees of a column */
    bool evicts, opens;   /* the token under way needs an eviction, a new page */
    bool observed, fresh; /* its query is observed, columns begin at 0 with it */
    uint64_t key;
};

static __device__ __forceinline__ cuda_row fresh_row(const cuda_row *from) {
    cuda_row r;
    uint2 words[sizeof r / sizeof(uint2)];
#pragma unroll
    for (size_t i = 0; i < sizeof r / sizeof(uint2); i++)
        words[i] = __ldcg((const uint2 *)from + i);
    memcpy(&r, words, sizeof r);
    return r;
}

static __device__ float mean_of(const cuda_plan *plan, const cuda_shape &shape) {
    return plan->window ? 1 / (float)(plan->window * shape.group) : 1;
}

/* Fills *h; ends in a barrier. Like all up to an append it may run while kernels before still do:
 * it reads past the L1 cache. */
[[maybe_unused]] static __device__ void rules_head_of(const cuda_pass &p, int row, int layer,
                                                      int kv, rules_head *h) {
    if (threadIdx.x == 0) {
        const cuda_row r = fresh_row(p.rows + row);
        const cuda_plan *plan = p.plans + r.plan;
        h->cache = p.cache, h->plan = plan;
        h->table = table_of(p.cache, p.shape, row, layer, kv);
        h->row = row, h->layer = layer, h->kv = kv;
        h->n_prompt = r.n_prompt, h->capacity = r.capacity, h->budget = r.budget;
        h->now = r.position;
        h->n_live = r.n_live, h->n_pages = r.n_pages;
        int32_t first;
        h->mean = mean_of(plan, p.shape);
        h->observed = row_observes(&r, plan, &first), h->fresh = first;
        h->evicts = r.evict > 0;
        h->opens = r.opens;
        h->key = r.key;
    }
    __syncthreads();
}

/* --- what may go, and who deserves to stay --------------------------------------------------- */

static __device__ float rules_draw(const rules_head &h, int32_t position) {
    uint64_t place = (uint64_t)h.layer << 32 | (uint64_t)h.kv;
    uint64_t key = rng_key(rng_key(h.key, (uint64_t)h.plan->seed), place);
    return rng_uniform(rng_key(key, (uint64_t)position << 32 | (uint64_t)(uint32_t)h.now));
}

/* signal: of the plan's keep_by. */
static __device__ float rules_keep(const rules_head &h, int32_t position, float column,
                                   float signal) {
    candidate c = {position, h.now, column * h.mean, signal};
    c.weight = h.plan->weight;
    if (h.plan->draws)
        c.uniform = rules_draw(h, position);
    return policy_keep(h.plan->policy, c);
}

/* Positions from here on are too recent to go. */
static __device__ int32_t first_recent(const rules_head &h) {
    int32_t pinned = h.plan->pin_prompt ? h.n_prompt : 0;
    int32_t share = (int32_t)(h.plan->recent_share * (h.capacity - pinned));
    return h.now - (h.plan->recent + share) + 1;
}

/* Positions before this one are pinned. */
static __device__ int32_t first_loose(const rules_head &h) {
    return max(h.plan->pin_prompt ? h.n_prompt : 0, h.plan->sinks);
}

/* --- append --------------------------------------------------------------------------------- */

struct rules_place {
    int32_t page, slot;
    uint32_t live; /* of the page, before the token */
};

/* The lowest free slot of the newest page that has one, or of a new page. Every warp finds it for
 * itself; nothing is written. */
[[maybe_unused]] static __device__ rules_place rules_find_place(const rules_head &h) {
    int lane = threadIdx.x % 32, newest = h.n_pages - 1;
    if (h.opens)
        return {__ldcg(h.table + newest), 0, 0};
    for (int top = newest; top >= 0; top -= 32) {
        int32_t page = __ldcg(h.table + max(top - lane, 0));
        uint32_t live = top >= lane ? __ldcg(h.cache.live + page) : ALL_SLOTS;
        uint32_t found = __ballot_sync(~0u, live != ALL_SLOTS);
        if (!found)
            continue;
        live = __shfl_sync(~0u, live, __ffs(found) - 1);
        return {__shfl_sync(~0u, page, __ffs(found) - 1), __ffs(~live) - 1, live};
    }
    __trap();
    return {};
}

/* All of an append but keys, values and bounds; one thread. */
[[maybe_unused]] static __device__ void rules_take_place(const rules_head &h,
                                                         const rules_place &at) {
    const cuda_cache &c = h.cache;
    c.live[at.page] = at.live | 1u << at.slot;
    c.position[at.page * PAGE + at.slot] = h.now;
    if (h.plan->slot_columns)
        c.slot_column[at.page * PAGE + at.slot] = 0;
    if (h.opens && h.plan->page_column)
        c.page_column[at.page] = 0;
}

/* --- select --------------------------------------------------------------------------------- */

/* Whether the selection of the head's plan leaves something out in this layer and pass. */
[[maybe_unused]] static __device__ bool selects_pages(const rules_head &h) {
    return h.plan->select == UNIT_PAGE && h.layer >= h.plan->dense_layers &&
           h.n_pages > h.budget / PAGE;
}
[[maybe_unused]] static __device__ bool selects_tokens(const rules_head &h) {
    return h.plan->select == UNIT_TOKEN && h.layer >= h.plan->dense_layers && h.n_live > h.budget;
}

/* The newest page and the best count - 1 of the others, in ascending order. */
[[maybe_unused]] static __device__ void rules_select_pages(const rules_head &h, rules_block &b,
                                                           const float *signal, int count,
                                                           int32_t *view) {
    int newest = h.n_pages - 1, n = 0;
    auto key = [=](int i) { return best_key(signal[i]); };
    rules_cut cut = rules_best(b, newest, count - 1, key, [](int i) { return i; });
    for (int from = 0; from < h.n_pages; from += RULES_THREADS) {
        int i = from + (int)threadIdx.x;
        bool chosen = i == newest || (i < newest && in_cut(cut, key(i), i));
        int place = rules_sum_before(b, chosen, &n);
        if (chosen)
            view[place] = h.table[i];
    }
}

/* Position of the token in slot i % 16 of the page at place i / 16 of `pages`. */
static __device__ int32_t token_position(const rules_head &h, const int32_t *pages, int i) {
    return h.cache.position[pages[i / PAGE] * PAGE + i % PAGE];
}

/* The best `budget` tokens as masks by index into the table. signal[16 * n_pages] by slot; dead
 * slots hold a negative number, which no live one does. */
[[maybe_unused]] static __device__ void rules_select_tokens(const rules_head &h, rules_block &b,
                                                            const float *signal, int budget,
                                                            uint32_t *chosen) {
    int n = h.n_pages * PAGE, lane = threadIdx.x % 32;
    auto key = [=](int i) { return signal[i] < 0 ? 0 : best_key(signal[i]); };
    auto position = [=](int i) { return token_position(h, h.table, i); };
    rules_cut cut = rules_best(b, n, budget, key, position);
    for (int from = 0; from < n; from += RULES_THREADS) {
        int i = from + (int)threadIdx.x;
        uint32_t own = i < n ? key(i) : 0;
        bool in = own > cut.key || (own == cut.key && position(i) <= cut.position);
        uint32_t mask = __ballot_sync(~0u, in) >> lane / PAGE * PAGE & ALL_SLOTS;
        if (i < n && i % PAGE == 0)
            chosen[i / PAGE] = mask;
    }
}

/* --- observe -------------------------------------------------------------------------------- */

static __device__ int marked_most(const rules_head &h, int n) {
    return (int)ceil(h.plan->mark_at * n);
}

static __device__ bool is_marked(const rules_head &h, const rules_cut &cut, float signal,
                                 int32_t position) {
    return h.plan->mark == MARK_TOP     ? in_cut(cut, best_key(signal), position)
           : h.plan->mark == MARK_ABOVE ? signal > (float)h.plan->mark_at
                                        : false;
}

static __device__ void observe_unit(const rules_head &h, int32_t position, float signal,
                                    bool marked, float *column) {
    candidate c = {position, h.now, h.fresh ? 0 : *column, signal, 0, marked, h.plan->weight};
    *column = policy_observe(h.plan->policy, c);
}

/* signal[n_pages] by index into the table. */
[[maybe_unused]] static __device__ void rules_observe_pages(const rules_head &h, rules_block &b,
                                                            const float *signal) {
    const cuda_cache &c = h.cache;
    int n = h.n_pages;
    rules_cut cut = {};
    if (h.plan->mark == MARK_TOP)
        cut = rules_best(
            b, n, marked_most(h, n), [=](int i) { return best_key(signal[i]); },
            [](int i) { return i; });
    for (int i = threadIdx.x; i < n; i += RULES_THREADS) {
        int32_t page = h.table[i];
        bool marked = is_marked(h, cut, signal[i], i) || i == n - 1;
        observe_unit(h, c.position[page * PAGE], signal[i], marked, c.page_column + page);
    }
}

/* Tokens of the view, the n pages of `pages`: signal[16 * n] by place and slot; of what is not
 * attended it is negative. */
[[maybe_unused]] static __device__ void rules_observe_tokens(const rules_head &h, rules_block &b,
                                                             const float *signal,
                                                             const int32_t *pages, int n) {
    rules_cut cut = {};
    if (h.plan->mark == MARK_TOP) {
        int own = 0;
        for (int i = threadIdx.x; i < n * PAGE; i += RULES_THREADS)
            own += !(signal[i] < 0);
        cut = rules_best(
            b, n * PAGE, marked_most(h, rules_sum(b, own)),
            [=](int i) { return signal[i] < 0 ? 0 : best_key(signal[i]); },
            [=](int i) { return token_position(h, pages, i); });
    }
    for (int i = threadIdx.x; i < n * PAGE; i += RULES_THREADS) {
        int32_t at = pages[i / PAGE] * PAGE + i % PAGE, position = h.cache.position[at];
        if (!(signal[i] < 0))
            observe_unit(h, position, signal[i], is_marked(h, cut, signal[i], position),
                         h.cache.slot_column + at);
    }
}
