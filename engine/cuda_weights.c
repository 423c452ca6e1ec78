#include "engine/cuda_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "engine/cuda_check.h"

_Static_assert(DTYPE_F32 == 0 && DTYPE_F16 == 1 && DTYPE_BF16 == 2, "types of cuda_pack");

enum { BUFFERS = 2, BUFFER_BYTES = 64 << 20, READERS = 8, READ_BYTES = 4 << 20 };

/* --- where everything lies -------------------------------------------------------------------- */

struct arena {
    char *base; /* NULL: only counts */
    size_t used;
};

static void *part(struct arena *a, size_t bytes) {
    void *p = a->base ? a->base + a->used : NULL;
    a->used += cuda_aligned(bytes);
    return p;
}

static float *vector(struct arena *a, int n) { return part(a, (size_t)n * sizeof(float)); }

static struct cuda_matrix matrix(struct arena *a, struct cuda_matrix of) {
    of.data = part(a, cuda_matrix_bytes(of.n, of.segment));
    return of;
}

static int q_size(const struct config *c) { return c->n_heads * c->head_size; }
static int kv_size(const struct config *c) { return c->n_kv_heads * c->head_size; }

static struct cuda_matrix sizes(int n, int k) {
    return (struct cuda_matrix){.n = n, .k = k, .segment = cuda_segment(k)};
}

struct cuda_matrices cuda_matrices_of(const struct config *c) {
    return (struct cuda_matrices){.qkv = sizes(q_size(c) + 2 * kv_size(c), c->dim),
                                  .o = sizes(c->dim, q_size(c)),
                                  .gate_up = sizes((c->ffn + 7) / 8 * 16, c->dim),
                                  .down = sizes(c->dim, c->ffn),
                                  .head = sizes(c->vocab, c->dim)};
}

/* Vectors stand first, so that one copy brings all of them; returns how many bytes they take. */
static size_t lay_out(struct cuda_weights *w, const struct config *c) {
    const struct cuda_matrices m = cuda_matrices_of(c);
    struct arena a = {.base = w->arena};
    w->final_norm = vector(&a, c->dim);
    for (int i = 0; i < c->n_layers; i++) {
        struct cuda_layer *y = &w->layers[i];
        y->attn_norm = vector(&a, c->dim);
        y->ffn_norm = vector(&a, c->dim);
        if (c->qk_norm) {
            y->q_norm = vector(&a, c->head_size);
            y->k_norm = vector(&a, c->head_size);
        }
        if (c->qkv_bias)
            y->qkv_bias = vector(&a, q_size(c) + 2 * kv_size(c));
    }
    size_t vectors = a.used;
    for (int i = 0; i < c->n_layers; i++) {
        struct cuda_layer *y = &w->layers[i];
        y->qkv = matrix(&a, m.qkv);
        y->o = matrix(&a, m.o);
        y->gate_up = matrix(&a, m.gate_up);
        y->down = matrix(&a, m.down);
    }
    w->head = matrix(&a, m.head);
    w->embedding = c->tied ? w->head : matrix(&a, m.head);
    w->bytes = a.used;
    return vectors;
}

static struct cuda_layer *new_layers(const struct config *c) {
    return must_zalloc((size_t)c->n_layers, sizeof(struct cuda_layer));
}

size_t cuda_weights_bytes(const struct config *c) {
    struct cuda_weights w = {.layers = new_layers(c)};
    lay_out(&w, c);
    free(w.layers);
    return w.bytes;
}

/* --- vectors ---------------------------------------------------------------------------------- */

/* One load. Vectors are collected in an image of the front of the arena. */
struct loader {
    const struct model *model;
    struct cuda_weights *w;
    struct err *e;
    cudaStream_t stream;
    char *image;
    struct pool *readers;
    struct buffer {
        char *host, *device;
        cudaEvent_t done; /* with what it holds */
    } buffers[BUFFERS];
    size_t buffer_bytes;
    int next;      /* buffer */
    uint64_t seed; /* of the next random matrix */
};

/* Reads a vector, n numbers in the random case, to where `at` on the device will be. */
static bool read_vector(struct loader *l, enum tensor_role role, int layer, const float *at,
                        int n) {
    float *to = (float *)(l->image + ((const char *)at - (const char *)l->w->arena));
    bool is_bias = role == TENSOR_Q_BIAS || role == TENSOR_K_BIAS || role == TENSOR_V_BIAS;
    if (l->model->weights)
        return weights_read(l->model->weights, model_tensor(l->model, role, layer), 0, 1, to, l->e);
    for (int i = 0; i < n; i++)
        to[i] = is_bias ? 0 : 1;
    return true;
}

