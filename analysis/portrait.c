#include "analysis/portrait.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum axis { ONE, QUANTILES, BUDGETS, DOUBLINGS, LINEAR, HALVINGS, SHARES };
static const double quantiles[] = {0.25, 0.5, 0.75, 0.9};
static const double budgets[] = {64, 128, 256, 512, 1024};
enum { N_QUANTILES = 4, N_BUDGETS = 5 };
static const int axis_size[] = {
    1, N_QUANTILES, N_BUDGETS, SCORES_DOUBLINGS, SCORES_LINEAR, SCORES_HALVINGS, SCORES_SHARES};
static const char *const origins[] = {"prompt", "generated"};

/* The list, in the order in which portrait_fill writes. A name with %s stands for several curves:
 * one for each class, origin or quartile. */
enum spread { SINGLE, CLASSES, ORIGINS, CLASSES_ORIGINS, QUARTILES };
static const struct family {
    const char *name;
    enum spread spread;
    enum axis axis;
} families[] = {
    {"tokens.%s.%s", CLASSES_ORIGINS, ONE}, {"mass.%s.%s", CLASSES_ORIGINS, ONE},
    {"mass.window", SINGLE, ONE},           {"mass.rest", SINGLE, ONE},
    {"lifetime.%s", CLASSES, QUANTILES},    {"birth_silence", SINGLE, QUANTILES},
    {"phoenix.%s", ORIGINS, BUDGETS},       {"phoenix_birth.%s", ORIGINS, BUDGETS},
    {"enough_cdf", SINGLE, DOUBLINGS},      {"enough_mean", SINGLE, ONE},
    {"scores_linear", SINGLE, LINEAR},      {"scores_log2", SINGLE, HALVINGS},
    {"cumulative", SINGLE, SHARES},         {"importance.%s", ORIGINS, DOUBLINGS},
    {"box.%s", QUARTILES, DOUBLINGS},
};
enum { N_FAMILIES = sizeof families / sizeof *families };
static const int spread_size[] = {1, KEY_CLASSES, 2, 2 * KEY_CLASSES, SCORES_BOX};

static double axis_x(enum axis axis, int k) {
    switch (axis) {
    case QUANTILES:
        return quantiles[k];
    case BUDGETS:
        return budgets[k];
    case DOUBLINGS:
        return ldexp(1, k);
    case LINEAR:
        return (double)k / SCORES_LINEAR;
    case HALVINGS:
        return k < SCORES_HALVINGS - 1 ? ldexp(1, -k - 1) : 0;
    case SHARES:
        return (k + 1.0) / SCORES_SHARES;
    default:
        return NAN;
    }
}

int portrait_size(void) {
    int n = 0;
    for (int f = 0; f < N_FAMILIES; f++)
        n += spread_size[families[f].spread] * axis_size[families[f].axis];
    return n;
}

struct portrait_point portrait_point(int index) {
    static const char *const quartiles[] = {"min", "q1", "median", "q3", "max"};
    const struct family *f = families;
    for (;; f++) {
        int size = spread_size[f->spread] * axis_size[f->axis];
        if (index < size)
            break;
        index -= size;
    }
    int which = index / axis_size[f->axis];
    const char *first = f->spread == QUARTILES ? quartiles[which]
                        : f->spread == ORIGINS ? origins[which]
                        : f->spread == CLASSES ? key_class_names[which]
                                               : key_class_names[which / 2];
    struct portrait_point out = {.x = axis_x(f->axis, index % axis_size[f->axis])};
    /* the name is a format with as many %s as its spread says */
    snprintf(out.curve, sizeof out.curve, "%.*s%s%s%s", (int)strcspn(f->name, "%"), f->name,
             f->spread == SINGLE ? "" : first, f->spread == CLASSES_ORIGINS ? "." : "",
             f->spread == CLASSES_ORIGINS ? origins[which % 2] : "");
    return out;
}

int portrait_find(const char *curve) {
    for (int i = 0, n = portrait_size(); i < n; i++)
        if (!strcmp(portrait_point(i).curve, curve))
            return i;
    return -1;
}

int portrait_shape(void) { return portrait_find("enough_cdf"); }

/* --- one sequence ----------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double *put_quantiles(double *out, double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, by_value);
    for (int q = 0; q < N_QUANTILES; q++) {
        double place = quantiles[q] * (n - 1);
        int below = (int)place, above = below + 1 < n ? below + 1 : below;
        *out++ =
            n ? values[below] + (place - below) * (values[above] - values[below]) : (double)NAN;
    }
    return out;
}

static double *put_shares(double *out, const struct lifecycle *life,
                          const enum key_class *classes) {
    double tokens[KEY_CLASSES][2] = {0}, mass[KEY_CLASSES][2] = {0};
    for (int32_t j = 0; j < life->n_keys; j++) {
        tokens[classes[j]][j >= life->n_prompt]++;
        mass[classes[j]][j >= life->n_prompt] += life->keys[j].mass;
    }
    for (int c = 0; c < 2 * KEY_CLASSES; c++)
        *out++ = tokens[c / 2][c % 2] / life->n_keys;
    for (int c = 0; c < 2 * KEY_CLASSES; c++)
        *out++ = mass[c / 2][c % 2] / life->mass;
    *out++ = life->near_by / life->mass;
    double rest = 1 - life->listed / life->mass;
    *out++ = rest > 0 ? rest : 0; /* softmax rounds */
    return out;
}

