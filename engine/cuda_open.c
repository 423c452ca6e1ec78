/* Opening and closing the CUDA backend. Every size is known before anything is allocated: the plan
 * is printed, checked against the device's free memory, and taken in one piece. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/cuda.h"
#include "engine/cuda_info.h"

/* Bytes of activations that a chunk of a pack may take, and rows of a pack at most (longer prompts
 * excepted): enough to keep the device busy. */
#define CHUNK_BYTES (512 << 20)
enum { MOST_ROWS = 16384, SPARE_BYTES = 256 << 20, MOST_IDS = 1 << 20 /* cuda_draw.cuh */ };

/* --- the memory plan -------------------------------------------------------------------------- */

struct part {
    void *at; /* the pointer to set */
    size_t bytes;
};
struct layout {
    struct part parts[64];
    int n;
    size_t bytes;
};

static void add(struct layout *l, void *at, size_t bytes) {
    CHECK(l->n < (int)(sizeof l->parts / sizeof *l->parts));
    l->parts[l->n++] = (struct part){at, bytes};
    l->bytes += (bytes + 255) / 256 * 256;
}

/* Activations of `rows` rows for a matrix with k inputs. */
static void add_acts(struct layout *l, struct cuda_acts *acts, int32_t rows, int32_t k) {
    acts->rows = rows;
    acts->segment = cuda_segment(k);
    acts->chunks = (acts->segment + 63) / 64;
    add(l, &acts->data, (size_t)CUDA_SEGMENTS * (size_t)acts->chunks * (size_t)rows * 128);
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
    const struct config *c = cuda_config(b);
    const struct cuda_shape *s = &b->pass.shape;
    const int32_t shapes[][2] = {{(s->n_heads + 2 * s->n_kv_heads) * s->head_size, c->dim},
                                 {c->dim, s->n_heads * s->head_size},
                                 {(c->ffn + 7) / 8 * 16, c->dim},
                                 {c->dim, c->ffn},
                                 {c->vocab, c->dim}};
    size_t most = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int32_t rows = 16; rows <= most_rows; rows += rows < 128 ? rows : 128) {
            size_t bytes = cuda_product_part_bytes(shapes[i][0], cuda_segment(shapes[i][1]), rows);
            most = bytes > most ? bytes : most;
        }
    return most;
}

static void plan_batch(struct cuda *b, struct layout *l) {
    const struct config *c = cuda_config(b);
    struct cuda_pass *p = &b->pass;
    const struct cuda_shape *s = &p->shape;
    const size_t rows = (size_t)b->padded, room = (size_t)p->cache.room, f = sizeof(float);
    const size_t heads = rows * (size_t)s->n_kv_heads, group = (size_t)s->group;
    const size_t tiles = (group + 7) / 8, head = (size_t)s->cache_head;
    p->max_chunks = most_chunks(b);
    p->max_work = b->padded * p->max_chunks;
    add(l, &p->plans, CUDA_PLANS * sizeof *p->plans);
    add(l, &p->rows, rows * sizeof *p->rows);
    add(l, &p->rope, (size_t)b->params.max_total * (size_t)c->head_size * f);
    add(l, &p->x, rows * (size_t)c->dim * f);
    add(l, &p->qkv, rows * (size_t)((s->n_heads + 2 * s->n_kv_heads) * s->head_size) * f);
    add(l, &p->squares, (size_t)(c->dim + 15) / 16 * rows * f);
    add(l, &p->q, heads * tiles * head * 16);
    add(l, &p->work, 2 * (size_t)p->max_work * sizeof *p->work);
    add(l, &p->n_work, 4 * sizeof *p->n_work);
    add(l, &p->view, heads * room * sizeof *p->view);
    add(l, &p->chosen, heads * room * sizeof *p->chosen);
    add(l, &p->rank, heads * room * PAGE * sizeof *p->rank);
    add(l, &p->score, heads * group * room * PAGE * f);
    add(l, &p->softmax, heads * CUDA_GROUP * 2 * f);
    add(l, &p->part, heads * (size_t)p->max_chunks * ((group * (head + 2) + 3) / 4 * 4) * f);
    add(l, &p->arrived, heads * sizeof *p->arrived);
    add(l, &p->cache.table, heads * (size_t)c->n_layers * room * sizeof(int32_t));
    add_acts(l, &b->acts_dim, b->padded, c->dim);
    add_acts(l, &b->acts_q, b->padded, s->n_heads * s->head_size);
    add_acts(l, &b->acts_ffn, b->padded, c->ffn);
    add(l, &b->logits, rows * (size_t)c->vocab * f);
    add(l, &b->arrived, 8 * 512 * sizeof *b->arrived);
    add(l, &b->forced, (size_t)b->width * (size_t)b->params.max_total * sizeof *b->forced);
    add(l, &b->sampling, cuda_sample_bytes(b->width));
    add(l, &b->report, rows * sizeof *b->report);
    add(l, &b->published, sizeof *b->published);
}

