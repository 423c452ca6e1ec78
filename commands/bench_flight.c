#include "commands/bench_flight.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"
#include "commands/bench.h"

enum { SLACK = 64 }; /* steps until the last row has joined, and a few */

struct row {
    int place;   /* in the batch */
    bool joined; /* its first id has come */
    int tokens;  /* fed so far */
};

struct bench_flight {
    struct bench_point point;
    struct session *session;
    struct event *events; /* [batch] */
    struct row *rows;     /* [batch] in order of joining */
    bool filling;
};

/* Tokens of row i where the measured steps begin to warm up. */
static int filled(const struct bench_point *p, int i) {
    int away =
        p->batch > 1 ? (int)((int64_t)p->spread * (2 * i - p->batch + 1) / (p->batch - 1)) : 0;
    return p->context + away - bench_half(p) - BENCH_WARM;
}

static int total_of(const struct bench_point *p) {
    return p->total ? p->total : p->context + p->spread + bench_half(p) + SLACK;
}

static bool step(struct bench_flight *f, struct err *e) {
    int n = session_step(f->session, f->events, e);
    if (n < 0)
        return false;
    for (int i = 0; i < n; i++) {
        struct row *row = f->events[i].user;
        if (f->events[i].finish != FINISH_NOT)
            return err_set(e, EXIT_ENV, "a sequence ended (%s) after %d tokens",
                           finish_name(f->events[i].finish), row->tokens);
        row->tokens++;
        if (row->joined)
            continue;
        row->joined = true;
        row->place = f->events[i].row;
        row->tokens = BENCH_PROMPT;
        if (f->filling) {
            row->tokens = filled(&f->point, (int)(row - f->rows));
            if (!session_pretend(f->session, row->place, row->tokens, e))
                return false;
        }
    }
    return n > 0 || err_set(e, EXIT_ENV, "no sequence is in flight");
}

static bool steps(struct bench_flight *f, int n, struct err *e) {
    for (int i = 0; i < n; i++)
        if (!step(f, e))
            return false;
    return true;
}

/* Until every row has given its first id. */
static bool gather(struct bench_flight *f, struct err *e) {
    for (int tries = 0; tries < SLACK / 2; tries++) {
        int joined = 0;
        for (int i = 0; i < f->point.batch; i++)
            joined += f->rows[i].joined;
        if (joined == f->point.batch)
            return true;
        if (!step(f, e))
            return false;
    }
    return err_set(e, EXIT_ENV, "not all of %d sequences joined", f->point.batch);
}

static bool join(struct bench_flight *f, struct err *e) {
    const struct bench_point *p = &f->point;
    for (int i = 0; i < p->batch; i++) {
        struct rng rng = {.key = rng_key(1, (uint64_t)i)};
        int32_t ids[BENCH_PROMPT];
        for (int j = 0; j < BENCH_PROMPT; j++)
            ids[j] = (int32_t)rng_below(&rng, (uint32_t)p->model->config.vocab);
        struct request request = {.ids = ids,
                                  .n_ids = BENCH_PROMPT,
                                  .plan = p->plan,
                                  .max_new = total_of(p) - BENCH_PROMPT + 1,
                                  .ignore_eos = true,
                                  .sampling = {0, 1},
                                  .key = (uint64_t)i,
                                  .user = &f->rows[i]};
        if (!session_add(f->session, &request, e))
            return e->code
                       ? false
                       : err_set(e, EXIT_ENV, "the KV cache holds %d of %d sequences", i, p->batch);
    }
    return true;
}

bool bench_flight_check(const struct bench_point *point, struct err *e) {
    int least = BENCH_PROMPT + 1 + BENCH_WARM + bench_half(point) + point->spread;
    int most = point->model->config.max_positions;
    return (point->context >= least && total_of(point) <= most) ||
           err_set(e, EXIT_USAGE, "context %d: expected %d to %d on %s", point->context, least,
                   most - (total_of(point) - point->context), point->model->path);
}

