/* Attention of a decode pass. A block takes one chunk of a head's pages after the other; each of
 * its eight warps streams whole pages from memory to registers (16 bytes a lane and load) and
 * multiplies them on the matrix unit, all q heads of the group at once:
 *
 *     S[16 slots][8 heads] = K[16][d] q[d][8]     O[d][8] += V^T[d][16] P[16][8]
 *
 * with the running softmax of FlashAttention (arXiv 2205.14135). Warps, then chunks
 * (Flash-Decoding), are merged in a fixed order; the chunk's length is a function of the
 * sequence's own length, so the batch changes no bit. */
#include "engine/kernels/cuda_common.cuh"

enum { WARPS = 8, THREADS = 32 * WARPS };

/* One (row, KV head, chunk). */
struct item {
    int row, kv, chunk, n_chunks, first, pages; /* pages [first, first + pages) of n */
    const int32_t *ids;                         /* physical, of all */
    const uint32_t *chosen, *live;              /* chosen: by place, or NULL */
    const int32_t *rank;                        /* by place and slot, or NULL */
    float *score;                               /* [group][room * 16], or NULL */
    bool look, mass;
};

static __device__ bool find_item(const cuda_pass &p, int layer, bool look, int list, int i,
                                 item *out) {
    const uint32_t entry = p.work[(size_t)list * p.max_work + i / p.shape.n_kv_heads];
    const int row = (int)(entry >> 16), kv = i % p.shape.n_kv_heads;
    const cuda_row &r = p.rows[row];
    const cuda_plan &plan = p.plans[r.plan];
    const bool selects = plan.select != UNIT_NONE && layer >= plan.dense_layers;
    const bool by_token = selects && plan.select == UNIT_TOKEN && r.n_live > r.budget;
    const bool by_page = selects && plan.select == UNIT_PAGE && r.n_pages > r.budget / PAGE;
    const int n = by_page ? r.budget / PAGE : r.n_pages, each = chunk_pages(p.wide, n);
    const size_t head = (size_t)row * p.shape.n_kv_heads + kv;
    if (look && !by_token)
        return false;
    out->row = row, out->kv = kv, out->chunk = (int)(entry & 0xffff);
    out->n_chunks = (n + each - 1) / each;
    out->first = out->chunk * each;
    out->pages = min(each, n - out->first);
    out->ids = by_page ? p.view + head * p.cache.room : table_of(p.cache, p.shape, row, layer, kv);
    out->chosen = by_token && !look ? p.chosen + head * p.cache.room : NULL;
    out->rank = plan.keys == KEYS_RANK ? p.rank + head * p.cache.room * PAGE : NULL;
    out->mass =
        plan.mass && (look || plan.observe == SIGNAL_MASS || plan.observe == SIGNAL_MASS_MAX);
    out->score = out->mass ? p.score + head * p.shape.group * ((size_t)p.cache.room * PAGE) : NULL;
    out->look = look;
    return out->pages > 0;
}

/* --- one warp over its pages ---------------------------------------------------------------- */

/* DT: cache_head / 16. GT: tiles of 8 q heads. Lane l holds the columns (q heads) l % 4 * 2 and the
 * next of each tile, and the rows l / 4 and l / 4 + 8. */
template <int DT, int GT> struct state {
    float max[GT][2], sum[GT][2]; /* sum: of this lane's rows only */
    float out[GT][DT][4];
};

/* Pages are written by other kernels only. */
static __device__ __forceinline__ uint4 load_fragment(const uint16_t *p) {
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(p));
    return x;
}

static __device__ __forceinline__ uint32_t transpose(uint32_t x) {
    uint32_t y;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}

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
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const int head = t * 8 + lane % 4 * 2 + j % 2, slot = lane / 4 + j / 2 * 8;
        if (head < p.shape.group)
            it.score[head * stride + (size_t)place * PAGE + slot] = s[j];
    }
}

