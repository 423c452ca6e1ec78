/* Who is in flight: admission against reserved pages, events, statistics. The backend does the
 * arithmetic, and decides what comes next and where a sequence ends. */
#include "engine/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/backend.h"
#include "engine/cache.h"

struct member {       /* one row of the batch */
    bool taken, told; /* told: its first event has come */
    struct sequence sequence;
    void *user;
    int32_t *forced;  /* the sequence's, owned */
    int64_t reserved; /* pages */
    double join;      /* seconds that joining took, */
    double since;     /* session.busy at that time; once told, at the first event */
    struct sequence_stats stats;
};

struct session {
    const struct model *model;
    const struct backend *backend;
    void *state; /* the backend's */
    struct session_params params;
    struct member *members;   /* [width] */
    struct outcome *outcomes; /* [width] of one step */
    int64_t reserved;         /* pages promised to sequences in flight */
    double busy;              /* seconds of all steps */
    int n_active, first_free; /* first_free: no row below it is free */
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
    uint64_t page = page_set_aside(precision == PRECISION_FP32 ? 4 : 2, (size_t)c->head_size);
    return page * (uint64_t)pages_of(tokens) * (uint64_t)c->n_kv_heads * (uint64_t)c->n_layers;
}

static const struct backend *const backends[] = {&cpu_backend, &cuda_backend};

static const struct backend *find_backend(const char *name, struct err *e) {
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (!name || !strcmp(name, backends[i]->name))
            return backends[i];
    err_set(e, EXIT_USAGE, "backend '%s', expected cpu or cuda", name);
    return NULL;
}

const char *session_backend(int index) { return backends[index]->name; }

int session_max_width(const char *backend, struct err *e) {
    const struct backend *b = find_backend(backend, e);
    return b ? b->max_width : 0;
}

static bool check_params(const struct backend *backend, const struct model *model,
                         const struct session_params *params, struct err *e) {
    if (params->width < 1 || params->width > backend->max_width)
        return err_set(e, EXIT_USAGE, "width %d, expected 1 to %d sequences in flight on %s",
                       params->width, backend->max_width, backend->name);
    if (params->max_total < 1 || params->max_total > model->config.max_positions)
        return err_set(e, EXIT_USAGE, "%d tokens a sequence, expected 1 to %d, the limit of %s",
                       params->max_total, model->config.max_positions, model->path);
    return true;
}

struct session *session_open(const struct model *model, const struct session_params *params,
                             struct err *e) {
    const struct backend *backend = find_backend(params->backend, e);
    if (!backend || !check_params(backend, model, params, e))
        return NULL;
    void *state = backend->open(model, params, e);
    if (!state)
        return NULL;
    struct session *s = must_zalloc(1, sizeof *s);
    *s = (struct session){.model = model, .backend = backend, .state = state, .params = *params};
    s->params.too_large = NULL; /* it was about opening */
    s->members = must_zalloc((size_t)params->width, sizeof *s->members);
    s->outcomes = must_zalloc((size_t)params->width, sizeof *s->outcomes);
    return s;
}

struct session *session_open_fitting(const struct model *model, struct session_params *params,
                                     struct err *e) {
    struct session_params narrow = *params;
    for (;; narrow.width /= 2) {
        struct err failed = {0};
        bool too_large = false;
        narrow.too_large = &too_large;
        struct session *s = session_open(model, &narrow, &failed);
        if (!s && too_large && narrow.width > 1)
            continue;
        if (!s)
            err_set(e, failed.code, "%s", failed.text);
        else if (narrow.width < params->width)
            log_warn("memory does not hold %d sequences in flight: %d are", params->width,
                     narrow.width);
        params->width = narrow.width;
        return s;
    }
}