static int32_t round_up(int64_t n, int32_t to) { return (int32_t)((n + to - 1) / to * to); }

static void plan_prefill(struct cuda *b, struct layout *l) {
    const struct config *c = cuda_config(b);
    const struct cuda_shape *s = &b->pass.shape;
    const size_t f = sizeof(float), q = (size_t)(s->n_heads * s->head_size);
    const size_t kv = (size_t)(s->n_kv_heads * s->head_size);
    int64_t wanted = (int64_t)b->width * round_up(b->params.max_total, PAGE);
    int32_t longest = round_up(b->params.max_total, CUDA_BLOCK_ROWS);
    b->pack_rows = wanted < MOST_ROWS ? round_up(wanted, CUDA_BLOCK_ROWS) : MOST_ROWS;
    b->pack_rows = b->pack_rows > longest ? b->pack_rows : longest;
    int64_t chunk = CHUNK_BYTES / (int64_t)((q + 2 * kv) * f + (q + (size_t)c->ffn) * 2);
    chunk = chunk / CUDA_BLOCK_ROWS * CUDA_BLOCK_ROWS;
    b->chunk_rows = chunk < CUDA_BLOCK_ROWS ? CUDA_BLOCK_ROWS
                    : chunk > b->pack_rows  ? b->pack_rows
                                            : (int32_t)chunk;
    const size_t pack = (size_t)b->pack_rows, chunks = (size_t)b->chunk_rows;
    const size_t pages = pack / PAGE;
    int32_t most = b->padded > b->chunk_rows ? b->padded : b->chunk_rows;
    add(l, &b->pack_x, pack * (size_t)c->dim * f);
    add(l, &b->pack_squares, (size_t)(c->dim + 15) / 16 * pack * f);
    add_acts(l, &b->pack_acts, b->pack_rows, c->dim);
    add(l, &b->chunk_qkv, chunks * (q + 2 * kv) * f);
    add_acts(l, &b->chunk_q, b->chunk_rows, s->n_heads * s->head_size);
    add_acts(l, &b->chunk_ffn, b->chunk_rows, c->ffn);
    add(l, &b->prefill.kv,
        (size_t)s->n_kv_heads * pages * 2 * PAGE * (size_t)s->cache_head * sizeof(uint16_t));
    add(l, &b->prefill.lse, pack * (size_t)s->n_heads * f);
    add(l, &b->prefill.mass, pack * (size_t)s->n_kv_heads * f);
    add(l, &b->prefill.prompts, pages * sizeof *b->prefill.prompts);
    add(l, &b->prefill.block_prompt, pages * sizeof(int32_t));
    add(l, &b->pack_ids, pack * sizeof(int32_t));
    add(l, &b->gather, 2 * (pages + (size_t)b->width) * sizeof(int32_t));
    add(l, &b->fed_rows, pages * sizeof(int32_t));
    add(l, &b->joins, pages * sizeof *b->joins);
    add(l, &b->rms, (size_t)most * f);
    add(l, &b->part, largest_part(b, most));
}

