/* Figures of plots/, drawn for each model and dataset and put into the page. */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/home.h"
#include "base/log.h"
#include "plots/html.h"
#include "plots/plot.h"
#include "plots/report_private.h"

enum { MAX_FIGURES = 64, MAX_SUBJECTS = 12, SVG_MAX = 16 << 20 };

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of plots/NAME.sql, sorted. */
static int figure_names(char *names[MAX_FIGURES]) {
    char folder[PATH_MAX];
    DIR *dir = home_find("plots", folder, sizeof folder) ? opendir(folder) : NULL;
    int n = 0;
    for (struct dirent *d; dir && n < MAX_FIGURES && (d = readdir(dir));) {
        size_t size = strlen(d->d_name);
        if (size <= 4 || strcmp(d->d_name + size - 4, ".sql") != 0)
            continue;
        names[n] = must_strdup(d->d_name);
        names[n][size - 4] = '\0';
        if (plot_is_figure(names[n]))
            n++;
        else
            free(names[n]);
    }
    if (dir)
        closedir(dir);
    qsort(names, (size_t)n, sizeof *names, by_name);
    return n;
}

/* A figure's own query, with what it was asked bound to its parameters. */
static int figure_query(struct report *r, const char *name, const char *model, const char *dataset,
                        struct err *e) {
    char *sql = plot_query(name, e), *full = NULL, *title;
    size_t size;
    if (!sql)
        return -1;
    const char *const values[] = {NULL, model, dataset};
    FILE *out = open_memstream(&full, &size);
    CHECK(out);
    for (const char *at = sql; *at; at++) {
        bool comment = at[0] == '-' && at[1] == '-';
        if (comment) {
            at += strcspn(at, "\n");
            if (!*at)
                break;
        } else if (*at == '?' && at[1] >= '1' && at[1] <= '3') {
            int which = *++at - '1';
            if (!which)
                fprintf(out, "%lld", (long long)r->results.run);
            else if (!values[which])
                fputs("NULL", out);
            else
                db_quote(values[which], out);
            continue;
        }
        putc(*at, out);
    }
    CHECK(fclose(out) == 0);
    free(sql);
    for (size_t end = strlen(full); end && strchr("; \n", full[end - 1]); end--)
        full[end - 1] = '\0';
    CHECK(asprintf(&title, "Figure %s: %s on %s", name, model, dataset ? dataset : "all datasets") >
          0);
    int query = report_query(r, title, full);
    free(title);
    return query;
}

/* false with e clear: there is nothing to draw. */
static bool put_figure(struct report *r, const char *name, const char *model, const char *dataset,
                       int number, struct err *e) {
    char folder[PATH_MAX], path[PATH_MAX + 80], prefix[24], mark[80] = "";
    const struct plot_choice choice = {r->choice->run, model, dataset};
    snprintf(folder, sizeof folder, "%s/figures/%d", r->folder, number);
    if (!plot_figure(r->db, name, &choice, folder, e)) {
        if (e->code == EXIT_CONTENT)
            *e = (struct err){0};
        return false;
    }
    snprintf(path, sizeof path, "%s/%s.svg", folder, name);
    snprintf(prefix, sizeof prefix, "f%d-", r->n_queries);
    if (results_partial(&r->results))
        snprintf(mark, sizeof mark, "PARTIAL: %lld of %lld", (long long)r->results.stored,
                 (long long)r->results.planned);
    size_t size;
    char *svg = file_read(path, SVG_MAX, &size, e);
    fputs("<figure><div class=\"scroll\">", r->out);
    bool ok = svg && html_svg(svg, path, prefix, *mark ? mark : NULL, r->out, e);
    free(svg);
    int query = ok ? figure_query(r, name, model, dataset, e) : -1;
    fputs("</div><figcaption>", r->out);
    html_text(name, r->out);
    fprintf(r->out, " (<a href=\"figures/%d/%s.tsv\">data</a>", number, name);
    if (query >= 0) {
        fputs(", ", r->out);
        report_link(r, query, "query");
    }
    fputs(")</figcaption></figure>\n", r->out);
    return ok;
}

/* Of one model and dataset, or (dataset NULL) what only all of its datasets together give. What is
 * missing is said in the page, and why: the report is worth more than its figures. */
static void put_subject(struct report *r, char *const *names, int n_names, const char *model,
                        const char *dataset, int number, bool drawn[MAX_FIGURES]) {
    for (int i = 0; i < n_names; i++) {
        struct err why = {0};
        if (!dataset && drawn[i])
            continue;
        drawn[i] |= put_figure(r, names[i], model, dataset, number, &why);
        if (!why.code)
            continue;
        log_warn("figure %s: %s", names[i], why.text);
        fputs("<p class=\"soft\">Not drawn: ", r->out);
        html_text(names[i], r->out);
        fputs(" (", r->out);
        html_text(why.text, r->out);
        fputs(")</p>\n", r->out);
    }
}

bool report_figures(struct report *r, struct err *e) {
    char *names[MAX_FIGURES];
    int n_names = figure_names(names), n = 0;
    char *models[MAX_SUBJECTS], *datasets[MAX_SUBJECTS];
    struct db_query *q =
        db_query(r->db,
                 "SELECT DISTINCT model, dataset FROM v_accuracy WHERE ?1 = 0 OR cell_id IN "
                 "(SELECT cell_id FROM run_cell WHERE run_id = ?1) ORDER BY 1, 2",
                 e);
    if (q)
        db_bind_int(q, 1, r->results.run);
    while (q && db_next(q, e) && n < MAX_SUBJECTS) {
        models[n] = must_strdup(db_text(q, 0));
        datasets[n++] = must_strdup(db_text(q, 1));
    }
    bool ok = db_query_end(q);
    fputs("<h2 id=\"figures\">Figures</h2>\n", r->out);
    bool drawn[MAX_FIGURES] = {0};
    for (int i = 0; ok && i < n; i++) {
        put_subject(r, names, n_names, models[i], datasets[i], i + 1, drawn);
        if (i + 1 == n || strcmp(models[i], models[i + 1]) != 0) {
            put_subject(r, names, n_names, models[i], NULL, n + i + 1, drawn);
            memset(drawn, 0, sizeof drawn);
        }
    }
    for (int i = 0; i < n; i++) {
        free(models[i]);
        free(datasets[i]);
    }
    for (int i = 0; i < n_names; i++)
        free(names[i]);
    return ok;
}
