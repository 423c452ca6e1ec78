/* Prefill of packed prompts: keys and values into the workspace, exact causal attention. A warp
 * takes the queries of one head that share a page, and multiplies whole pages from memory on the
 * matrix unit, as in cuda_attend.cu:
 *
 *     S[16 slots][8 queries] = K[16][d] q[d][8]     O[d][8] += V^T[d][16] P[16][8]
 *
 * with the running softmax of FlashAttention (arXiv 2205.14135). Pages go in order, two at a time,
 * from the prompt's first on: a query's bits are a function of its prompt alone, whatever else is
 * in the pack and however the pack is cut into chunks. */
#include "engine/kernels/cuda_prefill.cuh"

enum {
    APPEND_WARPS = 8,
    WARPS = 4,        /* of a block of k_prompt_attend; they only share what they load */
    STEP = 2,         /* pages of a softmax step */
    PADDED = 256 + 8, /* a head in shared memory: neighbouring slots lie in different banks */
};

/* --- append --------------------------------------------------------------------------------- */

/* Head norm and rotation of one head by one warp: store(i, value) gets every dim. */
template <typename F>
static __device__ __forceinline__ void prepare(const cuda_shape &shape, const float *x,
                                               const float *gain, const float *rope, int lane,
                                               F store) {
    const int size = shape.head_size, half = size / 2;
    float factor = 1;
    if (gain) {
        float squares = 0;
        for (int i = lane; i < size; i += 32)
            squares += x[i] * x[i];
        factor = 1 / sqrtf(warp_sum(squares) / (float)size + shape.eps);
    }
    for (int i = lane; i < half; i += 32) {
        const float c = rope[i], s = rope[half + i];
        const float a = x[i] * factor * (gain ? gain[i] : 1);
        const float b = x[half + i] * factor * (gain ? gain[half + i] : 1);
        store(i, a * c - b * s);
        store(half + i, b * c + a * s);
    }
}

struct append_tile { /* rotated keys and values of a page */
    uint16_t key[PAGE][PADDED], value[PAGE][PADDED];
};

static __device__ void fill_slot(const cuda_prefill &p, append_tile &tile, const float *k,
                                 const float *gain, int slot, int position, bool real, int lane) {
    const cuda_shape &shape = p.shape;
    const float *v = k + (size_t)shape.n_kv_heads * shape.head_size;
    for (int i = real ? shape.head_size + lane : lane; i < shape.cache_head; i += 32)
        tile.key[slot][i] = tile.value[slot][i] = 0;
    if (!real)
        return;
    prepare(shape, k, gain, p.rope + (size_t)position * shape.head_size, lane,
            [&](int i, float x) { tile.key[slot][i] = float_bf16(x); });
    for (int i = lane; i < shape.head_size; i += 32)
        tile.value[slot][i] = float_bf16(v[i]);
}

static __device__ __forceinline__ uint32_t pair(uint16_t low, uint16_t high) {
    return (uint32_t)low | (uint32_t)high << 16;
}

/* Fragments of a page: keys as (slot, dim), values as (dim, slot). */
static __device__ void store_page(const append_tile &tile, uint16_t *page, int head) {
    const int fragments = head / 16;
    for (int i = threadIdx.x; i < 2 * fragments * 32; i += APPEND_WARPS * 32) {
        const int f = i / 32 % fragments, r = i % 32 / 4, c = i % 4 * 2;
        uint32_t word[4]; /* (r, c), (r + 8, c), (r, c + 8), (r + 8, c + 8) */
        for (int w = 0; w < 4; w++) {
            const int row = r + w % 2 * 8, column = c + w / 2 * 8;
            const uint16_t *key = &tile.key[row][f * 16 + column];
            const uint16_t *value = &tile.value[column][f * 16 + row];
            word[w] = i < fragments * 32 ? pair(key[0], key[1]) : pair(value[0], value[PADDED]);
        }
        ((uint4 *)page)[i] = make_uint4(word[0], word[1], word[2], word[3]);
    }
}

/* Blocks of threads beside each other take the KV heads of 16 rows, then the q heads. */
static __global__ void __launch_bounds__(APPEND_WARPS * 32)
    k_prompt_append(const __grid_constant__ cuda_prefill p, float *qkv, int from,
                    const float *q_norm, const float *k_norm) {
    __shared__ append_tile tile;
    pdl_launch();
    pdl_wait();
    const cuda_shape &shape = p.shape;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv = blockIdx.y;
    const pack_block b = block_of(p, from / PAGE + blockIdx.x);
    /* q heads stand before the k heads */
    const int head = kv < shape.n_kv_heads ? shape.n_heads + kv : kv - shape.n_kv_heads;
    for (int slot = warp; slot < PAGE; slot += APPEND_WARPS) {
        const int position = b.position + slot;
        const bool real = position < b.prompt.n;
        float *x = qkv + ((size_t)blockIdx.x * PAGE + slot) * qkv_stride(shape) +
                   (size_t)head * shape.head_size;
        if (kv < shape.n_kv_heads)
            fill_slot(p, tile, x, k_norm, slot, position, real, lane);
        else if (real)
            prepare(shape, x, q_norm, p.rope + (size_t)position * shape.head_size, lane,
                    [&](int i, float y) { x[i] = y; });
    }
    if (kv >= shape.n_kv_heads)
        return;
    __syncthreads();
    store_page(tile, page_of(p, kv, from / PAGE + blockIdx.x), shape.cache_head);
}

