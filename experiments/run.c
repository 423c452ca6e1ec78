#include "experiments/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analysis/table.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "experiments/answer.h"
#include "experiments/detectable.h"
#include "experiments/preview.h"
#include "experiments/progress.h"
#include "experiments/stop.h"
#include "experiments/worker.h"

enum { COMMIT_ROWS = 16 };
#define COMMIT_SECONDS 0.5

struct run {
    const struct run_params *params;
    struct experiment *experiment;
    struct workload work;
    struct decoder *decoder;     /* of this process, */
    struct workers *workers;     /* or others that decode */
    struct recording *recording; /* NULL: none */
    struct db *db;
    int64_t id, *cell_ids;
    bool *unfit; /* [n_cells] some sequence does not fit into memory */
    int n_unfit;
    struct progress progress;
    int uncommitted;    /* rows in the open transaction */
    bool half_stored;   /* one of them is not whole */
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

static bool store(void *context, const struct job *job, const struct answer *answer,
                  struct err *e) {
    struct run *r = context;
    bool correct;
    if (!r->uncommitted) {
        if (!db_begin(r->db, e))
            return false;
        r->transaction = clock_seconds();
    }
    r->uncommitted++;
    r->half_stored =
        !answer_store(&r->work, job, answer, r->db, r->id, r->cell_ids[job->cell], &correct, e);
    if (r->half_stored)
        return false;
    progress_answer(&r->progress, job->cell, correct, answer->n_ids);
    return true;
}

static void leave_out(void *context, const struct job *job, const char *why) {
    struct run *r = context;
    const struct experiment *x = r->experiment;
    char title[300];
    if (r->unfit[job->cell]) /* another worker's */
        return;
    r->unfit[job->cell] = true;
    r->n_unfit++;
    r->progress.cells[job->cell].left = 0;
    cell_title(x, &x->cells[job->cell], title, sizeof title);
    log_warn("%s: sample %s: %s; the rest of the cell is left out", title,
             workload_sample(&r->work, job)->problem.id, why);
}

static bool step(void *context, int tokens, struct err *e) {
    struct run *r = context;
    progress_tokens(&r->progress, tokens);
    if (!commit(r, false, e) || (r->recording && !recording_ok(r->recording, e)))
        return false;
    progress_show(&r->progress, false);
    return true;
}

static bool stopped(void *context) {
    (void)context;
    return stop_requested();
}

/* --- decoding ------------------------------------------------------------------------------- */

static bool decode(struct run *r, const struct job *jobs, int n_jobs, struct err *e) {
    const struct harvest harvest = {r, store, leave_out, step, stopped};
    atomic_int next = 0;
    if (r->workers)
        return workers_run(r->workers, jobs, n_jobs, &harvest, e);
    return decoder_run(r->decoder, &(struct job_queue){jobs, n_jobs, &next}, &harvest, e);
}

static bool decode_cells_alone(struct run *r, struct err *e) {
    struct job *jobs = must_alloc((size_t)r->work.n_jobs * sizeof *jobs);
    bool ok = true;
    for (int c = 0; ok && c < r->experiment->n_cells && !stop_requested(); c++) {
        int n = 0;
        for (int i = 0; i < r->work.n_jobs; i++)
            if (r->work.jobs[i].cell == c)
                jobs[n++] = r->work.jobs[i];
        ok = !n || (decoder_warm_up(r->decoder, &jobs[0], e) && decode(r, jobs, n, e));
    }
    free(jobs);
    return ok;
}

/* --- from start to end ---------------------------------------------------------------------- */

static struct decoder_params decoder_params(const struct run *r) {
    const struct run_params *p = r->params;
    return (struct decoder_params){.isa = p->isa,
                                   .n_threads = p->n_threads,
                                   .kv_bytes = p->kv_bytes,
                                   .recording = r->recording,
                                   .record_folder = p->record_folder,
                                   .record_prompt = p->record && p->record->prompt};
}

static bool open_decoder(struct run *r, struct err *e) {
    const struct decoder_params params = decoder_params(r);
    if (r->workers) {
        if (!workers_ready(r->workers, e))
            return false;
        r->work.isa = workers_isa(r->workers);
        return true;
    }
    r->decoder = decoder_open(&r->work, &params, e);
    if (!r->decoder)
        return false;
    r->experiment->width = decoder_width(r->decoder);
    r->work.isa = session_isa(decoder_session(r->decoder));
    return true;
}

static bool start(struct run *r, struct err *e) {
    const struct run_params *p = r->params;
    struct db_run row = {.name = r->experiment->name,
                         .experiment = r->experiment->json,
                         .argc = p->argc,
                         .argv = p->argv,
                         .threads = machine_threads(p->n_threads),
                         .isa = r->work.isa};
    if (!db_begin(r->db, e) || !db_run_start(r->db, &row, &r->id, e) ||
        !workload_register(&r->work, r->db, r->cell_ids, e))
        return false;
    progress_open(&r->progress, r->experiment);
    for (int c = 0; c < r->experiment->n_cells; c++) {
        struct progress_cell *cell = &r->progress.cells[c];
        int64_t answers = workload_answers(&r->work, c);
        if (!db_run_cell(r->db, r->id, r->cell_ids[c], e) ||
            (answers && !db_run_plan(r->db, r->id, r->cell_ids[c], answers, e)) ||
            !db_cell_score(r->db, r->cell_ids[c], &cell->done, &cell->correct, e))
            return false;
        cell->left = r->work.planned[c] - r->work.done[c];
        r->progress.total += r->work.planned[c];
        r->progress.finished += r->work.done[c];
    }
    return db_commit(r->db, e);
}

/* Answers of all planned cells, whichever run made them, and those that ended in NaN or infinity.
 */
static bool count_answers(struct run *r, int64_t *n, int64_t *numeric, struct err *e) {
    struct db_query *q =
        db_query(r->db,
                 "SELECT count(*), sum(finish = 'numeric') "
                 "FROM result JOIN run_cell USING (cell_id) WHERE run_cell.run_id = ?",
                 e);
    if (!q)
        return false;
    db_bind_int(q, 1, r->id);
    bool any = db_next(q, e);
    *n = any ? db_int(q, 0) : 0;
    *numeric = any ? db_int(q, 1) : 0;
    return db_query_end(q);
}

/* Without answers, of a run whose cells are all left out, there is no table to print. */
static bool print_table(const struct run *r, int64_t n_answers, struct err *e) {
    char name[24];
    snprintf(name, sizeof name, "%lld", (long long)r->id);
    if (n_answers)
        return table_print(r->db, name, r->params->json ? TABLE_JSON : TABLE_TEXT, stdout, e);
    if (r->params->json)
        puts("[]");
    return true;
}

/* The device, all workers or the database failed: answers that were whole before that stay. */
static int abandon(struct run *r, const struct err *e) {
    struct err late = {0};
    log_status_end();
    (void)(r->half_stored || commit(r, true, &late));
    db_rollback(r->db);
    if (!db_run_finish(r->db, r->id, DB_INCOMPLETE, &late))
        log_warn("the run stays 'running' in the database: %s", late.text);
    return e->code;
}

static int finish(struct run *r, struct err *e) {
    int64_t left = r->progress.total - r->progress.finished, answers, numeric;
    bool stop = left && stop_requested();
    CHECK(!left || stop || r->workers || r->n_unfit);
    progress_show(&r->progress, true);
    log_status_end();
    if (!commit(r, true, e) || !count_answers(r, &answers, &numeric, e) ||
        !db_run_finish(r->db, r->id,
                       stop              ? DB_STOPPED
                       : numeric || left ? DB_INCOMPLETE
                                         : DB_FINISHED,
                       e))
        return abandon(r, e);
    if (stop) {
        log_warn("stopped with %lld of %lld answers stored; the same command goes on from there",
                 (long long)r->progress.finished, (long long)r->progress.total);
        return EXIT_SIGNAL;
    }
    if (!print_table(r, answers, e))
        return e->code;
    if (numeric)
        log_warn("%lld answers ended in numbers that are not finite", (long long)numeric);
    if (left)
        log_warn("%lld of %lld answers are missing", (long long)left, (long long)r->progress.total);
    return numeric || left ? EXIT_PARTIAL : EXIT_OK;
}

static int dry_run(struct run *r, struct err *e) {
    const struct run_params *p = r->params;
    bool exists = access(p->db, F_OK) == 0; /* without one, nothing is done yet */
    r->db = exists ? db_open(p->db, DB_READ, e) : NULL;
    if ((exists && !r->db) || !open_decoder(r, e) ||
        !workload_plan(&r->work, r->db, p->shard, p->n_shards, e))
        return e->code;
    const struct session_memory memory = session_memory(decoder_session(r->decoder));
    preview_print(&r->work, &memory, p->json);
    return EXIT_OK;
}

static int run_all(struct run *r, struct err *e) {
    const struct run_params *p = r->params;
    if (p->dry_run)
        return dry_run(r, e);
    const struct decoder_params params = decoder_params(r);
    if (p->n_workers) /* before the database, too: nobody shares it */
        r->workers = workers_start(&r->work, &params, p->n_workers, e);
    if (p->n_workers && !r->workers)
        return e->code;
    r->db = db_open(p->db, DB_WRITE, e);
    if (!r->db || !open_decoder(r, e) ||
        !workload_plan(&r->work, r->db, p->shard, p->n_shards, e) || !start(r, e))
        return e->code;
    log_info("%s: %d cells, %lld answers (%lld stored already), %s", r->experiment->name,
             r->experiment->n_cells, (long long)r->progress.total, (long long)r->progress.finished,
             r->work.isa);
    detectable_log(&r->work);
    bool ok = p->isolated ? decode_cells_alone(r, e) : decode(r, r->work.jobs, r->work.n_jobs, e);
    return ok ? finish(r, e) : abandon(r, e);
}

int run_experiment(const struct run_params *params, struct err *e) {
    struct run r = {.params = params, .experiment = params->experiment};
    if (params->isolated && !params->experiment->width_said)
        params->experiment->width = 1;
    if (!workload_open(r.experiment, params->model, params->limit, params->isolated, &r.work, e))
        return e->code;
    r.cell_ids = must_zalloc((size_t)r.experiment->n_cells, sizeof *r.cell_ids);
    r.unfit = must_zalloc((size_t)r.experiment->n_cells, sizeof *r.unfit);
    const struct recording_choice *record = params->dry_run ? NULL : params->record;
    if (record)
        r.recording =
            recording_open(record, params->model, &r.work.chat, &(struct attn_writer_params){0}, e);
    int code = record && !r.recording ? e->code : run_all(&r, e);
    workers_close(r.workers);
    progress_close(&r.progress);
    free(r.cell_ids);
    free(r.unfit);
    db_close(r.db);
    decoder_close(r.decoder);
    if (r.recording && !recording_close(r.recording, NULL, e) && code == EXIT_OK)
        code = e->code;
    workload_close(&r.work);
    return code;
}
