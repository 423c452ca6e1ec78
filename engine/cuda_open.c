/* Opening and closing the CUDA backend: the model's shape, the device, what the host keeps of a
 * session. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cuda_parts.h"
#include "engine/cuda_info.h"

static bool set_shape(struct cuda *b, struct err *e) {
    const struct config *c = cuda_config(b);
    int32_t group = c->n_heads / c->n_kv_heads, head = 32;
    while (head < c->head_size)
        head *= 2;
    if (b->params.max_total > CUDA_TOKENS)
        return err_set(e, EXIT_USAGE, "%d tokens a sequence, expected at most %d on backend cuda",
                       b->params.max_total, CUDA_TOKENS);
    if (group > CUDA_GROUP || c->vocab > CUDA_IDS)
        return err_set(e, EXIT_CONTENT,
                       "%s: %d q heads per KV head, %d ids; expected at most %d, %d",
                       b->model->path, group, c->vocab, CUDA_GROUP, CUDA_IDS);
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
    b->padded = b->width > CUDA_NARROW ? cuda_round_up(b->width, CUDA_BLOCK_ROWS) : CUDA_NARROW;
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

bool cuda_fits_block(const struct cuda *b, int32_t block_bytes, struct err *e) {
    const struct cuda_shape *s = &b->pass.shape;
    int32_t attend =
        attend_bytes(CUDA_ATTEND_WARPS, s->group, s->cache_head) + CUDA_ATTEND_DECLARES;
    int32_t prepare =
        prepare_bytes(s->group, s->cache_head, b->pass.cache.room) + CUDA_PREPARE_DECLARES;
    int32_t needed = attend > prepare ? attend : prepare;
    return needed <= block_bytes ||
           err_set(e, EXIT_ENV,
                   "GPU: %d bytes of shared memory a block, expected %d for %d q heads per KV "
                   "head, head size %d, %d tokens a sequence",
                   block_bytes, needed, s->group, s->head_size, b->params.max_total);
}

/* The device of the session, and its name among instruction sets: attention's chunks differ in wide
 * sessions, and with them the last bits. */
static bool open_device(struct cuda *b, struct err *e) {
    int major = 0, minor = 0, block_bytes = 0, device = b->params.device;
    if (!is_usable(device, e) || !CUDA_CHECK(cudaSetDevice(device), e) ||
        !CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), e) ||
        !CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), e) ||
        !CUDA_CHECK(
            cudaDeviceGetAttribute(&block_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
            e) ||
        !cuda_fits_block(b, block_bytes, e) || !(b->stream = stream_of(device, e)))
        return false;
    snprintf(b->isa, sizeof b->isa, "sm_%d%d%s", major, minor, b->pass.wide ? "-wide" : "");
    return true;
}

static bool open_parts(struct cuda *b, struct err *e) {
    struct cuda_memory_plan plan;
    if (!set_shape(b, e) || !open_device(b, e) || !cuda_plan_memory(b, &plan, e) ||
        !cuda_weights_load(&b->weights, b->model, e) || !cuda_take_memory(b, &plan, e) ||
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
