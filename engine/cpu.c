/* The CPU backend. Under --precision fp32 it is the specification that every other path is tested
 * against. A decode step, per layer: norm, q k v, per (sequence, KV head) {rotate, evict, append,
 * attend, observe}, o, norm, gate up, down. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "engine/backend.h"
#include "engine/cpu_weights.h"
#include "engine/rope.h"
#include "engine/rules.h"

enum {
    CHUNK = 128,    /* rows of a prefill chunk: any number gives the same bits */
    MAX_WIDTH = 64, /* sequences of a decode step */
    BLOCK = 4,      /* panels of a matmul task at least, so that a task is worth handing out */
};

struct cpu_row {
    struct head *heads; /* [n_layers][n_kv_heads] */
    struct page_needs needs;
    bool taken;
};

struct cpu {
    const struct model *model;
    const struct cpu_kernels *kernels;
    struct cpu_weights weights;
    struct pool *threads;
    struct page_pool pages;    /* of the sequences */
    struct page_pool prompt;   /* workspace: one layer's keys and values of one prompt */
    struct head *prompt_heads; /* [n_kv_heads] */
    struct cpu_row *rows;      /* [width] */
    int width, max_total;
    int32_t *tables; /* of all heads */
    uint16_t *masks;
    float *rope;                   /* [max_total][head_size]: cos, then sin */
    struct rules_scratch *scratch; /* one a thread */
    /* activations, [rows][...] with rows = max(CHUNK, width) */
    float *x, *qkv, *gate_up, *logits;
    void *act;       /* [rows][max(dim, q, ffn)] in the activation type */
    float *prompt_x; /* [max_total][dim] the residual stream of one prompt */
    size_t workspace;
};

/* What the loops over rows need: the tokens that go through a layer together. */
struct batch {
    struct cpu *b;
    int layer, m;                            /* rows */
    float *x;                                /* [m][dim] */
    const int *rows;                         /* decode: the session's rows, or NULL */
    const struct sequence *const *sequences; /* decode: one a row; prefill: the one */
    int32_t first;                           /* prefill: position of row 0 */
    const struct cpu_matrix *w;              /* the matmul under way, */
    float *y;                                /* its output [m][ldy], */
    size_t ldy;
    bool add;
    const float *gain; /* the norm under way */
};

static const struct config *config_of(const struct cpu *b) { return &b->model->config; }
static int q_size(const struct config *c) { return c->n_heads * c->head_size; }
static int kv_size(const struct config *c) { return c->n_kv_heads * c->head_size; }
static struct head *head_of(const struct cpu *b, int row, int layer, int kv_head) {
    return &b->rows[row].heads[layer * config_of(b)->n_kv_heads + kv_head];
}

/* --- stages
 * --------------------------------------------------------------------------------------- */

static void matmul_task(void *context, int task, int thread) {
    const struct batch *t = context;
    int panels = (t->w->n + CPU_PANEL - 1) / CPU_PANEL, p0 = task * BLOCK;
    int p1 = p0 + BLOCK < panels ? p0 + BLOCK : panels;
    (void)thread;
    t->b->kernels->matmul(t->w, t->b->act, t->m, p0, p1, t->y, t->ldy, t->add);
}

static void matmul(struct batch *t, const struct cpu_matrix *w, float *y, size_t ldy, bool add) {
    t->w = w, t->y = y, t->ldy = ldy, t->add = add;
    int panels = (w->n + CPU_PANEL - 1) / CPU_PANEL;
    pool_run(t->b->threads, (panels + BLOCK - 1) / BLOCK, matmul_task, t);
}

/* Row i of the activations, for matrices with k inputs. */
static void *act_row(const struct cpu *b, int i, int k) {
    return (char *)b->act + (size_t)i * (size_t)k * b->kernels->act_size;
}

static void norm_task(void *context, int i, int thread) {
    const struct batch *t = context;
    const struct config *c = config_of(t->b);
    float *normed = t->b->scratch[thread].row;
    t->b->kernels->rmsnorm(t->x + (size_t)i * (size_t)c->dim, t->gain, c->dim, c->rms_eps, normed);
    t->b->kernels->convert(normed, (size_t)c->dim, act_row(t->b, i, c->dim));
}

static void norm(struct batch *t, const float *gain) {
    t->gain = gain;
    pool_run(t->b->threads, t->m, norm_task, t);
}

static void swiglu_task(void *context, int i, int thread) {
    const struct batch *t = context;
    int ffn = config_of(t->b)->ffn;
    const float *gate = t->b->gate_up + (size_t)i * 2 * (size_t)ffn;
    float *product = t->b->scratch[thread].row;
    t->b->kernels->swiglu(gate, gate + ffn, ffn, product);
    t->b->kernels->convert(product, (size_t)ffn, act_row(t->b, i, ffn));
}

