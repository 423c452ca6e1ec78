/* Claims in words, and the tables they come from. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plots/html.h"
#include "plots/report_private.h"

/* --- sections --------------------------------------------------------------------------------- */

bool report_same_section(const struct result_row *a, const struct result_row *b) {
    return !strcmp(a->model, b->model) && !strcmp(a->dataset, b->dataset) &&
           !strcmp(a->settings, b->settings) && !strcmp(a->metric, b->metric);
}

static int section_end(const struct report *r, int from) {
    int to = from;
    while (to < r->results.n && report_same_section(&r->results.rows[from], &r->results.rows[to]))
        to++;
    return to;
}

void report_title(const struct result_row *row, FILE *out) {
    html_text(row->policy, out);
    if (row->budget)
        fprintf(out, ", budget %lld", (long long)row->budget);
}

static void section_heading(const struct report *r, const struct result_row *row) {
    fputs("<h3>", r->out);
    html_text(row->model, r->out);
    fputs(" on ", r->out);
    html_text(row->dataset, r->out);
    fputs("</h3>\n<p class=\"soft\">", r->out);
    html_text(row->metric, r->out);
    fputs(" verdicts; ", r->out);
    html_text(row->settings, r->out);
    fputs("</p>\n", r->out);
}

/* The query that a comparison's pairs come from. */
static int pairs_query(struct report *r, const struct result_row *row) {
    char *title;
    CHECK(asprintf(&title, "Pairs of %s%s%.0lld with %s", row->policy,
                   row->budget ? ", budget " : "", (long long)row->budget,
                   r->choice->reference) > 0);
    int query = report_query(r, title, compare_sql(row->cell, r->choice->reference));
    free(title);
    return query;
}

/* --- claims ----------------------------------------------------------------------------------- */

static const char *verdict_class(const char *verdict) {
    return !strcmp(verdict, "better") ? "better" : !strncmp(verdict, "worse", 5) ? "worse" : "";
}

/* "p = 0.042", "p < 0.001" */
static void put_p(const struct report *r, double p) {
    if (p < 0.001)
        fputs("p &lt; 0.001", r->out);
    else
        fprintf(r->out, "p = %.3f", p);
}

static void claim(struct report *r, int row_index) {
    const struct result_row *row = &r->results.rows[row_index];
    const struct comparison *c = &row->against;
    const char *verdict = compare_verdict(c);
    bool comparable = !strcmp(verdict, "comparable"), within = strstr(verdict, "within") != NULL;
    bool unknown = !strcmp(verdict, "not distinguishable");
    fputs("<li><b>", r->out);
    report_title(row, r->out);
    fprintf(r->out, "</b> is <span class=\"%s\">%s</span> %s ", verdict_class(verdict),
            within ? "worse" : verdict,
            comparable ? "with"
            : unknown  ? "from"
                       : "than");
    html_text(r->choice->reference, r->out);
    fprintf(r->out, "%s: %+.1f points [%+.1f, %+.1f], %lld gained and %lld lost of %lld pairs, ",
            within ? ", within the margin" : "", 100 * c->difference, 100 * c->ci.lo,
            100 * c->ci.hi, (long long)c->only_cell, (long long)c->only_reference,
            (long long)c->pairs);
    put_p(r, c->p_holm);
    if (comparable || unknown || within) {
        fputs("; ", r->out);
        put_p(r, c->p_margin_holm);
        fprintf(r->out, " for a loss of %g points or more", 100 * c->margin);
    }
    fputs(" (", r->out);
    report_link(r, r->pairs[row_index], "query");
    fputs(")</li>\n", r->out);
}

