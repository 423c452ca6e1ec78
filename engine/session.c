/* Who is in flight: admission against reserved pages, sampling, ends. The backend does the
 * arithmetic. */
#include "engine/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/backend.h"

struct member {          /* one row of the batch */
    bool taken, pending; /* pending: the first id waits to be told */
    struct sequence sequence;
    struct sampling sampling;
    void *user;
    int32_t n_new, max_new, min_new;
    bool ignore_eos;
    const int32_t *forced; /* [n_forced], in the session's ids */
    int32_t n_forced, n_fed;
    int64_t reserved; /* pages */
    enum finish finish;
    struct sequence_stats stats;
};

struct session {
    const struct model *model;
    const struct backend *backend;
    void *state; /* the backend's */
    struct session_params params;
    struct member *members; /* [width] */
    struct sampler sampler;
    int64_t reserved; /* pages promised to sequences in flight */
    int32_t *ids;     /* [width][max_total] forced ids of each row */
    int n_active;
};

const char *precision_name(enum precision precision) {
    return precision == PRECISION_FP32 ? "fp32" : "bf16";
}

const char *finish_name(enum finish finish) {
    static const char *const names[] = {"", "answer", "cap", "numeric"};
    return names[finish];
}

uint64_t session_kv_bytes(const struct model *model, enum precision precision, int32_t tokens) {
    const struct config *c = &model->config;
    uint64_t element = precision == PRECISION_FP32 ? 4 : 2;
    return 2 * element * PAGE * (uint64_t)pages_of(tokens) * (uint64_t)c->head_size *
           (uint64_t)c->n_kv_heads * (uint64_t)c->n_layers;
}

static const struct backend *const backends[] = {&cpu_backend};

static const struct backend *find_backend(const char *name, struct err *e) {
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (!name || !strcmp(name, backends[i]->name))
            return backends[i];
    err_set(e, EXIT_USAGE, "backend '%s', expected cpu", name);
    return NULL;
}

struct session *session_open(const struct model *model, const struct session_params *params,
                             struct err *e) {
    const struct backend *backend = find_backend(params->backend, e);
    if (!backend)
        return NULL;
    if (params->width < 1 || params->width > SESSION_WIDTH) {
        err_set(e, EXIT_USAGE, "width %d, expected 1 to %d sequences in flight", params->width,
                SESSION_WIDTH);
        return NULL;
    }
    if (params->max_total < 1 || params->max_total > model->config.max_positions) {
        err_set(e, EXIT_USAGE, "%d tokens a sequence, expected 1 to %d, the limit of %s",
                params->max_total, model->config.max_positions, model->path);
        return NULL;
    }
    void *state = backend->open(model, params, e);
    if (!state)
        return NULL;
    struct session *s = must_zalloc(1, sizeof *s);
    *s = (struct session){.model = model, .backend = backend, .state = state, .params = *params};
    s->members = must_zalloc((size_t)params->width, sizeof *s->members);
    s->ids = must_alloc((size_t)params->width * (size_t)params->max_total * sizeof *s->ids);
    int vocab = model->config.vocab;
    if (model->tokenizer && tokenizer_vocab(model->tokenizer) < vocab)
        vocab = tokenizer_vocab(model->tokenizer);
    sampler_init(&s->sampler, vocab);
    return s;
}

void session_close(struct session *s) {
    if (!s)
        return;
    s->backend->close(s->state);
    sampler_free(&s->sampler);
    free(s->members);
    free(s->ids);
    free(s);
}

/* Most tokens that are ever fed: the last generated one is not. */
static int64_t total_fed(const struct request *r) {
    return (int64_t)r->n_ids + (r->forced ? r->n_forced : r->max_new - 1);
}

static bool check_ids(const struct session *s, const int32_t *ids, int n, const char *what,
                      struct err *e) {
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= s->model->config.vocab)
            return err_set(e, EXIT_USAGE, "%s id %d at index %d, expected 0 to %d", what, ids[i], i,
                           s->model->config.vocab - 1);
    return true;
}

