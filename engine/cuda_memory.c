/* The memory of a CUDA session. Every size is known before anything is allocated: the plan is
 * printed, checked against the device's free memory, and taken in one piece. */
#include <string.h>

#include "base/log.h"
#include "engine/cuda_parts.h"

/* Bytes of activations that a chunk of a pack may take, and rows of a pack at most (longer prompts
 * excepted): enough to keep the device busy. */
#define CHUNK_BYTES (512 << 20)
enum { MOST_ROWS = 16384, SPARE_BYTES = 256 << 20 };

/* --- parts ------------------------------------------------------------------------------------ */

static void add(struct cuda_memory_plan *plan, void *at, size_t bytes) {
    CHECK(plan->n < (int)(sizeof plan->parts / sizeof *plan->parts));
    plan->parts[plan->n].at = at, plan->parts[plan->n++].bytes = bytes;
    plan->bytes += cuda_aligned(bytes);
}

/* Activations of `rows` rows for a matrix with k inputs. */
static void add_acts(struct cuda_memory_plan *plan, struct cuda_acts *acts, int32_t rows,
                     int32_t k) {
    *acts = cuda_acts_for(rows, k);
    add(plan, &acts->data, cuda_acts_bytes(*acts));
}

static int32_t most_chunks(const struct cuda *b) {
    int32_t most = 1;
    for (int32_t pages = 1; pages <= b->pass.cache.room; pages++) {
        int32_t each = chunk_pages(b->pass.wide, pages), n = (pages + each - 1) / each;
        most = n > most ? n : most;
    }
    return most;
}

static size_t largest_part(const struct cuda *b, int32_t most_rows) {
    const struct cuda_matrices m = cuda_matrices_of(cuda_config(b));
    const struct cuda_matrix *all[] = {&m.qkv, &m.o, &m.gate_up, &m.down, &m.head};
    size_t most = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int32_t rows = 16; rows <= most_rows; rows += rows < 128 ? rows : 128) {
            size_t bytes = cuda_product_part_bytes(all[i]->n, all[i]->segment, rows);
            most = bytes > most ? bytes : most;
        }
    return most;
}

static void plan_batch(struct cuda *b, struct cuda_memory_plan *plan) {
    const struct config *c = cuda_config(b);
    struct cuda_pass *p = &b->pass;
    const struct cuda_shape *s = &p->shape;
    const size_t rows = (size_t)b->padded, room = (size_t)p->cache.room, f = sizeof(float);
    const size_t heads = rows * (size_t)s->n_kv_heads, group = (size_t)s->group;
    const size_t tiles = (group + 7) / 8, head = (size_t)s->cache_head;
    p->max_chunks = most_chunks(b);
    p->max_work = b->padded * p->max_chunks;
    add(plan, &p->plans, CUDA_PLANS * sizeof *p->plans);
    add(plan, &p->rows, rows * sizeof *p->rows);
    add(plan, &p->rope, (size_t)b->params.max_total * (size_t)c->head_size * f);
    add(plan, &p->x, rows * (size_t)c->dim * f);
    add(plan, &p->qkv, rows * (size_t)((s->n_heads + 2 * s->n_kv_heads) * s->head_size) * f);
    add(plan, &p->squares, (size_t)square_tiles(c->dim) * rows * f);
    add(plan, &p->q, heads * tiles * head * 16);
    add(plan, &p->work, 2 * (size_t)p->max_work * sizeof *p->work);
    add(plan, &p->n_work, 4 * sizeof *p->n_work);
    add(plan, &p->done, (size_t)s->n_kv_heads * sizeof *p->done);
    add(plan, &p->view, heads * room * sizeof *p->view);
    add(plan, &p->chosen, heads * room * sizeof *p->chosen);
    add(plan, &p->rank, heads * room * PAGE * sizeof *p->rank);
    add(plan, &p->score, heads * group * room * PAGE * f);
    add(plan, &p->softmax, heads * CUDA_GROUP * 2 * f);
    add(plan, &p->many, heads * CUDA_MANY * room * PAGE * f);
    add(plan, &p->part,
        heads * (size_t)p->max_chunks * (size_t)attend_part_floats(s->group, s->cache_head) * f);
    add(plan, &p->cache.table, heads * (size_t)c->n_layers * room * sizeof(int32_t));
    add_acts(plan, &b->acts_dim, b->padded, c->dim);
    add_acts(plan, &b->acts_q, b->padded, s->n_heads * s->head_size);
    add_acts(plan, &b->acts_ffn, b->padded, c->ffn);
    add(plan, &b->logits, rows * (size_t)c->vocab * f);
    add(plan, &b->arrived, (size_t)cuda_product_counters() * sizeof *b->arrived);
    add(plan, &b->forced, (size_t)b->width * (size_t)b->params.max_total * sizeof *b->forced);
    add(plan, &b->sampling, cuda_sample_bytes(b->width));
    add(plan, &b->report, rows * sizeof *b->report);
    add(plan, &b->published, sizeof *b->published);
}

