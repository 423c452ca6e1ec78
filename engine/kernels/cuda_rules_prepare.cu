/* What happens to one KV head between its q, k, v and attention: head norms, rotation, eviction,
 * append, and what follows from bounds. Twin of decode_head_task in cpu.c. */
#include "engine/kernels/cuda_rules_bounds.cuh"
#include "engine/kernels/cuda_rules_evict.cuh"
#include "engine/kernels/cuda_vectors.cuh"

static_assert((int)VECTOR_THREADS == (int)RULES_THREADS);

/* Shared memory of a block. */
template <int CH> struct prepared {
    float *q, *k, *v; /* [group][CH], [CH], [CH], padding zero */
    uint2 *parts;     /* of q */
    int32_t *pages;   /* [room] */
    float *signal;    /* [room] */
};

template <int CH, int GT>
static __device__ prepared<CH> prepared_at(float4 *memory, int group, int room) {
    prepared<CH> x;
    x.q = (float *)memory;
    x.k = x.q + group * CH;
    x.v = x.k + CH;
    x.parts = (uint2 *)(x.v + CH);
    x.pages = (int32_t *)(x.parts + BOUND_PARTS<CH, GT>);
    x.signal = (float *)(x.pages + room);
    return x;
}

static __device__ size_t head_number(const cuda_pass &p, const rules_head &h) {
    return (size_t)h.row * p.shape.n_kv_heads + h.kv;
}

/* --- append --------------------------------------------------------------------------------- */

/* A NaN widens nothing. */
template <int CH>
static __device__ void widen_bounds(uint16_t *bounds, bool first, const float *k) {
    const int d = threadIdx.x;
    if (d >= CH)
        return;
    const uint16_t key = float_bf16(k[d]);
    if (first || bf16_float(key) < bf16_float(bounds[d]))
        bounds[d] = key;
    if (first || bf16_float(key) > bf16_float(bounds[CH + d]))
        bounds[CH + d] = key;
}

template <int CH>
static __device__ void append(const rules_head &h, const rules_place &at, const prepared<CH> &x) {
    write_token<CH>(h.cache, at.page, at.slot, h.opens, x.k, x.v);
    if (h.plan->bounds)
        widen_bounds<CH>(h.cache.bounds + (size_t)at.page * (2 * CH), !at.live, x.k);
    if (threadIdx.x == 0)
        rules_take_place(h, at);
}

/* How many live tokens are older, by index into the table and slot; 0 in dead slots. seen, before:
 * [now / 32 + 1] in shared memory. */
static __device__ void store_ranks(const rules_head &h, rules_block &b, uint32_t *seen,
                                   int32_t *before, int32_t *rank) {
    const cuda_cache &c = h.cache;
    mark_positions(h, b, seen, before);
    for (int i = threadIdx.x; i < h.n_pages * PAGE; i += RULES_THREADS) {
        const int32_t page = h.table[i / PAGE], position = c.position[page * PAGE + i % PAGE];
        const bool live = c.live[page] >> i % PAGE & 1;
        rank[i] = live ? rank_of(seen, before, position) : 0;
    }
}

/* --- what follows from bounds --------------------------------------------------------------- */

template <int CH, int GT>
static __device__ void follow_bounds(const cuda_pass &p, const rules_head &h, rules_shared *shared,
                                     const prepared<CH> &x, bound_softmax *soft) {
    const bool selects = selects_pages(h) && signal_is_bound(h.plan->by);
    const bool observes =
        h.plan->has_observe && h.plan->evict == UNIT_PAGE && signal_is_bound(h.plan->observe);
    if (!selects && !observes)
        return;
    __syncthreads();
    for (int i = threadIdx.x; i < h.n_pages; i += RULES_THREADS)
        x.pages[i] = h.table[i];
    store_parts<CH, GT>(x.q, p.shape.group, x.parts);
    const bound_task task = {
        p.cache.bounds, x.pages,  h.n_pages, p.shape.group, h.plan->share_scaled ? p.scale : 1,
        x.parts,        x.signal, soft};
#pragma unroll 1
    for (int step = selects ? 0 : 1; step < (observes ? 2 : 1); step++) {
        if (step == 0 || !selects || h.plan->by != h.plan->observe)
            bound_signals<CH, GT>(task, (step ? h.plan->observe : h.plan->by) == SIGNAL_SHARE);
        rules_block b = {shared, 0};
        if (step == 0)
            rules_select_pages(h, b, x.signal, h.budget / PAGE,
                               p.view + head_number(p, h) * p.cache.room);
        else
            rules_observe_pages(h, b, x.signal);
        __syncthreads();
    }
}

