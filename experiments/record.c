#include "experiments/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"

struct item { /* one sample */
    struct problem problem;
    struct id_list prompt, fed; /* fed: gold ids, or what was generated */
    char *path;
    struct recorded recorded;
    struct recording_file *file;
    bool added, done;
};

struct record {
    const struct record_params *p;
    struct chat chat;
    char sha256[HASH_HEX];
    struct item *items;
    int n, n_done;
    int longest;
    struct recording *recording;
    struct session *session;
    struct event *events; /* [width] */
    struct record_outcome *outcome;
};

/* --- samples ---------------------------------------------------------------------------------- */

static bool encode(struct record *r, struct item *item, struct err *e) {
    const struct record_params *p = r->p;
    const struct problem *problem = &item->problem;
    if (!chat_encode(p->model, &r->chat, problem->prompt, strlen(problem->prompt), &item->prompt,
                     e))
        return false;
    int64_t room = p->model->config.max_positions - (int64_t)item->prompt.count, max_fed = 0;
    if (p->gold) {
        if (!problem->solution || !*problem->solution)
            return err_set(e, EXIT_CONTENT, "has no gold solution to be forced on");
        if (!tokenizer_encode(p->model->tokenizer, problem->solution, strlen(problem->solution),
                              false, &item->fed, e))
            return false;
        max_fed = (int64_t)item->fed.count;
    } else {
        max_fed = (p->max_new && p->max_new < room ? p->max_new : room) - 1;
    }
    if (room < 2 || max_fed > room)
        return err_set(e, EXIT_CONTENT, "%zu tokens of prompt and %lld to feed, %s takes %d",
                       item->prompt.count, (long long)max_fed, p->model->path,
                       p->model->config.max_positions);
    item->recorded.max_fed = (int32_t)((int64_t)item->prompt.count + max_fed);
    r->longest = item->recorded.max_fed > r->longest ? item->recorded.max_fed : r->longest;
    return true;
}

static bool read_item(struct record *r, int i, struct err *e) {
    const struct record_params *p = r->p;
    struct item *item = &r->items[i];
    if (!dataset_get(p->dataset, p->first + i, &item->problem, e))
        return false;
    CHECK(asprintf(&item->path, "%s/%s.h5", p->out, item->problem.id) > 0);
    item->recorded = (struct recorded){.path = item->path,
                                       .dataset = p->dataset->name,
                                       .dataset_sha256 = r->sha256,
                                       .problem = &item->problem,
                                       .number = p->first + i,
                                       .plan = p->plan,
                                       .prompt = &item->prompt,
                                       .gold = p->gold,
                                       .precision = p->precision,
                                       .seed = p->seed,
                                       .temperature = p->temperature,
                                       .top_p = p->top_p};
    return encode(r, item, e) || err_in(e, "sample %s", item->problem.id);
}

static bool read_items(struct record *r, struct err *e) {
    const struct record_params *p = r->p;
    int64_t count = dataset_count(p->dataset, e);
    if (count < 0 || !dataset_sha256(p->dataset, r->sha256, e))
        return false;
    if (p->first >= count)
        return err_set(e, EXIT_USAGE, "sample %lld: there are %lld", (long long)p->first,
                       (long long)count);
    int64_t n = count - p->first < p->n ? count - p->first : p->n;
    r->items = must_zalloc((size_t)n, sizeof *r->items);
    for (r->n = 0; r->n < n;)
        if (!read_item(r, r->n++, e))
            return err_in(e, "dataset %s", p->dataset->name);
    return true;
}

/* --- the loop --------------------------------------------------------------------------------- */

static void tell(void *user, const struct attention_row *row) {
    recording_watch(((struct item *)user)->file, row);
}

static bool add(struct record *r, int i, struct err *e) {
    const struct record_params *p = r->p;
    struct item *item = &r->items[i];
    struct request request = {
        .ids = item->prompt.ids,
        .n_ids = (int)item->prompt.count,
        .plan = p->plan,
        .max_new = item->recorded.max_fed - (int)item->prompt.count + 1,
        .sampling = {(float)p->temperature, (float)p->top_p},
        .key = rng_key(rng_key(rng_mix((uint64_t)p->seed), (uint64_t)(p->first + i)), 0),
        .forced = p->gold ? item->fed.ids : NULL,
        .n_forced = p->gold ? (int)item->fed.count : 0,
        .user = item,
        .on_attention = r->recording ? tell : NULL,
        .watch_prompt = p->choice && p->choice->prompt,
    };
    item->recorded.isa = session_isa(r->session);
    item->file = r->recording ? recording_begin(r->recording, &item->recorded, e) : NULL;
    if (r->recording && !item->file)
        return false;
    item->added = session_add(r->session, &request, e);
    if (!item->added && item->file) {
        recording_abandon(item->file);
        item->file = NULL;
    }
    return item->added;
}