/* Where row i's q, k and v of a head lie in the qkv buffer. */
static float *q_of(const struct cpu *b, int i, int head) {
    const struct config *c = config_of(b);
    return b->qkv + (size_t)i * (size_t)(q_size(c) + 2 * kv_size(c)) +
           (size_t)(head * c->head_size);
}
static float *k_of(const struct cpu *b, int i, int kv_head) {
    return q_of(b, i, config_of(b)->n_heads + kv_head);
}
static float *v_of(const struct cpu *b, int i, int kv_head) {
    return q_of(b, i, config_of(b)->n_heads + config_of(b)->n_kv_heads + kv_head);
}

/* Head norm (Qwen3) and rotation of one head, in place. */
static void prepare_head(const struct cpu *b, float *x, const float *gain, int32_t position) {
    const struct config *c = config_of(b);
    if (gain)
        b->kernels->rmsnorm(x, gain, c->head_size, c->rms_eps, x);
    rope_rotate(x, b->rope + (size_t)position * (size_t)c->head_size, c->head_size, 1, x);
}

/* One KV head of one sequence in a decode step. */
static void decode_head_task(void *context, int task, int thread) {
    const struct batch *t = context;
    struct cpu *b = t->b;
    const struct config *c = config_of(b);
    const struct cpu_layer *y = &b->weights.layers[t->layer];
    int i = task / c->n_kv_heads, kv = task % c->n_kv_heads, group = c->n_heads / c->n_kv_heads;
    const struct sequence *s = t->sequences[i];
    struct head *head = head_of(b, t->rows[i], t->layer, kv);
    struct head_step step = {.plan = s->plan,
                             .pool = &b->pages,
                             .head = head,
                             .needs = b->rows[t->rows[i]].needs,
                             .layer = t->layer,
                             .kv_head = kv,
                             .group = group,
                             .n_prompt = s->n_prompt,
                             .capacity = s->capacity,
                             .now = s->position,
                             .key = s->key};
    bool by_rank = s->plan->keys == KEYS_RANK;
    float *k = k_of(b, i, kv), out[16 * 256];
    rules_make_room(&step);
    if (by_rank && y->k_norm)
        b->kernels->rmsnorm(k, y->k_norm, c->head_size, c->rms_eps, k);
    else if (!by_rank)
        prepare_head(b, k, y->k_norm, s->position);
    head_append(&b->pages, head, step.needs, s->position, 0, k, v_of(b, i, kv));
    for (int g = 0; g < group; g++)
        prepare_head(b, q_of(b, i, kv * group + g), y->q_norm,
                     by_rank ? head->n_live - 1 : s->position);
    rules_attend(&step, &b->scratch[thread], q_of(b, i, kv * group), 1 / sqrtf((float)c->head_size),
                 INT32_MAX, b->rope, out);
    size_t n = (size_t)(group * c->head_size);
    char *act = act_row(b, i, q_size(c));
    b->kernels->convert(out, n, act + (size_t)kv * n * b->kernels->act_size);
}

/* One KV head of a prefill chunk: rows first .. first + m - 1 of one prompt. Queries are taken in
 * order, so that what a policy accumulates over them does not depend on threads. */
static void prefill_head_task(void *context, int kv, int thread) {
    const struct batch *t = context;
    struct cpu *b = t->b;
    const struct config *c = config_of(b);
    const struct cpu_layer *y = &b->weights.layers[t->layer];
    const struct sequence *s = t->sequences[0];
    int group = c->n_heads / c->n_kv_heads;
    size_t n = (size_t)(group * c->head_size);
    struct head_step step = {.plan = s->plan,
                             .pool = &b->prompt,
                             .head = &b->prompt_heads[kv],
                             .needs = plan_page_needs(s->plan),
                             .layer = t->layer,
                             .kv_head = kv,
                             .group = group,
                             .n_prompt = s->n_prompt,
                             .capacity = s->capacity,
                             .key = s->key};
    for (int i = 0; i < t->m; i++) {
        prepare_head(b, k_of(b, i, kv), y->k_norm, t->first + i);
        head_append(&b->prompt, step.head, step.needs, t->first + i, 0, k_of(b, i, kv),
                    v_of(b, i, kv));
    }
    for (int i = 0; i < t->m; i++) {
        float out[16 * 256];
        step.now = t->first + i;
        for (int g = 0; g < group; g++)
            prepare_head(b, q_of(b, i, kv * group + g), y->q_norm, step.now);
        rules_attend(&step, &b->scratch[thread], q_of(b, i, kv * group),
                     1 / sqrtf((float)c->head_size), step.now + 1, NULL, out);
        char *act = act_row(b, i, q_size(c));
        b->kernels->convert(out, n, act + (size_t)kv * n * b->kernels->act_size);
    }
}