static double *put_lives(double *out, const struct lifecycle *life, const enum key_class *classes) {
    double *values = must_alloc((size_t)(life->n_keys + 1) * sizeof *values);
    for (int c = 0; c < KEY_CLASSES; c++) {
        int n = 0;
        for (int32_t j = 0; j < life->n_keys; j++)
            if ((int)classes[j] == c)
                values[n++] = lifecycle_lifetime(life, j);
        out = put_quantiles(out, values, n);
    }
    int n = 0;
    for (int32_t j = 0; j < life->n_keys; j++)
        if (life->keys[j].uses)
            values[n++] = lifecycle_birth_silence(life, j);
    out = put_quantiles(out, values, n);
    free(values);
    return out;
}

static double *put_phoenix(double *out, const struct lifecycle *life) {
    double all[2][N_BUDGETS] = {0}, birth[2][N_BUDGETS] = {0};
    for (int32_t j = 0; j < life->n_keys; j++)
        for (int b = 0; b < N_BUDGETS; b++) {
            bool again = life->keys[j].gap > budgets[b];
            bool late = lifecycle_birth_silence(life, j) > budgets[b];
            all[j >= life->n_prompt][b] += again || late;
            birth[j >= life->n_prompt][b] += late && !again;
        }
    memcpy(out, all, sizeof all);
    memcpy(out + 2 * N_BUDGETS, birth, sizeof birth);
    return out + 4 * N_BUDGETS;
}

static double *put_parts(double *out, const int64_t *counts, int n) {
    double total = 0;
    for (int k = 0; k < n; k++)
        total += (double)counts[k];
    for (int k = 0; k < n; k++)
        *out++ = total > 0 ? (double)counts[k] / total : (double)NAN;
    return out;
}

static double *put_scores(double *out, const struct scores *s) {
    double rows = (double)s->rows, sum = 0;
    for (int k = 0; k < SCORES_DOUBLINGS; k++)
        sum += (double)s->enough[k], *out++ = sum / rows;
    *out++ = s->enough_sum / rows;
    out = put_parts(out, s->linear, SCORES_LINEAR);
    out = put_parts(out, s->halvings, SCORES_HALVINGS);
    sum = 0;
    for (int k = 0; k < SCORES_SHARES; k++)
        sum += s->cumulative[k], *out++ = sum / rows;
    for (int k = 0; k < 2 * SCORES_DOUBLINGS; k++) {
        int64_t n = s->age_count[k / SCORES_DOUBLINGS][k % SCORES_DOUBLINGS];
        *out++ =
            n ? s->age_mass[k / SCORES_DOUBLINGS][k % SCORES_DOUBLINGS] / (double)n : (double)NAN;
    }
    for (int q = 0; q < SCORES_BOX; q++)
        for (int k = 0; k < SCORES_DOUBLINGS; k++)
            *out++ = s->boxes[k] ? s->box[k][q] / (double)s->boxes[k] : (double)NAN;
    return out;
}

void portrait_fill(const struct lifecycle *life, const struct scores *scores, double *out) {
    double *end = out + portrait_size();
    if (!life->n_rows) {
        while (out < end)
            *out++ = NAN;
        return;
    }
    enum key_class *classes = must_alloc((size_t)life->n_keys * sizeof *classes);
    for (int32_t j = 0; j < life->n_keys; j++)
        classes[j] = lifecycle_class(life, j, &life->params);
    out = put_shares(out, life, classes);
    out = put_lives(out, life, classes);
    out = put_phoenix(out, life);
    free(classes);
    if (scores && scores->rows)
        out = put_scores(out, scores);
    else
        while (out < end)
            *out++ = NAN;
    CHECK(out == end);
}

/* --- over sequences ----------------------------------------------------------------------- */

void tally_open(struct tally *t) {
    size_t n = (size_t)portrait_size();
    *t = (struct tally){must_zalloc(n, sizeof *t->sum), must_zalloc(n, sizeof *t->squares),
                        must_zalloc(n, sizeof *t->n)};
}

void tally_close(struct tally *t) {
    free(t->sum);
    free(t->squares);
    free(t->n);
}

void tally_add(struct tally *t, const double *points) {
    for (int i = 0, n = portrait_size(); i < n; i++)
        if (!isnan(points[i]))
            t->sum[i] += points[i], t->squares[i] += points[i] * points[i], t->n[i]++;
}

struct estimate tally_estimate(const struct tally *t, int i) {
    int n = t->n[i];
    if (!n)
        return (struct estimate){NAN, NAN, NAN, 0};
    double mean = t->sum[i] / n;
    double variance = n > 1 ? fmax(0, (t->squares[i] - n * mean * mean) / (n - 1)) : (double)NAN;
    double half = 1.959963984540054 * sqrt(variance / n);
    return (struct estimate){mean, mean - half, mean + half, n};
}
