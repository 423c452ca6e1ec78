#include "analysis/shadow_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/grid.h"
#include "analysis/rank.h"
#include "analysis/stats.h"
#include "base/json.h"

enum { DRAWS = 10000 };

struct line { /* of one policy; sums over texts until load_line ends, then means */
    char policy[200];
    int64_t budget, tokens, most_budget;
    int n;
    double kl, agreement, first, lost, kept, bytes, effective;
    struct interval band;
    double accuracy, lo, hi; /* NAN: not known */
    int64_t problems;
    double kl_place, accuracy_place; /* within the budget; NAN: none */
};

struct sheet {
    struct line *lines; /* [n] the least divergence first */
    int n;
};

/* --- from the database ------------------------------------------------------------------------ */

static void take_text(struct line *line, const struct db_query *q, double *kl) {
    kl[line->n++] = db_real(q, 0);
    line->kl += db_real(q, 0), line->agreement += db_real(q, 1), line->first += db_real(q, 2);
    line->lost += db_real(q, 3), line->kept += db_real(q, 4), line->bytes += db_real(q, 5);
    line->effective += (double)db_int(q, 6), line->tokens += db_int(q, 7);
    line->most_budget = db_int(q, 6) > line->most_budget ? db_int(q, 6) : line->most_budget;
    line->budget = db_int(q, 8);
    snprintf(line->policy, sizeof line->policy, "%s", db_text(q, 9));
}

static bool load_texts(struct db *db, const struct shadow_rows *rows, int cell, struct line *line,
                       double *kl, struct err *e) {
    struct db_query *q =
        db_query(db,
                 "SELECT kl, agreement, ifnull(first_divergence, new_tokens), lost, "
                 "kv_tokens_peak, kv_bytes_peak, effective_budget, new_tokens, budget, "
                 "policy FROM v_shadow_text WHERE cell_id = ?1 AND text_id IN "
                 "(SELECT value FROM json_each(?2))",
                 e);
    if (!q)
        return false;
    struct json_out o = {0};
    json_open(&o, '[');
    for (int t = 0; t < rows->n_texts; t++)
        json_put_int(&o, rows->texts[t]);
    json_close(&o, ']');
    db_bind_int(q, 1, rows->cells[cell]);
    db_bind_text(q, 2, o.text);
    free(o.text);
    while (db_next(q, e))
        take_text(line, q, kl);
    return db_query_end(q);
}

/* Of several cells that differ in what a shadow run doesn't know (how long answers may get), the
 * one with most answers. */
static bool load_accuracy(struct db *db, int64_t cell, const char *dataset, struct line *line,
                          struct err *e) {
    line->accuracy = line->lo = line->hi = (double)NAN;
    struct db_query *q =
        db_query(db,
                 "SELECT v.accuracy, v.lo, v.hi, v.samples FROM v_accuracy AS v "
                 "JOIN cell ON cell.id = v.cell_id "
                 "JOIN shadow_cell AS s ON s.model_id = cell.model_id AND s.policy = cell.policy "
                 "AND s.policy_version = cell.policy_version AND s.budget IS cell.budget "
                 "AND s.precision = cell.precision "
                 "WHERE s.id = ?1 AND v.dataset = ?2 AND cell.temperature = 0 "
                 "ORDER BY v.samples DESC, cell.isa = s.isa DESC, cell.id DESC LIMIT 1",
                 e);
    if (!q)
        return false;
    db_bind_int(q, 1, cell);
    db_bind_text(q, 2, dataset);
    if (db_next(q, e))
        line->accuracy = db_real(q, 0), line->lo = db_real(q, 1), line->hi = db_real(q, 2),
        line->problems = db_int(q, 3);
    return db_query_end(q);
}

static bool load_line(struct db *db, const struct shadow_rows *rows, int cell, struct line *line,
                      struct err *e) {
    double *kl = must_alloc((size_t)rows->n_texts * sizeof *kl);
    bool ok = load_texts(db, rows, cell, line, kl, e) &&
              load_accuracy(db, rows->cells[cell], rows->dataset, line, e);
    double *const sums[] = {&line->kl,   &line->agreement, &line->first,    &line->lost,
                            &line->kept, &line->bytes,     &line->effective};
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
        *sums[i] /= line->n;
    line->band = stats_bootstrap(kl, (size_t)line->n, DRAWS, 1);
    free(kl);
    return ok;
}

/* --- ranks ------------------------------------------------------------------------------------ */

static bool ranked(const struct line *line) {
    return line->budget && line->most_budget == line->budget;
}