template <int DT, int GT, bool RANK>
static __device__ __forceinline__ void attend_pages(const cuda_pass &p, const item &it,
                                                    const uint2 (*q)[DT][32], int warp, int lane,
                                                    state<DT, GT> &w) {
    const int n = (it.pages - warp + WARPS - 1) / WARPS; /* pages first + warp + 8 i */
    const size_t page_size = 2 * 16 * 16 * DT;
    int32_t my_id = 0;
    uint32_t my_live = 0;
    if (lane < n) {
        const int place = it.first + warp + lane * WARPS;
        my_id = __ldcg(it.ids + place);
        my_live = __ldcg(it.live + my_id);
        if (it.chosen)
            my_live &= __ldcg(it.chosen + place);
    }
    uint4 k[DT], v[DT];
    const uint16_t *page = p.cache.kv + (size_t)__shfl_sync(~0u, my_id, 0) * page_size + lane * 8;
    if (n > 0)
#pragma unroll
        for (int d = 0; d < DT; d++)
            k[d] = load_fragment(page + d * 256);
    for (int i = 0; i < n; i++) {
        const int place = it.first + warp + i * WARPS;
        const uint32_t live = __shfl_sync(~0u, my_live, i);
        float s[GT][4] = {};
        if (!it.look)
#pragma unroll
            for (int d = 0; d < DT; d++)
                v[d] = load_fragment(page + (DT + d) * 256);
        if (RANK && it.rank)
            rotate_keys<DT>(k, it.rank + place * PAGE, p.rope, lane);
#pragma unroll
        for (int t = 0; t < GT; t++)
#pragma unroll
            for (int d = 0; d < DT; d++)
                mma(s[t], k[d], q[t][d][lane]);
        if (i + 1 < n) {
            page = p.cache.kv + (size_t)__shfl_sync(~0u, my_id, i + 1) * page_size + lane * 8;
#pragma unroll
            for (int d = 0; d < DT; d++)
                k[d] = load_fragment(page + d * 256);
        }
#pragma unroll
        for (int t = 0; t < GT; t++) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                s[t][j] = live >> (lane / 4 + j / 2 * 8) & 1 ? s[t][j] * p.scale : -CUDART_INF_F;
            if (it.mass)
                store_scores(p, it, place, t, s[t], lane);
            const uint2 prob = soften<DT, GT>(w, t, s[t]);
            if (!it.look)
#pragma unroll
                for (int d = 0; d < DT; d++)
                    mma(w.out[t][d], v[d], prob);
        }
    }
}

/* --- merging -------------------------------------------------------------------------------- */

/* Partial results as they lie in shared memory (one of each warp) and in p.part (one of each
 * chunk): [group][cache_head] of O, then the largest score and the sum of each head. */
struct parts {
    const float *data; /* of the first */
    int stride, n;     /* to the next; at most CUDA_PARTS */
    int head, group;
};

/* What merging needs of every part and head. */
struct merging {
    float weight[CUDA_PARTS][CUDA_GROUP], most[CUDA_GROUP], sum[CUDA_GROUP];
};

/* One warp per head weighs the parts; the order of the sum is that of the parts' numbers. */
static __device__ void weigh(const parts &from, merging &m, int warp, int lane) {
    for (int h = warp; h < from.group; h += WARPS) {
        float most[2], sum[2];
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const int i = lane + 32 * k;
            const float *x = from.data + (size_t)i * from.stride + from.group * from.head + 2 * h;
            most[k] = i < from.n ? x[0] : -CUDART_INF_F;
            sum[k] = i < from.n ? x[1] : 0;
        }
        const float all = warp_max(fmaxf(most[0], most[1]));
        float total = 0;
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const float weight = most[k] == -CUDART_INF_F ? 0 : __expf(most[k] - all);
            if (lane + 32 * k < from.n)
                m.weight[lane + 32 * k][h] = weight;
            total += weight * sum[k];
        }
        total = warp_sum(total);
        if (lane == 0)
            m.most[h] = all, m.sum[h] = total;
    }
    __syncthreads();
}

static __device__ float value_of(const parts &from, const merging &m, int h, int d) {
    const float *data = from.data + h * from.head + d;
    float x = 0;
#pragma unroll 8
    for (int i = 0; i < from.n; i++)
        x += m.weight[i][h] * data[(size_t)i * from.stride];
    return x;
}

/* A finished head: outputs, and what follows from softmax mass. */
static __device__ void store_head(const cuda_pass &p, const item &it, const parts &from,
                                  const merging &m, const cuda_acts &acts) {
    const cuda_shape &c = p.shape;
    if (!it.look)
        for (int e = threadIdx.x; e < from.group * from.head; e += THREADS) {
            const int h = e / from.head, d = e % from.head;
            const int k = (it.kv * c.group + h) * c.head_size + d;
            if (d < c.head_size)
                acts.data[acts_at(acts, it.row, k)] =
                    float_bf16(value_of(from, m, h, d) / m.sum[h]);
        }
    if (it.mass && (int)threadIdx.x < from.group) {
        const size_t head = (size_t)it.row * c.n_kv_heads + it.kv;
        float *out = p.softmax + (head * CUDA_GROUP + threadIdx.x) * 2;
        out[0] = m.most[threadIdx.x], out[1] = m.sum[threadIdx.x];
    }
}

static __device__ void store_chunk(const parts &from, const merging &m, float *out) {
    for (int e = threadIdx.x; e < from.group * from.head; e += THREADS)
        out[e] = value_of(from, m, e / from.head, e % from.head);
    if ((int)threadIdx.x < from.group) {
        out[from.group * from.head + 2 * threadIdx.x] = m.most[threadIdx.x];
        out[from.group * from.head + 2 * threadIdx.x + 1] = m.sum[threadIdx.x];
    }
}

