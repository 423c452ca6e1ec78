#include "experiments/explain.h"

#include <stdlib.h>
#include <string.h>

#include "experiments/stop.h"

/* --- one answer ------------------------------------------------------------------------------- */

static bool prepare(struct explanation *x, const struct model *model,
                    const struct explain_heads *heads, const struct explain_answer *answer,
                    struct err *e) {
    const struct config *c = &model->config;
    *x = (struct explanation){.answer = answer, .vocab = c->vocab, .query = -1, .full_right = -1};
    if (!spelled_make(model->tokenizer, answer->ids, answer->n, answer->n_prompt, &x->spelled, e))
        return false;
    const struct spelled *s = &x->spelled;
    size_t begin = s->start[s->n_prompt];
    x->at = must_alloc((strlen(answer->problem.solution) + 1) * sizeof *x->at);
    x->wrong = wrong_step(&answer->problem, s->text + begin, s->size - begin, x->at);
    x->cause = CAUSE_CUT;
    bool over = x->wrong.text == s->size - begin && answer->capped;
    if (x->wrong.part == WRONG_NOTHING || over)
        return true;
    int32_t since;
    explain_needs(&answer->problem, s, &x->wrong, x->at, &x->needs, &since);
    x->query = spelled_token(s, x->wrong.text) - 1;
    trace_open(&x->trace, &x->needs, heads->items, heads->n, c->n_layers, c->n_heads, c->n_kv_heads,
               since, x->query);
    return true;
}

void explanation_free(struct explanation *x) {
    spelled_free(&x->spelled);
    free(x->at);
    needs_free(&x->needs);
    trace_close(&x->trace);
    id_list_free(&x->full);
    *x = (struct explanation){0};
}

static void take_row(void *user, const struct attention_row *row) {
    struct explanation *x = user;
    trace_row(&x->trace, row);
}

static void take_logits(void *user, int position, const float *logits) {
    struct explanation *x = user;
    const struct explain_answer *a = x->answer;
    int best = 0, vocab = x->vocab;
    if (position + 1 < a->n_prompt || position > x->query || position + 1 >= a->n)
        return;
    for (int i = 1; i < vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    x->n_told++;
    x->n_agree += best == a->ids[position + 1];
}

/* The answer up to the query that told the first wrong token, under its own policy. */
static struct request replay_of(struct explanation *x) {
    const struct explain_answer *a = x->answer;
    int forced = x->query + 1 - a->n_prompt;
    return (struct request){.ids = a->ids,
                            .n_ids = a->n_prompt,
                            .plan = &a->plan,
                            .max_new = 1,
                            .ignore_eos = true,
                            .forced = forced ? a->ids + a->n_prompt : NULL,
                            .n_forced = forced,
                            .key = a->draws,
                            .user = x,
                            .on_logits = take_logits,
                            .on_attention = take_row,
                            .watch_prompt = !forced};
}

/* The same step, from what stands before it, under full attention. */
static struct request full_of(struct explanation *x, const struct plan *full, int most) {
    const struct explain_answer *a = x->answer;
    size_t line = x->wrong.line;
    int before = line ? spelled_token(&x->spelled, (size_t)x->at[line - 1]) + 1 : a->n_prompt;
    int room = most - before > 1 ? most - before : 1;
    return (struct request){.ids = a->ids,
                            .n_ids = before,
                            .plan = full,
                            .max_new = room < EXPLAIN_STEP ? room : EXPLAIN_STEP,
                            .user = x};
}

/* --- many at once ----------------------------------------------------------------------------- */

struct flight {
    struct session *session;
    const struct model *model;
    const struct plan *full; /* NULL: replays */
    struct explanation *items;
    int n, width;
};

/* A step under full attention ends with its line. */
static void take_event(const struct flight *f, const struct event *event) {
    struct explanation *x = event->user;
    size_t size = 0;
    bool special;
    x->failed = x->failed || event->id < 0;
    if (!f->full || event->id < 0)
        return;
    id_list_add(&x->full, event->id);
    const char *piece = tokenizer_piece(f->model->tokenizer, event->id, &size, &special);
    struct sequence_stats stats;
    if (piece && memchr(piece, '\n', size) && event->finish == FINISH_NOT)
        session_drop(f->session, event->row, &stats);
}

static bool fly(const struct flight *f, struct err *e) {
    struct event *events = must_alloc((size_t)f->width * sizeof *events);
    bool ok = true;
    for (int next = 0; ok && (next < f->n || session_active(f->session));) {
        for (; next < f->n; next++) {
            struct explanation *x = &f->items[next];
            struct request request =
                f->full ? full_of(x, f->full, f->model->config.max_positions) : replay_of(x);
            if (x->query >= 0 && !session_add(f->session, &request, e))
                break;
        }
        if (stop_requested())
            err_set(e, EXIT_SIGNAL, "stopped; run again to go on");
        int told = e->code ? -1 : session_step(f->session, events, e);
        ok = told >= 0;
        for (int i = 0; i < told; i++)
            take_event(f, &events[i]);
    }
    free(events);
    return ok;
}

/* Whether the answer up to the step, with this step, is gold beyond it. */
static bool comes_out_right(const struct explanation *x, const struct model *model) {
    const struct explain_answer *a = x->answer;
    struct id_list ids = {0};
    struct spelled s;
    struct err e = {0};
    int before = full_of((struct explanation *)x, NULL, model->config.max_positions).n_ids;
    for (int i = 0; i < before; i++)
        id_list_add(&ids, a->ids[i]);
    for (size_t i = 0; i < x->full.count; i++)
        id_list_add(&ids, x->full.ids[i]);
    bool right = false;
    if (spelled_make(model->tokenizer, ids.ids, (int)ids.count, a->n_prompt, &s, &e)) {
        int32_t *at = must_alloc((strlen(a->problem.solution) + 1) * sizeof *at);
        size_t begin = s.start[s.n_prompt];
        struct wrong_step w = wrong_step(&a->problem, s.text + begin, s.size - begin, at);
        right = w.part == WRONG_NOTHING || w.step > x->wrong.step;
        free(at);
        spelled_free(&s);
    }
    id_list_free(&ids);
    return right;
}

bool explain_run(const struct model *model, struct session *session, int width,
                 const struct explain_heads *heads, const struct explain_answer *answers, int n,
                 struct explanation *out, struct err *e) {
    struct plan full;
    bool ok = policy_parse("full", &full, e);
    int ready = 0;
    for (; ok && ready < n; ready += ok)
        if (!(ok = prepare(&out[ready], model, heads, &answers[ready], e)))
            err_in(e, "sample %s", answers[ready].sample);
    struct flight replays = {session, model, NULL, out, n, width};
    struct flight checks = {session, model, &full, out, n, width};
    ok = ok && fly(&replays, e) && fly(&checks, e);
    for (int i = 0; ok && i < n; i++) {
        struct explanation *x = &out[i];
        if (x->query < 0)
            continue;
        if (x->failed)
            ok = err_set(e, EXIT_CONTENT, "sample %s: logits that are not finite",
                         x->answer->sample);
        x->cause = trace_cause(&x->trace, &x->which);
        x->full_right = comes_out_right(x, model);
    }
    for (int i = 0; !ok && i < ready; i++)
        explanation_free(&out[i]);
    return ok;
}
