/* The proof as JSON and as tables. */
#include <stdlib.h>
#include <string.h>

#include "analysis/grid.h"
#include "base/json.h"
#include "experiments/validate.h"

/* --- JSON --------------------------------------------------------------------------------- */

static void put_score(struct json_out *o, const struct proof_score *s) {
    json_add_real(o, "f1", s->f1);
    json_add_real(o, "precision", s->precision);
    json_add_real(o, "recall", s->recall);
    json_add_real(o, "last_use_error_median", s->last_use_median);
    json_add_real(o, "last_use_error_mean", s->last_use_mean);
    json_add_real(o, "rank_correlation", s->rank);
}

static void put_interval(struct json_out *o, const char *name, struct interval x) {
    json_name(o, name);
    json_open(o, '[');
    json_put_real(o, x.lo);
    json_put_real(o, x.hi);
    json_close(o, ']');
}

static void put_verdict(struct json_out *o, const struct validation *v, const struct verdict *x) {
    json_add_int(o, "layer", x->head / v->n_heads);
    json_add_int(o, "head", x->head % v->n_heads);
    json_add_real(o, "theta", x->theta);
    put_score(o, &x->score);
    put_interval(o, "f1_interval", x->interval.f1);
    put_interval(o, "last_use_error_median_interval", x->interval.last_use_median);
    put_interval(o, "rank_correlation_interval", x->interval.rank);
    json_add_real(o, "train_f1", x->train.f1);
}

static void put_named(struct json_out *o, const struct validation *v, const char *name,
                      const struct verdict *x) {
    json_name(o, name);
    json_open(o, '{');
    put_verdict(o, v, x);
    json_close(o, '}');
}

static void put_baselines(struct json_out *o, const struct validation *v) {
    json_name(o, "shuffled");
    json_open(o, '{');
    json_add_real(o, "f1", v->shuffled.mean);
    put_interval(o, "band", (struct interval){v->shuffled.lo, v->shuffled.hi});
    json_add_int(o, "draws", VALIDATE_DRAWS);
    json_close(o, '}');
    json_name(o, "baselines");
    json_open(o, '{');
    for (int i = 0; i < VALIDATE_BASELINES; i++) {
        json_name(o, validate_baseline_names[i]);
        json_open(o, '{');
        json_add_real(o, "f1", v->baseline[i]);
        json_close(o, '}');
    }
    json_close(o, '}');
}

static void put_counts(struct json_out *o, const char *name, const int64_t *counts) {
    json_name(o, name);
    json_open(o, '{');
    for (int c = 0; c < KEY_CLASSES; c++)
        json_add_int(o, key_class_names[c], counts[c]);
    json_close(o, '}');
}

static void put_sweep(struct json_out *o, const struct validation *v) {
    json_name(o, "sweep");
    json_open(o, '[');
    for (int i = 0; i < v->n_sweep; i++) {
        json_open(o, '{');
        json_add_real(o, "theta", v->sweep[i].theta);
        json_add_int(o, "window", v->sweep[i].window);
        put_score(o, &v->sweep[i].score);
        json_close(o, '}');
    }
    json_close(o, ']');
    json_name(o, "classes");
    json_open(o, '[');
    for (int i = 0; i < v->n_variants; i++) {
        json_open(o, '{');
        json_add_int(o, "gap", v->variant[i].gap);
        json_add_int(o, "budget", v->variant[i].budget);
        json_add_int(o, "settle", v->variant[i].settle);
        put_counts(o, "keys", v->all[i]);
        put_counts(o, "lemmas", v->lemmas[i]);
        json_close(o, '}');
    }
    json_close(o, ']');
}

static void put_knobs(struct json_out *o, const struct validation *v) {
    static const char *const sides[] = {"known", "found"};
    json_name(o, "knobs");
    json_open(o, '[');
    for (int i = 0; i < v->n_knobs; i++) {
        const struct validate_knob *k = &v->knobs[i];
        json_open(o, '{');
        json_add_text(o, "dataset", k->dataset);
        for (int s = 0; s < 2; s++) {
            json_name(o, sides[s]);
            json_open(o, '{');
            json_add_real(o, "used_again", k->used[s]);
            json_add_real(o, "steps", k->steps[s]);
            json_add_real(o, "late", k->late[s]);
            json_close(o, '}');
        }
        json_add_real(o, "rank_correlation", k->rank);
        json_close(o, '}');
    }
    json_close(o, ']');
}