static bool read_layer_vectors(struct loader *l, int i) {
    const struct config *c = &l->model->config;
    const struct cuda_layer *y = &l->w->layers[i];
    const float *bias = y->qkv_bias;
    int q = q_size(c), kv = kv_size(c);
    return read_vector(l, TENSOR_ATTN_NORM, i, y->attn_norm, c->dim) &&
           read_vector(l, TENSOR_FFN_NORM, i, y->ffn_norm, c->dim) &&
           (!c->qk_norm || (read_vector(l, TENSOR_Q_NORM, i, y->q_norm, c->head_size) &&
                            read_vector(l, TENSOR_K_NORM, i, y->k_norm, c->head_size))) &&
           (!c->qkv_bias || (read_vector(l, TENSOR_Q_BIAS, i, bias, q) &&
                             read_vector(l, TENSOR_K_BIAS, i, bias + q, kv) &&
                             read_vector(l, TENSOR_V_BIAS, i, bias + q + kv, kv)));
}

static bool load_vectors(struct loader *l, size_t bytes) {
    const struct config *c = &l->model->config;
    l->image = must_zalloc(1, bytes);
    bool ok = read_vector(l, TENSOR_FINAL_NORM, 0, l->w->final_norm, c->dim);
    for (int i = 0; ok && i < c->n_layers; i++)
        ok = read_layer_vectors(l, i);
    ok =
        ok &&
        CUDA_CHECK(cudaMemcpyAsync(l->w->arena, l->image, bytes, cudaMemcpyHostToDevice, l->stream),
                   l->e) &&
        CUDA_CHECK(cudaStreamSynchronize(l->stream), l->e);
    free(l->image);
    return ok;
}

/* --- matrices --------------------------------------------------------------------------------- */

/* Rows of a tensor on their way to a pinned buffer: as they lie in the file, or, where those aren't
 * plain numbers in order, as fp32. */
struct stretch {
    const struct weights *weights;
    const struct tensor *tensor;
    int32_t from, n, rows_per_task;
    char *to;
    struct err errors[READERS]; /* of each thread, its first */
};

static int32_t type_in_buffer(const struct tensor *t) {
    return weights_plain(t) ? (int32_t)t->type : DTYPE_F32;
}

static uint64_t row_in_buffer(const struct tensor *t) {
    return (uint64_t)t->shape[1] * (uint64_t)dtype_formats[type_in_buffer(t)].bytes;
}

static void read_task(void *context, int task, int thread) {
    struct stretch *s = context;
    const struct tensor *t = s->tensor;
    int32_t at = task * s->rows_per_task, left = s->n - at;
    int32_t n = left < s->rows_per_task ? left : s->rows_per_task, row = s->from + at;
    uint64_t bytes = row_in_buffer(t);
    char *to = s->to + (uint64_t)at * bytes;
    if (weights_plain(t))
        weights_read_raw(s->weights, t, (uint64_t)row * bytes, (uint64_t)n * bytes, to,
                         &s->errors[thread]);
    else
        weights_read(s->weights, t, row, n, (float *)to, &s->errors[thread]);
}

static bool read_stretch(struct loader *l, const struct tensor *t, int32_t from, int32_t n,
                         char *to) {
    uint64_t rows = READ_BYTES / row_in_buffer(t);
    struct stretch s = {.weights = l->model->weights,
                        .tensor = t,
                        .from = from,
                        .n = n,
                        .rows_per_task = rows ? (int32_t)rows : 1,
                        .to = to};
    pool_run(l->readers, (n + s.rows_per_task - 1) / s.rows_per_task, read_task, &s);
    for (int i = 0; i < READERS; i++)
        if (s.errors[i].code)
            return err_set(l->e, s.errors[i].code, "%s", s.errors[i].text);
    return true;
}

/* While the device copies and packs one piece, the next one is read into the other buffer. */
static bool load_piece(struct loader *l, const struct cuda_matrix *m, const struct tensor *t,
                       int32_t at, int32_t interleave, int32_t from, int32_t n) {
    struct buffer *b = &l->buffers[l->next];
    size_t bytes = (size_t)((uint64_t)n * row_in_buffer(t));
    l->next = (l->next + 1) % BUFFERS;
    if (!CUDA_CHECK(cudaEventSynchronize(b->done), l->e) || !read_stretch(l, t, from, n, b->host) ||
        !CUDA_CHECK(cudaMemcpyAsync(b->device, b->host, bytes, cudaMemcpyHostToDevice, l->stream),
                    l->e))
        return false;
    cuda_pack((uint16_t *)m->data, m->segment, at, interleave, b->device, type_in_buffer(t), from,
              n, m->k, l->stream);
    return CUDA_CHECK(cudaGetLastError(), l->e) &&
           CUDA_CHECK(cudaEventRecord(b->done, l->stream), l->e);
}

static bool load_rows(struct loader *l, const struct cuda_matrix *m, enum tensor_role role,
                      int layer, int32_t at, int32_t interleave) {
    const struct tensor *t = model_tensor(l->model, role, layer);
    int32_t rows = (int32_t)t->shape[0], n;
    int32_t most = (int32_t)(l->buffer_bytes / row_in_buffer(t));
    for (int32_t from = 0; from < rows; from += n) {
        n = rows - from < most ? rows - from : most;
        if (!load_piece(l, m, t, at, interleave, from, n))
            return false;
    }
    return true;
}

