/* The chunks of a head's attention become its outputs: a kernel of its own, since a block of
 * attention that merged would wait for memory while all others load it. */
#include "engine/kernels/cuda_merge.cuh"

enum { WARPS = 8, TOGETHER = 16 };

/* Chunks that a row's attention has in this layer; 0 where it has none. */
static __device__ int chunks_of(const cuda_pass &p, int layer, bool look, int row) {
    const cuda_row *r = p.rows + row;
    if (!__ldcg(&r->active))
        return 0;
    const cuda_plan *plan = p.plans + __ldcg(&r->plan);
    const int budget = __ldcg(&r->budget), pages = __ldcg(&r->n_pages);
    const bool selects = layer >= plan->dense_layers;
    if (look && !(selects && plan->select == UNIT_TOKEN && __ldcg(&r->n_live) > budget))
        return 0;
    const bool by_page = selects && !look && plan->select == UNIT_PAGE && pages > budget / PAGE;
    const int n = by_page ? budget / PAGE : pages, each = chunk_pages(p.wide, n);
    return (n + each - 1) / each;
}

/* Four dims of the first parts, element e on: on their way while the parts are weighed. */
static __device__ __forceinline__ void load_parts(const parts &from, int e, float4 y[TOGETHER]) {
#pragma unroll
    for (int i = 0; i < TOGETHER; i++)
        if (i < from.n)
            y[i] = *(const float4 *)(from.data + (size_t)i * from.stride + e);
}
static __device__ __forceinline__ float4 value_of(const parts &from, const merging &m, int e,
                                                  const float4 y[TOGETHER]) {
    float4 x = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < TOGETHER; i++)
        if (i < from.n)
            add_part(x, m.weight[i][e / from.head], y[i]);
#pragma unroll 8
    for (int i = TOGETHER; i < from.n; i++)
        add_part(x, m.weight[i][e / from.head],
                 *(const float4 *)(from.data + (size_t)i * from.stride + e));
    return x;
}

/* One block a head. */
__global__ void __launch_bounds__(32 * WARPS)
    k_merge(const __grid_constant__ cuda_pass p, int layer, bool look,
            const __grid_constant__ cuda_acts acts) {
    __shared__ merging merge;
    const int row = blockIdx.x / p.shape.n_kv_heads, kv = blockIdx.x % p.shape.n_kv_heads;
    const int head = p.shape.cache_head, group = p.shape.group, all = group * head;
    const int first = 4 * threadIdx.x;
    const bool early = p.early && layer > 0;
    pdl_launch();
    if (!early)
        pdl_wait();
    const int n = chunks_of(p, layer, look, row);
    pdl_wait();
    if (n < 2)
        return;
    const parts from = {part_of(p, row, kv, 0), attend_part_floats(group, head), n, head, group};
    float4 y[TOGETHER];
    if (first < all && !look)
        load_parts(from, first, y);
    weigh<WARPS>(from, merge, threadIdx.x / 32, threadIdx.x % 32);
    if (first < all && !look)
        store_dims(p, row, kv, head, merge, first, value_of(from, merge, first, y), acts);
    for (int e = first + 128 * WARPS; e < all && !look; e += 128 * WARPS)
        store_dims(p, row, kv, head, merge, e, value_of(from, merge, e), acts);
    if (p.plans[p.rows[row].plan].mass)
        store_softmax(p, row, kv, merge);
}

void merge_chunks(const cuda_pass *p, int layer, bool look, const cuda_acts *acts,
                  cudaStream_t stream) {
    launch(k_merge, dim3(p->n_rows * p->shape.n_kv_heads), dim3(32 * WARPS), 0, stream, *p, layer,
           look, *acts);
}
