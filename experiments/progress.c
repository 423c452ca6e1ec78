#include "experiments/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

void progress_open(struct progress *p, const struct experiment *x) {
    *p = (struct progress){.experiment = x, .start = clock_seconds()};
    p->cells = must_zalloc((size_t)x->n_cells, sizeof *p->cells);
}

void progress_close(struct progress *p) {
    free(p->cells);
    *p = (struct progress){0};
}

void progress_tokens(struct progress *p, int n) { p->tokens += n; }

void progress_answer(struct progress *p, int cell, bool correct, int n_new) {
    struct progress_cell *c = &p->cells[cell];
    c->left--;
    c->done++;
    c->correct += correct;
    c->fresh++;
    c->tokens += n_new;
    p->finished++;
}

double progress_eta(const struct progress *p) {
    int64_t fresh = 0, known = 0;
    double seconds = clock_seconds() - p->start, wanted = 0;
    for (int i = 0; i < p->experiment->n_cells; i++) {
        fresh += p->cells[i].fresh;
        known += p->cells[i].tokens;
    }
    if (!fresh || !p->tokens)
        return -1;
    for (int i = 0; i < p->experiment->n_cells; i++) {
        const struct progress_cell *c = &p->cells[i];
        double mean =
            c->fresh ? (double)c->tokens / (double)c->fresh : (double)known / (double)fresh;
        wanted += mean * (double)c->left;
    }
    wanted -= (double)(p->tokens - known); /* those in flight are part of the way */
    /* longer than any that has ended: nothing is known of their ends */
    return wanted > 0 ? wanted * seconds / (double)p->tokens : -1;
}

/* --- the line ------------------------------------------------------------------------------- */

struct line {
    char *text;
    size_t size, n;
};

static void put(struct line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct line *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->n, l->size - l->n, format, args);
    va_end(args);
    l->n = n < 0 || l->n + (size_t)n >= l->size ? l->size - 1 : l->n + (size_t)n;
}

static void put_duration(struct line *l, double seconds) {
    int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        put(l, "%lld:%02d:%02d", (long long)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    else
        put(l, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

static void put_accuracy(struct line *l, const struct progress_cell *c) {
    if (!c->done)
        put(l, "-");
    else if (c->correct == c->done)
        put(l, "1.0");
    else
        put(l, ".%02d", (int)(100.0 * (double)c->correct / (double)c->done));
}

void progress_line(const struct progress *p, char *out, size_t size) {
    struct line l = {out, size, 0};
    const struct experiment *x = p->experiment;
    double seconds = clock_seconds() - p->start, eta = progress_eta(p);
    double rate = seconds > 0 ? (double)p->tokens / seconds : 0;
    put(&l, "%lld/%lld", (long long)p->finished, (long long)p->total);
    put(&l, rate < 1000 ? "  %.0f tok/s" : "  %.1fk tok/s", rate < 1000 ? rate : rate / 1000);
    if (eta >= 0 && p->finished < p->total) {
        put(&l, "  ");
        put_duration(&l, eta);
        put(&l, " left");
    }
    for (int i = 0; i < x->n_cells; i++) { /* the budgets of a policy stand behind one name */
        bool same = i > 0 && x->cells[i].dataset == x->cells[i - 1].dataset &&
                    !strcmp(x->cells[i].plan.name, x->cells[i - 1].plan.name);
        bool other = i == 0 || x->cells[i].dataset != x->cells[i - 1].dataset;
        if (x->n_datasets > 1 && other)
            put(&l, "  %s:", x->datasets[x->cells[i].dataset].name);
        if (same)
            put(&l, "/");
        else
            put(&l, x->n_datasets > 1 && other ? " %s " : "  %s ", x->cells[i].plan.name);
        put_accuracy(&l, &p->cells[i]);
    }
}

void progress_show(const struct progress *p, bool force) {
    char text[1000];
    progress_line(p, text, sizeof text);
    log_status(force, "%s", text);
}
