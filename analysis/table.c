#include "analysis/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/grid.h"
#include "analysis/table_data.h"

/* --- numbers for people -------------------------------------------------------------- */

static void put_count(struct grid *grid, int64_t count, bool shown) {
    if (shown)
        grid_cell(grid, "%lld", (long long)count);
    else
        grid_cell(grid, "%s", "");
}

static void put_real(struct grid *grid, const char *format, double value) {
    if (isnan(value))
        grid_cell(grid, "%s", "");
    else
        grid_cell(grid, format, value);
}

/* Three digits and a unit. */
static void put_unit(struct grid *grid, double value, const char *unit) {
    grid_cell(grid, value < 9.995 ? "%.2f %s" : value < 99.95 ? "%.1f %s" : "%.0f %s", value, unit);
}

static void put_bytes(struct grid *grid, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    for (; bytes >= 1023.5 && unit < 4; unit++)
        bytes /= 1024;
    put_unit(grid, bytes, units[unit]);
}

static void put_seconds(struct grid *grid, double seconds) {
    if (isnan(seconds))
        grid_cell(grid, "%s", "");
    else if (seconds < 0.9995e-3)
        put_unit(grid, seconds * 1e6, "us");
    else if (seconds < 0.9995)
        put_unit(grid, seconds * 1e3, "ms");
    else
        put_unit(grid, seconds, "s");
}

static void put_p(struct grid *grid, double p) {
    if (p < 0.0005)
        grid_cell(grid, "<0.001");
    else
        grid_cell(grid, "%.3f", p);
}

/* --- sections: rows of one model, dataset and settings ----------------------------------- */

struct section {
    const struct result_row *rows;
    int n;
    const char *reference;
    enum grid_style style;
    FILE *out;
};

static void put_policy(struct grid *grid, const struct result_row *row) {
    grid_cell(grid, "%s", row->policy);
    put_count(grid, row->budget, row->budget != 0);
}

static void print_accuracy(const struct section *section) {
    bool grown = false, repeats = false;
    int64_t looped = 0, truncated = 0, unboxed = 0, numeric = 0;
    for (int i = 0; i < section->n; i++) {
        const struct result_row *row = &section->rows[i];
        grown |= !isnan(row->effective) && row->effective != (double)row->budget;
        looped += row->looped;
        truncated += row->truncated;
        unboxed += row->unboxed;
        numeric += row->numeric;
        repeats |= row->samples != row->n;
    }
    struct grid grid = {0};
    grid_column(&grid, GRID_LEFT, "policy");
    grid_column(&grid, GRID_RIGHT, "budget");
    grid_column(&grid, GRID_RIGHT, "effective");
    grid_column(&grid, GRID_RIGHT, "kept");
    grid_column(&grid, GRID_RIGHT, "KV peak");
    grid_column(&grid, GRID_RIGHT, "accuracy");
    grid_column(&grid, GRID_LEFT, "95 % interval");
    grid_column(&grid, GRID_RIGHT, "n");
    grid_column(&grid, GRID_RIGHT, "problems");
    grid_column(&grid, GRID_RIGHT, "right");
    grid_column(&grid, GRID_RIGHT, "wrong");
    grid_column(&grid, GRID_RIGHT, "looped");
    grid_column(&grid, GRID_RIGHT, "truncated");
    grid_column(&grid, GRID_RIGHT, "unboxed");
    grid_column(&grid, GRID_RIGHT, "numeric");
    grid_column(&grid, GRID_RIGHT, "tokens");
    for (int i = 0; i < section->n; i++) {
        const struct result_row *row = &section->rows[i];
        put_policy(&grid, row);
        put_real(&grid, "%.0f", grown ? row->effective : NAN);
        put_real(&grid, "%.0f", row->kv_tokens);
        put_bytes(&grid, row->kv_bytes);
        grid_cell(&grid, "%.3f", row->accuracy);
        grid_cell(&grid, "[%.3f, %.3f]", row->lo, row->hi);
        put_count(&grid, row->n, true);
        put_count(&grid, row->samples, repeats);
        put_count(&grid, row->right, true);
        put_count(&grid, row->wrong, true);
        put_count(&grid, row->looped, looped > 0);
        put_count(&grid, row->truncated, truncated > 0);
        put_count(&grid, row->unboxed, unboxed > 0);
        put_count(&grid, row->numeric, numeric > 0);
        put_real(&grid, "%.0f", row->mean_tokens);
    }
    grid_print(&grid, section->style, section->out);
    grid_free(&grid);
}

