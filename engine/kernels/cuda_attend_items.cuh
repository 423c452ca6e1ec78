/* What a decode pass attends to: items of work, and the pages of each warp of a block. Read while
 * the kernel before still runs, which must not meet a line of the L1 cache that is older. */
#pragma once

#include "engine/kernels/cuda_merge.cuh"

/* One (row, KV head, chunk) of `pages` pages in all. Chunks take turns with WARPS pages each:
 * blocks that run side by side then read side by side, which memory answers faster. */
struct item {
    int row, kv, chunk, n_chunks, pages, last, flags;
};

static __device__ __forceinline__ size_t head_of(const cuda_pass &p, const item &it) {
    return (size_t)it.row * p.shape.n_kv_heads + it.kv;
}
/* Physical pages by place. */
static __device__ __forceinline__ const int32_t *ids_of(const cuda_pass &p, int layer,
                                                        const item &it) {
    return it.flags & CUDA_WORK_VIEW ? p.view + head_of(p, it) * p.cache.room
                                     : table_of(p.cache, p.shape, it.row, layer, it.kv);
}

/* Where only some rows select (list 1), or all is looked at: the chunk's pages in this layer. */
static __device__ void fit_item(const cuda_pass &p, int layer, bool look, const cuda_work &w,
                                item *it) {
    const cuda_row &r = p.rows[it->row];
    const bool selects = layer >= w.dense_layers && !look;
    const bool by_page = it->flags & CUDA_WORK_VIEW && selects;
    const int n = by_page ? __ldcg(&r.budget) / PAGE : __ldcg(&r.n_pages),
              each = chunk_pages(p.wide, n);
    if (look && !(it->flags & CUDA_WORK_CHOSEN && layer >= w.dense_layers))
        it->pages = 0;
    else
        it->pages = it->chunk * each < n ? n : 0;
    it->n_chunks = (n + each - 1) / each;
    it->flags &= ~((by_page ? 0 : CUDA_WORK_VIEW) | (selects ? 0 : CUDA_WORK_CHOSEN));
}

/* Item i of n; without pages there is nothing to do. */
static __device__ item item_of(const cuda_pass &p, int layer, bool look, int list, int i, int n) {
    cuda_work w = {};
    if (i < n) {
        const cuda_work *from = p.work + (size_t)list * p.max_work + i / p.shape.n_kv_heads;
        const uint4 entry = __ldcg((const uint4 *)from);
        memcpy(&w, &entry, sizeof w);
    }
    item it = {w.row, i % p.shape.n_kv_heads, w.chunk, w.n_chunks, w.pages, w.last, w.flags};
    if (list && i < n)
        fit_item(p, layer, look, w, &it);
    return it;
}

/* What a warp knows of its pages of an item, the i-th in lane i. */
struct warp_pages {
    int n;
    int32_t id;
    uint32_t live;
    __device__ __forceinline__ int32_t id_of(int i) const { return __shfl_sync(~0u, id, i); }
    __device__ __forceinline__ uint32_t live_of(int i) const { return __shfl_sync(~0u, live, i); }
};
template <int WARPS>
static __device__ __forceinline__ int place_of(const item &it, int warp, int i) {
    return (i * it.n_chunks + it.chunk) * WARPS + warp;
}
template <int WARPS>
static __device__ __forceinline__ void load_ids(const cuda_pass &p, int layer, const item &it,
                                                int warp, int lane, warp_pages *w) {
    const int turn = it.n_chunks * WARPS;
    w->n = it.pages ? max(0, (it.pages - place_of<WARPS>(it, warp, 0) + turn - 1) / turn) : 0;
    w->id = 0, w->live = 0;
    if (lane < w->n)
        w->id = __ldcg(ids_of(p, layer, it) + place_of<WARPS>(it, warp, lane));
}
template <int WARPS>
static __device__ __forceinline__ void load_live(const cuda_pass &p, const item &it, int warp,
                                                 int lane, warp_pages *w) {
    if (lane >= w->n)
        return;
    const int place = place_of<WARPS>(it, warp, lane), full = (1 << PAGE) - 1;
    if (it.flags & CUDA_WORK_STILL)
        w->live = place + 1 < it.pages ? full : full >> (PAGE - it.last);
    else
        w->live = __ldcg(p.cache.live + w->id);
    if (it.flags & CUDA_WORK_CHOSEN)
        w->live &= __ldcg(p.chosen + head_of(p, it) * p.cache.room + place);
}

/* Whether the warp's first page is the one that the pass writes to. */
template <int WARPS> static __device__ __forceinline__ bool is_last_page(const item &it, int warp) {
    return place_of<WARPS>(it, warp, 0) + 1 == it.pages;
}