/* The warps' results go to shared memory, heads of the group only. */
template <int DT, int GT>
static __device__ void store_warp(state<DT, GT> &w, float *out, int group, int lane) {
    const int head = DT * 16;
#pragma unroll
    for (int t = 0; t < GT; t++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int h = t * 8 + lane % 4 * 2 + j;
            float sum = w.sum[t][j];
#pragma unroll
            for (int i = 4; i <= 16; i *= 2)
                sum += __shfl_xor_sync(~0u, sum, i);
            if (h >= group)
                continue;
#pragma unroll
            for (int d = 0; d < DT; d++) {
                out[h * head + d * 16 + lane / 4] = w.out[t][d][j];
                out[h * head + d * 16 + lane / 4 + 8] = w.out[t][d][j + 2];
            }
            if (lane / 4 == 0) {
                out[group * head + 2 * h] = w.max[t][j];
                out[group * head + 2 * h + 1] = sum;
            }
        }
}

/* Whether this chunk is the last of its head to arrive. */
static __device__ bool is_last(const cuda_pass &p, const item &it, int *flag) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        int32_t *arrived = p.arrived + (size_t)it.row * p.shape.n_kv_heads + it.kv;
        *flag = atomicAdd(arrived, 1) + 1 == it.n_chunks;
        if (*flag)
            *arrived = 0;
        __threadfence();
    }
    __syncthreads();
    return *flag;
}

/* --- the kernel ----------------------------------------------------------------------------- */

CUDA_FN int part_floats(int group, int head) { return group * (head + 2); }

template <int DT, int GT, bool RANK>
__global__ void __launch_bounds__(THREADS, DT <= 8 && GT == 1 ? 2 : 1)
    k_attend(const __grid_constant__ cuda_pass p, int layer, bool look,
             const __grid_constant__ cuda_acts acts) {
    extern __shared__ __align__(16) char memory[];
    __shared__ int flag;
    __shared__ merging merge;
    uint2(*q)[DT][32] = (uint2(*)[DT][32])memory;
    float *results = (float *)(memory + GT * DT * 32 * sizeof(uint2));
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int group = p.shape.group, size = part_floats(group, DT * 16);
    pdl_launch();
    pdl_wait();
    const int list = look || layer < p.n_work[2];
    const int n = p.n_work[list] * p.shape.n_kv_heads;
    for (int i = blockIdx.x; i < n; i += gridDim.x) {
        item it;
        if (!find_item(p, layer, look, list, i, &it))
            continue;
        it.live = p.cache.live;
        const size_t head = (size_t)it.row * p.shape.n_kv_heads + it.kv;
        __syncthreads(); /* the last item's results are still read */
        for (int j = threadIdx.x; j < GT * DT * 32; j += THREADS)
            ((uint2 *)q)[j] = __ldcg((const uint2 *)p.q + head * GT * DT * 32 + j);
        __syncthreads();
        state<DT, GT> w;
        memset(&w, 0, sizeof w);
#pragma unroll
        for (int t = 0; t < GT; t++)
            w.max[t][0] = w.max[t][1] = -CUDART_INF_F;
        attend_pages<DT, GT, RANK>(p, it, q, warp, lane, w);
        store_warp<DT, GT>(w, results + warp * size, group, lane);
        __syncthreads();
        const parts warps = {results, size, WARPS, DT * 16, group};
        weigh(warps, merge, warp, lane);
        if (it.n_chunks == 1) {
            store_head(p, it, warps, merge, acts);
            continue;
        }
        float *all = p.part + head * p.max_chunks * size;
        store_chunk(warps, merge, all + (size_t)it.chunk * size);
        if (!is_last(p, it, &flag))
            continue;
        const parts chunks = {all, size, it.n_chunks, DT * 16, group};
        weigh(chunks, merge, warp, lane);
        store_head(p, it, chunks, merge, acts);
    }
}

template <int DT, int GT, bool RANK>
static void launch_attend(const cuda_pass *p, int layer, bool look, const cuda_acts *acts,
                          cudaStream_t stream) {
    static int blocks = 0;
    size_t shared = GT * DT * 32 * sizeof(uint2) +
                    WARPS * (size_t)part_floats(p->shape.group, DT * 16) * sizeof(float);
    if (!blocks) {
        int device = 0;
        cudaGetDevice(&device);
        cudaDeviceGetAttribute(&blocks, cudaDevAttrMultiProcessorCount, device);
        blocks *= DT <= 8 && GT == 1 ? 2 : 1;
    }
    launch(k_attend<DT, GT, RANK>, dim3(blocks), dim3(THREADS), shared, stream, *p, layer, look,
           *acts);
}

template <int GT, bool RANK>
static void attend_by_head(const cuda_pass *p, int layer, bool look, const cuda_acts *acts,
                           cudaStream_t stream) {
    switch (p->shape.cache_head) {
    case 32:
        return launch_attend<2, GT, RANK>(p, layer, look, acts, stream);
    case 64:
        return launch_attend<4, GT, RANK>(p, layer, look, acts, stream);
    case 128:
        return launch_attend<8, GT, RANK>(p, layer, look, acts, stream);
    default:
        return launch_attend<16, GT, RANK>(p, layer, look, acts, stream);
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
}