void session_close(struct session *s) {
    if (!s)
        return;
    s->backend->close(s->state);
    for (int row = 0; row < s->params.width; row++)
        free(s->members[row].forced);
    free(s->members);
    free(s->outcomes);
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

static struct sequence sequence_of(const struct request *r, int32_t *forced) {
    int32_t total = (int32_t)total_fed(r);
    return (struct sequence){.plan = r->plan,
                             .n_prompt = r->n_ids,
                             .capacity = plan_capacity(r->plan, r->n_ids, total),
                             .total = total,
                             .sampling = r->sampling,
                             .max_new = r->max_new,
                             .min_new = r->min_new,
                             .ignore_eos = r->ignore_eos,
                             .forced = forced,
                             .n_forced = forced ? r->n_forced : 0,
                             .key = r->key,
                             .on_logits = r->on_logits,
                             .on_attention = r->on_attention,
                             .watch_prompt = r->watch_prompt,
                             .user = r->user};
}

static int32_t *copy_forced(const struct request *r) {
    if (!r->forced)
        return NULL;
    size_t bytes = (size_t)r->n_forced * sizeof *r->forced;
    return memcpy(must_alloc(bytes + 1), r->forced, bytes);
}

static bool join(struct session *s, int row, const struct request *r, int64_t pages,
                 struct err *e) {
    struct member *m = &s->members[row];
    double start = clock_seconds();
    *m = (struct member){
        .user = r->user, .forced = copy_forced(r), .reserved = pages, .since = s->busy};
    m->sequence = sequence_of(r, m->forced);
    m->stats = (struct sequence_stats){.n_prompt = r->n_ids, .capacity = m->sequence.capacity};
    m->taken = s->backend->join(s->state, row, &m->sequence, r->ids, e);
    if (!m->taken) {
        free(m->forced);
        m->forced = NULL;
        return false;
    }
    m->join = clock_seconds() - start;
    s->reserved += pages;
    s->n_active++;
    s->first_free = row + 1;
    return true;
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
    if (s->reserved + pages > room)
        return false;
    while (s->first_free < s->params.width && s->members[s->first_free].taken)
        s->first_free++;
    return s->first_free < s->params.width && join(s, s->first_free, r, pages, e);
}

static void leave(struct session *s, int row) {
    struct member *m = &s->members[row];
    s->backend->leave(s->state, row);
    s->reserved -= m->reserved;
    s->n_active--;
    free(m->forced);
    m->forced = NULL;
    m->taken = false;
    if (row < s->first_free)
        s->first_free = row;
}

static void measure(const struct session *s, struct member *m, const struct outcome *o) {
    struct sequence_stats *stats = &m->stats;
    if (m->told) {
        stats->decode_seconds = s->busy - m->since;
    } else {
        stats->prefill_seconds = m->join + s->busy - m->since;
        m->since = s->busy;
        m->told = true;
    }
    stats->n_new += o->finish != FINISH_NUMERIC;
    stats->kept = o->kept;
    stats->kv_bytes = o->kv_bytes;
    stats->evictions = o->evictions;
    if (stats->kept > stats->kept_peak)
        stats->kept_peak = stats->kept;
    if (stats->kv_bytes > stats->kv_bytes_peak)
        stats->kv_bytes_peak = stats->kv_bytes;
}

int session_step(struct session *s, struct event *events, struct err *e) {
    double start = clock_seconds();
    int n = s->backend->step(s->state, s->outcomes, e);
    s->busy += clock_seconds() - start;
    for (int i = 0; i < n; i++) {
        const struct outcome *o = &s->outcomes[i];
        struct member *m = &s->members[o->row];
        CHECK(m->taken);
        measure(s, m, o);
        events[i] = (struct event){
            .user = m->user, .row = o->row, .id = o->id, .finish = o->finish, .stats = m->stats};
        if (o->finish != FINISH_NOT)
            leave(s, o->row);
    }
    return n;
}

int session_active(const struct session *s) { return s->n_active; }

struct sequence_stats session_stats(const struct session *s, int row) {
    CHECK(row >= 0 && row < s->params.width && s->members[row].taken);
    return s->members[row].stats;
}

void session_drop(struct session *s, int row, struct sequence_stats *stats) {
    struct sequence_stats now = session_stats(s, row);
    if (stats)
        *stats = now;
    leave(s, row);
}

int session_positions(const struct session *s, int row, int layer, int kv_head, int32_t *out,
                      int room) {
    return s->backend->positions(s->state, row, layer, kv_head, out, room);
}

bool session_pretend(struct session *s, int row, int32_t tokens, struct err *e) {
    CHECK(row >= 0 && row < s->params.width && s->members[row].told);
    if (!s->backend->pretend)
        return err_set(e, EXIT_USAGE, "backend %s feeds every token", s->backend->name);
    return s->backend->pretend(s->state, row, tokens, e);
}

struct session_memory session_memory(const struct session *s) {
    return s->backend->memory(s->state);
}
struct session_counters session_counters(const struct session *s) {
    return s->backend->counters ? s->backend->counters(s->state) : (struct session_counters){0};
}
int session_time_kernels(struct session *s, struct kernel_time *out, int room) {
    return s->backend->time_kernels ? s->backend->time_kernels(s->state, out, room) : 0;
}
const char *session_isa(const struct session *s) { return s->backend->isa(s->state); }
