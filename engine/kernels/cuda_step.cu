/* What frames a decode pass on the device: a pass begins (positions, counts, lists of work,
 * embeddings), rows join and leave, a row pretends to have been fed. */
#include "base/rng.h"
#include "engine/kernels/cuda_common.cuh"
#include "engine/kernels/cuda_rules.h"

enum {
    BEGIN_THREADS = 1024, /* rows that k_begin takes at once */
    ENTER_THREADS = 256,
    ENTER_BLOCKS = 16, /* of one row, at most */
    PRETEND_WARPS = 8,
    PRETEND_BLOCKS = 64, /* of one head, at most */
};

/* --- embeddings ----------------------------------------------------------------------------- */

struct embed_target {
    cuda_matrix embedding;
    const float *gain;
    float *x, *squares;
    cuda_acts acts;
    int32_t dim, stride; /* stride: of squares */
};

/* One item is a quarter of 16 dims of a row: the inputs 2j, 2j + 1, 2j + 8, 2j + 9 of a block,
 * which lie together in a fragment. All lanes of the warp come here; those without
 * a token (id < 0) only take part in the sum. */
static __device__ void embed_quarter(const embed_target &t, int32_t id, int row, int tile, int j) {
    float sum = 0;
    if (id >= 0) {
        int d = tile * 16 + j * 2;
        const uint16_t *from = t.embedding.data + matrix_at(t.embedding.segment, id, d);
        uint32_t word[2] = {*(const uint32_t *)from, *(const uint32_t *)(from + 4)};
        uint32_t scaled[2];
        for (int half = 0; half < 2; half++) {
            float value[2] = {bf16_float((uint16_t)word[half]),
                              bf16_float((uint16_t)(word[half] >> 16))};
            float normed[2] = {0, 0};
            for (int i = 0; i < 2; i++) {
                int at = d + half * 8 + i;
                if (at >= t.dim)
                    continue;
                t.x[(size_t)row * t.dim + at] = value[i];
                normed[i] = value[i] * t.gain[at];
                sum += value[i] * value[i];
            }
            scaled[half] = float_bf16x2(normed[0], normed[1]);
        }
        *(uint32_t *)(t.acts.data + acts_at(t.acts, row, d)) = scaled[0];
        *(uint32_t *)(t.acts.data + acts_at(t.acts, row, d + 8)) = scaled[1];
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (id >= 0 && j == 0)
        t.squares[(size_t)tile * t.stride + row] = sum;
}

static int embed_items(int rows, int dim) { return rows * square_tiles(dim) * 4; }

static __global__ void __launch_bounds__(256)
    k_embed(const int32_t *ids, int n, const embed_target target) {
    pdl_launch();
    pdl_wait();
    int item = (int)(blockIdx.x * blockDim.x + threadIdx.x), tiles = square_tiles(target.dim);
    int row = item / 4 / tiles;
    embed_quarter(target, row < n ? ids[row] : -1, row, item / 4 % tiles, item % 4);
}

void cuda_embed(const struct cuda_shape *shape, const int32_t *ids, int32_t n, int32_t stride,
                const struct cuda_matrix *embedding, const float *gain, float *x, float *squares,
                const struct cuda_acts *acts, cudaStream_t stream) {
    embed_target target = {*embedding, gain, x, squares, *acts, shape->dim, stride};
    int items = embed_items(n, shape->dim);
    launch(k_embed, dim3((items + 255) / 256), dim3(256), 0, stream, ids, n, target);
}

/* --- a pass begins -------------------------------------------------------------------------- */

struct begin_shared {
    uint64_t warp[32];
    uint64_t first[BEGIN_THREADS], count[BEGIN_THREADS]; /* list 0 in the low half, list 1 above */
    int32_t dense;
};

/* Feeds `next` of a row to the counts of its heads. Returns how many chunks of work the row has in
 * list 0 and, in the high half, in list 1. */
static __device__ uint64_t begin_row(const cuda_pass &p, int row, int32_t *dense) {
    cuda_row *r = p.rows + row;
    if (!r->active)
        return 0;
    const cuda_plan *plan = p.plans + r->plan;
    rules_feed_row(r, plan);
    int32_t pages = r->n_pages;
    if (plan->select != UNIT_NONE)
        atomicMax(dense, plan->dense_layers);
    int32_t attended = attended_pages(r, plan);
    int32_t each = chunk_pages(p.wide, attended), chunks = (attended + each - 1) / each;
    int32_t all = chunk_pages(p.wide, pages), most = (pages + all - 1) / all;
    /* list 1 serves layers where this row may select all the same */
    return (uint64_t)(most > chunks ? most : chunks) << 32 | (uint64_t)chunks;
}

/* Both sums over the threads before this one, and in *total over all of them. */
static __device__ uint64_t sum_before(begin_shared *shared, uint64_t count, uint64_t *total) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint64_t sum = count;
    for (int i = 1; i < 32; i *= 2) {
        uint64_t other = __shfl_up_sync(~0u, sum, i);
        sum += lane >= i ? other : 0;
    }
    if (lane == 31)
        shared->warp[warp] = sum;
    __syncthreads();
    uint64_t before = 0;
    *total = 0;
    for (int i = 0; i < BEGIN_THREADS / 32; i++) {
        before += i < warp ? shared->warp[i] : 0;
        *total += shared->warp[i];
    }
    return before + sum - count;
}

