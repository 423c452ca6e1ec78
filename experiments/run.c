#include "experiments/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analysis/table.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/rng.h"
#include "experiments/answer.h"
#include "experiments/preview.h"
#include "experiments/progress.h"
#include "experiments/stop.h"

enum { COMMIT_ROWS = 16, WARM_UP_TOKENS = 32, CHECK_LOOPS_EVERY = 16 };
#define COMMIT_SECONDS 0.5

struct flight {            /* one sequence in the session */
    const struct job *job; /* NULL: free */
    int32_t *ids;          /* [longest max_new] */
    int n;
    double joined, first; /* clock at admission and at the first token */
};

struct run {
    const struct run_params *params;
    const struct experiment *experiment;
    struct workload work;
    struct session *session;
    struct db *db;
    int64_t id, *cell_ids;
    struct flight *flights; /* [experiment->width] */
    struct event *events;   /* [experiment->width] of one step */
    struct progress progress;
    int uncommitted;    /* rows in the open transaction */
    double transaction; /* clock at its begin */
};

/* --- rows ----------------------------------------------------------------------------------- */

static bool commit(struct run *r, bool force, struct err *e) {
    if (!r->uncommitted || (!force && r->uncommitted < COMMIT_ROWS &&
                            clock_seconds() - r->transaction < COMMIT_SECONDS))
        return true;
    r->uncommitted = 0;
    return db_commit(r->db, e);
}

/* Times of an isolated answer are what its reader would see: to the first token, and from there. */
static void reader_times(const struct flight *f, struct sequence_stats *stats) {
    if (!f->n) /* broke before its first token */
        return;
    stats->prefill_seconds = f->first - f->joined;
    stats->decode_seconds = clock_seconds() - f->first;
}

static bool store(struct run *r, struct flight *f, enum finish finish,
                  const struct sequence_stats *stats, struct err *e) {
    struct answer answer = {.ids = f->ids, .n_ids = f->n, .finish = finish, .stats = *stats};
    bool correct;
    if (r->params->isolated)
        reader_times(f, &answer.stats);
    if (!r->uncommitted) {
        if (!db_begin(r->db, e))
            return false;
        r->transaction = clock_seconds();
    }
    r->uncommitted++;
    if (!answer_store(&r->work, f->job, &answer, r->db, r->id, r->cell_ids[f->job->cell], &correct,
                      e))
        return false;
    progress_answer(&r->progress, f->job->cell, correct, f->n);
    f->job = NULL;
    return true;
}

/* --- the batch ------------------------------------------------------------------------------ */

static struct flight *free_flight(struct run *r) {
    for (int i = 0; i < r->experiment->width; i++)
        if (!r->flights[i].job)
            return &r->flights[i];
    return NULL;
}

/* The same draws for every policy: noise is shared by what is compared. */
static uint64_t draw_key(const struct experiment_cell *cell, const struct job *job) {
    return rng_key(rng_key(rng_key(0, (uint64_t)cell->seed), (uint64_t)job->sample),
                   (uint64_t)job->repeat);
}

/* Lets jobs join until the batch is full; *next is the first that has to wait. */
static bool admit(struct run *r, const struct job *jobs, int n_jobs, int *next, struct err *e) {
    while (*next < n_jobs) {
        struct flight *f = free_flight(r);
        if (!f)
            return true;
        const struct job *job = &jobs[*next];
        const struct experiment_cell *cell = &r->experiment->cells[job->cell];
        const struct sample *sample = workload_sample(&r->work, job);
        struct request request = {
            .ids = sample->prompt.ids,
            .n_ids = (int)sample->prompt.count,
            .plan = &cell->plan,
            .max_new = (int)cell->max_new,
            .sampling = {(float)cell->temperature, (float)cell->top_p},
            .key = draw_key(cell, job),
            .user = f,
        };
        *f = (struct flight){.job = job, .ids = f->ids, .joined = clock_seconds()};
        if (!session_add(r->session, &request, e)) {
            f->job = NULL;
            return e->code == EXIT_OK || err_in(e, "sample %s", sample->problem.id);
        }
        ++*next;
    }
    return true;
}

static bool is_looping(const struct run *r, const struct flight *f) {
    return r->experiment->stop_loops && f->n % CHECK_LOOPS_EVERY == 0 && answer_loop(f->ids, f->n);
}