void report_claims(struct report *r) {
    fputs("<h2 id=\"claims\">Claims</h2>\n"
          "<p class=\"soft\">Paired, problem by problem. \xe2\x80\x9c"
          "Better\xe2\x80\x9d and "
          "\xe2\x80\x9cworse\xe2\x80\x9d take p &lt; 0.05 after Holm over all comparisons of a "
          "model and dataset; \xe2\x80\x9c"
          "comparable\xe2\x80\x9d takes a non-inferiority test "
          "at the margin the experiment stated (p &lt; 0.025); \xe2\x80\x9cnot "
          "distinguishable\xe2\x80\x9d says that nothing was shown.</p>\n",
          r->out);
    int compared = 0;
    for (int from = 0, to; from < r->results.n; from = to) {
        to = section_end(r, from);
        int here = 0;
        for (int i = from; i < to; i++) {
            const struct result_row *row = &r->results.rows[i];
            if (!row->against.pairs)
                continue;
            if (!here++) {
                section_heading(r, row);
                fputs("<ul>\n", r->out);
            }
            r->pairs[i] = pairs_query(r, row);
            claim(r, i);
        }
        if (here)
            fputs("</ul>\n", r->out);
        compared += here;
    }
    if (!compared) {
        fputs("<p>Nothing was compared: no answers of ", r->out);
        html_text(r->choice->reference, r->out);
        fputs(" stand beside others.</p>\n", r->out);
    }
}

/* --- tables ----------------------------------------------------------------------------------- */

static void head(const struct report *r, const char *const *names) {
    fputs("<div class=\"scroll\"><table class=\"sort\"><thead><tr>", r->out);
    for (int i = 0; names[i]; i++)
        fprintf(r->out, "<th scope=\"col\"%s>%s</th>", i ? "" : " class=\"l\"", names[i]);
    fputs("</tr></thead><tbody>\n", r->out);
}

static void foot(struct report *r, int query) {
    fputs("</tbody></table></div>\n<p class=\"soft\">", r->out);
    report_link(r, query, "The query that gives it");
    fputs("</p>\n", r->out);
}

static void number(const struct report *r, const char *format, double value) {
    if (isnan(value)) {
        fputs("<td data-v=\"\"></td>", r->out);
        return;
    }
    fprintf(r->out, "<td data-v=\"%.17g\">", value);
    fprintf(r->out, format, value);
    fputs("</td>", r->out);
}

static void count(const struct report *r, int64_t value) {
    fprintf(r->out, "<td>%lld</td>", (long long)value);
}

static void small(const struct report *r, double p) {
    if (p < 0.0005)
        fprintf(r->out, "<td data-v=\"%.17g\">&lt;0.001</td>", p);
    else
        number(r, "%.3f", p);
}

static void name_cells(const struct report *r, const struct result_row *row) {
    fputs("<tr><td class=\"l\">", r->out);
    html_text(row->policy, r->out);
    fputs("</td>", r->out);
    number(r, "%.0f", row->budget ? (double)row->budget : NAN);
}

static int note_query(struct report *r, const char *title, const char *select, int from, int to) {
    char *cells = report_cells(r, from, to), *sql;
    CHECK(asprintf(&sql, "%s WHERE cell_id IN %s ORDER BY cell_id", select, cells) > 0);
    free(cells);
    return report_query(r, title, sql);
}

static void accuracy_table(struct report *r, int from, int to) {
    static const char *const names[] = {"policy",      "budget",   "effective",   "kept tokens",
                                        "KV peak MiB", "accuracy", "low",         "high",
                                        "answers",     "problems", "mean tokens", NULL};
    head(r, names);
    for (int i = from; i < to; i++) {
        const struct result_row *row = &r->results.rows[i];
        name_cells(r, row);
        number(r, "%.1f", row->effective);
        number(r, "%.0f", row->kv_tokens);
        number(r, "%.2f", row->kv_bytes / 1048576);
        number(r, "%.3f", row->accuracy);
        number(r, "%.3f", row->lo);
        number(r, "%.3f", row->hi);
        count(r, row->n);
        count(r, row->samples);
        number(r, "%.0f", row->mean_tokens);
        fputs("</tr>\n", r->out);
    }
    foot(r, note_query(r, "Accuracy",
                       "SELECT policy, budget, mean_effective_budget, kv_tokens_peak, "
                       "kv_bytes_peak / 1048576, accuracy, lo, hi, n, samples, mean_tokens "
                       "FROM v_accuracy",
                       from, to));
}