static bool load_layer(struct loader *l, int i) {
    const struct cuda_layer *y = &l->w->layers[i];
    int32_t q = q_size(&l->model->config), kv = kv_size(&l->model->config);
    return load_rows(l, &y->qkv, TENSOR_Q, i, 0, 0) && load_rows(l, &y->qkv, TENSOR_K, i, q, 0) &&
           load_rows(l, &y->qkv, TENSOR_V, i, q + kv, 0) &&
           load_rows(l, &y->o, TENSOR_O, i, 0, 0) &&
           load_rows(l, &y->gate_up, TENSOR_GATE, i, 0, 1) &&
           load_rows(l, &y->gate_up, TENSOR_UP, i, 0, 2) &&
           load_rows(l, &y->down, TENSOR_DOWN, i, 0, 0);
}

/* As large as the largest tensor at most; a row always fits (config.h bounds it). */
static bool open_buffers(struct loader *l) {
    uint64_t largest = 1;
    for (size_t i = 0; i < weights_count(l->model->weights); i++) {
        const struct tensor *t = weights_at(l->model->weights, i);
        uint64_t bytes = t->rank == 2 ? (uint64_t)t->shape[0] * row_in_buffer(t) : 0;
        largest = bytes > largest ? bytes : largest;
    }
    l->buffer_bytes = largest < BUFFER_BYTES ? (size_t)largest : BUFFER_BYTES;
    for (int i = 0; i < BUFFERS; i++) {
        struct buffer *b = &l->buffers[i];
        if (!CUDA_CHECK(cudaHostAlloc((void **)&b->host, l->buffer_bytes, cudaHostAllocDefault),
                        l->e) ||
            !CUDA_CHECK(cudaMalloc((void **)&b->device, l->buffer_bytes), l->e) ||
            !CUDA_CHECK(cudaEventCreateWithFlags(&b->done, cudaEventDisableTiming), l->e))
            return false;
    }
    l->readers = pool_open(READERS);
    return true;
}

static void close_buffers(struct loader *l) {
    for (int i = 0; i < BUFFERS; i++) {
        cudaFreeHost(l->buffers[i].host);
        cudaFree(l->buffers[i].device);
        if (l->buffers[i].done)
            cudaEventDestroy(l->buffers[i].done);
    }
    if (l->readers)
        pool_close(l->readers);
}

static bool load_matrices(struct loader *l) {
    const struct config *c = &l->model->config;
    if (!open_buffers(l))
        return false;
    for (int i = 0; i < c->n_layers; i++)
        if (!load_layer(l, i))
            return false;
    return load_rows(l, &l->w->head, TENSOR_HEAD, 0, 0, 0) &&
           (c->tied || load_rows(l, &l->w->embedding, TENSOR_EMBED, 0, 0, 0));
}

static void invent(struct loader *l, const struct cuda_matrix *m) {
    size_t elements = cuda_matrix_bytes(m->n, m->segment) / sizeof(uint16_t);
    cuda_pack_random((uint16_t *)m->data, elements, sqrtf(3 / (float)m->k), l->seed++, l->stream);
}

static bool invent_matrices(struct loader *l) {
    const struct config *c = &l->model->config;
    for (int i = 0; i < c->n_layers; i++) {
        const struct cuda_layer *y = &l->w->layers[i];
        invent(l, &y->qkv), invent(l, &y->o);
        invent(l, &y->gate_up), invent(l, &y->down);
    }
    invent(l, &l->w->head);
    if (!c->tied)
        invent(l, &l->w->embedding);
    return CUDA_CHECK(cudaGetLastError(), l->e);
}

/* --- loading ---------------------------------------------------------------------------------- */

static bool load(struct loader *l) {
    struct cuda_weights *w = l->w;
    size_t bytes = cuda_weights_bytes(&l->model->config);
    if (!CUDA_CHECK(cudaMalloc(&w->arena, bytes), l->e)) {
        (void)cudaGetLastError(); /* later checks must not meet it again */
        return err_in(l->e, "%.2f GB of weights", 1e-9 * (double)bytes);
    }
    size_t vectors = lay_out(w, &l->model->config);
    bool ok = CUDA_CHECK(cudaMemsetAsync(w->arena, 0, bytes, l->stream), l->e) &&
              load_vectors(l, vectors) &&
              (l->model->weights ? load_matrices(l) : invent_matrices(l));
    return CUDA_CHECK(cudaStreamSynchronize(l->stream), l->e) && ok;
}

bool cuda_weights_load(struct cuda_weights *out, const struct model *model, struct err *e) {
    *out = (struct cuda_weights){.layers = new_layers(&model->config)};
    struct loader l = {.model = model, .w = out, .e = e};
    bool ok =
        CUDA_CHECK(cudaStreamCreateWithFlags(&l.stream, cudaStreamNonBlocking), e) && load(&l);
    close_buffers(&l);
    if (l.stream)
        cudaStreamDestroy(l.stream);
    if (!ok)
        cuda_weights_free(out);
    return ok;
}

void cuda_weights_free(struct cuda_weights *w) {
    cudaFree(w->arena);
    free(w->layers);
    *w = (struct cuda_weights){0};
}