static bool take_event(struct run *r, const struct event *event, struct err *e) {
    struct flight *f = event->user;
    if (event->id >= 0)
        f->ids[f->n++] = event->id;
    if (f->n == 1)
        f->first = clock_seconds();
    if (event->finish != FINISH_NOT)
        return store(r, f, event->finish, &event->stats, e);
    if (!is_looping(r, f))
        return true;
    struct sequence_stats stats;
    session_drop(r->session, event->row, &stats);
    stats.n_new = f->n;
    return store(r, f, FINISH_CAP, &stats, e);
}

/* Decodes all jobs, or until a signal asks to stop. */
static bool decode(struct run *r, const struct job *jobs, int n_jobs, struct err *e) {
    int next = 0;
    while (!stop_requested()) {
        if (!admit(r, jobs, n_jobs, &next, e))
            return false;
        int n = session_step(r->session, r->events, e);
        if (n < 0)
            return false;
        if (!n)
            break;
        progress_tokens(&r->progress, n);
        for (int i = 0; i < n; i++)
            if (!take_event(r, &r->events[i], e))
                return false;
        if (!commit(r, false, e))
            return false;
        progress_show(&r->progress, false);
    }
    return true;
}

/* --- isolated timing ------------------------------------------------------------------------ */

/* A short answer that is thrown away: caches, page tables and clocks settle. */
static bool warm_up(struct run *r, const struct job *job, struct err *e) {
    const struct sample *sample = workload_sample(&r->work, job);
    const struct experiment_cell *cell = &r->experiment->cells[job->cell];
    struct request request = {.ids = sample->prompt.ids,
                              .n_ids = (int)sample->prompt.count,
                              .plan = &cell->plan,
                              .max_new = cell->max_new < WARM_UP_TOKENS ? (int)cell->max_new
                                                                        : WARM_UP_TOKENS,
                              .ignore_eos = true,
                              .sampling = {0, 1}};
    if (!session_add(r->session, &request, e))
        return false;
    int n;
    do
        n = session_step(r->session, r->events, e);
    while (n > 0);
    return n == 0;
}

static bool decode_cells_alone(struct run *r, struct err *e) {
    struct job *jobs = must_alloc((size_t)r->work.n_jobs * sizeof *jobs);
    bool ok = true;
    for (int c = 0; ok && c < r->experiment->n_cells && !stop_requested(); c++) {
        int n = 0;
        for (int i = 0; i < r->work.n_jobs; i++)
            if (r->work.jobs[i].cell == c)
                jobs[n++] = r->work.jobs[i];
        ok = !n || (warm_up(r, &jobs[0], e) && decode(r, jobs, n, e));
    }
    free(jobs);
    return ok;
}

/* --- from start to end ---------------------------------------------------------------------- */

static bool open_session(struct run *r, struct err *e) {
    const struct experiment *x = r->experiment;
    uint64_t largest = 0, spare = machine_free_memory() / 2;
    for (int c = 0; c < x->n_cells; c++) {
        uint64_t bytes = workload_kv_bytes(&r->work, &x->cells[c]);
        largest = bytes > largest ? bytes : largest;
    }
    struct session_params params = {.backend = x->backend,
                                    .precision = x->precision,
                                    .n_threads = r->params->n_threads,
                                    .width = (int)x->width,
                                    .max_total = r->work.max_total,
                                    .isa = r->params->isa};
    /* a pool that not all of the batch fits in makes sequences wait, and changes no result */
    if (spare && (uint64_t)x->width * largest > spare)
        params.kv_bytes = spare;
    r->session = session_open(r->work.model, &params, e);
    if (r->session)
        r->work.isa = session_isa(r->session);
    return r->session != NULL;
}

static bool start(struct run *r, struct err *e) {
    const struct run_params *p = r->params;
    int64_t longest = 0;
    struct db_run row = {.name = r->experiment->name,
                         .experiment = r->experiment->json,
                         .argc = p->argc,
                         .argv = p->argv,
                         .threads =
                             p->n_threads ? p->n_threads : (int)sysconf(_SC_NPROCESSORS_ONLN),
                         .isa = r->work.isa};
    if (!db_begin(r->db, e) || !db_run_start(r->db, &row, &r->id, e) ||
        !workload_register(&r->work, r->db, r->cell_ids, e))
        return false;
    progress_open(&r->progress, r->experiment);
    for (int c = 0; c < r->experiment->n_cells; c++) {
        struct progress_cell *cell = &r->progress.cells[c];
        if (!db_run_cell(r->db, r->id, r->cell_ids[c], e) ||
            !db_cell_score(r->db, r->cell_ids[c], &cell->done, &cell->correct, e))
            return false;
        cell->left = r->work.planned[c] - r->work.done[c];
        r->progress.total += r->work.planned[c];
        r->progress.finished += r->work.done[c];
        if (r->experiment->cells[c].max_new > longest)
            longest = r->experiment->cells[c].max_new;
    }
    r->flights = must_zalloc((size_t)r->experiment->width, sizeof *r->flights);
    r->events = must_zalloc((size_t)r->experiment->width, sizeof *r->events);
    for (int i = 0; i < r->experiment->width; i++)
        r->flights[i].ids = must_alloc((size_t)longest * sizeof(int32_t));
    return db_commit(r->db, e);
}