static void layer_forward(struct batch *t, pool_body *attention, int n_tasks) {
    struct cpu *b = t->b;
    const struct config *c = config_of(b);
    const struct cpu_layer *y = &b->weights.layers[t->layer];
    norm(t, y->attn_norm);
    matmul(t, &y->qkv, b->qkv, (size_t)y->qkv.n, false);
    pool_run(b->threads, n_tasks, attention, t);
    matmul(t, &y->o, t->x, (size_t)c->dim, true);
    norm(t, y->ffn_norm);
    matmul(t, &y->gate_up, b->gate_up, (size_t)y->gate_up.n, false);
    pool_run(b->threads, t->m, swiglu_task, t);
    matmul(t, &y->down, t->x, (size_t)c->dim, true);
}

/* --- prefill
 * ---------------------------------------------------------------------------------------- */

/* Cuts one head of the finished layer to capacity, then moves what is left to the sequence, oldest
 * first. */
static void settle_head_task(void *context, int kv, int thread) {
    const struct batch *t = context;
    struct cpu *b = t->b;
    const struct sequence *s = t->sequences[0];
    const struct config *c = config_of(b);
    struct head *from = &b->prompt_heads[kv], *to = head_of(b, t->rows[0], t->layer, kv);
    struct page_needs needs = b->rows[t->rows[0]].needs;
    struct head_step step = {.plan = s->plan,
                             .pool = &b->prompt,
                             .head = from,
                             .needs = needs,
                             .layer = t->layer,
                             .kv_head = kv,
                             .n_prompt = s->n_prompt,
                             .capacity = s->capacity,
                             .now = s->n_prompt - 1,
                             .key = s->key};
    (void)thread;
    rules_shrink(&step);
    for (int i = 0; i < from->n_pages; i++)
        for (unsigned bits = from->live[i]; bits; bits &= bits - 1) {
            int slot = __builtin_ctz(bits), at = from->table[i] * PAGE + slot;
            int32_t position = b->prompt.position[at];
            float k[256], v[256];
            b->kernels->read(pool_page(&b->prompt, from->table[i]), slot, c->head_size, k, v);
            if (s->plan->keys == KEYS_RANK)
                rope_rotate(k, b->rope + (size_t)position * (size_t)c->head_size, c->head_size, -1,
                            k);
            head_append(&b->pages, to, needs, position,
                        needs.slot_columns ? b->prompt.slot_column[at] : 0, k, v);
        }
    to->evictions = from->evictions;
    head_clear(&b->prompt, from, needs);
}

static const float *final_logits(struct batch *t) {
    struct cpu *b = t->b;
    norm(t, b->weights.final_norm);
    matmul(t, &b->weights.head, b->logits, (size_t)b->weights.head.n, false);
    return b->logits;
}

static const float *cpu_prefill(void *backend, int row, const struct sequence *s,
                                const int32_t *ids) {
    struct cpu *b = backend;
    const struct config *c = config_of(b);
    size_t dim = (size_t)c->dim;
    struct batch t = {.b = b, .rows = &row, .sequences = &s};
    b->rows[row].needs = plan_page_needs(s->plan);
    b->rows[row].taken = true;
    for (int i = 0; i < s->n_prompt; i++)
        cpu_embed(&b->weights, b->kernels, c->dim, ids[i], b->prompt_x + (size_t)i * dim);
    for (t.layer = 0; t.layer < c->n_layers; t.layer++) {
        for (t.first = 0; t.first < s->n_prompt; t.first += t.m) {
            t.m = s->n_prompt - t.first < CHUNK ? s->n_prompt - t.first : CHUNK;
            t.x = b->prompt_x + (size_t)t.first * dim;
            layer_forward(&t, prefill_head_task, c->n_kv_heads);
        }
        pool_run(b->threads, c->n_kv_heads, settle_head_task, &t);
    }
    t.m = 1;
    for (int i = s->wants_logits ? 0 : s->n_prompt - 1; i < s->n_prompt; i++) {
        t.x = b->prompt_x + (size_t)i * dim;
        final_logits(&t);
        if (s->wants_logits)
            s->on_logits(s->user, i, b->logits);
    }
    return b->logits;
}

/* --- decode
 * ----------------------------------------------------------------------------------------- */

static const float *cpu_step(void *backend, const int *rows,
                             const struct sequence *const *sequences, int n) {
    struct cpu *b = backend;
    const struct config *c = config_of(b);
    struct batch t = {.b = b, .m = n, .x = b->x, .rows = rows, .sequences = sequences};
    for (int i = 0; i < n; i++)
        cpu_embed(&b->weights, b->kernels, c->dim, sequences[i]->next,
                  b->x + (size_t)i * (size_t)c->dim);
    for (t.layer = 0; t.layer < c->n_layers; t.layer++)
        layer_forward(&t, decode_head_task, n * c->n_kv_heads);
    return final_logits(&t);
}