/* The ranked lines of one budget (0: of any) into these arrays; with_accuracy: those alone that
 * have one. Accuracies are negated, so that the best comes first. */
static int pick(const struct sheet *s, int64_t budget, bool with_accuracy, int *which, double *kl,
                double *accuracy) {
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        const struct line *line = &s->lines[i];
        if (!ranked(line) || (budget && line->budget != budget) ||
            (with_accuracy && isnan(line->accuracy)))
            continue;
        kl[n] = line->kl, accuracy[n] = -line->accuracy, which[n++] = i;
    }
    return n;
}

struct agreement {
    int n;
    double kendall, spearman;
};

static struct agreement agree(const struct sheet *s, int64_t budget) {
    int *which = must_alloc((size_t)s->n * sizeof *which);
    double *kl = must_alloc(2 * (size_t)s->n * sizeof *kl), *accuracy = kl + s->n;
    struct agreement a = {.n = pick(s, budget, true, which, kl, accuracy)};
    a.kendall = rank_kendall(kl, accuracy, a.n);
    a.spearman = rank_spearman(kl, accuracy, a.n);
    free(which);
    free(kl);
    return a;
}

static void place(struct sheet *s, int64_t budget) {
    int *which = must_alloc((size_t)s->n * sizeof *which);
    double *kl = must_alloc(3 * (size_t)s->n * sizeof *kl), *accuracy = kl + s->n;
    double *places = accuracy + s->n;
    int n = pick(s, budget, false, which, kl, accuracy);
    rank_places(kl, n, places);
    for (int i = 0; i < n; i++)
        s->lines[which[i]].kl_place = places[i];
    n = pick(s, budget, true, which, kl, accuracy);
    rank_places(accuracy, n, places);
    for (int i = 0; i < n; i++)
        s->lines[which[i]].accuracy_place = places[i];
    free(which);
    free(kl);
}

static int by_divergence(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    int order = (x->kl > y->kl) - (x->kl < y->kl);
    return order ? order : strcmp(x->policy, y->policy);
}

static bool load(struct db *db, const struct shadow_rows *rows, struct sheet *s, struct err *e) {
    *s = (struct sheet){must_zalloc((size_t)rows->n_cells, sizeof *s->lines), rows->n_cells};
    for (int c = 0; c < s->n; c++) {
        if (!load_line(db, rows, c, &s->lines[c], e))
            return false;
        s->lines[c].kl_place = s->lines[c].accuracy_place = (double)NAN;
    }
    qsort(s->lines, (size_t)s->n, sizeof *s->lines, by_divergence);
    for (int c = 0; c < s->n; c++)
        if (ranked(&s->lines[c]))
            place(s, s->lines[c].budget);
    return true;
}

/* --- printing --------------------------------------------------------------------------------- */

static void put(struct grid *g, const char *format, double value) {
    isnan(value) ? grid_cell(g, "%s", "") : grid_cell(g, format, value);
}

static void put_budget(struct grid *g, const struct line *line) {
    line->budget ? grid_cell(g, "%d", (int)line->budget) : grid_cell(g, "%s", "");
}

static void columns(struct grid *g, const char *const *heads, int n) {
    for (int i = 0; i < n; i++)
        grid_column(g, GRID_RIGHT, heads[i]);
}

static void print_lines(const struct sheet *s, FILE *out) {
    static const char *const heads[] = {"budget", "kept",        "KL (nats)", "95 %",  "agree %",
                                        "first",  "mass lost %", "texts",     "tokens"};
    struct grid g = {0};
    grid_column(&g, GRID_LEFT, "policy");
    columns(&g, heads, 9);
    for (int i = 0; i < s->n; i++) {
        const struct line *line = &s->lines[i];
        grid_cell(&g, "%s", line->policy);
        put_budget(&g, line);
        grid_cell(&g, "%.0f", line->kept);
        grid_cell(&g, "%.4f", line->kl);
        grid_cell(&g, "[%.4f, %.4f]", line->band.lo, line->band.hi);
        grid_cell(&g, "%.2f", 100 * line->agreement);
        grid_cell(&g, "%.0f", line->first);
        put(&g, "%.2f", 100 * line->lost);
        grid_cell(&g, "%d", line->n);
        grid_cell(&g, "%lld", (long long)line->tokens);
    }
    grid_print(&g, GRID_TEXT, out);
    grid_free(&g);
}