static void plan_prefill(struct cuda *b, struct cuda_memory_plan *plan) {
    const struct config *c = cuda_config(b);
    const struct cuda_shape *s = &b->pass.shape;
    const size_t f = sizeof(float), q = (size_t)(s->n_heads * s->head_size);
    const size_t kv = (size_t)(s->n_kv_heads * s->head_size);
    int64_t wanted = (int64_t)b->width * cuda_round_up(b->params.max_total, PAGE);
    int32_t longest = cuda_round_up(b->params.max_total, CUDA_BLOCK_ROWS);
    b->pack_rows = wanted < MOST_ROWS ? cuda_round_up(wanted, CUDA_BLOCK_ROWS) : MOST_ROWS;
    b->pack_rows = b->pack_rows > longest ? b->pack_rows : longest;
    int64_t chunk = CHUNK_BYTES / (int64_t)((q + 2 * kv) * f + (q + (size_t)c->ffn) * 2);
    chunk = chunk / CUDA_BLOCK_ROWS * CUDA_BLOCK_ROWS;
    b->chunk_rows = chunk < CUDA_BLOCK_ROWS ? CUDA_BLOCK_ROWS
                    : chunk > b->pack_rows  ? b->pack_rows
                                            : (int32_t)chunk;
    const size_t pack = (size_t)b->pack_rows, chunks = (size_t)b->chunk_rows;
    const size_t pages = pack / PAGE;
    int32_t most = b->padded > b->chunk_rows ? b->padded : b->chunk_rows;
    add(plan, &b->pack_x, pack * (size_t)c->dim * f);
    add(plan, &b->pack_squares, (size_t)square_tiles(c->dim) * pack * f);
    add_acts(plan, &b->pack_acts, b->pack_rows, c->dim);
    add(plan, &b->chunk_qkv, chunks * (q + 2 * kv) * f);
    add_acts(plan, &b->chunk_q, b->chunk_rows, s->n_heads * s->head_size);
    add_acts(plan, &b->chunk_ffn, b->chunk_rows, c->ffn);
    add(plan, &b->prefill.kv,
        (size_t)s->n_kv_heads * pages * page_elements(s->cache_head) * sizeof(uint16_t));
    add(plan, &b->prefill.lse, pack * (size_t)s->n_heads * f);
    add(plan, &b->prefill.mass, pack * (size_t)s->n_kv_heads * f);
    add(plan, &b->prefill.many, pack * (size_t)s->n_kv_heads * CUDA_MANY * f);
    add(plan, &b->prefill.prompts, pages * sizeof *b->prefill.prompts);
    add(plan, &b->prefill.block_prompt, pages * sizeof(int32_t));
    add(plan, &b->pack_ids, pack * sizeof(int32_t));
    add(plan, &b->gather, 2 * (pages + (size_t)b->width) * sizeof(int32_t));
    add(plan, &b->fed_rows, pages * sizeof(int32_t));
    add(plan, &b->joins, pages * sizeof *b->joins);
    add(plan, &b->rms, (size_t)most * f);
    add(plan, &b->part, largest_part(b, most));
}

/* --- the pool --------------------------------------------------------------------------------- */

uint64_t cuda_page_cost(const struct cuda *b, struct page_needs needs) {
    uint64_t head = (uint64_t)b->pass.shape.cache_head;
    return page_elements(b->pass.shape.cache_head) * sizeof(uint16_t) +
           (needs.bounds ? 2 * head * sizeof(uint16_t) : 0) +
           (needs.slot_columns ? PAGE * sizeof(float) : 0) +
           (needs.page_column ? sizeof(float) : 0);
}

/* Of plan_pool's parts. */
static size_t page_bytes(const struct cuda *b) {
    return page_set_aside(sizeof *b->pass.cache.kv, (size_t)b->pass.shape.cache_head);
}

