/* The CPU backend. Under --precision fp32 it is the specification that every other path is tested
 * against. A decode step, per layer: norm, q k v, per (sequence, KV head) {rotate, evict, append,
 * attend, observe}, o, norm, gate up, down. */
#include <math.h>

#include "engine/cpu.h"
#include "engine/rope.h"

/* Panels of a matmul task at least, so that a task is worth handing out. */
enum { BLOCK = 4 };

/* What the loops over rows need: the tokens that go through a layer together. */
struct batch {
    struct cpu *b;
    int layer, m;               /* rows */
    float *x;                   /* [m][dim] */
    const int *rows;            /* of the session: decode: one a row; prefill: the one */
    int32_t first;              /* prefill: position of row 0 */
    const struct cpu_matrix *w; /* the matmul under way, */
    float *y;                   /* its output [m][ldy], */
    size_t ldy;
    bool add;
    const float *gain; /* the norm under way */
};

/* --- stages ----------------------------------------------------------------------------------- */

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

static const struct sequence *sequence_of(const struct batch *t, int i) {
    return t->b->rows[t->rows[i]].standing.sequence;
}

/* One KV head of one sequence in a decode step. */
static void decode_head_task(void *context, int task, int thread) {
    const struct batch *t = context;
    struct cpu *b = t->b;
    const struct config *c = config_of(b);
    const struct cpu_layer *y = &b->weights.layers[t->layer];
    int i = task / c->n_kv_heads, kv = task % c->n_kv_heads, group = c->n_heads / c->n_kv_heads;
    const struct sequence *s = sequence_of(t, i);
    int32_t position = b->rows[t->rows[i]].standing.position;
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
                             .now = position,
                             .key = s->key};
    bool by_rank = s->plan->keys == KEYS_RANK;
    float *k = k_of(b, i, kv), out[CPU_GROUP * MAX_HEAD_SIZE];
    rules_make_room(&step, &b->scratch[thread]);
    if (by_rank && y->k_norm)
        b->kernels->rmsnorm(k, y->k_norm, c->head_size, c->rms_eps, k);
    else if (!by_rank)
        prepare_head(b, k, y->k_norm, position);
    head_append(&b->pages, head, step.needs, position, 0, k, v_of(b, i, kv));
    for (int g = 0; g < group; g++)
        prepare_head(b, q_of(b, i, kv * group + g), y->q_norm,
                     by_rank ? head->n_live - 1 : position);
    rules_attend(&step, &b->scratch[thread], q_of(b, i, kv * group), 1 / sqrtf((float)c->head_size),
                 INT32_MAX, b->rope, out);
    if (s->on_attention)
        rules_tell(&step, &b->scratch[thread], INT32_MAX, s->on_attention, s->user);
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
    const struct sequence *s = sequence_of(t, 0);
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
        float out[CPU_GROUP * MAX_HEAD_SIZE];
        step.now = t->first + i;
        for (int g = 0; g < group; g++)
            prepare_head(b, q_of(b, i, kv * group + g), y->q_norm, step.now);
        rules_attend(&step, &b->scratch[thread], q_of(b, i, kv * group),
                     1 / sqrtf((float)c->head_size), step.now + 1, NULL, out);
        if (s->on_attention && s->watch_prompt)
            rules_tell(&step, &b->scratch[thread], step.now + 1, s->on_attention, s->user);
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

/* --- prefill ---------------------------------------------------------------------------------- */

/* Cuts one head of the finished layer to capacity, then moves what is left to the sequence, oldest
 * first. */
