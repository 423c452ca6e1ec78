/* Attention of a decode pass. A block takes one chunk of a head's pages after the other; each of
 * its warps streams whole pages from memory to registers (16 bytes a lane and load) and
 * multiplies them on the matrix unit, all q heads of the group at once:
 *
 *     S[16 slots][8 heads] = K[16][d] q[d][8]     O[d][8] += V^T[d][16] P[16][8]
 *
 * with the running softmax of FlashAttention (arXiv 2205.14135). Warps, then chunks
 * (Flash-Decoding; cuda_merge.cu), are merged in a fixed order; the chunk's length is a function of
 * the sequence's own length, so the batch changes no bit. */
#include "engine/kernels/cuda_attend_items.cuh"
#include "engine/kernels/cuda_merge.cuh"

/* --- one warp over its pages ---------------------------------------------------------------- */

/* Rotates two dims (one word) of a slot and their partners half a head further on. */
static __device__ __forceinline__ void rotate_word(uint32_t *low, uint32_t *high, const float *rope,
                                                   int half, int d) {
    float a[2] = {__uint_as_float(*low << 16), __uint_as_float(*low & 0xffff0000)};
    float b[2] = {__uint_as_float(*high << 16), __uint_as_float(*high & 0xffff0000)};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float c = rope[d + i], s = rope[half + d + i], x = a[i], y = b[i];
        a[i] = x * c - y * s, b[i] = y * c + x * s;
    }
    *low = float_bf16x2(a[0], a[1]), *high = float_bf16x2(b[0], b[1]);
}

/* Keys that are kept unrotated: by their slots' ranks. */
template <int DT>
static __device__ __forceinline__ void rotate_keys(uint4 k[DT], const int32_t *rank,
                                                   const float *rope, int lane) {
    const int head = DT * 16, half = head / 2;
    const float *low = rope + (size_t)rank[lane / 4] * head;
    const float *high = rope + (size_t)rank[lane / 4 + 8] * head;
#pragma unroll
    for (int j = 0; j < DT / 2; j++) {
        const int d = j * 16 + lane % 4 * 2;
        rotate_word(&k[j].x, &k[j + DT / 2].x, low, half, d);
        rotate_word(&k[j].y, &k[j + DT / 2].y, high, half, d);
        rotate_word(&k[j].z, &k[j + DT / 2].z, low, half, d + 8);
        rotate_word(&k[j].w, &k[j + DT / 2].w, high, half, d + 8);
    }
}

/* s: scores of one tile, scaled; dead slots -inf. Turns them into exp(s - max) as B fragments. */
template <int DT, int GT>
static __device__ __forceinline__ uint2 soften(state<DT, GT> &w, int t, float s[4]) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
        float most = fmaxf(s[j], s[j + 2]);
#pragma unroll
        for (int i = 4; i <= 16; i *= 2)
            most = fmaxf(most, __shfl_xor_sync(~0u, most, i));
        most = fmaxf(most, w.max[t][j]);
        const float base = most == -CUDART_INF_F ? 0 : most;
        const float factor = __expf(w.max[t][j] - base);
        s[j] = __expf(s[j] - base), s[j + 2] = __expf(s[j + 2] - base);
        w.sum[t][j] = w.sum[t][j] * factor + (s[j] + s[j + 2]);
        w.max[t][j] = most;
#pragma unroll
        for (int d = 0; d < DT; d++)
            w.out[t][d][j] *= factor, w.out[t][d][j + 2] *= factor;
    }
    return make_uint2(transpose(float_bf16x2(s[0], s[1])), transpose(float_bf16x2(s[2], s[3])));
}

/* Scores of one page, before the softmax, where the plan wants them. */
static __device__ void store_scores(const cuda_pass &p, const item &it, int place, int t,
                                    const float s[4], int lane) {
    const size_t stride = (size_t)p.cache.room * PAGE;
    float *score = p.score + head_of(p, it) * p.shape.group * stride;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const int head = t * 8 + lane % 4 * 2 + j % 2, slot = lane / 4 + j / 2 * 8;
        if (head < p.shape.group)
            score[head * stride + (size_t)place * PAGE + slot] = s[j];
    }
}

template <int DT>
static __device__ __forceinline__ const uint16_t *page_at(const cuda_pass &p, int32_t id,
                                                          int lane) {
    return p.cache.kv + (size_t)id * page_elements(16 * DT) + lane * 8;
}
template <int DT>
static __device__ __forceinline__ void load_tiles(const uint16_t *from, uint4 x[DT]) {
#pragma unroll
    for (int d = 0; d < DT; d++)
        x[d] = load_once(from + d * 256);
}

template <int DT>
static __device__ __forceinline__ void load_page(const uint16_t *page, bool look, uint4 k[DT],
                                                 uint4 v[DT]) {
    load_tiles<DT>(page, k);
    if (!look)
        load_tiles<DT>(page + DT * 256, v);
}