static bool check_request(const struct session *s, const struct request *r, struct err *e) {
    if (r->n_ids < 1)
        return err_set(e, EXIT_USAGE, "empty prompt, expected at least one token");
    if (!r->forced && r->max_new < 1)
        return err_set(e, EXIT_USAGE, "max_new %d, expected at least 1", r->max_new);
    if (total_fed(r) > s->params.max_total)
        return err_set(e, EXIT_USAGE, "%lld tokens (prompt %d), expected at most %d",
                       (long long)total_fed(r), r->n_ids, s->params.max_total);
    if (!(r->sampling.temperature >= 0) || !isfinite(r->sampling.temperature))
        return err_set(e, EXIT_USAGE, "temperature %g, expected 0 or more",
                       r->sampling.temperature);
    if (r->sampling.temperature > 0 && !(r->sampling.top_p > 0 && r->sampling.top_p <= 1))
        return err_set(e, EXIT_USAGE, "top_p %g, expected more than 0, at most 1",
                       r->sampling.top_p);
    return check_ids(s, r->ids, r->n_ids, "prompt", e) &&
           check_ids(s, r->forced, r->forced ? r->n_forced : 0, "forced", e);
}

static int32_t pick(struct session *s, struct member *m, const float *logits) {
    const struct config *c = &s->model->config;
    bool ban = m->ignore_eos || m->n_new + 1 <= m->min_new;
    uint64_t key =
        rng_key(rng_key(m->sequence.key, 0x73616d706c65u), (uint64_t)m->sequence.position);
    return sampler_pick(&s->sampler, (float *)logits, c->vocab, &m->sampling, c->eos,
                        ban ? c->n_eos : 0, key);
}

static bool is_eos(const struct config *c, int32_t id) {
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos[i] == id)
            return true;
    return false;
}

/* The next id from the logits of the position just fed; decides whether the sequence goes on. */
static void advance(struct session *s, struct member *m, const float *logits) {
    int32_t id = pick(s, m, logits);
    m->n_new++;
    if (m->forced) {
        id = m->n_fed < m->n_forced ? m->forced[m->n_fed++] : (m->finish = FINISH_CAP, id);
    } else if (id < 0) {
        m->finish = FINISH_NUMERIC;
        m->n_new--;
    } else if (is_eos(&s->model->config, id)) {
        m->finish = FINISH_ANSWER;
    } else if (m->n_new >= m->max_new) {
        m->finish = FINISH_CAP;
    }
    m->sequence.next = id;
}

static void measure(struct session *s, struct member *m, int row) {
    struct sequence_stats *stats = &m->stats;
    s->backend->measure(s->state, row, stats);
    stats->n_new = m->n_new;
    if (stats->kept > stats->kept_peak)
        stats->kept_peak = stats->kept;
    if (stats->kv_bytes > stats->kv_bytes_peak)
        stats->kv_bytes_peak = stats->kv_bytes;
}

static void join(struct session *s, struct member *m, const struct request *r, int row,
                 int64_t pages) {
    *m = (struct member){.taken = true,
                         .pending = true,
                         .sampling = r->sampling,
                         .user = r->user,
                         .max_new = r->max_new,
                         .min_new = r->min_new,
                         .ignore_eos = r->ignore_eos,
                         .reserved = pages};
    m->sequence =
        (struct sequence){.plan = r->plan,
                          .n_prompt = r->n_ids,
                          .capacity = plan_capacity(r->plan, r->n_ids, (int32_t)total_fed(r)),
                          .position = r->n_ids - 1,
                          .key = r->key,
                          .on_logits = r->on_logits,
                          .user = r->user};
    m->stats = (struct sequence_stats){.n_prompt = r->n_ids, .capacity = m->sequence.capacity};
    if (r->forced) {
        int32_t *copy = s->ids + (size_t)row * (size_t)s->params.max_total;
        memcpy(copy, r->forced, (size_t)r->n_forced * sizeof *copy);
        m->forced = copy;
        m->n_forced = r->n_forced;
    }
}

