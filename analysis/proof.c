#include "analysis/proof.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

double proof_f1(int tp, int fp, int missed) { return tp ? 2.0 * tp / (2.0 * tp + fp + missed) : 0; }

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q) {
    double place = q * (n - 1);
    int below = (int)place, above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

/* --- ranks ---------------------------------------------------------------------------------- */

struct ranked {
    double value;
    int at;
};

static int by_ranked(const void *a, const void *b) { return by_value(a, b); }

/* Middle ranks of lives; `order` is scratch. */
static void rank_lives(const struct proof_life *lives, const int *pick, int n, struct ranked *order,
                       double *rank) {
    for (int i = 0; i < n; i++)
        order[i] = (struct ranked){lives[pick[i]].life, i};
    qsort(order, (size_t)n, sizeof *order, by_ranked);
    for (int i = 0, j; i < n; i = j) {
        for (j = i; j < n && order[j].value <= order[i].value; j++)
            ;
        for (int k = i; k < j; k++)
            rank[order[k].at] = (i + j - 1) / 2.0;
    }
}

static double correlation(const double *x, const double *y, int n) {
    double mx = 0, my = 0, xy = 0, xx = 0, yy = 0;
    for (int i = 0; i < n; i++)
        mx += x[i] / n, my += y[i] / n;
    for (int i = 0; i < n; i++)
        xy += (x[i] - mx) * (y[i] - my), xx += (x[i] - mx) * (x[i] - mx),
            yy += (y[i] - my) * (y[i] - my);
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

/* --- one score ------------------------------------------------------------------------------ */

struct desk { /* scratch for picks of units */
    int *pick;
    struct ranked *order;
    double *x, *y;
};

static struct desk desk_open(int n) {
    size_t room = (size_t)n + 1;
    return (struct desk){must_alloc(room * sizeof(int)), must_alloc(room * sizeof(struct ranked)),
                         must_alloc(room * sizeof(double)), must_alloc(room * sizeof(double))};
}

static void desk_close(struct desk *b) {
    free(b->pick);
    free(b->order);
    free(b->x);
    free(b->y);
}

static struct proof_score score_pick(const struct proof_life *known, const struct proof_life *found,
                                     int n, struct desk *b) {
    int tp = 0, fp = 0, missed = 0, n_errors = 0;
    double sum = 0;
    for (int i = 0; i < n; i++) {
        const struct proof_life *k = &known[b->pick[i]], *f = &found[b->pick[i]];
        tp += k->used && f->used;
        fp += !k->used && f->used;
        missed += k->used && !f->used;
        if (k->used)
            sum += b->x[n_errors++] = abs(f->last_step - k->last_step);
    }
    struct proof_score s = {.f1 = proof_f1(tp, fp, missed),
                            .precision = tp ? (double)tp / (tp + fp) : 0,
                            .recall = tp ? (double)tp / (tp + missed) : 0};
    qsort(b->x, (size_t)n_errors, sizeof *b->x, by_value);
    s.last_use_median = n_errors ? quantile(b->x, n_errors, 0.5) : (double)NAN;
    s.last_use_mean = n_errors ? sum / n_errors : (double)NAN;
    rank_lives(known, b->pick, n, b->order, b->x);
    rank_lives(found, b->pick, n, b->order, b->y);
    s.rank = correlation(b->x, b->y, n);
    return s;
}

struct proof_score proof_score(const struct proof_units *u, const struct proof_life *found) {
    struct desk b = desk_open(u->n);
    for (int i = 0; i < u->n; i++)
        b.pick[i] = i;
    struct proof_score s = score_pick(u->known, found, u->n, &b);
    desk_close(&b);
    return s;
}

/* --- intervals and the control ---------------------------------------------------------------- */

static struct interval interval_of(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, by_value);
    return (struct interval){quantile(values, n, 0.025), quantile(values, n, 0.975)};
}

static int most_units(const struct proof_units *u) {
    int most = 0;
    for (int p = 0; p < u->n_problems; p++)
        if (u->start[p + 1] - u->start[p] > most)
            most = u->start[p + 1] - u->start[p];
    return most;
}

struct proof_intervals proof_bootstrap(const struct proof_units *u, const struct proof_life *found,
                                       int draws, uint64_t seed) {
    double *values = must_alloc(3 * (size_t)draws * sizeof *values);
    struct desk b = desk_open(most_units(u) * u->n_problems);
    struct rng rng = {.key = seed};
    for (int d = 0; d < draws; d++) {
        int n = 0;
        for (int p = 0; p < u->n_problems; p++) {
            uint32_t q = rng_below(&rng, (uint32_t)u->n_problems);
            for (int i = u->start[q]; i < u->start[q + 1]; i++)
                b.pick[n++] = i;
        }
        struct proof_score s = score_pick(u->known, found, n, &b);
        values[d] = s.f1, values[draws + d] = isnan(s.last_use_median) ? 0 : s.last_use_median;
        values[2 * draws + d] = s.rank;
    }
    struct proof_intervals out = {interval_of(values, draws), interval_of(values + draws, draws),
                                  interval_of(values + 2 * draws, draws)};
    desk_close(&b);
    free(values);
    return out;
}

struct proof_band proof_shuffled(const struct proof_units *u, const struct proof_life *found,
                                 int draws, uint64_t seed) {
    double *values = must_alloc((size_t)draws * sizeof *values), sum = 0;
    bool *label = must_alloc((size_t)u->n + 1);
    struct rng rng = {.key = seed};
    for (int d = 0; d < draws; d++) {
        int tp = 0, fp = 0, missed = 0;
        for (int i = 0; i < u->n; i++)
            label[i] = u->known[i].used;
        for (int p = 0; p < u->n_problems; p++)
            for (int i = u->start[p + 1] - 1; i > u->start[p]; i--) {
                int k = u->start[p] + (int)rng_below(&rng, (uint32_t)(i - u->start[p] + 1));
                bool swap = label[i];
                label[i] = label[k], label[k] = swap;
            }
        for (int i = 0; i < u->n; i++) {
            tp += label[i] && found[i].used;
            fp += !label[i] && found[i].used;
            missed += label[i] && !found[i].used;
        }
        sum += values[d] = proof_f1(tp, fp, missed);
    }
    struct interval band = interval_of(values, draws);
    free(values);
    free(label);
    return (struct proof_band){sum / draws, band.lo, band.hi};
}

/* --- thresholds ------------------------------------------------------------------------------- */

double proof_threshold(const struct proof_units *u, const double *values, double *f1) {
    struct ranked *order = must_alloc((size_t)(u->n + 1) * sizeof *order);
    int positives = 0, tp = 0;
    for (int i = 0; i < u->n; i++) {
        order[i] = (struct ranked){-values[i], i};
        positives += u->known[i].used;
    }
    qsort(order, (size_t)u->n, sizeof *order, by_ranked);
    double best = HUGE_VAL;
    *f1 = 0;
    for (int i = 0; i < u->n; i++) {
        tp += u->known[order[i].at].used;
        bool tied = i + 1 < u->n && order[i + 1].value <= order[i].value;
        double here = proof_f1(tp, i + 1 - tp, positives - tp);
        if (!tied && here > *f1)
            *f1 = here, best = -order[i].value;
    }
    free(order);
    return best;
}

double proof_threshold_f1(const struct proof_units *u, const double *values, double threshold) {
    int tp = 0, fp = 0, missed = 0;
    for (int i = 0; i < u->n; i++) {
        bool found = values[i] >= threshold;
        tp += u->known[i].used && found;
        fp += !u->known[i].used && found;
        missed += u->known[i].used && !found;
    }
    return proof_f1(tp, fp, missed);
}