/* Page numbers of a block's first item, and the warp's first page: of what stands still before the
 * kernels before have ended. Afterwards they have. */
template <int DT, int WARPS>
static __device__ __forceinline__ void load_first(const cuda_pass &p, int layer, const item &it,
                                                  bool early, bool look, int warp, int lane,
                                                  warp_pages *pages, uint4 k[DT], uint4 v[DT]) {
    const bool still = early && it.flags & CUDA_WORK_STILL;
    if (still)
        load_ids<WARPS>(p, layer, it, warp, lane, pages);
    const bool loads = still && pages->n > 0 && !is_last_page<WARPS>(it, warp);
    if (loads)
        load_page<DT>(page_at<DT>(p, pages->id_of(0), lane), look, k, v);
    pdl_wait();
    if (!still)
        load_ids<WARPS>(p, layer, it, warp, lane, pages);
    if (pages->n > 0 && !loads)
        load_page<DT>(page_at<DT>(p, pages->id_of(0), lane), look, k, v);
}

/* k, v: keys and values of the first page, on their way; afterwards those of the first page of the
 * item ahead. A page's loads are issued as soon as the registers of the one before are free. */
template <int DT, int GT, bool RANK, int WARPS>
static __device__ __forceinline__ void
attend_pages(const cuda_pass &p, const item &it, bool look, const uint2 (*q)[DT][32], int warp,
             int lane, const warp_pages &pages, const warp_pages &ahead, uint4 k[DT], uint4 v[DT],
             state<DT, GT> &w) {
    for (int i = 0; i < pages.n; i++) {
        const int place = place_of<WARPS>(it, warp, i);
        const uint32_t live = pages.live_of(i);
        const bool more = i + 1 < pages.n, any = more || ahead.n > 0;
        const uint16_t *next = page_at<DT>(p, more ? pages.id_of(i + 1) : ahead.id_of(0), lane);
        float s[GT][4] = {};
        if (RANK && it.flags & CUDA_WORK_RANK)
            rotate_keys<DT>(k, p.rank + (head_of(p, it) * p.cache.room + place) * PAGE, p.rope,
                            lane);
#pragma unroll
        for (int t = 0; t < GT; t++)
#pragma unroll
            for (int d = 0; d < DT; d++)
                mma(s[t], k[d], q[t][d][lane]);
        if (any)
            load_tiles<DT>(next, k);
#pragma unroll
        for (int t = 0; t < GT; t++) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                s[t][j] = live >> (lane / 4 + j / 2 * 8) & 1 ? s[t][j] * p.scale : -CUDART_INF_F;
            if (it.flags & CUDA_WORK_MASS)
                store_scores(p, it, place, t, s[t], lane);
            const uint2 prob = soften<DT, GT>(w, t, s[t]);
            if (!look)
#pragma unroll
                for (int d = 0; d < DT; d++)
                    mma(w.out[t][d], v[d], prob);
        }
        if (any && !look)
            load_tiles<DT>(next + DT * 256, v);
    }
}

/* --- the kernel ----------------------------------------------------------------------------- */

/* Queries of an item to shared memory, 16 bytes a thread, without waiting for them. */
template <int DT, int GT, int WARPS>
static __device__ __forceinline__ void copy_queries(const cuda_pass &p, const item &it,
                                                    uint2 (*q)[DT][32]) {
    enum { WORDS = GT * DT * 16 };
    const uint4 *from = (const uint4 *)p.q + head_of(p, it) * WORDS;
    for (int i = threadIdx.x; i < WORDS; i += 32 * WARPS)
        copy_word((uint4 *)q + i, from + i);
}

/* What the warps of a block have found of an item becomes outputs, or where the head has more
 * chunks a part of them. */
template <int DT, int WARPS>
static __device__ void merge_item(const cuda_pass &p, const item &it, bool look, float *results,
                                  merging &merge, const cuda_acts &acts) {
    const int group = p.shape.group, size = attend_part_floats(group, DT * 16);
    const parts warps = {results, size, WARPS, DT * 16, group};
    weigh<WARPS>(warps, merge, threadIdx.x / 32, threadIdx.x % 32);
    if (it.n_chunks == 1)
        store_head<WARPS>(p, it.row, it.kv, look, it.flags & CUDA_WORK_MASS, warps, merge, acts);
    else
        store_chunk<WARPS>(warps, merge, part_of(p, it.row, it.kv, it.chunk));
}

/* Items overlap: while the pages of one are multiplied, the next one's page numbers and queries
 * arrive, and the one behind it is read; the next one's first page is on its way before the warps
 * merge what they have. */
