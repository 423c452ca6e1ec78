#include "experiments/decoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/machine.h"
#include "experiments/flight_record.h"

enum { WARM_UP_TOKENS = 32, CHECK_LOOPS_EVERY = 16 };

struct flight {            /* one sequence in the session */
    const struct job *job; /* NULL: free */
    int32_t *ids;          /* [longest max_new] */
    int n;
    double joined, first; /* clock at admission and at the first token */
    struct flight_record record;
};

struct decoder {
    const struct workload *work;
    struct decoder_params params;
    struct session *session;
    int width;
    struct flight *flights; /* [width] */
    struct flight **idle;   /* [width] a stack of those that are free */
    int n_idle;
    struct event *events;       /* [width] of one step */
    bool *unfit;                /* [n_cells] */
    const struct job *waiting;  /* taken from the queue, but the batch is full */
    struct flight_record begun; /* of the waiting job */
    const struct job_queue *queue;
    const struct harvest *harvest;
};

/* --- joining -------------------------------------------------------------------------------- */

static const struct job *next_job(struct decoder *d) {
    const struct job *job = d->waiting;
    while (!job || d->unfit[job->cell]) {
        int i = atomic_load(d->queue->next);
        if (i >= d->queue->n || (i = atomic_fetch_add(d->queue->next, 1)) >= d->queue->n)
            return d->waiting = NULL;
        job = &d->queue->jobs[i];
    }
    return d->waiting = job;
}

static struct request request_of(const struct decoder *d, const struct job *job) {
    const struct experiment_cell *cell = &d->work->experiment->cells[job->cell];
    const struct sample *sample = workload_sample(d->work, job);
    return (struct request){
        .ids = sample->prompt.ids,
        .n_ids = (int)sample->prompt.count,
        .plan = &cell->plan,
        .max_new = (int)cell->max_new,
        .sampling = {(float)cell->temperature, (float)cell->top_p},
        .key = answer_draws(cell->seed, job->sample, job->repeat),
    };
}

static void tell(void *user, const struct attention_row *row) {
    recording_watch(((struct flight *)user)->record.file, row);
}

/* Before a sequence joins: its prompt may be told while it does. */
static bool begin_record(struct decoder *d, const struct job *job, struct flight *f,
                         struct request *request, struct err *e) {
    const struct decoder_params *p = &d->params;
    if (!p->recording)
        return true;
    if (!d->begun.file &&
        !flight_record_begin(p->recording, p->record_folder, d->work, job, &d->begun, e))
        return err_in(e, "sample %s", workload_sample(d->work, job)->problem.id);
    f->record = d->begun;
    request->on_attention = tell;
    request->watch_prompt = p->record_prompt;
    return true;
}

/* As session_add; a job that can never fit is told to the harvest, and waits as if for room. */
static bool add(struct decoder *d, const struct job *job, const struct request *request,
                struct err *e) {
    struct err why = {0};
    if (session_add(d->session, request, &why))
        return true;
    if (why.code == EXIT_ENV) {
        d->unfit[job->cell] = true;
        d->harvest->unfit(d->harvest->context, job, why.text);
    } else if (why.code) {
        return err_set(e, why.code, "sample %s: %s", workload_sample(d->work, job)->problem.id,
                       why.text);
    }
    return false;
}

/* Lets jobs join until the batch is full. */
static bool admit(struct decoder *d, struct err *e) {
    const struct job *job;
    while (d->n_idle && (job = next_job(d))) {
        struct flight *f = d->idle[d->n_idle - 1];
        struct request request = request_of(d, job);
        request.user = f;
        *f = (struct flight){.job = job, .ids = f->ids, .joined = clock_seconds()};
        if (!begin_record(d, job, f, &request, e))
            return false;
        if (add(d, job, &request, e)) {
            d->begun = (struct flight_record){0};
            d->n_idle--;
            d->waiting = NULL;
            continue;
        }
        f->job = NULL;
        f->record = (struct flight_record){0};
        if (e->code)
            return false;
        if (!d->unfit[job->cell])
            break;
        flight_record_drop(&d->begun);
    }
    return true;
}

/* --- answers -------------------------------------------------------------------------------- */

/* Times of an isolated answer are what its reader would see: to the first token, and from there. */
static void reader_times(const struct flight *f, struct sequence_stats *stats) {
    if (!f->n) /* broke before its first token */
        return;
    stats->prefill_seconds = f->first - f->joined;
    stats->decode_seconds = clock_seconds() - f->first;
}

static bool land(struct decoder *d, struct flight *f, enum finish finish,
                 const struct sequence_stats *stats, struct err *e) {
    const struct job *job = f->job;
    struct answer answer = {.ids = f->ids, .n_ids = f->n, .finish = finish, .stats = *stats};
    if (d->work->isolated)
        reader_times(f, &answer.stats);
    flight_record_end(&f->record, f->ids, f->n, finish);
    f->job = NULL;
    d->idle[d->n_idle++] = f;
    return d->harvest->answer(d->harvest->context, job, &answer, e);
}