static void settle_head_task(void *context, int kv, int thread) {
    const struct batch *t = context;
    struct cpu *b = t->b;
    const struct sequence *s = sequence_of(t, 0);
    const struct config *c = config_of(b);
    struct head *from = &b->prompt_heads[kv], *to = head_of(b, t->rows[0], t->layer, kv);
    struct page_needs needs = b->rows[t->rows[0]].needs;
    struct head_step step = {.plan = s->plan,
                             .pool = &b->prompt,
                             .head = from,
                             .needs = needs,
                             .layer = t->layer,
                             .kv_head = kv,
                             .group = c->n_heads / c->n_kv_heads,
                             .n_prompt = s->n_prompt,
                             .capacity = s->capacity,
                             .now = s->n_prompt - 1,
                             .key = s->key};
    rules_shrink(&step, &b->scratch[thread]);
    for (int i = 0; i < from->n_pages; i++)
        for (unsigned bits = from->live[i]; bits; bits &= bits - 1) {
            int slot = __builtin_ctz(bits), at = from->table[i] * PAGE + slot;
            int32_t position = b->prompt.position[at];
            float k[MAX_HEAD_SIZE], v[MAX_HEAD_SIZE];
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

static float *final_logits(struct batch *t) {
    struct cpu *b = t->b;
    norm(t, b->weights.final_norm);
    matmul(t, &b->weights.head, b->logits, (size_t)b->weights.head.n, false);
    return b->logits;
}

static struct outcome outcome_of(struct cpu *b, int row, float *logits) {
    const struct config *c = config_of(b);
    struct cpu_row *r = &b->rows[row];
    struct outcome out = {.row = row};
    uint64_t pages = 0;
    for (int i = 0; i < c->n_layers * c->n_kv_heads; i++) {
        const struct head *head = &r->heads[i];
        pages += (uint64_t)head->n_pages;
        out.evictions += head->evictions;
        if (head->n_live > out.kept)
            out.kept = head->n_live;
    }
    out.kv_bytes = pages * pool_page_cost(&b->pages, r->needs);
    out.finish = advance(&r->standing, c, &b->sampler, logits);
    out.id = r->standing.next;
    r->flying = out.finish == FINISH_NOT;
    return out;
}

/* The logits behind the last prompt token. */
static float *prefill(struct batch *t, const int32_t *ids) {
    struct cpu *b = t->b;
    const struct config *c = config_of(b);
    const struct sequence *s = sequence_of(t, 0);
    size_t dim = (size_t)c->dim;
    for (int i = 0; i < s->n_prompt; i++)
        cpu_embed(&b->weights, b->kernels, c->dim, ids[i], b->prompt_x + (size_t)i * dim);
    for (t->layer = 0; t->layer < c->n_layers; t->layer++) {
        for (t->first = 0; t->first < s->n_prompt; t->first += t->m) {
            t->m = s->n_prompt - t->first < CPU_CHUNK ? s->n_prompt - t->first : CPU_CHUNK;
            t->x = b->prompt_x + (size_t)t->first * dim;
            layer_forward(t, prefill_head_task, c->n_kv_heads);
        }
        pool_run(b->threads, c->n_kv_heads, settle_head_task, t);
    }
    for (int i = s->on_logits ? 0 : s->n_prompt - 1; i < s->n_prompt; i += t->m) {
        t->m =
            s->n_prompt - i < b->width ? s->n_prompt - i : b->width; /* what logits has room for */
        t->x = b->prompt_x + (size_t)i * dim;
        final_logits(t);
        for (int j = 0; s->on_logits && j < t->m; j++)
            s->on_logits(s->user, i + j, b->logits + (size_t)j * (size_t)c->vocab);
    }
    return b->logits + (size_t)(t->m - 1) * (size_t)c->vocab;
}

/* Any free page does for any head, so that what is reserved is never scattered. */
static bool cpu_join(void *backend, int row, const struct sequence *s, const int32_t *ids,
                     struct err *e) {
    (void)e;
    struct cpu *b = backend;
    struct batch t = {.b = b, .rows = &row};
    struct cpu_row *r = &b->rows[row];
    r->needs = plan_page_needs(s->plan);
    r->standing = (struct standing){.sequence = s, .position = s->n_prompt - 1};
    r->first = outcome_of(b, row, prefill(&t, ids));
    r->pending = true;
    return true;
}

/* --- decode ----------------------------------------------------------------------------------- */

/* Rows whose first id came from prefill are told before anything is computed. */
static int tell_pending(struct cpu *b, struct outcome *out) {
    int n = 0;
    for (int row = 0; row < b->width; row++)
        if (b->rows[row].pending) {
            b->rows[row].pending = false;
            out[n++] = b->rows[row].first;
        }
    return n;
}

static int cpu_step(void *backend, struct outcome *out, struct err *e) {
    struct cpu *b = backend;
    const struct config *c = config_of(b);
    int rows[CPU_WIDTH], n = 0, told = tell_pending(b, out);
    (void)e;
    if (told)
        return told;
    for (int row = 0; row < b->width; row++)
        if (b->rows[row].flying) {
            struct standing *s = &b->rows[row].standing;
            s->position++;
            cpu_embed(&b->weights, b->kernels, c->dim, s->next, b->x + (size_t)n * (size_t)c->dim);
            rows[n++] = row;
        }
    if (!n)
        return 0;
    struct batch t = {.b = b, .m = n, .x = b->x, .rows = rows};
    for (t.layer = 0; t.layer < c->n_layers; t.layer++)
        layer_forward(&t, decode_head_task, n * c->n_kv_heads);
    float *logits = final_logits(&t);
    for (int i = 0; i < n; i++, logits += c->vocab) {
        const struct standing *s = &b->rows[rows[i]].standing;
        if (s->sequence->on_logits)
            s->sequence->on_logits(s->sequence->user, s->position, logits);
        out[i] = outcome_of(b, rows[i], logits);
    }
    return n;
}

static void cpu_leave(void *backend, int row) {
    struct cpu *b = backend;
    const struct config *c = config_of(b);
    struct cpu_row *r = &b->rows[row];
    r->flying = r->pending = false;
    for (int i = 0; i < c->n_layers * c->n_kv_heads; i++)
        head_clear(&b->pages, &r->heads[i], r->needs);
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

const struct backend cpu_backend = {
    .name = "cpu",
    .max_width = CPU_WIDTH,
    .open = cpu_open,
    .close = cpu_close,
    .join = cpu_join,
    .step = cpu_step,
    .leave = cpu_leave,
    .positions = cpu_positions,
    .worst_pages = cpu_worst_pages,
    .total_pages = cpu_total_pages,
    .memory = cpu_memory,
    .isa = cpu_isa,
};
