/* Opening and closing the CPU backend: everything is sized here, a decode step allocates nothing.
 */
#include <math.h>
#include <stdlib.h>

#include "base/machine.h"
#include "engine/cpu.h"

static void fill_rope(struct cpu *b) {
    const struct config *c = config_of(b);
    int d = c->head_size;
    float frequency[MAX_HEAD_SIZE / 2];
    config_rope_frequencies(c, frequency);
    for (int p = 0; p < b->max_total; p++)
        for (int i = 0; i < d / 2; i++) {
            double angle =
                (float)p * frequency[i]; /* an fp32 product, as the models were trained with */
            b->rope[(size_t)p * (size_t)d + (size_t)i] = (float)cos(angle);
            b->rope[(size_t)p * (size_t)d + (size_t)(d / 2 + i)] = (float)sin(angle);
        }
}

static void *workspace(struct cpu *b, size_t bytes) {
    b->workspace += bytes;
    return must_aligned(bytes);
}

static void open_rows(struct cpu *b) {
    const struct config *c = config_of(b);
    size_t heads = (size_t)c->n_layers * (size_t)c->n_kv_heads,
           room = (size_t)pages_of(b->max_total) + 1;
    size_t all = (size_t)b->width * heads + (size_t)c->n_kv_heads;
    b->tables = must_zalloc(all * room, sizeof *b->tables);
    b->masks = must_zalloc(all * room, sizeof *b->masks);
    struct head *h = must_zalloc(all, sizeof *h);
    for (size_t i = 0; i < all; i++) {
        h[i].table = b->tables + i * room;
        h[i].live = b->masks + i * room;
    }
    b->rows = must_zalloc((size_t)b->width, sizeof *b->rows);
    for (int row = 0; row < b->width; row++)
        b->rows[row].heads = h + (size_t)row * heads;
    b->prompt_heads = h + (size_t)b->width * heads;
}

static void open_buffers(struct cpu *b) {
    const struct config *c = config_of(b);
    size_t m = CPU_CHUNK > b->width ? CPU_CHUNK : (size_t)b->width, f = sizeof(float);
    int widest = c->ffn > q_size(c) ? c->ffn : q_size(c);
    widest = widest > c->dim ? widest : c->dim;
    b->x = workspace(b, m * (size_t)c->dim * f);
    b->qkv = workspace(b, m * (size_t)(q_size(c) + 2 * kv_size(c)) * f);
    b->gate_up = workspace(b, m * 2 * (size_t)c->ffn * f);
    b->logits = workspace(b, (size_t)b->width * (size_t)c->vocab * f);
    b->act = workspace(b, m * (size_t)widest * b->kernels->act_size);
    b->prompt_x = workspace(b, (size_t)b->max_total * (size_t)c->dim * f);
    b->rope = workspace(b, (size_t)b->max_total * (size_t)c->head_size * f);
    b->workspace += (size_t)b->prompt.n_pages * b->prompt.page_bytes;
    fill_rope(b);
    int n = pool_threads(b->threads);
    b->scratch = must_zalloc((size_t)n, sizeof *b->scratch);
    for (int i = 0; i < n; i++)
        b->workspace += rules_scratch_init(&b->scratch[i], b->max_total, c->n_heads / c->n_kv_heads,
                                           b->pages.page_bytes, widest);
}

void cpu_close(void *backend) {
    struct cpu *b = backend;
    if (!b)
        return;
    for (int i = 0; b->scratch && i < pool_threads(b->threads); i++)
        rules_scratch_free(&b->scratch[i]);
    if (b->threads)
        pool_close(b->threads);
    sampler_free(&b->sampler);
    cpu_weights_free(&b->weights, config_of(b)->n_layers);
    pool_destroy(&b->pages);
    pool_destroy(&b->prompt);
    void *owned[] = {b->scratch, b->tables, b->masks,    b->rows ? b->rows[0].heads : NULL,
                     b->rows,    b->x,      b->qkv,      b->gate_up,
                     b->logits,  b->act,    b->prompt_x, b->rope};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    free(b);
}

void *cpu_open(const struct model *model, const struct session_params *params, struct err *e) {
    const struct config *c = &model->config;
    if (c->n_heads / c->n_kv_heads > CPU_GROUP) {
        err_set(e, EXIT_CONTENT, "%s: %d q heads per KV head, expected at most %d", model->path,
                c->n_heads / c->n_kv_heads, CPU_GROUP);
        return NULL;
    }
    const char *isa = params->precision == PRECISION_FP32 ? "fp32" : params->isa;
    const struct cpu_kernels *kernels = cpu_kernels_find(isa, e);
    if (!kernels)
        return NULL;
    size_t page = page_set_aside(kernels->cache_size, (size_t)c->head_size);
    if (params->kv_bytes && params->kv_bytes < page) {
        err_set(e, EXIT_USAGE, "%llu bytes of KV cache, expected at least the %zu of a page",
                (unsigned long long)params->kv_bytes, page);
        return NULL;
    }
    struct cpu *b = must_zalloc(1, sizeof *b);
    b->model = model, b->kernels = kernels;
    b->width = params->width, b->max_total = params->max_total;
    int64_t pages =
        (int64_t)params->width * c->n_layers * c->n_kv_heads * pages_of(params->max_total);
    if (params->kv_bytes)
        pages = (int64_t)(params->kv_bytes / page);
    b->threads = pool_open(machine_threads(params->n_threads));
    if (!pool_init(&b->pages, kernels, c->head_size, pages, e) ||
        !pool_init(&b->prompt, kernels, c->head_size,
                   (int64_t)c->n_kv_heads * pages_of(params->max_total), e) ||
        !cpu_weights_load(&b->weights, model, kernels, b->threads, e)) {
        if (params->too_large && !b->prompt.kernels)
            *params->too_large = true; /* the pools are all that is refused for its size */
        cpu_close(b);
        return NULL;
    }
    sampler_init(&b->sampler, advance_vocab(model));
    open_rows(b);
    open_buffers(b);
    return b;
}