struct bench_flight *bench_flight_open(const struct bench_point *point, struct err *e) {
    if (!bench_flight_check(point, e))
        return NULL;
    struct session_params params = {.backend = point->backend,
                                    .precision = PRECISION_BF16,
                                    .width = point->batch,
                                    .max_total = total_of(point)};
    struct bench_flight *f = must_zalloc(1, sizeof *f);
    f->point = *point;
    f->events = must_zalloc((size_t)point->batch, sizeof *f->events);
    f->rows = must_zalloc((size_t)point->batch, sizeof *f->rows);
    f->session = session_open(point->model, &params, e);
    if (f->session && join(f, e))
        return f;
    bench_flight_close(f);
    return NULL;
}

void bench_flight_close(struct bench_flight *f) {
    if (!f)
        return;
    session_close(f->session);
    free(f->events);
    free(f->rows);
    free(f);
}

bool bench_flight_fill(struct bench_flight *f, struct err *e) {
    f->filling = true;
    return gather(f, e) && steps(f, BENCH_WARM, e);
}

static double mean_context(const struct bench_flight *f) {
    double sum = 0;
    for (int i = 0; i < f->point.batch; i++)
        sum += f->rows[i].tokens;
    return sum / f->point.batch;
}

bool bench_flight_reach(struct bench_flight *f, int context, struct err *e) {
    return gather(f, e) && steps(f, context - (int)mean_context(f), e);
}

/* What the largest row holds now: its tokens of one head, and its bytes. */
static void weigh(struct bench_flight *f, struct bench_reading *out) {
    for (int i = 0; i < f->point.batch; i++) {
        struct sequence_stats stats = session_stats(f->session, f->rows[i].place);
        if ((double)stats.kv_bytes > out->kv_bytes)
            out->kv_bytes = (double)stats.kv_bytes, out->kept = stats.kept;
    }
}

bool bench_flight_measure(struct bench_flight *f, struct bench_reading *out, struct err *e) {
    const struct bench_point *p = &f->point;
    const int half = bench_half(p);
    const double n = p->windows * BENCH_WINDOW;
    const struct session_counters before = session_counters(f->session);
    double seconds[64], begin = clock_seconds();
    CHECK(p->windows >= 1 && p->windows <= 64);
    *out = (struct bench_reading){.context = mean_context(f) + half};
    out->bytes.weights = 2 * bench_weights(&p->model->config);
    for (int i = 0; i < p->batch; i++)
        bench_add_sequence(&out->bytes, &p->model->config, p->plan, BENCH_PROMPT,
                           f->rows[i].tokens + half);
    for (int w = 0; w < p->windows; w++) {
        if (w == p->windows / 2)
            weigh(f, out);
        double start = clock_seconds();
        if (!steps(f, BENCH_WINDOW, e))
            return false;
        seconds[w] = (clock_seconds() - start) / BENCH_WINDOW;
    }
    out->mean = (clock_seconds() - begin) / n;
    out->step = bench_quantile(seconds, p->windows, 0.5);
    out->p10 = bench_quantile(seconds, p->windows, 0.1);
    out->p90 = bench_quantile(seconds, p->windows, 0.9);
    const struct session_counters after = session_counters(f->session);
    out->syncs = after.passes ? (double)(after.host_syncs - before.host_syncs) / n : NAN;
    out->launches = after.passes ? (double)(after.launches - before.launches) / n : NAN;
    return true;
}

bool bench_measure(const struct bench_point *point, struct bench_reading *out,
                   struct bench_kernels *kernels, struct err *e) {
    struct bench_flight *f = bench_flight_open(point, e);
    bool ok = f && bench_flight_fill(f, e) && bench_flight_measure(f, out, e);
    if (ok && kernels)
        kernels->count = session_time_kernels(f->session, kernels->items, BENCH_KERNELS);
    bench_flight_close(f);
    return ok;
}