/* Answers of all planned cells, whichever run made them, that ended in NaN or infinity. */
static bool count_numeric(struct run *r, int64_t *n, struct err *e) {
    struct db_query *q = db_query(r->db,
                                  "SELECT count(*) FROM result JOIN run_cell USING (cell_id) "
                                  "WHERE run_cell.run_id = ? AND result.finish = 'numeric'",
                                  e);
    if (!q)
        return false;
    db_bind_int(q, 1, r->id);
    *n = db_next(q, e) ? db_int(q, 0) : 0;
    return db_query_end(q);
}

static int finish(struct run *r, struct err *e) {
    int64_t left = r->progress.total - r->progress.finished, numeric;
    CHECK(left == 0 || stop_requested());
    progress_show(&r->progress, true);
    log_status_end();
    if (!commit(r, true, e) || !count_numeric(r, &numeric, e) ||
        !db_run_finish(r->db, r->id,
                       left      ? DB_STOPPED
                       : numeric ? DB_INCOMPLETE
                                 : DB_FINISHED,
                       e))
        return e->code;
    if (left) {
        log_warn("stopped with %lld of %lld answers stored; the same command goes on from there",
                 (long long)r->progress.finished, (long long)r->progress.total);
        return EXIT_SIGNAL;
    }
    char name[24];
    snprintf(name, sizeof name, "%lld", (long long)r->id);
    if (!table_print(r->db, name, r->params->json ? TABLE_JSON : TABLE_TEXT, stdout, e))
        return e->code;
    if (numeric)
        log_warn("%lld answers ended in numbers that are not finite", (long long)numeric);
    return numeric ? EXIT_PARTIAL : EXIT_OK;
}

static int dry_run(struct run *r, struct err *e) {
    const struct run_params *p = r->params;
    bool exists = access(p->db, F_OK) == 0; /* without one, nothing is done yet */
    r->db = exists ? db_open(p->db, DB_READ, e) : NULL;
    if ((exists && !r->db) || !open_session(r, e) ||
        !workload_plan(&r->work, r->db, p->shard, p->n_shards, e))
        return e->code;
    const struct session_memory memory = session_memory(r->session);
    preview_print(&r->work, &memory, p->json);
    return EXIT_OK;
}

static int run_all(struct run *r, struct err *e) {
    const struct run_params *p = r->params;
    if (p->dry_run)
        return dry_run(r, e);
    r->db = db_open(p->db, DB_WRITE, e);
    if (!r->db || !open_session(r, e) ||
        !workload_plan(&r->work, r->db, p->shard, p->n_shards, e) || !start(r, e))
        return e->code;
    log_info("%s: %d cells, %lld answers (%lld stored already), %s", r->experiment->name,
             r->experiment->n_cells, (long long)r->progress.total, (long long)r->progress.finished,
             r->work.isa);
    bool ok = p->isolated ? decode_cells_alone(r, e) : decode(r, r->work.jobs, r->work.n_jobs, e);
    if (!ok) {
        log_status_end();
        db_rollback(r->db);
        return e->code;
    }
    return finish(r, e);
}

int run_experiment(const struct run_params *params, struct err *e) {
    struct run r = {.params = params, .experiment = params->experiment};
    if (params->isolated && !params->experiment->width_said)
        params->experiment->width = 1;
    if (!workload_open(r.experiment, params->model, params->limit, params->isolated, &r.work, e))
        return e->code;
    r.cell_ids = must_zalloc((size_t)r.experiment->n_cells, sizeof *r.cell_ids);
    int code = run_all(&r, e);
    for (int i = 0; r.flights && i < r.experiment->width; i++)
        free(r.flights[i].ids);
    free(r.flights);
    free(r.events);
    progress_close(&r.progress);
    free(r.cell_ids);
    db_close(r.db);
    session_close(r.session);
    workload_close(&r.work);
    return code;
}
