/* Softmax mass of prompt keys: what the queries of a chunk give to every key of plans that observe
 * their prompt, from q, k and the queries' lse. A block of threads takes pages of keys and goes
 * over the queries behind them, 16 at a time; each of these sums has an order of its own, and they
 * are added one after the other: however the pack is cut into chunks, a key's bits are the same. */
#include "engine/kernels/cuda_prefill.cuh"

enum { WARPS = 4 };

/* KP: pages of keys of a block of threads. */
template <int DT> struct key_pages {
    enum { KP = DT <= 8 ? 2 : 1 };
};

/* What 16 queries (a block of the pack) of all heads of the group give to the keys; sum[u][i]: to
 * slot lane / 4 + 8 i of page u, the columns of this lane only. */
template <int DT, int KP>
static __device__ __forceinline__ void add_queries(const cuda_prefill &p, const uint4 (&k)[KP][DT],
                                                   float sum[KP][2], const float *qkv, int from,
                                                   int kv, int key, const pack_block &b, int lane) {
    const cuda_shape &shape = p.shape;
    const int row = b.prompt.first + b.position, size = shape.head_size;
    const float scale = p.scale * LOG2_E;
    const size_t stride = qkv_stride(shape);
    const float *queries = qkv + (row - from + lane / 4) * stride + kv * shape.group * size;
    const float *all_lse = p.lse + (size_t)(row + lane % 4 * 2) * shape.n_heads + kv * shape.group;
    for (int i = 0; i < 2 * shape.group; i++) {
        const int head = i / 2, t = i % 2;
        uint2 q[DT];
        float s[KP][4] = {}, lse[2];
        int sees[2]; /* up to this position */
        load_queries<DT>(q, queries + t * 8 * stride + head * size, size, lane);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int query = b.position + t * 8 + lane % 4 * 2 + j;
            sees[j] = query < b.prompt.n && query >= b.prompt.observed ? query : -1;
            lse[j] = all_lse[(size_t)(t * 8 + j) * shape.n_heads + head] * LOG2_E;
        }
#pragma unroll
        for (int d = 0; d < DT; d++)
#pragma unroll
            for (int u = 0; u < KP; u++)
                mma(s[u], k[u][d], q[d]);
#pragma unroll
        for (int u = 0; u < KP; u++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int slot = key + u * PAGE + lane / 4 + j / 2 * 8;
                const float mass = power_of_2(s[u][j] * scale - lse[j % 2]);
                sum[u][j / 2] += slot <= sees[j % 2] ? mass : 0;
            }
    }
}

template <int DT>
__global__ void __launch_bounds__(WARPS * 32, DT <= 8 ? 3 : 2)
    k_prompt_mass(const __grid_constant__ cuda_prefill p, const float *qkv, int from, int n) {
    enum { KP = key_pages<DT>::KP };
    __shared__ float part[WARPS][KP * PAGE];
    pdl_launch();
    pdl_wait();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv = blockIdx.y;
    const int block = blockIdx.x; /* of the keys; KP of them from here on */
    const pack_block own = block_of(p, block);
    const int end =
        min((from + n) / PAGE, own.prompt.first / PAGE + (own.prompt.n + PAGE - 1) / PAGE);
    int begin = max(from / PAGE, block); /* of the queries */
    if (!p.plans[own.prompt.plan].observe_prompt || own.position / PAGE % KP || begin >= end)
        return;
    const int pages = min((int)KP, end - block);
    begin = max(begin, (own.prompt.first + own.prompt.observed) / PAGE); /* of those observed */
    uint4 k[KP][DT];
#pragma unroll
    for (int u = 0; u < KP; u++)
#pragma unroll
        for (int d = 0; d < DT; d++)
            k[u][d] = u < pages ? load_fragment(page_of(p, kv, block + u) + lane * 8, d)
                                : make_uint4(0, 0, 0, 0);
    /* one thread a key; those of this chunk begin at 0 */
    const int row = block * PAGE + (int)threadIdx.x;
    const bool adds = (int)threadIdx.x < pages * PAGE;
    float *mass = p.mass + (size_t)kv * p.pages * PAGE + row;
    float total = adds && row / PAGE * PAGE < from ? *mass : 0;
    for (int at = begin; at < end; at += WARPS) {
        if (at + warp < end) {
            float sum[KP][2] = {};
            add_queries<DT, KP>(p, k, sum, qkv, from, kv, own.position, block_of(p, at + warp),
                                lane);
#pragma unroll
            for (int u = 0; u < KP; u++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float x = sum[u][i];
                    x += __shfl_xor_sync(~0u, x, 1);
                    x += __shfl_xor_sync(~0u, x, 2);
                    if (lane % 4 == 0)
                        part[warp][u * PAGE + i * 8 + lane / 4] = x;
                }
        }
        __syncthreads();
        for (int i = 0; adds && i < min((int)WARPS, end - at); i++)
            total += part[i][threadIdx.x];
        __syncthreads();
    }
    if (adds)
        *mass = total;
}

template <int DT>
static void launch_mass(const cuda_prefill *p, const float *qkv, int from, int n,
                        cudaStream_t stream) {
    launch(k_prompt_mass<DT>, dim3((from + n) / PAGE, p->shape.n_kv_heads), dim3(WARPS * 32), 0,
           stream, *p, qkv, from, n);
}

void cuda_prompt_mass(const struct cuda_prefill *p, const float *qkv, int32_t from, int32_t n,
                      cudaStream_t stream) {
    if (n < PAGE)
        return;
    switch (p->shape.cache_head) {
    case 32:
        return launch_mass<2>(p, qkv, from, n, stream);
    case 64:
        return launch_mass<4>(p, qkv, from, n, stream);
    case 128:
        return launch_mass<8>(p, qkv, from, n, stream);
    default:
        return launch_mass<16>(p, qkv, from, n, stream);
    }
}