/* Bytes of one page with all that lies beside it. */
static size_t page_bytes(const struct cuda *b) {
    size_t head = (size_t)b->pass.shape.cache_head;
    return 2 * PAGE * head * 2 + 2 * head * 2 + PAGE * (sizeof(int32_t) + sizeof(float)) +
           sizeof(float) + sizeof(uint32_t);
}

static void plan_pool(struct cuda *b, struct layout *l) {
    struct cuda_cache *c = &b->pass.cache;
    const size_t n = (size_t)b->n_pages, head = (size_t)c->head;
    size_t before = l->bytes;
    add(l, &c->kv, n * 2 * PAGE * head * sizeof *c->kv);
    add(l, &c->bounds, n * 2 * head * sizeof *c->bounds);
    add(l, &c->position, n * PAGE * sizeof *c->position);
    add(l, &c->slot_column, n * PAGE * sizeof *c->slot_column);
    add(l, &c->page_column, n * sizeof *c->page_column);
    add(l, &c->live, n * sizeof *c->live);
    b->pool_bytes = l->bytes - before;
}

/* As many pages as the session asks for, or as the device still has room for. */
static bool plan_memory(struct cuda *b, struct layout *l, struct err *e) {
    const struct config *c = cuda_config(b);
    size_t free_bytes, all, weights = cuda_weights_bytes(c);
    int64_t heads = (int64_t)c->n_layers * c->n_kv_heads;
    int64_t one = heads * pages_of(b->params.max_total), wanted = one * b->width;
    if (b->params.kv_bytes)
        wanted = (int64_t)(b->params.kv_bytes /
                           (2 * PAGE * (size_t)b->pass.shape.cache_head * sizeof(uint16_t)));
    plan_batch(b, l);
    plan_prefill(b, l);
    if (!CUDA_CHECK(cudaMemGetInfo(&free_bytes, &all), e))
        return false;
    size_t taken = weights + l->bytes + SPARE_BYTES;
    int64_t fits = free_bytes > taken ? (int64_t)((free_bytes - taken) / page_bytes(b)) : 0;
    fits = fits < INT32_MAX / PAGE ? fits : INT32_MAX / PAGE; /* slots are numbered in 32 bits */
    b->n_pages = wanted < fits ? wanted : fits;
    log_info("cuda: weights %.2f GB, workspace %.2f GB, KV cache %.2f GB (%.2f GB asked) of %.2f "
             "GB free",
             1e-9 * (double)weights, 1e-9 * (double)l->bytes,
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
                       b->width, 1e-9 * (double)l->bytes, b->params.max_total,
                       1e-9 * (double)one * (double)page_bytes(b));
    plan_pool(b, l);
    return true;
}

/* Everything starts as zero: padding is never written, and stays finite. */
static bool take_memory(struct cuda *b, const struct layout *l, struct err *e) {
    size_t at = 0;
    b->arena_bytes = l->bytes;
    bool there = CUDA_CHECK(cudaMalloc(&b->arena, l->bytes), e);
    if (b->params.too_large)
        *b->params.too_large = !there;
    if (!there || !CUDA_CHECK(cudaMemsetAsync(b->arena, 0, l->bytes, b->stream), e))
        return false;
    for (int i = 0; i < l->n; i++) {
        void *p = (char *)b->arena + at;
        memcpy(l->parts[i].at, &p, sizeof p);
        at += (l->parts[i].bytes + 255) / 256 * 256;
    }
    return true;
}

/* --- opening ---------------------------------------------------------------------------------- */