static __device__ cuda_work work_of(const cuda_pass &p, int row, int32_t chunk) {
    const cuda_row &r = p.rows[row];
    const cuda_plan &plan = p.plans[r.plan];
    const bool by_page = plan.select == UNIT_PAGE && r.n_pages > r.budget / PAGE;
    const bool by_token = plan.select == UNIT_TOKEN && r.n_live > r.budget;
    const bool still = plan.evict == UNIT_NONE || (plan.evict == UNIT_PAGE && !r.evict);
    int32_t first;
    const bool mass = plan.mass && (row_observes(&r, &plan, &first) || plan.select == UNIT_TOKEN);
    const int32_t n = attended_pages(&r, &plan), each = chunk_pages(p.wide, n);
    cuda_work w = {};
    w.row = row;
    w.chunk = (uint16_t)chunk, w.n_chunks = (uint16_t)((n + each - 1) / each);
    w.pages = (uint16_t)(chunk * each < n ? n : 0);
    w.last = (uint16_t)(r.n_live - (r.n_pages - 1) * PAGE);
    w.flags =
        (uint16_t)((by_page ? CUDA_WORK_VIEW : 0) | (by_token ? CUDA_WORK_CHOSEN : 0) |
                   (mass ? CUDA_WORK_MASS : 0) | (plan.keys == KEYS_RANK ? CUDA_WORK_RANK : 0) |
                   (still && !by_page ? CUDA_WORK_STILL : 0));
    w.dense_layers = (uint16_t)(plan.select != UNIT_NONE ? plan.dense_layers : 0);
    return w;
}

/* Eight lanes a row: a batch has either many chunks in few rows or few in many. */
static __device__ void write_work(const cuda_pass &p, const begin_shared *shared, int from) {
    for (int i = threadIdx.x / 8; i < BEGIN_THREADS && from + i < p.n_rows; i += BEGIN_THREADS / 8)
        for (int list = 0; list < 2; list++) {
            uint32_t first = (uint32_t)(shared->first[i] >> (list * 32));
            uint32_t count = (uint32_t)(shared->count[i] >> (list * 32));
            cuda_work *to = p.work + (size_t)list * p.max_work + first;
            for (uint32_t chunk = threadIdx.x % 8; chunk < count; chunk += 8)
                to[chunk] = work_of(p, from + i, (int32_t)chunk);
        }
}

static __device__ void begin_rows(const cuda_pass &p) {
    __shared__ begin_shared shared;
    if (threadIdx.x == 0)
        shared.dense = 0;
    __syncthreads();
    uint64_t done = 0;
    for (int from = 0; from < p.n_rows; from += BEGIN_THREADS) {
        int row = from + (int)threadIdx.x;
        uint64_t count = row < p.n_rows ? begin_row(p, row, &shared.dense) : 0, total;
        shared.first[threadIdx.x] = done + sum_before(&shared, count, &total);
        shared.count[threadIdx.x] = count;
        __syncthreads();
        write_work(p, &shared, from);
        done += total;
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        p.n_work[0] = (int32_t)done;
        p.n_work[1] = (int32_t)(done >> 32);
        p.n_work[2] = shared.dense;
    }
}