static void take(struct record *r, const struct event *event) {
    struct item *item = event->user;
    bool end = event->finish != FINISH_NOT;
    r->outcome->tokens++;
    if (!r->p->gold && event->id >= 0 && !end) /* the last one is not fed */
        id_list_add(&item->fed, event->id);
    if (!end)
        return;
    if (item->file)
        recording_end(item->file, &item->recorded, item->fed.ids, (int32_t)item->fed.count,
                      event->id < 0 ? FINISH_NUMERIC : event->finish);
    item->file = NULL;
    item->done = true;
    r->n_done++;
}

static bool run(struct record *r, struct err *e) {
    int next = 0;
    while (r->n_done < r->n) {
        if (r->p->stopped && r->p->stopped()) {
            r->outcome->stopped = true;
            return true;
        }
        while (next < r->n && session_active(r->session) < r->p->width) {
            if (!add(r, next, e)) {
                if (e->code)
                    return err_in(e, "sample %s", r->items[next].problem.id);
                break;
            }
            next++;
        }
        double from = clock_seconds();
        int n = session_step(r->session, r->events, e);
        r->outcome->decode_seconds += clock_seconds() - from;
        if (n < 0 || (r->recording && !recording_ok(r->recording, e)))
            return false;
        for (int i = 0; i < n; i++)
            take(r, &r->events[i]);
        /* with nothing in flight the second pass has the machine to itself, else they share it */
        if (r->recording && !session_active(r->session) && !recording_wait(r->recording, e))
            return false;
        log_status(false, "%d of %d samples recorded", r->n_done, r->n);
    }
    return true;
}

/* Sequences in flight leave before the writer ends. */
static void leave(struct record *r) {
    session_close(r->session);
    for (int i = 0; i < r->n; i++)
        if (r->items[i].file)
            recording_abandon(r->items[i].file);
}

static void free_items(struct record *r) {
    for (int i = 0; i < r->n; i++) {
        problem_free(&r->items[i].problem);
        id_list_free(&r->items[i].prompt);
        id_list_free(&r->items[i].fed);
        free(r->items[i].path);
    }
    free(r->items);
    free(r->events);
}

static void tell_size(const struct record *r) {
    uint64_t most = 0;
    for (int i = 0; i < r->n; i++) {
        uint64_t bytes = recording_bytes(r->recording, &r->items[i].recorded);
        most = bytes > most ? bytes : most;
    }
    log_info("%d %s of up to %d tokens, for each up to %.1f MB of disk while it is recorded", r->n,
             r->n == 1 ? "sample" : "samples", r->longest, 1e-6 * (double)most);
}

bool record_samples(const struct record_params *p, struct record_outcome *outcome, struct err *e) {
    struct record r = {.p = p, .outcome = outcome};
    const struct attn_writer_params writer = {.done = p->done};
    *outcome = (struct record_outcome){0};
    bool ok =
        p->model->tokenizer || err_set(e, EXIT_CONTENT, "%s: expected a tokenizer", p->model->path);
    ok = ok && chat_open(p->model, p->template, &r.chat, e) && read_items(&r, e);
    outcome->samples = r.n;
    if (ok && p->choice) {
        r.recording = recording_open(p->choice, p->model, &r.chat, &writer, e);
        ok = r.recording;
    }
    if (ok && p->choice)
        tell_size(&r);
    if (ok) {
        r.session = p->open(p->context, p->width, r.longest, e);
        r.events = must_zalloc((size_t)p->width, sizeof *r.events);
        double from = clock_seconds();
        ok = r.session && run(&r, e);
        leave(&r);
        if (r.recording)
            ok = recording_close(r.recording, &outcome->stats, e) && ok;
        outcome->wall_seconds = clock_seconds() - from;
        log_status_end();
    }
    free_items(&r);
    return ok;
}
