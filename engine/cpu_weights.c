#include "engine/cpu_weights.h"

#include <stdlib.h>
#include <string.h>

#include "engine/bf16.h"

/* One load: remembers the error, so that the list of tensors below reads as a list. Matrices are
 * read, widened and packed in parallel, a strip of rows a task. */
struct loader {
    const struct model *model;
    const struct cpu_kernels *kernels;
    struct pool *threads;
    struct err *e;
    bool ok;
    size_t bytes;
};

static float *vector(struct loader *l, enum tensor_role role, int layer, float *out) {
    const struct tensor *t = model_tensor(l->model, role, layer);
    if (!t || !l->ok)
        return NULL;
    size_t n = (size_t)t->shape[t->rank - 1];
    if (!out)
        out = must_alloc(n * sizeof *out), l->bytes += n * sizeof *out;
    l->ok = weights_read(l->model->weights, t, 0, 1, out, l->e);
    return out;
}

enum { STRIP = CPU_PANEL, MAX_PARTS = 3 };

/* Tensors one below the other, n rows of k in all, on their way into one matrix. */
struct strips {
    const struct loader *l;
    const struct tensor *parts[MAX_PARTS];
    int n_parts, n, k;
    struct cpu_matrix *matrix; /* where the rows go: panels, */
    void *rows;                /* or, if it is NULL, rows in the cache type */
    float *scratch;            /* [threads][STRIP][k] */
    struct err *errors;        /* [threads]: of each its first */
};

static bool read_rows(const struct strips *s, int row, int n, float *out, struct err *e) {
    for (int i = 0; i < s->n_parts && n; i++) {
        int rows = (int)s->parts[i]->shape[0];
        if (row >= rows) {
            row -= rows;
            continue;
        }
        int take = n < rows - row ? n : rows - row;
        if (!weights_read(s->l->model->weights, s->parts[i], row, take, out, e))
            return false;
        out += (size_t)take * (size_t)s->k;
        n -= take, row = 0;
    }
    return true;
}

static void store_rows(const struct strips *s, int row, int n, const float *rows) {
    size_t at = (size_t)row * (size_t)s->k, count = (size_t)n * (size_t)s->k;
    if (s->matrix)
        s->l->kernels->pack(s->matrix, row, n, rows);
    else if (s->l->kernels->cache_size == sizeof(float))
        memcpy((float *)s->rows + at, rows, count * sizeof *rows);
    else
        for (size_t i = 0; i < count; i++)
            ((uint16_t *)s->rows)[at + i] = bf16_of(rows[i]);
}

static void strip_task(void *context, int task, int thread) {
    struct strips *s = context;
    int row = task * STRIP, n = s->n - row < STRIP ? s->n - row : STRIP;
    float *rows = s->scratch + (size_t)thread * STRIP * (size_t)s->k;
    if (!s->errors[thread].code && read_rows(s, row, n, rows, &s->errors[thread]))
        store_rows(s, row, n, rows);
}

static void run_strips(struct loader *l, struct strips *s) {
    int n_threads = pool_threads(l->threads);
    s->l = l;
    s->scratch = must_alloc((size_t)n_threads * STRIP * (size_t)s->k * sizeof *s->scratch);
    s->errors = must_zalloc((size_t)n_threads, sizeof *s->errors);
    pool_run(l->threads, (s->n + STRIP - 1) / STRIP, strip_task, s);
    for (int i = 0; l->ok && i < n_threads; i++)
        if (s->errors[i].code)
            l->ok = err_set(l->e, s->errors[i].code, "%s", s->errors[i].text);
    free(s->errors);
    free(s->scratch);
}

/* Packs several tensors, one below the other, as one matrix. */
static void matrix(struct loader *l, struct cpu_matrix *w, int n, int k, int layer, int n_roles,
                   const enum tensor_role *roles) {
    if (!l->ok)
        return;
    size_t size = l->kernels->pack_bytes(n, k);
    *w = (struct cpu_matrix){.n = n, .k = k, .data = must_aligned(size)};
    l->bytes += size;
    struct strips s = {.n_parts = n_roles, .n = n, .k = k, .matrix = w};
    for (int i = 0; i < n_roles; i++)
        s.parts[i] = model_tensor(l->model, roles[i], layer);
    run_strips(l, &s);
}