char *validate_json(const struct validation *v) {
    const struct validate_params *p = &v->params;
    struct json_out o = {0};
    char params[400];
    option_json(lifecycle_options, &p->life, params, sizeof params);
    json_open(&o, '{');
    json_add_int(&o, "steps", p->steps);
    json_add_int(&o, "n", p->n);
    json_add_int(&o, "seed", p->seed);
    json_add_int(&o, "train_n", p->n_train);
    json_add_int(&o, "train_seed", p->seed + VALIDATE_TRAIN_SEED);
    json_add_int(&o, "units", v->units);
    json_add_int(&o, "positives", v->positives);
    json_add_raw(&o, "params", params);
    put_named(&o, v, "best", &v->best[UNIT_ORIGINAL]);
    put_named(&o, v, "restated", &v->best[UNIT_RESTATED]);
    put_named(&o, v, "at_theta", &v->at_theta[UNIT_ORIGINAL]);
    put_named(&o, v, "at_theta_restated", &v->at_theta[UNIT_RESTATED]);
    put_baselines(&o, v);
    json_name(&o, "heads");
    json_open(&o, '[');
    for (int h = 0; h < v->n_layers * v->n_heads; h++) {
        json_open(&o, '{');
        put_verdict(&o, v, &v->heads[h]);
        json_add_real(&o, "f1_bound", v->bound[h]);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    if (p->sweep) {
        put_sweep(&o, v);
        put_knobs(&o, v);
    }
    json_close(&o, '}');
    return o.text;
}

/* --- tables --------------------------------------------------------------------------------- */

static void print(struct grid *grid, const char *title, FILE *out) {
    fprintf(out, "\n%s\n\n", title);
    grid_print(grid, GRID_TEXT, out);
    grid_free(grid);
}

static void score_columns(struct grid *grid) {
    static const char *const heads[] = {"F1",   "precision",       "recall", "last use off by",
                                        "mean", "rank correlation"};
    for (int i = 0; i < 6; i++)
        grid_column(grid, GRID_RIGHT, heads[i]);
}

static void score_cells(struct grid *grid, const struct proof_score *s) {
    grid_cell(grid, "%.3f", s->f1);
    grid_cell(grid, "%.3f", s->precision);
    grid_cell(grid, "%.3f", s->recall);
    grid_cell(grid, "%.1f", s->last_use_median);
    grid_cell(grid, "%.2f", s->last_use_mean);
    grid_cell(grid, "%.3f", s->rank);
}

static void print_verdicts(const struct validation *v, const char *const *names,
                           const struct verdict *const *verdicts, int n, const double *bound,
                           const char *title, FILE *out) {
    struct grid grid = {0};
    grid_column(&grid, GRID_LEFT, "");
    grid_column(&grid, GRID_RIGHT, "layer");
    grid_column(&grid, GRID_RIGHT, "head");
    grid_column(&grid, GRID_RIGHT, "theta");
    score_columns(&grid);
    grid_column(&grid, GRID_LEFT, "F1, 95 %");
    grid_column(&grid, GRID_RIGHT, "bound");
    for (int i = 0; i < n; i++) {
        const struct verdict *x = verdicts[i];
        grid_cell(&grid, "%s", names ? names[i] : "");
        grid_cell(&grid, "%d", x->head / v->n_heads);
        grid_cell(&grid, "%d", x->head % v->n_heads);
        grid_cell(&grid, "%g", x->theta);
        score_cells(&grid, &x->score);
        grid_cell(&grid, "[%.3f, %.3f]", x->interval.f1.lo, x->interval.f1.hi);
        if (bound)
            grid_cell(&grid, "%.3f", bound[i]);
        else
            grid_cell(&grid, "%s", "");
    }
    print(&grid, title, out);
}

static void print_sweep(const struct validation *v, FILE *out) {
    struct grid grid = {0};
    grid_column(&grid, GRID_RIGHT, "window");
    grid_column(&grid, GRID_RIGHT, "theta");
    score_columns(&grid);
    for (int i = 0; i < v->n_sweep; i++) {
        grid_cell(&grid, "%d", (int)v->sweep[i].window);
        grid_cell(&grid, "%g", v->sweep[i].theta);
        score_cells(&grid, &v->sweep[i].score);
    }
    print(&grid, "the best head under other thresholds of use", out);
    for (int side = 0; side < 2; side++) {
        grid_column(&grid, GRID_RIGHT, "gap");
        grid_column(&grid, GRID_RIGHT, "budget");
        grid_column(&grid, GRID_RIGHT, "settle");
        for (int c = 0; c < KEY_CLASSES; c++)
            grid_column(&grid, GRID_RIGHT, key_class_names[c]);
        for (int i = 0; i < v->n_variants; i++) {
            const int64_t *counts = side ? v->lemmas[i] : v->all[i];
            int64_t total = 0;
            for (int c = 0; c < KEY_CLASSES; c++)
                total += counts[c];
            grid_cell(&grid, "%d", (int)v->variant[i].gap);
            grid_cell(&grid, "%d", (int)v->variant[i].budget);
            grid_cell(&grid, "%d", (int)v->variant[i].settle);
            for (int c = 0; c < KEY_CLASSES; c++)
                grid_cell(&grid, "%.4f", total ? (double)counts[c] / (double)total : 0.0);
        }
        print(&grid,
              side ? "classes of lemma digits under the best head"
                   : "classes of all keys of all heads under other thresholds of silence",
              out);
    }
}

static void print_knobs(const struct validation *v, FILE *out) {
    static const char *const heads[] = {"used again",      "found", "steps to last use", "found",
                                        "silent > budget", "found", "rank correlation"};
    struct grid grid = {0};
    grid_column(&grid, GRID_LEFT, "problems");
    for (int i = 0; i < 7; i++)
        grid_column(&grid, GRID_RIGHT, heads[i]);
    for (int i = 0; i < v->n_knobs; i++) {
        const struct validate_knob *k = &v->knobs[i];
        grid_cell(&grid, "%s", k->dataset);
        for (int s = 0; s < 2; s++)
            grid_cell(&grid, "%.3f", k->used[s]);
        for (int s = 0; s < 2; s++)
            grid_cell(&grid, "%.2f", k->steps[s]);
        for (int s = 0; s < 2; s++)
            grid_cell(&grid, "%.3f", k->late[s]);
        grid_cell(&grid, "%.3f", k->rank);
    }
    print(&grid, "what is known and what the best head finds, by the generator's knobs", out);
}

void validate_table(const struct validation *v, FILE *out) {
    const struct validate_params *p = &v->params;
    static const char *const names[] = {"lemma's own digits", "or a restatement's",
                                        "own digits, theta given", "restatement, theta given"};
    const struct verdict *const chosen[] = {&v->best[UNIT_ORIGINAL], &v->best[UNIT_RESTATED],
                                            &v->at_theta[UNIT_ORIGINAL],
                                            &v->at_theta[UNIT_RESTATED]};
    int heads = v->n_layers * v->n_heads;
    fprintf(out,
            "%d problems of %d steps, seed %lld: %d lemmas, %d used again; heads and thresholds "
            "chosen on %d others, seed %lld\n",
            (int)p->n, (int)p->steps, (long long)p->seed, v->units, v->positives, (int)p->n_train,
            (long long)(p->seed + VALIDATE_TRAIN_SEED));
    print_verdicts(v, names, chosen, 4, NULL, "chosen", out);
    struct grid grid = {0};
    grid_column(&grid, GRID_LEFT, "");
    grid_column(&grid, GRID_RIGHT, "F1");
    for (int i = 0; i < VALIDATE_BASELINES; i++) {
        grid_cell(&grid, "%s", validate_baseline_names[i]);
        grid_cell(&grid, "%.3f", v->baseline[i]);
    }
    grid_cell(&grid, "labels permuted");
    grid_cell(&grid, "%.3f [%.3f, %.3f]", v->shuffled.mean, v->shuffled.lo, v->shuffled.hi);
    print(&grid, "baselines and control", out);
    const struct verdict **all = must_alloc((size_t)heads * sizeof *all);
    for (int h = 0; h < heads; h++)
        all[h] = &v->heads[h];
    print_verdicts(v, NULL, all, heads, v->bound,
                   "every head; bound: the best that any threshold could do on these problems",
                   out);
    free(all);
    if (p->sweep) {
        print_sweep(v, out);
        print_knobs(v, out);
    }
}