bool session_add(struct session *s, const struct request *r, struct err *e) {
    if (!check_request(s, r, e))
        return false;
    int32_t total = (int32_t)total_fed(r), capacity = plan_capacity(r->plan, r->n_ids, total);
    int64_t pages = s->backend->worst_pages(s->state, capacity < total ? capacity : total);
    int64_t room = s->backend->total_pages(s->state);
    if (pages > room)
        return err_set(e, EXIT_ENV, "the sequence needs %lld KV pages, the pool holds %lld",
                       (long long)pages, (long long)room);
    int row = 0;
    while (row < s->params.width && s->members[row].taken)
        row++;
    if (row == s->params.width || s->reserved + pages > room)
        return false;
    struct member *m = &s->members[row];
    join(s, m, r, row, pages);
    s->reserved += pages;
    s->n_active++;
    double start = clock_seconds();
    const float *logits = s->backend->prefill(s->state, row, &m->sequence, r->ids);
    advance(s, m, logits);
    measure(s, m, row);
    m->stats.prefill_seconds = clock_seconds() - start;
    return true;
}

static void leave(struct session *s, int row) {
    struct member *m = &s->members[row];
    s->backend->leave(s->state, row);
    s->reserved -= m->reserved;
    s->n_active--;
    m->taken = false;
}

static void tell(struct session *s, int row, struct event *event) {
    struct member *m = &s->members[row];
    *event = (struct event){.user = m->user,
                            .row = row,
                            .id = m->sequence.next,
                            .finish = m->finish,
                            .stats = m->stats};
    if (m->finish != FINISH_NOT)
        leave(s, row);
}

/* Rows whose first id came from prefill are told before anything is computed. */
static int tell_pending(struct session *s, struct event *events) {
    int n = 0;
    for (int row = 0; row < s->params.width; row++)
        if (s->members[row].taken && s->members[row].pending) {
            s->members[row].pending = false;
            tell(s, row, &events[n++]);
        }
    return n;
}

int session_step(struct session *s, struct event *events) {
    int told = tell_pending(s, events), n = 0;
    if (told)
        return told;
    const struct sequence *sequences[SESSION_WIDTH];
    int rows[SESSION_WIDTH];
    for (int row = 0; row < s->params.width; row++)
        if (s->members[row].taken) {
            s->members[row].sequence.position++;
            sequences[n] = &s->members[row].sequence;
            rows[n++] = row;
        }
    if (!n)
        return 0;
    double start = clock_seconds();
    const float *logits = s->backend->step(s->state, rows, sequences, n);
    double seconds = clock_seconds() - start;
    for (int i = 0; i < n; i++) {
        struct member *m = &s->members[rows[i]];
        const float *row_logits = logits + (size_t)i * (size_t)s->model->config.vocab;
        if (m->sequence.on_logits)
            m->sequence.on_logits(m->user, m->sequence.position, row_logits);
        m->stats.decode_seconds += seconds;
        measure(s, m, rows[i]);
        advance(s, m, row_logits);
        m->stats.n_new = m->n_new;
        tell(s, rows[i], &events[i]);
    }
    return n;
}

int session_active(const struct session *s) { return s->n_active; }

void session_drop(struct session *s, int row, struct sequence_stats *stats) {
    CHECK(row >= 0 && row < s->params.width && s->members[row].taken);
    if (stats)
        *stats = s->members[row].stats;
    leave(s, row);
}

int session_positions(const struct session *s, int row, int layer, int kv_head, int32_t *out,
                      int room) {
    return s->backend->positions(s->state, row, layer, kv_head, out, room);
}

struct session_memory session_memory(const struct session *s) {
    return s->backend->memory(s->state);
}
const char *session_isa(const struct session *s) { return s->backend->isa(s->state); }