static void load_layer(struct loader *l, struct cpu_layer *y, int i) {
    const struct config *c = &l->model->config;
    int q = c->n_heads * c->head_size, kv = c->n_kv_heads * c->head_size;
    y->attn_norm = vector(l, TENSOR_ATTN_NORM, i, NULL);
    y->ffn_norm = vector(l, TENSOR_FFN_NORM, i, NULL);
    if (c->qk_norm) {
        y->q_norm = vector(l, TENSOR_Q_NORM, i, NULL);
        y->k_norm = vector(l, TENSOR_K_NORM, i, NULL);
    }
    matrix(l, &y->qkv, q + 2 * kv, c->dim, i, 3,
           (const enum tensor_role[]){TENSOR_Q, TENSOR_K, TENSOR_V});
    matrix(l, &y->o, c->dim, q, i, 1, (const enum tensor_role[]){TENSOR_O});
    matrix(l, &y->gate_up, 2 * c->ffn, c->dim, i, 2,
           (const enum tensor_role[]){TENSOR_GATE, TENSOR_UP});
    matrix(l, &y->down, c->dim, c->ffn, i, 1, (const enum tensor_role[]){TENSOR_DOWN});
    if (c->qkv_bias) {
        y->qkv_bias = must_zalloc((size_t)(q + 2 * kv), sizeof(float));
        l->bytes += (size_t)(q + 2 * kv) * sizeof(float);
        vector(l, TENSOR_Q_BIAS, i, y->qkv_bias);
        vector(l, TENSOR_K_BIAS, i, y->qkv_bias + q);
        vector(l, TENSOR_V_BIAS, i, y->qkv_bias + q + kv);
        y->qkv.bias = y->qkv_bias;
    }
}

static void load_embedding(struct loader *l, struct cpu_weights *out) {
    const struct config *c = &l->model->config;
    size_t size = (size_t)c->vocab * (size_t)c->dim * l->kernels->cache_size;
    if (!l->ok)
        return;
    out->embedding = must_aligned(size);
    l->bytes += size;
    struct strips s = {.parts = {model_tensor(l->model, TENSOR_EMBED, 0)},
                       .n_parts = 1,
                       .n = c->vocab,
                       .k = c->dim,
                       .rows = out->embedding};
    run_strips(l, &s);
}

bool cpu_weights_load(struct cpu_weights *out, const struct model *model,
                      const struct cpu_kernels *kernels, struct pool *threads, struct err *e) {
    const struct config *c = &model->config;
    struct loader l = {.model = model, .kernels = kernels, .threads = threads, .e = e, .ok = true};
    if (!model->weights)
        return err_set(e, EXIT_USAGE, "%s: expected --backend cuda", model->path);
    *out = (struct cpu_weights){.layers = must_zalloc((size_t)c->n_layers, sizeof *out->layers)};
    for (int i = 0; i < c->n_layers; i++)
        load_layer(&l, &out->layers[i], i);
    out->final_norm = vector(&l, TENSOR_FINAL_NORM, 0, NULL);
    matrix(&l, &out->head, c->vocab, c->dim, 0, 1, (const enum tensor_role[]){TENSOR_HEAD});
    load_embedding(&l, out);
    out->bytes = l.bytes;
    if (!l.ok)
        cpu_weights_free(out, c->n_layers);
    return l.ok;
}

void cpu_weights_free(struct cpu_weights *weights, int n_layers) {
    for (int i = 0; weights->layers && i < n_layers; i++) {
        struct cpu_layer *y = &weights->layers[i];
        void *owned[] = {y->attn_norm, y->ffn_norm, y->q_norm,       y->k_norm,   y->qkv_bias,
                         y->qkv.data,  y->o.data,   y->gate_up.data, y->down.data};
        for (size_t j = 0; j < sizeof owned / sizeof *owned; j++)
            free(owned[j]);
    }
    free(weights->layers);
    free(weights->final_norm);
    free(weights->head.data);
    free(weights->embedding);
    memset(weights, 0, sizeof *weights);
}

void cpu_embed(const struct cpu_weights *weights, const struct cpu_kernels *kernels, int dim,
               int32_t id, float *out) {
    size_t at = (size_t)id * (size_t)dim;
    if (kernels->cache_size == sizeof(float))
        memcpy(out, (const float *)weights->embedding + at, (size_t)dim * sizeof *out);
    else
        for (int i = 0; i < dim; i++)
            out[i] = bf16_to_float(((const uint16_t *)weights->embedding)[at + (size_t)i]);
}