static void print_place(struct grid *g, const struct line *line) {
    put_budget(g, line);
    grid_cell(g, "%s%s", line->policy, ranked(line) ? "" : " (grown)");
    grid_cell(g, "%.0f", line->kept);
    grid_cell(g, "%.4f", line->kl);
    put(g, "%g", line->kl_place);
    put(g, "%.3f", line->accuracy);
    isnan(line->accuracy) ? grid_cell(g, "%s", "")
                          : grid_cell(g, "[%.3f, %.3f]", line->lo, line->hi);
    put(g, "%g", line->accuracy_place);
    line->problems ? grid_cell(g, "%d", (int)line->problems) : grid_cell(g, "%s", "");
}

static int64_t next_budget(const struct sheet *s, int64_t after) {
    int64_t next = 0;
    for (int i = 0; i < s->n; i++)
        if (s->lines[i].budget > after && (!next || s->lines[i].budget < next))
            next = s->lines[i].budget;
    return next;
}

static void print_agreement(const struct sheet *s, int64_t budget, FILE *out) {
    struct agreement a = agree(s, budget);
    if (isnan(a.kendall))
        return;
    budget ? fprintf(out, "budget %d", (int)budget) : fprintf(out, "all budgets");
    fprintf(out, ": Kendall's tau %.2f, Spearman's rho %.2f over %d cells\n", a.kendall, a.spearman,
            a.n);
}

static void print_places(const struct sheet *s, FILE *out) {
    static const char *const heads[] = {"kept", "KL (nats)",         "place by KL", "accuracy",
                                        "95 %", "place by accuracy", "problems"};
    struct grid g = {0};
    int budgets = 0;
    grid_column(&g, GRID_RIGHT, "budget");
    grid_column(&g, GRID_LEFT, "policy");
    columns(&g, heads, 7);
    for (int64_t b = next_budget(s, 0); b; b = next_budget(s, b), budgets++)
        for (int i = 0; i < s->n; i++)
            if (s->lines[i].budget == b)
                print_place(&g, &s->lines[i]);
    if (budgets) {
        fprintf(out, "\nplaces at equal budgets, by divergence and by accuracy\n\n");
        grid_print(&g, GRID_TEXT, out);
    }
    grid_free(&g);
    if (agree(s, 0).n)
        fputc('\n', out);
    for (int64_t b = next_budget(s, 0); b; b = next_budget(s, b))
        print_agreement(s, b, out);
    if (budgets > 1)
        print_agreement(s, 0, out);
}

bool shadow_table(struct db *db, const struct shadow_rows *rows, FILE *out, struct err *e) {
    struct sheet s;
    bool ok = load(db, rows, &s, e);
    if (ok) {
        print_lines(&s, out);
        print_places(&s, out);
    }
    free(s.lines);
    return ok;
}

static void put_json(struct json_out *o, const struct sheet *s, const struct line *line) {
    struct agreement a =
        ranked(line) ? agree(s, line->budget) : (struct agreement){0, (double)NAN, (double)NAN};
    json_open(o, '{');
    json_add_text(o, "policy", line->policy);
    json_name(o, "budget");
    line->budget ? json_put_int(o, line->budget) : json_put_null(o);
    json_add_real(o, "effective_budget", line->budget ? line->effective : (double)NAN);
    json_add_real(o, "kept", line->kept);
    json_add_real(o, "kv_bytes", line->bytes);
    json_add_real(o, "kl", line->kl);
    json_add_real(o, "lo", line->band.lo);
    json_add_real(o, "hi", line->band.hi);
    json_add_real(o, "agreement", line->agreement);
    json_add_real(o, "first_divergence", line->first);
    json_add_real(o, "mass_lost", line->lost);
    json_add_int(o, "texts", line->n);
    json_add_int(o, "tokens", line->tokens);
    json_add_real(o, "kl_place", line->kl_place);
    json_add_real(o, "accuracy", line->accuracy);
    json_add_real(o, "accuracy_place", line->accuracy_place);
    json_add_real(o, "kendall", a.kendall); /* of all at this budget */
    json_add_real(o, "spearman", a.spearman);
    json_close(o, '}');
}

bool shadow_json(struct db *db, const struct shadow_rows *rows, FILE *out, struct err *e) {
    struct sheet s;
    struct json_out o = {0};
    bool ok = load(db, rows, &s, e);
    json_open(&o, '[');
    for (int i = 0; ok && i < s.n; i++)
        put_json(&o, &s, &s.lines[i]);
    json_close(&o, ']');
    if (ok)
        fprintf(out, "%s\n", o.text);
    free(o.text);
    free(s.lines);
    return ok;
}