/* Block 0 counts, the others embed: they read only what block 0 does not write. */
static __global__ void __launch_bounds__(BEGIN_THREADS)
    k_begin(const cuda_pass p, const embed_target target) {
    pdl_launch();
    pdl_wait();
    if (blockIdx.x == 0) {
        begin_rows(p);
        return;
    }
    int item = (int)((blockIdx.x - 1) * blockDim.x + threadIdx.x), tiles = square_tiles(target.dim);
    int row = item / 4 / tiles;
    int32_t id = row < p.n_rows && p.rows[row].active ? p.rows[row].next : -1;
    embed_quarter(target, id, row, item / 4 % tiles, item % 4);
}

void cuda_begin(const struct cuda_pass *p, const struct cuda_matrix *embedding, const float *gain,
                const struct cuda_acts *acts, cudaStream_t stream) {
    embed_target target = {*embedding, gain, p->x, p->squares, *acts, p->shape.dim, acts->rows};
    int items = embed_items(p->n_rows, p->shape.dim);
    dim3 grid(1 + (items + BEGIN_THREADS - 1) / BEGIN_THREADS);
    launch(k_begin, grid, dim3(BEGIN_THREADS), 0, stream, *p, target);
}

/* --- joining and leaving -------------------------------------------------------------------- */

/* Few blocks a row, as each reads the join from where it may be slow: the host's memory. */
static __global__ void __launch_bounds__(ENTER_THREADS)
    k_enter(const cuda_pass p, const cuda_join *joins) {
    pdl_launch();
    pdl_wait();
    const cuda_join *join = joins + blockIdx.x;
    int32_t worst = join->row.worst, base = join->base, index = join->index;
    int heads = p.shape.n_layers * p.shape.n_kv_heads;
    for (int head = blockIdx.y; head < heads; head += gridDim.y) {
        int32_t *table = table_of(p.cache, p.shape, index, 0, head);
        for (int i = threadIdx.x; i < worst; i += ENTER_THREADS) {
            const int32_t page = joined_page(p.shape, base, worst, head, i);
            table[i] = page;
            p.cache.live[page] = 0;
        }
    }
    if (blockIdx.y == 0 && threadIdx.x < sizeof(cuda_row) / 8)
        ((uint64_t *)(p.rows + index))[threadIdx.x] = ((const uint64_t *)&join->row)[threadIdx.x];
}

void cuda_enter(const struct cuda_pass *p, const struct cuda_join *joins, int32_t n,
                cudaStream_t stream) {
    if (n < 1)
        return;
    int heads = p->shape.n_layers * p->shape.n_kv_heads;
    dim3 grid(n, heads < ENTER_BLOCKS ? heads : ENTER_BLOCKS);
    launch(k_enter, grid, dim3(ENTER_THREADS), 0, stream, *p, joins);
}

static __global__ void k_leave(cuda_row *row) {
    pdl_launch();
    pdl_wait();
    row->active = 0;
}

void cuda_leave_row(const struct cuda_pass *p, int32_t row, cudaStream_t stream) {
    launch(k_leave, dim3(1), dim3(1), 0, stream, p->rows + row);
}

/* --- a row pretends ------------------------------------------------------------------------- */

/* What every head of a row holds once `tokens` tokens have been fed. */
struct held {
    int32_t tokens, live, pages, evictions;
    int32_t first; /* of the live tokens, these are the oldest of all; the others are the newest */
};

static __device__ held held_after(const cuda_row *r, const cuda_plan *plan, int32_t tokens) {
    held h = {tokens, tokens, pages_of(tokens), 0, 0};
    int32_t pinned = plan->pin_prompt && r->n_prompt > plan->sinks ? r->n_prompt : plan->sinks;
    if (plan->evict == UNIT_TOKEN) {
        const int32_t each = plan->every ? plan->every : 1, kept = r->capacity - plan->every;
        const int32_t fed = tokens - max(r->n_prompt - kept, 0); /* since the prompt was cut */
        const int32_t over = fed - r->capacity;
        h.live = over > 0 ? r->capacity - each + 1 + (over - 1) % each : fed;
        h.pages = pages_of(min(fed, r->capacity)), h.evictions = tokens - h.live;
        h.first = pinned < h.live ? pinned : h.live - 1;
    } else if (plan->evict == UNIT_PAGE && h.pages > r->capacity / PAGE) {
        h.evictions = h.pages - r->capacity / PAGE;
        h.pages -= h.evictions, h.live -= h.evictions * PAGE;
        h.first = pages_of(pinned) < h.pages ? pages_of(pinned) * PAGE : (h.pages - 1) * PAGE;
    }
    return h;
}