void cuda_prompt_append(const struct cuda_prefill *p, float *qkv, int32_t from, int32_t n,
                        const float *q_norm, const float *k_norm, cudaStream_t stream) {
    if (n < PAGE)
        return;
    dim3 grid(n / PAGE, p->shape.n_kv_heads + p->shape.n_heads);
    launch(k_prompt_append, grid, dim3(APPEND_WARPS * 32), 0, stream, *p, qkv, from, q_norm,
           k_norm);
}

/* --- attention of one warp ------------------------------------------------------------------ */

/* DT: cache_head / 16. NT: tiles of 8 queries. Lane l holds the columns (queries) l % 4 * 2 and the
 * next of each tile, and the rows l / 4 and l / 4 + 8. */
template <int DT> struct tiles {
    enum { NT = DT <= 8 ? 2 : 1, QUERIES = 8 * NT };
};
template <int DT, int NT> struct state {
    float max[NT][2], sum[NT][2]; /* of 2^score; sum: of this lane's rows only */
    float out[NT][DT][4];
};

template <int DT, int NT>
static __device__ __forceinline__ void score_page(float s[NT][4], const uint16_t *page,
                                                  const uint2 (&q)[NT][DT]) {
    uint4 k[DT];
#pragma unroll
    for (int d = 0; d < DT; d++)
        k[d] = load_fragment(page, d);
#pragma unroll
    for (int d = 0; d < DT; d++)
#pragma unroll
        for (int t = 0; t < NT; t++)
            mma(s[t], k[d], q[t][d]);
}

/* Scores, as powers of 2, become 2^(s - max); the state follows. */
template <int DT, int NT>
static __device__ __forceinline__ void soften(state<DT, NT> &w, float s[STEP][NT][4], int t) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
        float most = fmaxf(fmaxf(s[0][t][j], s[0][t][j + 2]), fmaxf(s[1][t][j], s[1][t][j + 2]));
#pragma unroll
        for (int i = 4; i <= 16; i *= 2)
            most = fmaxf(most, __shfl_xor_sync(~0u, most, i));
        most = fmaxf(most, w.max[t][j]);
        const float factor = power_of_2(w.max[t][j] - most);
        float sum = 0;
#pragma unroll
        for (int u = 0; u < STEP; u++) {
            s[u][t][j] = power_of_2(s[u][t][j] - most);
            s[u][t][j + 2] = power_of_2(s[u][t][j + 2] - most);
            sum += s[u][t][j] + s[u][t][j + 2];
        }
        w.sum[t][j] = w.sum[t][j] * factor + sum;
        w.max[t][j] = most;
#pragma unroll
        for (int d = 0; d < DT; d++)
            w.out[t][d][j] *= factor, w.out[t][d][j + 2] *= factor;
    }
}

/* Pages 0..last of the prompt for queries from `position` on, all in page `last`. */
template <int DT, int NT>
static __device__ __forceinline__ void attend_pages(state<DT, NT> &w, const uint2 (&q)[NT][DT],
                                                    const uint16_t *pages, int position,
                                                    float scale, int lane) {
    const size_t page_size = page_elements(16 * DT);
    const int last = position / PAGE;
    for (int i = 0; i <= last; i += STEP) {
        const uint16_t *page = pages + i * page_size;
        const int n = min((int)STEP, last + 1 - i);
        float s[STEP][NT][4] = {};
        score_page<DT, NT>(s[0], page, q);
        if (n > 1)
            score_page<DT, NT>(s[1], page + page_size, q);
        const bool all = i + STEP <= last; /* nothing is masked */
#pragma unroll
        for (int u = 0; u < STEP; u++)
#pragma unroll
            for (int t = 0; t < NT; t++)
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const int slot = (i + u) * PAGE + lane / 4 + j / 2 * 8;
                    const int query = position + t * 8 + lane % 4 * 2 + j % 2;
                    s[u][t][j] = all || slot <= query ? s[u][t][j] * scale : -CUDART_INF_F;
                }
#pragma unroll
        for (int t = 0; t < NT; t++)
            soften<DT, NT>(w, s, t);
#pragma unroll
        for (int u = 0; u < STEP; u++) {
            if (u >= n)
                break;
            uint4 v[DT];
#pragma unroll
            for (int d = 0; d < DT; d++)
                v[d] = load_fragment(page + u * page_size, DT + d);
            uint2 prob[NT];
#pragma unroll
            for (int t = 0; t < NT; t++)
                prob[t] = make_uint2(transpose(float_bf16x2(s[u][t][0], s[u][t][1])),
                                     transpose(float_bf16x2(s[u][t][2], s[u][t][3])));
#pragma unroll
            for (int d = 0; d < DT; d++)
#pragma unroll
                for (int t = 0; t < NT; t++)
                    mma(w.out[t][d], v[d], prob[t]);
        }
    }
}

