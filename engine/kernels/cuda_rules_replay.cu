/* Tests: the decisions of a row, step by step, from recorded signals. */
#include "engine/kernels/cuda_rules_evict.cuh"
#include "engine/kernels/cuda_rules.h"

/* What attention would see. */
struct replay_view {
    const int32_t *pages;
    const uint32_t *chosen; /* by place, or NULL */
    int n;
};

static __device__ uint32_t attended_slots(const rules_head &h, const replay_view &v, int place) {
    return h.cache.live[v.pages[place]] & (v.chosen ? v.chosen[place] : ~0u);
}

/* Signals of tokens by place in the view and slot, -1 where nothing is attended; of pages by index
 * into the table. Ends in a barrier. */
static __device__ void replay_signals(const rules_head &h, const replay_view &v, int unit,
                                      const float *trace, float *signal) {
    const int32_t *position = h.cache.position;
    if (unit == UNIT_TOKEN)
        for (int i = threadIdx.x; i < v.n * PAGE; i += RULES_THREADS) {
            bool in = attended_slots(h, v, i / PAGE) >> i % PAGE & 1;
            signal[i] = in ? trace[position[v.pages[i / PAGE] * PAGE + i % PAGE]] : -1;
        }
    else
        for (int i = threadIdx.x; i < h.n_pages; i += RULES_THREADS)
            signal[i] = trace[position[h.table[i] * PAGE]];
    __syncthreads();
}

static __device__ replay_view replay_select(const rules_replay &r, const rules_head &h,
                                            rules_block &b, const float *trace) {
    const cuda_pass &p = r.pass;
    const replay_view all = {h.table, NULL, h.n_pages};
    if (selects_pages(h)) {
        replay_signals(h, all, UNIT_PAGE, trace, p.score);
        rules_select_pages(h, b, p.score, h.budget / PAGE, p.view);
        __syncthreads();
        return {p.view, NULL, h.budget / PAGE};
    }
    if (selects_tokens(h)) {
        replay_signals(h, all, UNIT_TOKEN, trace, p.score);
        rules_select_tokens(h, b, p.score, h.budget, p.chosen);
        __syncthreads();
        return {h.table, p.chosen, h.n_pages};
    }
    return all;
}

static __device__ void replay_output(const rules_replay &r, const rules_head &h,
                                     const replay_view &v, int step) {
    const int room = r.pass.cache.room * PAGE;
    const bool by_page = h.plan->evict == UNIT_PAGE;
    for (int i = threadIdx.x; i < room; i += RULES_THREADS) {
        const size_t to = (size_t)step * room + i;
        const int32_t page = i / PAGE < h.n_pages ? h.table[i / PAGE] : 0;
        const bool live = i / PAGE < h.n_pages && h.cache.live[page] >> i % PAGE & 1;
        const bool seen = i / PAGE < v.n && attended_slots(h, v, i / PAGE) >> i % PAGE & 1;
        r.held[to] = live ? h.cache.position[page * PAGE + i % PAGE] : -1;
        r.attended[to] = seen ? h.cache.position[v.pages[i / PAGE] * PAGE + i % PAGE] : -1;
        r.columns[to] = -1;
        if (live && h.plan->slot_columns)
            r.columns[to] = h.cache.slot_column[page * PAGE + i % PAGE];
        if (by_page && h.plan->page_column && i < h.n_pages)
            r.columns[to] = h.cache.page_column[h.table[i]];
    }
}

/* words: shared [2][room]. */
static __device__ void replay_step(const rules_replay &r, rules_shared &shared, rules_head &h,
                                   uint32_t *words, int step) {
    const cuda_pass &p = r.pass;
    const float *trace = r.signal + (size_t)step * r.stride;
    rules_block b = {&shared, 0};
    if (threadIdx.x == 0)
        rules_feed_row(p.rows, p.plans + p.rows->plan);
    __syncthreads();
    rules_head_of(p, 0, 0, 0, &h);
    if (h.evicts)
        rules_evict(h, b, {words, (int32_t *)words + p.cache.room, p.many, trace});
    const rules_place at = rules_find_place(h);
    __syncthreads();
    if (threadIdx.x == 0)
        rules_take_place(h, at);
    __syncthreads();
    const replay_view v = replay_select(r, h, b, trace);
    if (h.observed && h.plan->evict != UNIT_NONE) {
        replay_signals(h, v, h.plan->evict, trace, p.score);
        if (h.plan->evict == UNIT_PAGE)
            rules_observe_pages(h, b, p.score);
        else
            rules_observe_tokens(h, b, p.score, v.pages, v.n);
        __syncthreads();
    }
    replay_output(r, h, v, step);
    __syncthreads();
}

static __global__ void __launch_bounds__(RULES_THREADS)
    k_replay(const __grid_constant__ rules_replay r) {
    extern __shared__ uint32_t words[];
    __shared__ rules_shared shared;
    __shared__ rules_head h;
    pdl_launch();
    pdl_wait();
    for (int step = 0; step < r.steps; step++)
        replay_step(r, shared, h, words, step);
}

void cuda_rules_replay(const rules_replay *r, cudaStream_t stream) {
    launch(k_replay, dim3(1), dim3(RULES_THREADS), (size_t)r->pass.cache.room * 8, stream, *r);
}