static __device__ int32_t held_position(const held &h, int32_t i) {
    return i < h.first ? i : h.tokens - h.live + i;
}

/* A lane's eight elements of a fragment: uniform with variance 1, zero outside of n_rows x n_cols.
 */
static __device__ uint4 random_fragment(uint64_t key, int n_rows, int n_cols) {
    int lane = threadIdx.x % 32, r = lane / 4, c = lane % 4 * 2;
    uint64_t bits[2] = {rng_mix(key + lane * 2), rng_mix(key + lane * 2 + 1)};
    uint32_t word[4];
    for (int w = 0; w < 4; w++) {
        float value[2];
        for (int half = 0; half < 2; half++) {
            int i = w * 2 + half;
            bool inside = r + w % 2 * 8 < n_rows && c + w / 2 * 8 + half < n_cols;
            uint32_t u = (uint32_t)(bits[i / 4] >> (i % 4 * 16)) & 0xffff;
            float x = ((float)u - 32767.5f) * (3.46410162f / 65536);
            value[half] = inside ? x : 0;
        }
        word[w] = float_bf16x2(value[0], value[1]);
    }
    return make_uint4(word[0], word[1], word[2], word[3]);
}

/* Fills page number i of a head; one warp. */
static __device__ void pretend_page(const cuda_pass &p, const cuda_plan *plan, const held &h,
                                    int32_t page, int i, uint64_t key) {
    const cuda_cache &c = p.cache;
    int lane = threadIdx.x % 32, n = max(0, min(h.live - i * PAGE, (int32_t)PAGE));
    const uint32_t live = (1u << n) - 1;
    uint4 *kv = (uint4 *)(c.kv + (size_t)page * page_elements(c.head));
    uint16_t *bounds = plan->bounds ? c.bounds + (size_t)page * 2 * c.head : NULL;
    int fragments = c.head / 16;
    for (int f = 0; f < fragments; f++) {
        int dims = p.shape.head_size - f * 16;
        const uint4 k = random_fragment(key + f * 64, n, dims);
        kv[f * 32 + lane] = k;
        if (bounds)
            store_bounds(k, live, bounds + f * 16, bounds + c.head + f * 16);
        kv[(fragments + f) * 32 + lane] = random_fragment(key + (fragments + f) * 64, dims, n);
    }
    if (lane < n)
        c.position[(size_t)page * PAGE + lane] = held_position(h, i * PAGE + lane);
    if (lane < PAGE && plan->slot_columns)
        c.slot_column[(size_t)page * PAGE + lane] = lane < n ? rng_uniform(~key + lane) : 0;
    if (lane == 0) {
        c.live[page] = live;
        if (plan->page_column)
            c.page_column[page] = (float)held_position(h, i * PAGE);
    }
}

static __global__ void __launch_bounds__(PRETEND_WARPS * 32)
    k_pretend(const cuda_pass p, int row, int32_t tokens, uint64_t seed) {
    pdl_launch();
    pdl_wait();
    cuda_row *r = p.rows + row;
    const cuda_plan *plan = p.plans + r->plan;
    held h = held_after(r, plan, tokens);
    const int32_t *table = table_of(p.cache, p.shape, row, 0, blockIdx.x);
    uint64_t key = rng_key(seed, blockIdx.x);
    for (int i = (int)(blockIdx.y * PRETEND_WARPS + threadIdx.x / 32); i < r->worst;
         i += (int)gridDim.y * PRETEND_WARPS)
        if (i < h.pages)
            pretend_page(p, plan, h, table[i], i, rng_key(key, i));
        else if (threadIdx.x % 32 == 0)
            p.cache.live[table[i]] = 0;
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) {
        r->position = tokens - 1;
        r->n_live = h.live, r->n_pages = h.pages;
        r->evict = 0, r->evictions = h.evictions;
    }
}

void cuda_pretend_row(const struct cuda_pass *p, int32_t row, int32_t tokens, uint64_t seed,
                      cudaStream_t stream) {
    int blocks = (p->cache.room + PRETEND_WARPS - 1) / PRETEND_WARPS;
    dim3 grid(p->shape.n_layers * p->shape.n_kv_heads,
              blocks < PRETEND_BLOCKS ? blocks : PRETEND_BLOCKS);
    launch(k_pretend, grid, dim3(PRETEND_WARPS * 32), 0, stream, *p, row, tokens, seed);
}