/* --- outputs -------------------------------------------------------------------------------- */

/* Two dims of a query, the first one even: they lie side by side in acts. segment, i: the first
 * one's, as in acts_at. */
static __device__ __forceinline__ void store_pair(const cuda_acts &acts, int row, int segment,
                                                  int i, uint32_t x) {
    *(uint32_t *)(acts.data + acts_in(acts_place_in(acts, segment, i), row)) = x;
}

/* Eight queries of one head, from `row` on; out and sum: of the lane's two columns. */
template <int DT>
static __device__ __forceinline__ void store_queries(const cuda_acts &acts, float out[DT][4],
                                                     const float sum[2], int row, int head,
                                                     int size, int lane) {
    const float factor[2] = {1 / sum[0], 1 / sum[1]};
    /* transposed, the lane has query lane / 4 and dims lane % 4 * 2 and the next of every 8 */
    const int first = lane % 4 * 2, k = head * size + first;
    int segment = k / acts.segment, i = k % acts.segment;
#pragma unroll
    for (int d = 0; d < 2 * DT; d++) {
        const float *o = out[d / 2] + d % 2 * 2;
        const uint32_t x = transpose(float_bf16x2(o[0] * factor[0], o[1] * factor[1]));
        if (d * 8 + first < size)
            store_pair(acts, row + lane / 4, segment, i, x);
        i += 8;
        if (i >= acts.segment)
            i -= acts.segment, segment++;
    }
}

/* --- attention ------------------------------------------------------------------------------ */

template <int DT>
__global__ void __launch_bounds__(WARPS * 32, DT <= 8 ? 3 : 2)
    k_prompt_attend(const __grid_constant__ cuda_prefill p, const float *qkv, int from, int n,
                    const __grid_constant__ cuda_acts acts) {
    enum { NT = tiles<DT>::NT, QUERIES = tiles<DT>::QUERIES };
    pdl_launch();
    pdl_wait();
    const cuda_shape &shape = p.shape;
    const int lane = threadIdx.x % 32, item = blockIdx.x * WARPS + threadIdx.x / 32;
    const int row = (n / QUERIES - 1 - item / shape.group) * QUERIES; /* the longest first */
    if (row < 0)
        return;
    const int kv = blockIdx.y, head = kv * shape.group + item % shape.group;
    const pack_block b = block_of(p, (from + row) / PAGE);
    const uint16_t *pages = page_of(p, kv, b.prompt.first / PAGE) + lane * 8;
    uint2 q[NT][DT];
    state<DT, NT> w;
    memset(&w, 0, sizeof w);
#pragma unroll
    for (int t = 0; t < NT; t++) {
        w.max[t][0] = w.max[t][1] = -CUDART_INF_F;
        load_queries<DT>(q[t],
                         qkv + (size_t)(row + t * 8 + lane / 4) * qkv_stride(shape) +
                             (size_t)head * shape.head_size,
                         shape.head_size, lane);
    }
    attend_pages<DT, NT>(w, q, pages, from + row - b.prompt.first, p.scale * LOG2_E, lane);
#pragma unroll
    for (int t = 0; t < NT; t++) {
#pragma unroll
        for (int j = 0; j < 2; j++) {
#pragma unroll
            for (int i = 4; i <= 16; i *= 2)
                w.sum[t][j] += __shfl_xor_sync(~0u, w.sum[t][j], i);
            const size_t query = from + row + t * 8 + lane % 4 * 2 + j;
            if (p.any_mass && lane < 4)
                p.lse[query * shape.n_heads + head] = (w.max[t][j] + log2f(w.sum[t][j])) / LOG2_E;
        }
        store_queries<DT>(acts, w.out[t], w.sum[t], row + t * 8, head, shape.head_size, lane);
    }
}

template <int DT>
static void launch_attend(const cuda_prefill *p, const float *qkv, int from, int n,
                          const cuda_acts *acts, cudaStream_t stream) {
    const int items = n / tiles<DT>::QUERIES * p->shape.group;
    launch(k_prompt_attend<DT>, dim3((items + WARPS - 1) / WARPS, p->shape.n_kv_heads),
           dim3(WARPS * 32), 0, stream, *p, qkv, from, n, *acts);
}

void cuda_prompt_attend(const struct cuda_prefill *p, const float *qkv, int32_t from, int32_t n,
                        const struct cuda_acts *acts, cudaStream_t stream) {
    if (n < PAGE)
        return;
    switch (p->shape.cache_head) {
    case 32:
        return launch_attend<2>(p, qkv, from, n, acts, stream);
    case 64:
        return launch_attend<4>(p, qkv, from, n, acts, stream);
    case 128:
        return launch_attend<8>(p, qkv, from, n, acts, stream);
    default:
        return launch_attend<16>(p, qkv, from, n, acts, stream);
    }
}