static void comparison_table(struct report *r, int from, int to) {
    static const char *const names[] = {"policy",     "budget",     "pairs",   "gained", "lost",
                                        "difference", "low",        "high",    "p",      "p (Holm)",
                                        "margin",     "p (margin)", "verdict", "query",  NULL};
    bool any = false;
    for (int i = from; i < to; i++)
        any |= r->pairs[i] > 0;
    if (!any)
        return;
    fputs("<h3>Against ", r->out);
    html_text(r->choice->reference, r->out);
    fputs(", problem by problem</h3>\n", r->out);
    head(r, names);
    for (int i = from; i < to; i++) {
        const struct result_row *row = &r->results.rows[i];
        const struct comparison *c = &row->against;
        if (!r->pairs[i])
            continue;
        name_cells(r, row);
        count(r, c->pairs);
        count(r, c->only_cell);
        count(r, c->only_reference);
        number(r, "%+.3f", c->difference);
        number(r, "%+.3f", c->ci.lo);
        number(r, "%+.3f", c->ci.hi);
        small(r, c->p);
        small(r, c->p_holm);
        number(r, "%.3f", c->margin);
        small(r, c->p_margin_holm);
        const char *verdict = compare_verdict(c);
        fprintf(r->out, "<td class=\"%s\">%s</td><td>", verdict_class(verdict), verdict);
        report_link(r, r->pairs[i], "SQL");
        fputs("</td></tr>\n", r->out);
    }
    fputs("</tbody></table></div>\n", r->out);
}

static void outcome_table(struct report *r, int from, int to) {
    static const char *const names[] = {"policy",
                                        "budget",
                                        "right",
                                        "wrong",
                                        "looped",
                                        "truncated",
                                        "unboxed",
                                        "numeric",
                                        "tokens per right",
                                        "KV MiB per right",
                                        "seconds per right",
                                        NULL};
    fputs("<h3>Outcomes, and what a right answer cost</h3>\n", r->out);
    head(r, names);
    for (int i = from; i < to; i++) {
        const struct result_row *row = &r->results.rows[i];
        name_cells(r, row);
        count(r, row->right);
        count(r, row->wrong);
        count(r, row->looped);
        count(r, row->truncated);
        count(r, row->unboxed);
        count(r, row->numeric);
        number(r, "%.0f", row->tokens_per_right);
        number(r, "%.2f", row->kv_bytes_per_right / 1048576);
        number(r, "%.2f", row->seconds_per_right);
        fputs("</tr>\n", r->out);
    }
    foot(r, note_query(r, "Outcomes and costs",
                       "SELECT correct, wrong, looped, truncated, unboxed, numeric, "
                       "tokens_per_right, kv_bytes_per_right / 1048576, seconds_per_right "
                       "FROM v_outcome",
                       from, to));
}

static void speed_table(struct report *r, int from, int to) {
    static const char *const names[] = {"policy", "budget", "TTFT s", "TPOT s", "JCT s", NULL};
    bool any = false;
    for (int i = from; i < to; i++)
        any |= !isnan(r->results.rows[i].jct);
    if (!any)
        return;
    fputs("<h3>Median times of isolated runs</h3>\n", r->out);
    head(r, names);
    for (int i = from; i < to; i++) {
        const struct result_row *row = &r->results.rows[i];
        name_cells(r, row);
        number(r, "%.4f", row->ttft);
        number(r, "%.5f", row->tpot);
        number(r, "%.3f", row->jct);
        fputs("</tr>\n", r->out);
    }
    foot(r, note_query(r, "Speed", "SELECT ttft_seconds, tpot_seconds, jct_seconds FROM v_speed",
                       from, to));
}

void report_tables(struct report *r) {
    fputs("<h2 id=\"tables\">Tables</h2>\n<p class=\"soft\">A click on a heading sorts. Also as "
          "<a href=\"results.csv\">CSV</a>, <a href=\"results.md\">Markdown</a>, "
          "<a href=\"results.tex\">LaTeX</a>, <a href=\"results.json\">JSON</a>.</p>\n",
          r->out);
    for (int from = 0, to; from < r->results.n; from = to) {
        to = section_end(r, from);
        section_heading(r, &r->results.rows[from]);
        accuracy_table(r, from, to);
        comparison_table(r, from, to);
        outcome_table(r, from, to);
        speed_table(r, from, to);
    }
}