static void cpu_leave(void *backend, int row) {
    struct cpu *b = backend;
    const struct config *c = config_of(b);
    for (int i = 0; i < c->n_layers * c->n_kv_heads; i++)
        head_clear(&b->pages, &b->rows[row].heads[i], b->rows[row].needs);
    b->rows[row].taken = false;
}

static void cpu_measure(const void *backend, int row, struct sequence_stats *out) {
    const struct cpu *b = backend;
    const struct config *c = config_of(b);
    uint64_t pages = 0;
    out->kept = 0;
    out->evictions = 0;
    for (int i = 0; i < c->n_layers * c->n_kv_heads; i++) {
        const struct head *head = &b->rows[row].heads[i];
        pages += (uint64_t)head->n_pages;
        out->evictions += head->evictions;
        if (head->n_live > out->kept)
            out->kept = head->n_live;
    }
    out->kv_bytes = pages * pool_page_cost(&b->pages, b->rows[row].needs);
}

static int cpu_positions(const void *backend, int row, int layer, int kv_head, int32_t *out,
                         int room) {
    const struct cpu *b = backend;
    const struct head *head = head_of(b, row, layer, kv_head);
    int n = 0;
    for (int i = 0; i < head->n_pages; i++)
        for (unsigned bits = head->live[i]; bits; bits &= bits - 1, n++)
            if (n < room)
                out[n] = b->pages.position[head->table[i] * PAGE + __builtin_ctz(bits)];
    return n;
}

/* --- open, close
 * ---------------------------------------------------------------------------------------- */

static int64_t cpu_worst_pages(const void *backend, int32_t tokens) {
    const struct config *c = config_of(backend);
    return (int64_t)c->n_layers * c->n_kv_heads * pages_of(tokens);
}
static int64_t cpu_total_pages(const void *backend) {
    return ((const struct cpu *)backend)->pages.n_pages;
}
static const char *cpu_isa(const void *backend) {
    return ((const struct cpu *)backend)->kernels->isa;
}

static struct session_memory cpu_memory(const void *backend) {
    const struct cpu *b = backend;
    return (struct session_memory){.pool_bytes = b->pages.used,
                                   .pool_peak = b->pages.peak,
                                   .workspace_bytes = b->workspace,
                                   .weight_bytes = b->weights.bytes};
}

static void fill_rope(struct cpu *b) {
    const struct config *c = config_of(b);
    int d = c->head_size;
    float frequency[256];
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
    size_t m = CHUNK > b->width ? CHUNK : (size_t)b->width, f = sizeof(float);
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

static void cpu_close(void *backend) {
    struct cpu *b = backend;
    if (!b)
        return;
    for (int i = 0; b->scratch && i < pool_threads(b->threads); i++)
        rules_scratch_free(&b->scratch[i]);
    if (b->threads)
        pool_close(b->threads);
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

static void *cpu_open(const struct model *model, const struct session_params *params,
                      struct err *e) {
    const struct config *c = &model->config;
    const char *isa = params->precision == PRECISION_FP32 ? "fp32" : params->isa;
    const struct cpu_kernels *kernels = cpu_kernels_find(isa, e);
    if (!kernels)
        return NULL;
    struct cpu *b = must_zalloc(1, sizeof *b);
    b->model = model, b->kernels = kernels;
    b->width = params->width, b->max_total = params->max_total;
    int64_t pages = (int64_t)params->width * cpu_worst_pages(b, params->max_total);
    if (params->kv_bytes)
        pages = (int64_t)(params->kv_bytes / cpu_page_bytes(kernels, c->head_size));
    int threads = params->n_threads ? params->n_threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (!pool_init(&b->pages, kernels, c->head_size, pages, e) ||
        !pool_init(&b->prompt, kernels, c->head_size,
                   (int64_t)c->n_kv_heads * pages_of(params->max_total), e) ||
        !cpu_weights_load(&b->weights, model, kernels, e)) {
        cpu_close(b);
        return NULL;
    }
    b->threads = pool_open(threads);
    open_rows(b);
    open_buffers(b);
    return b;
}

const struct backend cpu_backend = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .prefill = cpu_prefill,
    .step = cpu_step,
    .leave = cpu_leave,
    .measure = cpu_measure,
    .positions = cpu_positions,
    .worst_pages = cpu_worst_pages,
    .total_pages = cpu_total_pages,
    .memory = cpu_memory,
    .isa = cpu_isa,
};
