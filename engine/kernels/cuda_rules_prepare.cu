/* What happens to one KV head between its q, k, v and attention: head norms, rotation, eviction,
 * append, and what follows from bounds. Twin of decode_head_task in cpu.c. */
#include "engine/kernels/cuda_rules_bounds.cuh"
#include "engine/kernels/cuda_rules_evict.cuh"

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

/* --- q, k, v -------------------------------------------------------------------------------- */

/* What a lane needs to rotate its pairs of dims d = lane + 32 i < head_size / 2. Keys that are kept
 * by rank are not rotated, and their query stands behind all of them. */
template <int CH> struct rotation { float c[(CH + 63) / 64], s[(CH + 63) / 64]; };
template <int CH>
static __device__ rotation<CH> load_rotation(const cuda_pass &p, const rules_head &h) {
    const int half = p.shape.head_size / 2;
    const int at = h.plan->keys == KEYS_RANK ? h.n_live - 1 : h.now;
    const float *rope = p.rope + (size_t)at * p.shape.head_size;
    rotation<CH> r = {};
#pragma unroll
    for (int i = 0; i < (CH + 63) / 64; i++) {
        const int d = threadIdx.x % 32 + 32 * i;
        if (d < half)
            r.c[i] = rope[d], r.s[i] = rope[half + d];
    }
    return r;
}

/* One vector by one warp: x[e] is dim lane + 32 e. gain, r: NULL for none. */
template <int CH>
static __device__ void finish_vector(const cuda_shape &shape, const float x[CH / 32],
                                     const float *gain, const rotation<CH> *r, float *to) {
    const int lane = threadIdx.x % 32, size = shape.head_size, half = size / 2;
    float squares = 0;
#pragma unroll
    for (int e = 0; e < CH / 32; e++)
        squares += x[e] * x[e];
    squares = warp_sum(squares);
    const float factor = 1 / sqrtf(squares / (float)size + shape.eps);
#pragma unroll
    for (int e = 0; e < CH / 32; e++) {
        const int d = lane + 32 * e;
        to[d] = gain && d < size ? x[e] * factor * gain[d] : x[e];
    }
    if (!r)
        return;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < (CH + 63) / 64; i++) {
        const int d = lane + 32 * i;
        if (d >= half)
            continue;
        const float a = to[d], b = to[half + d];
        to[d] = a * r->c[i] - b * r->s[i];
        to[half + d] = b * r->c[i] + a * r->s[i];
    }
}

/* Vector i of group + 2: the q heads, k, v; all of a warp are on their way at once. */
template <int CH>
static __device__ void load_vectors(const cuda_pass &p, const rules_head &h, const float *q_norm,
                                    const float *k_norm, const rotation<CH> &r,
                                    const prepared<CH> &to) {
    enum { EACH = (CUDA_GROUP + 2 + RULES_WARPS - 1) / RULES_WARPS };
    const cuda_shape &c = p.shape;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float *qkv = p.qkv + (size_t)h.row * (c.n_heads + 2 * c.n_kv_heads) * c.head_size;
    float x[EACH][CH / 32];
#pragma unroll
    for (int n = 0; n < EACH; n++) {
        const int i = warp + RULES_WARPS * n, kv = i - c.group;
        const int head = kv < 0 ? h.kv * c.group + i : c.n_heads + kv * c.n_kv_heads + h.kv;
#pragma unroll
        for (int e = 0; e < CH / 32; e++)
            x[n][e] = kv < 2 && lane + 32 * e < c.head_size
                          ? __ldcg(qkv + head * c.head_size + lane + 32 * e)
                          : 0;
    }
#pragma unroll
    for (int n = 0; n < EACH; n++) {
        const int i = warp + RULES_WARPS * n, kv = i - c.group;
        const bool rotates = kv < 0 || (kv == 0 && h.plan->keys != KEYS_RANK);
        if (kv < 2)
            finish_vector<CH>(c, x[n],
                              kv < 0    ? q_norm
                              : kv == 0 ? k_norm
                                        : NULL,
                              rotates ? &r : NULL, to.q + i * CH);
    }
}

/* q as attention takes it. */
template <int CH, int GT>
static __device__ void store_queries(const cuda_pass &p, const rules_head &h, const float *q) {
    uint2 *out = (uint2 *)p.q + head_number(p, h) * (GT * CH * 2);
    for (int i = threadIdx.x; i < GT * CH * 2; i += RULES_THREADS) {
        const int lane = i % 32, head = i / (CH * 2) * 8 + lane / 4;
        const float *x = q + head * CH + i / 32 % (CH / 16) * 16 + lane % 4 * 2;
        out[i] = head < p.shape.group
                     ? make_uint2(float_bf16x2(x[0], x[1]), float_bf16x2(x[8], x[9]))
                     : make_uint2(0, 0);
    }
}

/* --- append --------------------------------------------------------------------------------- */

/* A new page holds the token in slot 0 and zeros. */
template <int CH> static __device__ void write_page(uint4 *page, const prepared<CH> &x) {
    for (int i = threadIdx.x; i < 4 * CH; i += RULES_THREADS) {
        const int lane = i % 32, tile = i / 32 % (CH / 16) * 16;
        uint4 word = make_uint4(0, 0, 0, 0);
        if (i < 2 * CH && lane < 4) {
            const float *k = x.k + tile + lane * 2;
            word.x = float_bf16x2(k[0], k[1]), word.z = float_bf16x2(k[8], k[9]);
        } else if (i >= 2 * CH && lane % 4 == 0) {
            const float *v = x.v + tile + lane / 4;
            word.x = float_bf16(v[0]), word.y = float_bf16(v[8]);
        }
        page[i] = word;
    }
}

template <int CH>
static __device__ void write_slot(uint16_t *page, int slot, const prepared<CH> &x) {
    const int d = threadIdx.x;
    if (d < CH / 2)
        *(uint32_t *)(page + key_at(slot, 2 * d)) = float_bf16x2(x.k[2 * d], x.k[2 * d + 1]);
    if (d < CH)
        page[value_at(CH, slot, d)] = float_bf16(x.v[d]);
}

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
    uint16_t *page = h.cache.kv + (size_t)at.page * page_elements(CH);
    if (h.opens)
        write_page<CH>((uint4 *)page, x);
    else
        write_slot<CH>(page, at.slot, x);
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
    const rotation<CH> rotation = load_rotation<CH>(p, h);
    pdl_wait(); /* for q, k, v: nothing before needs more than the layer's last pass has left */
    load_vectors<CH>(p, h, q_norm, k_norm, rotation, x);
    __syncthreads();
    append<CH>(h, at, x);
    store_queries<CH, GT>(p, h, x.q);
    if (h.plan->keys == KEYS_RANK)
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
