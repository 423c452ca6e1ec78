/* Attention of a pass of one row whose plan only appends (full), in one kernel: a block has one
 * chunk, makes the head's queries of q itself, and where its chunk holds the last page appends the
 * token; the block that is done last merges the chunks. With one row there is little to load, and
 * each kernel less saves what its start costs. Same bits as cuda_prepare and cuda_attend. */
#include "engine/kernels/cuda_attend.cuh"
#include "engine/kernels/cuda_vectors.cuh"

enum { WARPS = CUDA_ATTEND_WARPS };
static_assert((int)VECTOR_WARPS == (int)WARPS);

/* The token under way goes to the chunk's last page, which is the row's. */
template <int CH>
static __device__ void append(const cuda_pass &p, const item &it, int layer, int32_t position,
                              const float *key, const float *value) {
    const int32_t page = __ldcg(ids_of(p, layer, it) + it.pages - 1);
    const int slot = it.last - 1;
    write_token<CH>(p.cache, page, slot, slot == 0, key, value);
    if (threadIdx.x == 0) {
        p.cache.live[page] = (2u << slot) - 1;
        p.cache.position[page * PAGE + slot] = position;
    }
}

/* The block whose chunk is the head's last to be done merges all of them. */
template <int DT>
static __device__ void merge_head(const cuda_pass &p, const item &it, merging &merge,
                                  const cuda_acts &acts) {
    __shared__ bool last;
    const int group = p.shape.group;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicAdd(p.done + it.kv, 1) + 1 == it.n_chunks;
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    if (threadIdx.x == 0)
        p.done[it.kv] = 0;
    const parts chunks = {part_of(p, it.row, it.kv, 0), attend_part_floats(group, DT * 16),
                          it.n_chunks, DT * 16, group};
    weigh<WARPS>(chunks, merge, threadIdx.x / 32, threadIdx.x % 32);
    store_head<WARPS>(p, it.row, it.kv, false, false, chunks, merge, acts);
}

template <int DT, int GT>
__global__ void __launch_bounds__(32 * WARPS)
    k_attend_row(const __grid_constant__ cuda_pass p, int layer, const float *q_norm,
                 const float *k_norm, const __grid_constant__ cuda_acts acts) {
    enum { CH = DT * 16 };
    extern __shared__ __align__(16) char memory[];
    __shared__ merging merge;
    __shared__ item it;
    uint2(*queries)[DT][32] = (uint2(*)[DT][32])memory;                /* [GT] */
    float *results = (float *)(memory + GT * DT * 32 * sizeof(uint2)); /* before: the vectors */
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = p.shape.group;
    const bool early = p.early && layer > 0;
    pdl_launch();
    if (!early)
        pdl_wait();
    const int n = __ldcg(p.n_work) * p.shape.n_kv_heads;
    if ((int)blockIdx.x >= n)
        return pdl_wait();
    if (threadIdx.x == 0)
        it = item_of(p, layer, false, 0, blockIdx.x, n);
    __syncthreads();
    const bool appends = (it.pages - 1) / WARPS % it.n_chunks == it.chunk;
    const int32_t position = __ldcg(&p.rows[it.row].position);
    const vectors<CH> v = {it.row, it.kv,  appends ? group + 2 : group,   true,
                           q_norm, k_norm, load_rotation<CH>(p, position)};
    uint4 key[DT], value[DT];
    warp_pages pages, none = {};
    load_ids<WARPS>(p, layer, it, warp, lane, &pages);
    load_live<WARPS>(p, it, warp, lane, &pages);
    const bool waits = is_last_page<WARPS>(it, warp);
    if (pages.n > 0 && !waits)
        load_page<DT>(page_at<DT>(p, pages.id_of(0), lane), false, key, value);
    pdl_wait();
    load_vectors<CH>(p, v, results);
    __syncthreads();
    store_queries<CH, GT>(p.shape, results, queries[0][0]);
    if (appends)
        append<CH>(p, it, layer, position, results + group * CH, results + (group + 1) * CH);
    __syncthreads();
    if (waits)
        load_page<DT>(page_at<DT>(p, pages.id_of(0), lane), false, key, value);
    state<DT, GT> w = no_state<DT, GT>();
    attend_pages<DT, GT, false, WARPS>(p, it, false, queries, warp, lane, pages, none, key, value,
                                       w);
    store_warp<DT, GT>(w, results + warp * attend_part_floats(group, CH), group, lane);
    __syncthreads();
    merge_item<DT, WARPS>(p, it, false, results, merge, acts);
    if (it.n_chunks > 1)
        merge_head<DT>(p, it, merge, acts);
}

template <int DT, int GT>
static void launch_row(const cuda_pass *p, int layer, const float *q_norm, const float *k_norm,
                       const cuda_acts *acts, cudaStream_t stream) {
    const size_t shared = (size_t)attend_bytes(WARPS, p->shape.group, DT * 16);
    launch(k_attend_row<DT, GT>, dim3(p->shape.n_kv_heads * p->max_chunks), dim3(32 * WARPS),
           shared, stream, *p, layer, q_norm, k_norm, *acts);
}

template <int GT>
static void attend_row(const cuda_pass *p, int layer, const float *q_norm, const float *k_norm,
                       const cuda_acts *acts, cudaStream_t stream) {
    switch (p->shape.cache_head) {
    case 32:
        return launch_row<2, GT>(p, layer, q_norm, k_norm, acts, stream);
    case 64:
        return launch_row<4, GT>(p, layer, q_norm, k_norm, acts, stream);
    case 128:
        return launch_row<8, GT>(p, layer, q_norm, k_norm, acts, stream);
    default:
        return launch_row<16, GT>(p, layer, q_norm, k_norm, acts, stream);
    }
}

void cuda_attend_row(const cuda_pass *p, int32_t layer, const float *q_norm, const float *k_norm,
                     const cuda_acts *acts, cudaStream_t stream) {
    (p->shape.group > 8 ? attend_row<2> : attend_row<1>)(p, layer, q_norm, k_norm, acts, stream);
}