/* A line above a further grid of the section. */
static void print_title(const struct section *section, const char *title) {
    fputs(section->style == GRID_LATEX ? "\n% " : "\n", section->out);
    grid_text(title, section->style, section->out);
    fputs(section->style == GRID_LATEX ? "\n" : "\n\n", section->out);
}

static void put_comparison(struct grid *grid, const struct result_row *row, bool margin) {
    const struct comparison *against = &row->against;
    put_policy(grid, row);
    put_count(grid, against->pairs, true);
    put_count(grid, against->only_cell, true);
    put_count(grid, against->only_reference, true);
    grid_cell(grid, "%+.3f", against->difference);
    grid_cell(grid, "[%+.3f, %+.3f]", against->ci.lo, against->ci.hi);
    put_p(grid, against->p);
    put_p(grid, against->p_holm);
    put_real(grid, "%.3f", margin ? against->margin : NAN);
    put_p(grid, against->p_margin_holm);
    grid_cell(grid, "%s", compare_verdict(against));
}

static void print_comparison(const struct section *section) {
    struct grid grid = {0};
    const struct comparison *first = NULL;
    bool margins = false;
    for (int i = 0; i < section->n; i++) {
        const struct comparison *against = &section->rows[i].against;
        first = first || !against->pairs ? first : against;
        margins |= first && against->pairs && against->margin != first->margin;
    }
    if (!first)
        return;
    grid_column(&grid, GRID_LEFT, "policy");
    grid_column(&grid, GRID_RIGHT, "budget");
    grid_column(&grid, GRID_RIGHT, "pairs");
    grid_column(&grid, GRID_RIGHT, "gained");
    grid_column(&grid, GRID_RIGHT, "lost");
    grid_column(&grid, GRID_RIGHT, "difference");
    grid_column(&grid, GRID_LEFT, "95 % interval");
    grid_column(&grid, GRID_RIGHT, "p");
    grid_column(&grid, GRID_RIGHT, "p (Holm)");
    grid_column(&grid, GRID_RIGHT, "margin");
    grid_column(&grid, GRID_RIGHT, "p (margin)");
    grid_column(&grid, GRID_LEFT, "verdict");
    for (int i = 0; i < section->n; i++)
        if (section->rows[i].against.pairs)
            put_comparison(&grid, &section->rows[i], margins);
    char *title, points[64] = "its margin";
    if (!margins)
        snprintf(points, sizeof points, "%g points", 100 * first->margin);
    CHECK(asprintf(&title,
                   "Against %s, problem by problem (comparable: shown to lose less than %s):",
                   section->reference, points) > 0);
    print_title(section, title);
    free(title);
    grid_print(&grid, section->style, section->out);
    grid_free(&grid);
}

static void print_cost(const struct section *section) {
    struct grid grid = {0};
    grid_column(&grid, GRID_LEFT, "policy");
    grid_column(&grid, GRID_RIGHT, "budget");
    grid_column(&grid, GRID_RIGHT, "right");
    grid_column(&grid, GRID_RIGHT, "tokens");
    grid_column(&grid, GRID_RIGHT, "KV peak");
    grid_column(&grid, GRID_RIGHT, "time");
    for (int i = 0; i < section->n; i++) {
        const struct result_row *row = &section->rows[i];
        if (!row->right)
            continue;
        put_policy(&grid, row);
        put_count(&grid, row->right, true);
        put_real(&grid, "%.0f", row->tokens_per_right);
        put_bytes(&grid, row->kv_bytes_per_right);
        put_seconds(&grid, row->seconds_per_right);
    }
    if (grid.n_cells) {
        print_title(section, "Cost of a right answer, what wrong ones took included:");
        grid_print(&grid, section->style, section->out);
    }
    grid_free(&grid);
}