static void plan_pool(struct cuda *b, struct cuda_memory_plan *plan) {
    struct cuda_cache *c = &b->pass.cache;
    const size_t n = (size_t)b->n_pages, head = (size_t)c->head;
    size_t before = plan->bytes;
    add(plan, &c->kv, n * page_elements(c->head) * sizeof *c->kv);
    add(plan, &c->bounds, n * 2 * head * sizeof *c->bounds);
    add(plan, &c->position, n * PAGE * sizeof *c->position);
    add(plan, &c->slot_column, n * PAGE * sizeof *c->slot_column);
    add(plan, &c->page_column, n * sizeof *c->page_column);
    add(plan, &c->live, n * sizeof *c->live);
    b->pool_bytes = plan->bytes - before;
}

/* --- the plan --------------------------------------------------------------------------------- */

bool cuda_plan_memory(struct cuda *b, struct cuda_memory_plan *plan, struct err *e) {
    const struct config *c = cuda_config(b);
    size_t free_bytes, all, weights = cuda_weights_bytes(c);
    int64_t heads = (int64_t)c->n_layers * c->n_kv_heads;
    int64_t one = heads * pages_of(b->params.max_total), wanted = one * b->width;
    if (b->params.kv_bytes)
        wanted = (int64_t)(b->params.kv_bytes / page_bytes(b));
    *plan = (struct cuda_memory_plan){.n = 0};
    plan_batch(b, plan);
    plan_prefill(b, plan);
    if (!CUDA_CHECK(cudaMemGetInfo(&free_bytes, &all), e))
        return false;
    size_t taken = weights + plan->bytes + SPARE_BYTES;
    int64_t fits = free_bytes > taken ? (int64_t)((free_bytes - taken) / page_bytes(b)) : 0;
    fits = fits < INT32_MAX / PAGE ? fits : INT32_MAX / PAGE; /* slots are numbered in 32 bits */
    b->n_pages = wanted < fits ? wanted : fits;
    log_info("cuda: weights %.2f GB, workspace %.2f GB, KV cache %.2f GB (%.2f GB asked) of %.2f "
             "GB free",
             1e-9 * (double)weights, 1e-9 * (double)plan->bytes,
             1e-9 * (double)b->n_pages * (double)page_bytes(b),
             1e-9 * (double)wanted * (double)page_bytes(b), 1e-9 * (double)free_bytes);
    if (wanted < 1)
        return err_set(e, EXIT_USAGE, "%llu bytes of KV cache, expected at least the %zu of a page",
                       (unsigned long long)b->params.kv_bytes, page_bytes(b));
    bool enough = b->n_pages >= 1 && (b->n_pages >= one || b->params.kv_bytes);
    if (b->params.too_large)
        *b->params.too_large = !enough;
    if (!enough)
        return err_set(e, EXIT_ENV,
                       "GPU memory: %.2f GB free, expected %.2f GB: weights %.2f, workspace of "
                       "width %d %.2f, one sequence of %d tokens %.2f",
                       1e-9 * (double)free_bytes,
                       1e-9 * (double)(taken + (size_t)one * page_bytes(b)), 1e-9 * (double)weights,
                       b->width, 1e-9 * (double)plan->bytes, b->params.max_total,
                       1e-9 * (double)one * (double)page_bytes(b));
    plan_pool(b, plan);
    return true;
}

bool cuda_take_memory(struct cuda *b, const struct cuda_memory_plan *plan, struct err *e) {
    size_t at = 0;
    b->arena_bytes = plan->bytes;
    bool there = CUDA_CHECK(cudaMalloc(&b->arena, plan->bytes), e);
    if (b->params.too_large)
        *b->params.too_large = !there;
    if (!there || !CUDA_CHECK(cudaMemsetAsync(b->arena, 0, plan->bytes, b->stream), e))
        return false;
    for (int i = 0; i < plan->n; i++) {
        void *p = (char *)b->arena + at;
        memcpy(plan->parts[i].at, &p, sizeof p);
        at += cuda_aligned(plan->parts[i].bytes);
    }
    return true;
}

bool cuda_host_logits(struct cuda *b, struct err *e) {
    size_t bytes = (size_t)b->padded * (size_t)cuda_config(b)->vocab * sizeof(float);
    return b->host_logits ||
           CUDA_CHECK(cudaHostAlloc((void **)&b->host_logits, bytes, cudaHostAllocDefault), e);
}