static bool is_looping(const struct decoder *d, const struct flight *f) {
    return d->work->experiment->stop_loops && f->n % CHECK_LOOPS_EVERY == 0 &&
           answer_loop(f->ids, f->n);
}

static bool take_event(struct decoder *d, const struct event *event, struct err *e) {
    struct flight *f = event->user;
    if (event->id >= 0)
        f->ids[f->n++] = event->id;
    if (f->n == 1)
        f->first = clock_seconds();
    if (event->finish != FINISH_NOT)
        return land(d, f, event->finish, &event->stats, e);
    if (!is_looping(d, f))
        return true;
    struct sequence_stats stats;
    session_drop(d->session, event->row, &stats);
    stats.n_new = f->n;
    return land(d, f, FINISH_CAP, &stats, e);
}

bool decoder_run(struct decoder *d, const struct job_queue *queue, const struct harvest *harvest,
                 struct err *e) {
    d->queue = queue;
    d->harvest = harvest;
    while (!harvest->stopped(harvest->context)) {
        if (!admit(d, e))
            return false;
        int n = session_step(d->session, d->events, e);
        CHECK(n || !d->waiting); /* an empty session takes whatever fits at all */
        if (n <= 0)
            return n == 0;
        for (int i = 0; i < n; i++)
            if (!take_event(d, &d->events[i], e))
                return false;
        if (!harvest->step(harvest->context, n, e))
            return false;
    }
    return true;
}

bool decoder_warm_up(struct decoder *d, const struct job *job, struct err *e) {
    struct request request = request_of(d, job);
    request.max_new = request.max_new < WARM_UP_TOKENS ? request.max_new : WARM_UP_TOKENS;
    request.ignore_eos = true;
    request.sampling = (struct sampling){0, 1};
    request.key = 0;
    struct err why = {0};
    if (!session_add(d->session, &request, &why)) /* decoder_run tells what does not fit */
        return why.code == EXIT_ENV || err_set(e, why.code, "warm-up: %s", why.text);
    int n;
    do
        n = session_step(d->session, d->events, e);
    while (n > 0);
    return n == 0;
}

/* --- open and close ------------------------------------------------------------------------- */

/* On the CPU a pool that not all of the batch fits in makes sequences wait, and changes no result;
 * a GPU's pool is sized by what the GPU has free. */
static uint64_t pool_bytes(const struct workload *w, const struct decoder_params *p) {
    const struct experiment *x = w->experiment;
    uint64_t largest = 0, spare = machine_free_memory() / 2;
    if (p->kv_bytes || strcmp(x->backend, "cpu") != 0)
        return p->kv_bytes;
    for (int c = 0; c < x->n_cells; c++) {
        uint64_t bytes = workload_kv_bytes(w, &x->cells[c]);
        largest = bytes > largest ? bytes : largest;
    }
    return spare && (uint64_t)x->width * largest > spare ? spare : 0;
}

static size_t longest_answer(const struct experiment *x) {
    int64_t longest = 0;
    for (int c = 0; c < x->n_cells; c++)
        longest = x->cells[c].max_new > longest ? x->cells[c].max_new : longest;
    return (size_t)longest;
}

struct decoder *decoder_open(const struct workload *w, const struct decoder_params *p,
                             struct err *e) {
    const struct experiment *x = w->experiment;
    struct session_params params = {.backend = x->backend,
                                    .precision = x->precision,
                                    .n_threads = p->n_threads,
                                    .width = (int)x->width,
                                    .max_total = w->max_total,
                                    .kv_bytes = pool_bytes(w, p),
                                    .isa = p->isa,
                                    .device = p->device};
    struct session *session = session_open_fitting(w->model, &params, e);
    if (!session)
        return NULL;
    struct decoder *d = must_zalloc(1, sizeof *d);
    size_t width = (size_t)params.width, longest = longest_answer(x);
    *d = (struct decoder){.work = w, .params = *p, .session = session, .width = params.width};
    d->flights = must_zalloc(width, sizeof *d->flights);
    d->idle = must_zalloc(width, sizeof(struct flight *));
    d->events = must_zalloc(width, sizeof *d->events);
    d->unfit = must_zalloc((size_t)x->n_cells, sizeof *d->unfit);
    for (size_t i = width; i-- > 0; d->idle[d->n_idle++] = &d->flights[i])
        d->flights[i].ids = must_alloc(longest * sizeof(int32_t));
    return d;
}

void decoder_close(struct decoder *d) {
    if (!d)
        return;
    session_close(d->session);
    for (int i = 0; i < d->width; i++) {
        flight_record_drop(&d->flights[i].record);
        free(d->flights[i].ids);
    }
    flight_record_drop(&d->begun);
    free(d->flights);
    free(d->idle);
    free(d->events);
    free(d->unfit);
    free(d);
}

const struct session *decoder_session(const struct decoder *d) { return d->session; }
int decoder_width(const struct decoder *d) { return d->width; }
