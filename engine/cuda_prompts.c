/* Who joins the CUDA backend's batch: pages, plan, prefill. Prompts that wait are packed one behind
 * the other and go through the layers together, each layer in chunks of rows; a row of the pack has
 * the same bits whatever else is in it. */
#include <stdlib.h>
#include <string.h>

#include "engine/cuda_parts.h"

/* Prompts are fed when they are one to so many decoding rows, or have waited so many passes. */
enum { SHARE = 16, PATIENCE = 32 };

/* --- plans ---------------------------------------------------------------------------------- */

struct cuda_plan cuda_plan_of(const struct plan *plan) {
    struct page_needs needs = plan_page_needs(plan);
    struct cuda_plan p;
    memset(&p, 0, sizeof p); /* compared as bytes */
    while (all_policies[p.policy] != plan->policy)
        p.policy++;
    p.evict = plan->evict, p.select = plan->select;
    p.observe = plan->observe, p.by = plan->by;
    p.mark = plan->mark, p.keys = plan->keys;
    p.every = plan->every, p.window = plan->window;
    p.pool = plan->pool, p.keep_by = plan->keep_by;
    p.weight = (float)plan->weight;
    p.sinks = plan->sinks, p.recent = plan->recent, p.dense_layers = plan->dense_layers;
    p.pin_prompt = plan->pin_prompt, p.draws = plan->draws;
    p.observe_prompt = plan->observe_prompt, p.share_scaled = plan->share_scaled;
    p.has_keep = plan->policy->keep != NULL;
    p.has_observe = plan->policy->observe != NULL;
    p.has_pick = plan->policy->pick != NULL;
    p.bounds = needs.bounds, p.slot_columns = needs.slot_columns;
    p.page_column = needs.page_column;
    p.mass = signal_is_mass(plan->observe) || plan->select == UNIT_TOKEN;
    p.recent_share = plan->recent_share, p.mark_at = plan->mark_at;
    p.seed = plan->seed;
    return p;
}

static int flavour_of(const struct cuda_plan *p) {
    bool mass = p->has_observe && signal_is_mass(p->observe);
    bool plain = p->evict == UNIT_NONE && p->select == UNIT_NONE && p->keys != KEYS_RANK &&
                 !p->bounds && !p->slot_columns && !p->page_column && !p->mass;
    return (p->select == UNIT_TOKEN ? CUDA_LOOKS : 0) | (mass ? CUDA_MASS : 0) |
           (p->keys == KEYS_RANK ? CUDA_RANKS : 0) | (plain ? 0 : CUDA_PREPARES);
}

/* Its place on the device; equal plans share one. */
static int32_t place_plan(struct cuda *b, const struct cuda_plan *p) {
    for (int32_t i = b->n_plans - 1; i >= 0; i--)
        if (!memcmp(&b->plans[i], p, sizeof *p))
            return i;
    CHECK(b->n_plans < CUDA_PLANS);
    b->plans[b->n_plans] = *p;
    cudaMemcpyAsync((struct cuda_plan *)b->pass.plans + b->n_plans, &b->plans[b->n_plans],
                    sizeof *p, cudaMemcpyHostToDevice, b->stream);
    return b->n_plans++;
}

/* --- joining and leaving ---------------------------------------------------------------------- */