template <int DT, int GT, bool RANK, int WARPS>
__global__ void __launch_bounds__(32 * WARPS, (DT <= 8 && GT == 1 ? 16 : 8) / WARPS)
    k_attend(const __grid_constant__ cuda_pass p, int layer, bool look,
             const __grid_constant__ cuda_acts acts) {
    extern __shared__ __align__(16) char memory[];
    __shared__ merging merge;
    __shared__ item items[3]; /* this one, the next, the one behind it */
    uint2(*queries)[GT][DT][32] = (uint2(*)[GT][DT][32])memory; /* this one's, the next one's */
    float *results = (float *)(memory + 2 * GT * DT * 32 * sizeof(uint2));
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int size = attend_part_floats(p.shape.group, DT * 16);
    const bool early = p.early && layer > 0;
    pdl_launch();
    if (!early)
        pdl_wait();
    const int list = look || layer < __ldcg(p.n_work + 2);
    const int n = __ldcg(p.n_work + list) * p.shape.n_kv_heads;
    if ((int)blockIdx.x >= n)
        return pdl_wait();
    if (threadIdx.x < 2)
        items[threadIdx.x] = item_of(p, layer, look, list, blockIdx.x + threadIdx.x * gridDim.x, n);
    __syncthreads();
    uint4 k[DT], v[DT];
    warp_pages pages;
    load_first<DT, WARPS>(p, layer, items[0], early, look, warp, lane, &pages, k, v);
    copy_queries<DT, GT, WARPS>(p, items[0], queries[0]);
    load_live<WARPS>(p, items[0], warp, lane, &pages);
    for (int i = blockIdx.x, turn = 0, place = 0; i < n; i += gridDim.x, turn ^= 1) {
        const item &it = items[place], &next = items[(place + 1) % 3];
        warp_pages ahead;
        copy_wait();
        __syncthreads(); /* queries are there; the last item's results have been read */
        load_ids<WARPS>(p, layer, next, warp, lane, &ahead);
        if (next.pages)
            copy_queries<DT, GT, WARPS>(p, next, queries[turn ^ 1]);
        if (threadIdx.x == 0)
            items[(place + 2) % 3] = item_of(p, layer, look, list, i + 2 * (int)gridDim.x, n);
        state<DT, GT> w = no_state<DT, GT>();
        attend_pages<DT, GT, RANK, WARPS>(p, it, look, queries[turn], warp, lane, pages, ahead, k,
                                          v, w);
        if (pages.n <= 0 && ahead.n > 0)
            load_page<DT>(page_at<DT>(p, ahead.id_of(0), lane), look, k, v);
        load_live<WARPS>(p, next, warp, lane, &ahead);
        if (it.pages) {
            store_warp<DT, GT>(w, results + warp * size, p.shape.group, lane);
            __syncthreads();
            merge_item<DT, WARPS>(p, it, look, results, merge, acts);
        }
        pages = ahead;
        place = (place + 1) % 3;
    }
}

template <int DT, int GT, bool RANK, int WARPS>
static void launch_attend(const cuda_pass *p, int layer, bool look, const cuda_acts *acts,
                          cudaStream_t stream) {
    const size_t shared = (size_t)attend_bytes(WARPS, p->shape.group, DT * 16);
    /* no more blocks than there can be items: they would keep the next kernel out */
    long most = (long)p->n_rows * p->shape.n_kv_heads * p->max_chunks;
    int blocks = device_multiprocessors() * (DT <= 8 && GT == 1 ? 16 : 8) / WARPS;
    blocks = most < blocks ? (int)most : blocks;
    launch(k_attend<DT, GT, RANK, WARPS>, dim3(blocks), dim3(32 * WARPS), shared, stream, *p, layer,
           look, *acts);
}

template <int DT, int GT, bool RANK>
static void attend_by_width(const cuda_pass *p, int layer, bool look, const cuda_acts *acts,
                            cudaStream_t stream) {
    (p->wide ? launch_attend<DT, GT, RANK, 4>
             : launch_attend<DT, GT, RANK, CUDA_ATTEND_WARPS>)(p, layer, look, acts, stream);
}

template <int GT, bool RANK>
static void attend_by_head(const cuda_pass *p, int layer, bool look, const cuda_acts *acts,
                           cudaStream_t stream) {
    switch (p->shape.cache_head) {
    case 32:
        return attend_by_width<2, GT, RANK>(p, layer, look, acts, stream);
    case 64:
        return attend_by_width<4, GT, RANK>(p, layer, look, acts, stream);
    case 128:
        return attend_by_width<8, GT, RANK>(p, layer, look, acts, stream);
    default:
        return attend_by_width<16, GT, RANK>(p, layer, look, acts, stream);
    }
}

void cuda_attend(const cuda_pass *p, int32_t layer, bool look, const cuda_acts *acts,
                 cudaStream_t stream) {
    bool wide_group = p->shape.group > 8;
    if (p->rank)
        (wide_group ? attend_by_head<2, true> : attend_by_head<1, true>)(p, layer, look, acts,
                                                                         stream);
    else
        (wide_group ? attend_by_head<2, false> : attend_by_head<1, false>)(p, layer, look, acts,
                                                                           stream);
    if (p->max_chunks > 1)
        merge_chunks(p, layer, look, acts, stream);
}
