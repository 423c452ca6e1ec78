#include "engine/cpu_weights.h"

#include <stdlib.h>
#include <string.h>

#include "engine/bf16.h"

/* One load: remembers the error, so that the list of tensors below reads as a list. */
struct loader {
    const struct model *model;
    const struct cpu_kernels *kernels;
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

/* Appends the rows of a tensor to a packed matrix, a panel at a time; `done` counts the rows so
 * far. */
static void append_rows(struct loader *l, struct cpu_matrix *w, enum tensor_role role, int layer,
                        float *panel, int *done) {
    const struct tensor *t = model_tensor(l->model, role, layer);
    int n = (int)t->shape[0], k = w->k;
    for (int row = 0; l->ok && row < n;) {
        int at = *done % CPU_PANEL, room = CPU_PANEL - at;
        int take = n - row < room ? n - row : room;
        l->ok = weights_read(l->model->weights, t, row, take, panel + (size_t)at * (size_t)k, l->e);
        row += take, *done += take;
        if (*done % CPU_PANEL == 0 && l->ok)
            l->kernels->pack(w, *done - CPU_PANEL, CPU_PANEL, panel);
    }
}

/* Packs several tensors, one below the other, as one matrix. */
static void matrix(struct loader *l, struct cpu_matrix *w, int n, int k, int layer, int n_roles,
                   const enum tensor_role *roles) {
    if (!l->ok)
        return;
    size_t size = l->kernels->pack_bytes(n, k);
    *w = (struct cpu_matrix){.n = n, .k = k, .data = must_aligned(size)};
    memset(w->data, 0, size);
    l->bytes += size;
    float *panel = must_alloc((size_t)CPU_PANEL * (size_t)k * sizeof *panel);
    int done = 0;
    for (int i = 0; i < n_roles; i++)
        append_rows(l, w, roles[i], layer, panel, &done);
    if (done % CPU_PANEL && l->ok)
        l->kernels->pack(w, done - done % CPU_PANEL, done % CPU_PANEL, panel);
    free(panel);
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
    const struct tensor *t = model_tensor(l->model, TENSOR_EMBED, 0);
    size_t size = l->kernels->cache_size, dim = (size_t)c->dim;
    out->embedding = must_aligned((size_t)c->vocab * dim * size);
    l->bytes += (size_t)c->vocab * dim * size;
    float *row = must_alloc(dim * sizeof *row);
    for (int64_t id = 0; l->ok && id < c->vocab; id++) {
        l->ok = weights_read(l->model->weights, t, id, 1, row, l->e);
        if (size == sizeof(float))
            memcpy((float *)out->embedding + (size_t)id * dim, row, dim * sizeof *row);
        else
            for (size_t i = 0; i < dim; i++)
                ((uint16_t *)out->embedding)[(size_t)id * dim + i] = bf16_of(row[i]);
    }
    free(row);
}

bool cpu_weights_load(struct cpu_weights *out, const struct model *model,
                      const struct cpu_kernels *kernels, struct err *e) {
    const struct config *c = &model->config;
    struct loader l = {.model = model, .kernels = kernels, .e = e, .ok = true};
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