bool cuda_join_row(void *backend, int row, const struct sequence *s, const int32_t *ids,
                   struct err *e) {
    struct cuda *b = backend;
    const struct config *c = cuda_config(b);
    struct cuda_plan plan = cuda_plan_of(s->plan);
    if (plan.keys == KEYS_RANK && c->head_size != b->pass.shape.cache_head)
        return err_set(e, EXIT_USAGE,
                       "policy %s: rotates keys by rank, which backend cuda does for head sizes "
                       "32, 64, 128 and 256, not %d",
                       s->plan->name, c->head_size);
    if (s->on_attention)
        return err_set(e, EXIT_USAGE, "backend cuda can't show attention yet, expected cpu");
    int32_t worst = pages_of(s->capacity < s->total ? s->capacity : s->total);
    int64_t pages = (int64_t)c->n_layers * c->n_kv_heads * worst;
    int64_t first = extents_take(&b->free_pages, pages);
    if (first < 0)
        return false;
    size_t bytes = (size_t)s->n_prompt * sizeof *ids;
    struct cuda_member *m = &b->members[row];
    *m = (struct cuda_member){.taken = true,
                              .sequence = s,
                              .ids = must_alloc(bytes),
                              .plan = place_plan(b, &plan),
                              .flavour = flavour_of(&plan),
                              .worst = worst,
                              .first_page = first,
                              .n_pages = pages,
                              .first_pass = UINT64_MAX,
                              .page_cost = cuda_page_cost(b, plan_page_needs(s->plan)),
                              .position = s->n_prompt - 2};
    memcpy(m->ids, ids, bytes);
    if (s->forced)
        cudaMemcpyAsync(b->forced + (size_t)row * (size_t)b->params.max_total, s->forced,
                        (size_t)s->n_forced * sizeof *ids, cudaMemcpyHostToDevice, b->stream);
    b->waiting[b->n_waiting++] = row;
    b->n_active++;
    return true;
}

static void stop_waiting(struct cuda *b, int row) {
    int n = 0;
    for (int i = 0; i < b->n_waiting; i++)
        if (b->waiting[i] != row)
            b->waiting[n++] = b->waiting[i];
    b->n_waiting = n;
}

void cuda_leave(void *backend, int row) {
    struct cuda *b = backend;
    struct cuda_member *m = &b->members[row];
    if (m->ids)
        stop_waiting(b, row);
    else if (!m->ended)
        cuda_leave_row(&b->pass, row, b->stream);
    b->n_active -= !m->ended;
    b->used -= m->bytes;
    extents_give(&b->free_pages, m->first_page, m->n_pages);
    free(m->ids);
    *m = (struct cuda_member){0};
}

/* --- a pack --------------------------------------------------------------------------------- */

/* The rows of one pack, and its copies' sources. */
struct pack {
    struct cuda_staging *staging;
    int32_t rows, n; /* of the pack, a multiple of 16; prompts */
    bool any_mass, any_logits;
};

static struct cuda_row row_of(const struct cuda_member *m) {
    const struct sequence *s = m->sequence;
    return (struct cuda_row){.active = 1,
                             .plan = m->plan,
                             .n_prompt = s->n_prompt,
                             .capacity = s->capacity,
                             .budget = plan_effective_budget(s->plan, s->n_prompt),
                             .worst = m->worst,
                             .position = s->n_prompt - 1,
                             .max_new = s->max_new,
                             .min_new = s->min_new,
                             .ignore_eos = s->ignore_eos,
                             .n_forced = s->n_forced,
                             .forced = s->forced != NULL,
                             .temperature = s->sampling.temperature,
                             .top_p = s->sampling.top_p,
                             .key = s->key};
}

static void pack_prompt(struct cuda *b, struct pack *k, int32_t row) {
    struct cuda_member *m = &b->members[row];
    struct cuda_staging *g = k->staging;
    int32_t n = m->sequence->n_prompt, rows = cuda_round_up(n, PAGE);
    memset(g->ids + k->rows, 0, (size_t)rows * sizeof *g->ids);
    memcpy(g->ids + k->rows, m->ids, (size_t)n * sizeof *g->ids);
    for (int32_t i = 0; i < rows / PAGE; i++)
        g->block_prompt[k->rows / PAGE + i] = k->n;
    g->prompts[k->n] = (struct cuda_prompt){
        row, k->rows, n, m->plan, plan_first_observed(m->sequence->plan, n, m->sequence->capacity)};
    g->joins[k->n] = (struct cuda_join){row_of(m), row, (int32_t)m->first_page};
    g->gather[2 * k->n] = k->rows + n - 1, g->gather[2 * k->n + 1] = k->n;
    g->rows[k->n] = row;
    k->rows += rows, k->n++;
    k->any_mass |= b->plans[m->plan].observe_prompt && b->plans[m->plan].has_observe;
    k->any_logits |= m->sequence->on_logits != NULL;
    m->first_pass = b->launched;
    free(m->ids);
    m->ids = NULL;
}

