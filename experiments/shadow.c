#include "experiments/shadow.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"
#include "experiments/shadow_reference.h"
#include "experiments/stop.h"

/* One text in flight: under full, which makes its reference, or under a plan, beside that. */
struct flight {
    const struct shadow *shadow;
    struct shadow_reference *reference;
    int text, plan; /* plan: -1 for full */
    double *kl;     /* [n_steps], as below; of plans only */
    bool *agrees;
    double *lost;  /* [heads] sums over steps */
    uint8_t *seen; /* [heads][n] scratch: heads are told by several threads */
    int first_divergence;
    bool broken; /* logits were not finite */
};

static int n_heads(const struct shadow *s) {
    const struct config *c = &s->model->config;
    return s->attention ? c->n_layers * c->n_kv_heads : 0;
}

/* --- what a flight is told -------------------------------------------------------------------- */

static void take_logits(void *user, int position, const float *logits) {
    struct flight *f = user;
    int step = position - f->reference->n_prompt, vocab = f->shadow->model->config.vocab;
    if (step < 0)
        return;
    for (int i = 0; i < vocab; i++)
        if (!isfinite(logits[i]))
            f->broken = true; /* forced sequences go on to their last id */
    if (f->broken)
        return;
    if (f->plan < 0) {
        reference_keep(f->reference, step, logits, vocab);
        return;
    }
    int32_t best;
    f->kl[step] = reference_kl(f->reference, step, logits, vocab, &best);
    f->agrees[step] = best == f->reference->steps[step].best;
    if (!f->agrees[step] && f->first_divergence < 0)
        f->first_divergence = step;
}

static void take_attention(void *user, const struct attention_row *row) {
    struct flight *f = user;
    int head = row->layer * f->shadow->model->config.n_kv_heads + row->kv_head;
    if (f->plan < 0)
        reference_keep_row(f->reference, head, row);
    else
        f->lost[head] += reference_lost(
            f->reference, head, row, f->seen + (size_t)head * (size_t)f->shadow->texts[f->text].n);
}

/* --- flights ---------------------------------------------------------------------------------- */

static void flight_open(struct flight *f) {
    size_t steps = (size_t)f->reference->n_steps, heads = (size_t)n_heads(f->shadow);
    f->first_divergence = -1;
    if (f->plan < 0)
        return;
    f->kl = must_zalloc(steps, sizeof *f->kl);
    f->agrees = must_zalloc(steps, sizeof *f->agrees);
    if (!heads)
        return;
    f->lost = must_zalloc(heads, sizeof *f->lost);
    f->seen = must_zalloc(heads, (size_t)f->shadow->texts[f->text].n);
}

static void flight_close(struct flight *f) {
    free(f->kl);
    free(f->agrees);
    free(f->lost);
    free(f->seen);
    f->kl = NULL, f->agrees = NULL, f->lost = NULL, f->seen = NULL;
}

static bool flight_end(struct flight *f, const struct event *event, struct err *e) {
    const struct shadow *s = f->shadow;
    int heads = n_heads(s), steps = f->reference->n_steps;
    if (f->broken || event->id < 0)
        return err_set(e, EXIT_CONTENT, "text %d under %s: logits that are not finite", f->text,
                       f->plan < 0 ? "full" : s->plans[f->plan].name);
    if (f->plan < 0)
        return true;
    float *lost = heads ? must_alloc((size_t)heads * sizeof *lost) : NULL;
    for (int h = 0; h < heads; h++)
        lost[h] = (float)(f->lost[h] / steps);
    struct shadow_result result = {.text = f->text,
                                   .plan = f->plan,
                                   .n_steps = steps,
                                   .kl = f->kl,
                                   .agrees = f->agrees,
                                   .lost = lost,
                                   .first_divergence = f->first_divergence,
                                   .stats = event->stats};
    bool ok = s->done(s->user, &result, e);
    free(lost);
    flight_close(f);
    return ok;
}

static bool add(struct flight *f, const struct plan *full, struct err *e) {
    const struct shadow *s = f->shadow;
    const struct shadow_text *t = &s->texts[f->text];
    struct request request = {.ids = t->ids,
                              .n_ids = t->n_prompt,
                              .plan = f->plan < 0 ? full : &s->plans[f->plan],
                              .max_new = 1,
                              .ignore_eos = true,
                              .forced = t->ids + t->n_prompt,
                              .n_forced = t->n - t->n_prompt,
                              .user = f,
                              .on_logits = take_logits,
                              .on_attention = s->attention ? take_attention : NULL};
    flight_open(f);
    if (session_add(s->session, &request, e))
        return true;
    flight_close(f);
    return false;
}

/* All flights to their ends; as many at once as there is room for. */
static bool fly(const struct shadow *s, struct flight *flights, int n, const struct plan *full,
                struct err *e) {
    struct event *events = must_alloc((size_t)s->width * sizeof *events);
    bool ok = true;
    for (int next = 0; ok && (next < n || session_active(s->session));) {
        while (next < n && add(&flights[next], full, e))
            next++;
        if (stop_requested())
            err_set(e, EXIT_SIGNAL, "stopped; run again to go on");
        int told = e->code ? -1 : session_step(s->session, events, e);
        ok = told >= 0;
        for (int i = 0; ok && i < told; i++)
            if (events[i].finish != FINISH_NOT)
                ok = flight_end(events[i].user, &events[i], e);
    }
    free(events);
    return ok;
}

static bool wanted(const struct shadow *s, int text, int plan) {
    return !s->wanted || s->wanted(s->user, text, plan);
}

/* Flights of texts [first, first + n): those under full, which the others look at, then these. */
static bool run_group(const struct shadow *s, int first, int n, const struct plan *full,
                      struct err *e) {
    struct shadow_reference *references = must_zalloc((size_t)n, sizeof *references);
    struct flight *flights = must_zalloc((size_t)n * (size_t)(s->n_plans + 1), sizeof *flights);
    struct flight *others = flights + n;
    int n_full = 0, n_others = 0;
    for (int p = 0; p < s->n_plans; p++)
        for (int i = 0; i < n; i++)
            if (wanted(s, first + i, p))
                others[n_others++] = (struct flight){
                    .shadow = s, .reference = &references[i], .text = first + i, .plan = p};
    for (int i = 0; i < n; i++) {
        const struct shadow_text *t = &s->texts[first + i];
        bool any = false;
        for (int p = 0; p < s->n_plans; p++)
            any = any || wanted(s, first + i, p);
        if (!any)
            continue;
        reference_init(&references[i], t->n_prompt, t->n - t->n_prompt, n_heads(s));
        flights[n_full++] = (struct flight){
            .shadow = s, .reference = &references[i], .text = first + i, .plan = -1};
    }
    bool ok = fly(s, flights, n_full, full, e) && fly(s, others, n_others, full, e);
    for (int i = 0; i < n; i++)
        reference_free(&references[i]);
    for (int i = 0; i < n_others; i++)
        flight_close(&others[i]);
    free(references);
    free(flights);
    return ok;
}

bool shadow_run(const struct shadow *s, struct err *e) {
    struct plan full;
    if (!policy_parse("full", &full, e))
        return false;
    for (int first = 0; first < s->n_texts; first += s->width) {
        int left = s->n_texts - first;
        if (!run_group(s, first, left < s->width ? left : s->width, &full, e))
            return false;
    }
    return true;
}