static void print_speed(const struct section *section) {
    struct grid grid = {0};
    grid_column(&grid, GRID_LEFT, "policy");
    grid_column(&grid, GRID_RIGHT, "budget");
    grid_column(&grid, GRID_RIGHT, "n");
    grid_column(&grid, GRID_RIGHT, "TTFT");
    grid_column(&grid, GRID_RIGHT, "TPOT");
    grid_column(&grid, GRID_RIGHT, "JCT");
    for (int i = 0; i < section->n; i++) {
        const struct result_row *row = &section->rows[i];
        if (isnan(row->jct))
            continue;
        put_policy(&grid, row);
        put_count(&grid, row->n, true);
        put_seconds(&grid, row->ttft);
        put_seconds(&grid, row->tpot);
        put_seconds(&grid, row->jct);
    }
    if (grid.n_cells) {
        print_title(section, "Median times of isolated runs:");
        grid_print(&grid, section->style, section->out);
    }
    grid_free(&grid);
}

static void print_heading(const struct section *section) {
    static const char *const before[] = {"", "### ", "% "}, *const between[] = {"\n", "\n\n",
                                                                                "\n% "};
    const struct result_row *row = section->rows;
    FILE *out = section->out;
    fputs(before[section->style], out);
    grid_text(row->model, section->style, out);
    fputs(" on ", out);
    grid_text(row->dataset, section->style, out);
    fputs(between[section->style], out);
    grid_text(row->metric, section->style, out);
    fputs(" verdicts; ", out);
    grid_text(row->settings, section->style, out);
    fputs(section->style == GRID_LATEX ? "\n" : "\n\n", out);
}

static bool same_section(const struct result_row *a, const struct result_row *b) {
    return !strcmp(a->model, b->model) && !strcmp(a->dataset, b->dataset) &&
           !strcmp(a->settings, b->settings) && !strcmp(a->metric, b->metric);
}

/* A table of an unfinished plan must not pass for a result. */
static void print_watermark(const struct results *results, enum grid_style style, FILE *out) {
    static const char *const before[] = {"", "> **", "\\noindent\\textbf{"};
    static const char *const behind[] = {"\n\n", "**\n\n", "}\n\n"};
    if (results_partial(results))
        fprintf(out, "%sPARTIAL: %lld of %lld planned answers%s", before[style],
                (long long)results->stored, (long long)results->planned, behind[style]);
}

static void print_sections(const struct results *results, const char *reference,
                           enum grid_style style, FILE *out) {
    if (style == GRID_LATEX)
        fputs("% needs \\usepackage{booktabs}\n", out);
    print_watermark(results, style, out);
    for (int from = 0, to; from < results->n; from = to) {
        const struct result_row *rows = &results->rows[from];
        for (to = from; to < results->n && same_section(rows, &results->rows[to]); to++)
            ;
        if (from)
            putc('\n', out);
        struct section section = {rows, to - from, reference, style, out};
        print_heading(&section);
        print_accuracy(&section);
        print_comparison(&section);
        print_cost(&section);
        print_speed(&section);
    }
}

bool table_print_against(struct db *db, const char *run, const char *reference,
                         enum table_format format, FILE *out, struct err *e) {
    struct results results;
    bool ok = results_load(db, run, reference, &results, e);
    if (ok && format == TABLE_CSV)
        ok = table_csv(db, &results, out, e);
    else if (ok && format == TABLE_JSON)
        ok = table_json(db, &results, reference, out, e);
    else if (ok)
        print_sections(&results, reference,
                       format == TABLE_TEXT ? GRID_TEXT
                       : format == TABLE_MD ? GRID_MD
                                            : GRID_LATEX,
                       out);
    results_free(&results);
    if (ok && (fflush(out) != 0 || ferror(out)))
        return err_set(e, EXIT_ENV, "the table could not be written");
    return ok;
}

bool table_print(struct db *db, const char *run, enum table_format format, FILE *out,
                 struct err *e) {
    return table_print_against(db, run, "full", format, out, e);
}