static bool set_shape(struct cuda *b, struct err *e) {
    const struct config *c = cuda_config(b);
    int32_t group = c->n_heads / c->n_kv_heads, head = 32;
    while (head < c->head_size)
        head *= 2;
    if (b->params.max_total > CUDA_TOKENS)
        return err_set(e, EXIT_USAGE, "%d tokens a sequence, expected at most %d on backend cuda",
                       b->params.max_total, CUDA_TOKENS);
    if (group > CUDA_GROUP || c->vocab > MOST_IDS)
        return err_set(e, EXIT_CONTENT,
                       "%s: %d q heads per KV head, %d ids; expected at most %d, %d",
                       b->model->path, group, c->vocab, CUDA_GROUP, MOST_IDS);
    b->pass.shape = (struct cuda_shape){.n_layers = c->n_layers,
                                        .dim = c->dim,
                                        .n_heads = c->n_heads,
                                        .n_kv_heads = c->n_kv_heads,
                                        .group = group,
                                        .head_size = c->head_size,
                                        .cache_head = head,
                                        .ffn = c->ffn,
                                        .vocab = c->vocab,
                                        .eps = c->rms_eps,
                                        .qk_norm = c->qk_norm};
    int32_t bucket;
    b->padded = b->width > CUDA_NARROW ? round_up(b->width, CUDA_BLOCK_ROWS) : CUDA_NARROW;
    b->padded = cuda_bucket(b, b->width - 1, &bucket);
    b->pass.wide = b->width > CUDA_NARROW;
    b->pass.scale = 1 / sqrtf((float)c->head_size);
    b->pass.cache.room = pages_of(b->params.max_total) + 1;
    b->pass.cache.head = head;
    return true;
}

static bool fill_rope(struct cuda *b, struct err *e) {
    const struct config *c = cuda_config(b);
    int half = c->head_size / 2;
    size_t size = (size_t)b->params.max_total * (size_t)c->head_size;
    float frequency[MAX_HEAD_SIZE / 2], *rope = must_alloc(size * sizeof *rope);
    config_rope_frequencies(c, frequency);
    for (int p = 0; p < b->params.max_total; p++)
        for (int i = 0; i < half; i++) {
            double angle = (float)p * frequency[i]; /* an fp32 product, as in cpu_open.c */
            rope[(size_t)p * (size_t)c->head_size + (size_t)i] = (float)cos(angle);
            rope[(size_t)p * (size_t)c->head_size + (size_t)(half + i)] = (float)sin(angle);
        }
    bool ok = CUDA_CHECK(cudaMemcpyAsync((void *)b->pass.rope, rope, size * sizeof *rope,
                                         cudaMemcpyHostToDevice, b->stream),
                         e) &&
              CUDA_CHECK(cudaStreamSynchronize(b->stream), e);
    free(rope);
    return ok;
}

static bool pinned(void *at, size_t bytes, struct err *e) {
    void *p;
    if (!CUDA_CHECK(cudaHostAlloc(&p, bytes ? bytes : 1, cudaHostAllocDefault), e))
        return false;
    memcpy(at, &p, sizeof p);
    return true;
}

static bool open_ring(struct cuda *b, struct err *e) {
    size_t pack = (size_t)b->pack_rows, pages = pack / PAGE;
    if (!pinned(&b->reports, CUDA_RING * (size_t)b->width * sizeof *b->reports, e))
        return false;
    for (int i = 0; i < CUDA_RING; i++) {
        struct cuda_staging *g = &b->staging[i];
        if (!CUDA_CHECK(cudaEventCreateWithFlags(&b->flights[i].done, cudaEventDisableTiming), e) ||
            !pinned(&g->ids, pack * sizeof *g->ids, e) ||
            !pinned(&g->block_prompt, pages * sizeof *g->block_prompt, e) ||
            !pinned(&g->gather, 2 * pages * sizeof *g->gather, e) ||
            !pinned(&g->rows, pages * sizeof *g->rows, e) ||
            !pinned(&g->prompts, pages * sizeof *g->prompts, e) ||
            !pinned(&g->joins, pages * sizeof *g->joins, e))
            return false;
    }
    return true;
}

static bool is_usable(int device, struct err *e) {
    int n = cuda_device_count(e);
    char text[256];
    if (n && (device < 0 || device >= n))
        return err_set(e, EXIT_USAGE, "GPU %d, expected 0 to %d", device, n - 1);
    return n && (cuda_device_text(device, text, sizeof text) ||
                 err_set(e, EXIT_ENV, "GPU %d: %s", device, text));
}