/* As many waiting prompts as fit. */
static struct pack make_pack(struct cuda *b) {
    struct pack k = {.staging = &b->staging[b->launched % CUDA_RING]};
    int i = 0;
    for (; i < b->n_waiting; i++) {
        int32_t n = b->members[b->waiting[i]].sequence->n_prompt;
        if (k.rows + cuda_round_up(n, PAGE) > b->pack_rows)
            break;
        pack_prompt(b, &k, b->waiting[i]);
    }
    b->n_waiting -= i;
    memmove(b->waiting, b->waiting + i, (size_t)b->n_waiting * sizeof *b->waiting);
    return k;
}

static bool upload(const struct cuda *b, const struct pack *k, struct err *e) {
    const struct cuda_staging *g = k->staging;
    const struct {
        const void *from, *to;
        size_t bytes;
    } copies[] = {
        {g->ids, b->pack_ids, (size_t)k->rows * sizeof *g->ids},
        {g->block_prompt, b->prefill.block_prompt, (size_t)k->rows / PAGE * sizeof(int32_t)},
        {g->prompts, b->prefill.prompts, (size_t)k->n * sizeof *g->prompts},
        {g->joins, b->joins, (size_t)k->n * sizeof *g->joins},
        {g->gather, b->gather, 2 * (size_t)k->n * sizeof *g->gather},
        {g->rows, b->fed_rows, (size_t)k->n * sizeof *g->rows},
    };
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++)
        if (!CUDA_CHECK(cudaMemcpyAsync((void *)copies[i].to, copies[i].from, copies[i].bytes,
                                        cudaMemcpyHostToDevice, b->stream),
                        e))
            return false;
    return true;
}

/* Rows [from, from + n) of the pack as a residual stream. */
static struct cuda_residual chunk_of(const struct cuda *b, int32_t from, int32_t n) {
    struct cuda_acts acts = b->pack_acts;
    acts.data += (size_t)from * 64;
    int32_t bucket, rows = n <= CUDA_NARROW ? cuda_bucket(b, n - 1, &bucket)
                                            : cuda_round_up(n, CUDA_BLOCK_ROWS);
    return (struct cuda_residual){.acts = acts,
                                  .x = b->pack_x + (size_t)from * cuda_config(b)->dim,
                                  .squares = b->pack_squares + from,
                                  .rows = rows,
                                  .stride = b->pack_acts.rows};
}

static void feed_layer(const struct cuda *b, const struct cuda_prefill *f, int32_t layer,
                       int32_t rows) {
    const struct cuda_layer *w = &b->weights.layers[layer];
    for (int32_t from = 0; from < rows; from += b->chunk_rows) {
        int32_t n = rows - from < b->chunk_rows ? rows - from : b->chunk_rows;
        struct cuda_residual r = chunk_of(b, from, n);
        cuda_qkv(b, layer, &r, b->chunk_qkv);
        cuda_prompt_append(f, b->chunk_qkv, from, n, w->q_norm, w->k_norm, b->stream);
        cuda_prompt_attend(f, b->chunk_qkv, from, n, &b->chunk_q, b->stream);
        if (f->any_mass)
            cuda_prompt_mass(f, b->chunk_qkv, from, n, b->stream);
        cuda_after_attention(b, layer, &r, &b->chunk_q, &b->chunk_ffn);
    }
    cuda_settle(f, &b->pass, layer, b->stream);
}

/* Gathers n rows of the pack into the first rows of the batch and computes their logits. */
static void head_of(const struct cuda *b, const int32_t *pairs, int32_t n) {
    int32_t bucket;
    cuda_gather(&b->pack_acts, b->pack_squares, b->pack_acts.rows, &b->acts_dim, b->pass.squares,
                b->padded, cuda_config(b)->dim, pairs, n, b->stream);
    cuda_head(b, cuda_bucket(b, n - 1, &bucket));
}

