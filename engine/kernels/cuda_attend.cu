/* Attention of a decode pass. A block takes one chunk of a head's pages after the other; its warps
 * go through them (cuda_attend.cuh), and are merged, then chunks (Flash-Decoding; cuda_merge.cu),
 * in a fixed order. The chunk's length is a function of the sequence's own length, so the batch
 * changes no bit. */
#include "engine/kernels/cuda_attend.cuh"

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