/* One stream for all sessions of a device: blocks of a product wait for each other, and must not
 * share the multiprocessors with half of another one. Never destroyed. */
static cudaStream_t stream_of(int device, struct err *e) {
    enum { MOST = 64 };
    static cudaStream_t streams[MOST];
    CHECK(device < MOST);
    if (!streams[device])
        CUDA_CHECK(cudaStreamCreateWithFlags(&streams[device], cudaStreamNonBlocking), e);
    return streams[device];
}

/* The device of the session, and its name among instruction sets: attention's chunks differ in wide
 * sessions, and with them the last bits. */
static bool open_device(struct cuda *b, struct err *e) {
    int major = 0, minor = 0, device = b->params.device;
    if (!is_usable(device, e) || !CUDA_CHECK(cudaSetDevice(device), e) ||
        !CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), e) ||
        !CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), e) ||
        !(b->stream = stream_of(device, e)))
        return false;
    snprintf(b->isa, sizeof b->isa, "sm_%d%d%s", major, minor, b->pass.wide ? "-wide" : "");
    return true;
}

static bool open_parts(struct cuda *b, struct err *e) {
    struct layout l = {.n = 0};
    if (!set_shape(b, e) || !open_device(b, e) || !plan_memory(b, &l, e) ||
        !cuda_weights_load(&b->weights, b->model, e) || !take_memory(b, &l, e) ||
        !fill_rope(b, e) || !open_ring(b, e))
        return false;
    b->pass.early = cuda_attends_early();
    b->prefill.shape = b->pass.shape, b->prefill.plans = b->pass.plans;
    b->prefill.scale = b->pass.scale, b->prefill.rope = b->pass.rope;
    b->members = must_zalloc((size_t)b->width, sizeof *b->members);
    b->waiting = must_zalloc((size_t)b->width, sizeof *b->waiting);
    b->plans = must_zalloc(CUDA_PLANS, sizeof *b->plans);
    extents_init(&b->free_pages, b->n_pages);
    return true;
}

void *cuda_open(const struct model *model, const struct session_params *params, struct err *e) {
    if (params->precision == PRECISION_FP32)
        return err_set(e, EXIT_USAGE,
                       "backend cuda computes in bf16, expected --precision bf16; fp32 is the "
                       "CPU's reference path"),
               NULL;
    if (params->isa)
        return err_set(e, EXIT_USAGE, "--isa %s: backend cuda has none to choose from",
                       params->isa),
               NULL;
    struct cuda *b = must_zalloc(1, sizeof *b);
    b->model = model, b->params = *params;
    b->width = params->width, b->lockstep = params->lockstep;
    if (open_parts(b, e))
        return b;
    cuda_close(b);
    return NULL;
}

void cuda_close(void *backend) {
    struct cuda *b = backend;
    if (!b)
        return;
    if (b->stream)
        cudaStreamSynchronize(b->stream);
    for (int i = 0; i < CUDA_BUCKETS; i++)
        for (int j = 0; j < CUDA_FLAVOURS; j++)
            if (b->graphs[i][j])
                cudaGraphExecDestroy(b->graphs[i][j]);
    for (int i = 0; i < CUDA_RING; i++) {
        struct cuda_staging *g = &b->staging[i];
        void *pinned_parts[] = {g->ids, g->block_prompt, g->gather, g->rows, g->prompts, g->joins};
        for (size_t j = 0; j < sizeof pinned_parts / sizeof *pinned_parts; j++)
            cudaFreeHost(pinned_parts[j]);
        if (b->flights[i].done)
            cudaEventDestroy(b->flights[i].done);
    }
    cudaFreeHost(b->reports);
    cudaFreeHost(b->host_logits);
    cuda_weights_free(&b->weights);
    cudaFree(b->arena);
    for (int i = 0; b->members && i < b->width; i++)
        free(b->members[i].ids);
    free(b->members);
    free(b->waiting);
    free(b->plans);
    extents_free(&b->free_pages);
    free(b);
}