/* Logits after every position of one prompt, as many at a time as the batch has rows. */
static bool tell_prompt(struct cuda *b, const struct cuda_prompt *p, int32_t *pairs,
                        struct err *e) {
    const struct sequence *s = b->members[p->row].sequence;
    size_t vocab = (size_t)cuda_config(b)->vocab;
    for (int32_t at = 0, n; at < p->n; at += n) {
        n = p->n - at < b->width ? p->n - at : b->width;
        for (int32_t i = 0; i < n; i++)
            pairs[2 * i] = p->first + at + i, pairs[2 * i + 1] = i;
        if (!CUDA_CHECK(cudaMemcpyAsync(b->gather, pairs, 2 * (size_t)n * sizeof *pairs,
                                        cudaMemcpyHostToDevice, b->stream),
                        e))
            return false;
        head_of(b, b->gather, n);
        if (!CUDA_CHECK(cudaMemcpyAsync(b->host_logits, b->logits,
                                        (size_t)n * vocab * sizeof(float), cudaMemcpyDeviceToHost,
                                        b->stream),
                        e) ||
            !CUDA_CHECK(cudaStreamSynchronize(b->stream), e))
            return false;
        b->counters.host_syncs++;
        for (int32_t i = 0; i < n; i++)
            s->on_logits(s->user, at + i, b->host_logits + (size_t)i * vocab);
    }
    return true;
}

/* Logits for all who asked; afterwards the gather list is the pack's own again. */
static bool tell_pack(struct cuda *b, const struct pack *k, struct err *e) {
    int32_t *pairs = must_alloc(2 * (size_t)b->width * sizeof *pairs);
    bool ok = cuda_host_logits(b, e);
    for (int32_t i = 0; ok && i < k->n; i++) {
        const struct cuda_prompt *p = &k->staging->prompts[i];
        if (b->members[p->row].sequence->on_logits)
            ok = tell_prompt(b, p, pairs, e);
    }
    free(pairs);
    return ok && upload(b, k, e);
}

static bool feed_pack(struct cuda *b, struct err *e) {
    const struct config *c = cuda_config(b);
    struct pack k = make_pack(b);
    struct cuda_prefill f = b->prefill;
    f.n_prompts = k.n, f.pages = k.rows / PAGE, f.any_mass = k.any_mass;
    if (!upload(b, &k, e))
        return false;
    cuda_enter(&b->pass, b->joins, k.n, b->stream);
    cuda_embed(&b->pass.shape, b->pack_ids, k.rows, b->pack_acts.rows, &b->weights.embedding,
               b->weights.layers[0].attn_norm, b->pack_x, b->pack_squares, &b->pack_acts,
               b->stream);
    for (int32_t layer = 0; layer < c->n_layers; layer++)
        feed_layer(b, &f, layer, k.rows);
    if (k.any_logits && !tell_pack(b, &k, e))
        return false;
    head_of(b, b->gather, k.n);
    cuda_sample_rows(b, b->fed_rows, k.n);
    cuda_publish(b->report, b->width, b->reports, b->width, b->published, b->stream);
    return cuda_end_pass(b, b->width, e);
}

/* A pack costs about as much as a decode pass, however few prompts it brings: where many rows
 * decode, some have to wait together first, but not for long. */
static bool is_time(struct cuda *b) {
    bool few = b->n_waiting * SHARE < b->n_active - b->n_waiting;
    return b->n_waiting && (!few || b->lockstep || b->patience++ >= PATIENCE);
}

bool cuda_feed_prompts(struct cuda *b, struct err *e) {
    if (!is_time(b))
        return true;
    while (b->n_waiting && b->launched - b->collected < CUDA_RING)
        if (!feed_pack(b, e))
            return false;
    b->patience = 0;
    return true;
}