/* --- the kernel ----------------------------------------------------------------------------- */

template <int CH, int GT>
__global__ void __launch_bounds__(RULES_THREADS, GT == 1 ? 3 : 2)
    k_prepare(const __grid_constant__ cuda_pass p, int layer, const float *q_norm,
              const float *k_norm) {
    extern __shared__ float4 memory[];
    __shared__ rules_shared shared;
    __shared__ rules_head h;
    __shared__ bound_softmax soft[2 * GT * RULES_THREADS];
    const bool early = p.early && layer > 0;
    pdl_launch();
    if (!early)
        pdl_wait();
    const int row = blockIdx.x / p.shape.n_kv_heads, kv = blockIdx.x % p.shape.n_kv_heads;
    if (!__ldcg(&p.rows[row].active))
        return pdl_wait();
    rules_head_of(p, row, layer, kv, &h);
    const prepared<CH> x = prepared_at<CH, GT>(memory, p.shape.group, p.cache.room);
    rules_block b = {&shared, 0};
    if (h.evicts)
        rules_evict(h, b,
                    {(uint32_t *)x.pages, (int32_t *)x.signal,
                     p.many + head_number(p, h) * CUDA_MANY * p.cache.room * PAGE, NULL});
    const rules_place at = rules_find_place(h);
    /* the query of keys that are kept by rank stands behind all of them */
    const bool by_rank = h.plan->keys == KEYS_RANK;
    const vectors<CH> v = {row,
                           kv,
                           p.shape.group + 2,
                           !by_rank,
                           q_norm,
                           k_norm,
                           load_rotation<CH>(p, by_rank ? h.n_live - 1 : h.now)};
    pdl_wait(); /* for q, k, v: nothing before needs more than the layer's last pass has left */
    load_vectors<CH>(p, v, x.q);
    __syncthreads();
    append<CH>(h, at, x);
    store_queries<CH, GT>(p.shape, x.q, (uint2 *)p.q + head_number(p, h) * (GT * CH * 2));
    if (by_rank)
        store_ranks(h, b, (uint32_t *)x.pages, (int32_t *)x.signal,
                    p.rank + head_number(p, h) * p.cache.room * PAGE);
    follow_bounds<CH, GT>(p, h, &shared, x, soft);
}

template <int CH, int GT>
static void launch_prepare(const cuda_pass *p, int layer, const float *q_norm, const float *k_norm,
                           cudaStream_t stream) {
    launch(k_prepare<CH, GT>, dim3(p->n_rows * p->shape.n_kv_heads), dim3(RULES_THREADS),
           (size_t)prepare_bytes(p->shape.group, CH, p->cache.room), stream, *p, layer, q_norm,
           k_norm);
}

template <int GT>
static void prepare_by_head(const cuda_pass *p, int layer, const float *q_norm, const float *k_norm,
                            cudaStream_t stream) {
    switch (p->shape.cache_head) {
    case 32:
        return launch_prepare<32, GT>(p, layer, q_norm, k_norm, stream);
    case 64:
        return launch_prepare<64, GT>(p, layer, q_norm, k_norm, stream);
    case 128:
        return launch_prepare<128, GT>(p, layer, q_norm, k_norm, stream);
    default:
        return launch_prepare<256, GT>(p, layer, q_norm, k_norm, stream);
    }
}

void cuda_prepare(const cuda_pass *p, int32_t layer, const float *q_norm, const float *k_norm,
                  cudaStream_t stream) {
    (p->shape.group > 8 ? prepare_by_head<2> : prepare_by_head<1>)(p, layer, q_norm, k_norm,
                                                                   stream);
}
