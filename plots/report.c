#include "plots/report.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/table.h"
#include "base/file.h"
#include "plots/html.h"
#include "plots/report_private.h"
#include "report_parts.h"

/* --- queries ---------------------------------------------------------------------------------- */

int report_query(struct report *r, const char *title, char *sql) {
    r->queries = must_realloc(r->queries, (size_t)(r->n_queries + 1) * sizeof *r->queries);
    r->queries[r->n_queries++] = (struct report_query){must_strdup(title), sql};
    return r->n_queries;
}

void report_link(const struct report *r, int query, const char *text) {
    fprintf(r->out, "<a href=\"#q%d\">%s</a>", query, text);
}

char *report_cells(const struct report *r, int from, int to) {
    char *list = NULL;
    size_t size;
    FILE *out = open_memstream(&list, &size);
    CHECK(out);
    for (int i = from; i < to; i++)
        fprintf(out, "%s%lld", i > from ? ", " : "(", (long long)r->results.rows[i].cell);
    putc(')', out);
    CHECK(fclose(out) == 0);
    return list;
}

static void put_queries(struct report *r) {
    fputs(
        "<h2 id=\"queries\">Queries</h2>\n<p class=\"soft\">All of them: "
        "<a href=\"queries.sql\">queries.sql</a>, for sqlite3 and the database. p-values are exact "
        "McNemar tests of gained and lost (with repeats sign-flip tests over problems), intervals "
        "of differences are bootstraps over problems, p of the margin is Tango's score test.</p>\n",
        r->out);
    for (int i = 0; i < r->n_queries; i++) {
        fprintf(r->out, "<details id=\"q%d\"><summary>", i + 1);
        html_text(r->queries[i].title, r->out);
        fputs("</summary><pre>", r->out);
        html_text(r->queries[i].sql, r->out);
        fputs(";</pre></details>\n", r->out);
    }
}

/* --- where it comes from ---------------------------------------------------------------------- */

static bool put_runs(struct report *r, struct err *e) {
    static const char *const names[] = {"name", "status",  "started",   "finished", "commit",
                                        "set",  "threads", "processor", "system",   "command line"};
    char *sql, where[160] = "";
    if (r->results.run)
        snprintf(where, sizeof where,
                 "WHERE run.id = %lld OR run.id IN (SELECT result.run_id FROM result JOIN run_cell "
                 "USING (cell_id) WHERE run_cell.run_id = %lld) ",
                 (long long)r->results.run, (long long)r->results.run);
    CHECK(asprintf(&sql,
                   "SELECT name, status, started, finished, git_commit || iif(dirty, ' and more', "
                   "''), run.isa, threads, cpu, system, argv FROM run JOIN machine ON machine.id = "
                   "run.machine_id %sORDER BY started, run.id",
                   where) > 0);
    struct db_query *q = db_query(r->db, sql, e);
    fputs("<h2 id=\"runs\">Runs</h2>\n<div class=\"scroll\"><table class=\"sort\"><thead><tr>",
          r->out);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        fprintf(r->out, "<th scope=\"col\" class=\"l\">%s</th>", names[i]);
    fputs("</tr></thead><tbody>\n", r->out);
    while (q && db_next(q, e)) {
        fputs("<tr>", r->out);
        for (int c = 0; c < db_columns(q); c++) {
            fputs("<td class=\"l\">", r->out);
            html_text(db_text(q, c), r->out);
            fputs("</td>", r->out);
        }
        fputs("</tr>\n", r->out);
    }
    fputs("</tbody></table></div>\n<p class=\"soft\">", r->out);
    report_link(r, report_query(r, "Runs", sql), "The query that gives it");
    fputs("</p>\n", r->out);
    return db_query_end(q);
}

/* --- the page --------------------------------------------------------------------------------- */

static void put_partial(struct report *r) {
    char *sql;
    CHECK(asprintf(
              &sql,
              "SELECT sum(stored), sum(planned) FROM (SELECT v_plan.*, row_number() OVER "
              "(PARTITION BY cell_id ORDER BY run.started DESC, run.id DESC) AS place FROM v_plan "
              "JOIN run ON run.id = v_plan.run_id WHERE %lld IN (0, run.id)) WHERE place = 1",
              (long long)r->results.run) > 0);
    fprintf(r->out, "<p class=\"partial-note\">PARTIAL: %lld of %lld planned answers. ",
            (long long)r->results.stored, (long long)r->results.planned);
    fputs("What stands below will change. ", r->out);
    report_link(r, report_query(r, "Plan", sql), "Query");
    fputs("</p>\n", r->out);
}

static void put_head(struct report *r) {
    const struct results *results = &r->results;
    char hash[HTML_HASH];
    html_script_hash(report_js, hash);
    fprintf(
        r->out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
        "style-src 'unsafe-inline'; script-src '%s'; base-uri 'none'; form-action 'none'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>raas: ",
        hash);
    html_text(r->choice->run ? r->choice->run : "all results", r->out);
    fprintf(r->out, "</title>\n<style>\n%s</style>\n</head>\n<body%s>\n<h1>raas: ", report_css,
            results_partial(results) ? " class=\"partial\"" : "");
    html_text(r->choice->run ? r->choice->run : "all results", r->out);
    fputs("</h1>\n<nav><a href=\"#claims\">Claims</a><a href=\"#figures\">Figures</a>"
          "<a href=\"#tables\">Tables</a><a href=\"#browser-heading\">Answers</a>"
          "<a href=\"#runs\">Runs</a><a href=\"#queries\">Queries</a></nav>\n",
          r->out);
    if (results_partial(results))
        put_partial(r);
}

static bool put_page(struct report *r, struct err *e) {
    put_head(r);
    report_claims(r);
    if (!report_figures(r, e))
        return false;
    report_tables(r);
    if (!report_samples(r, e) || !put_runs(r, e))
        return false;
    put_queries(r);
    fprintf(r->out, "<script>%s</script>\n</body>\n</html>\n", report_js);
    return true;
}

/* --- files ------------------------------------------------------------------------------------ */

static bool write_file(const struct report *r, const char *name, const char *bytes, size_t size,
                       struct err *e) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", r->folder, name) >= PATH_MAX)
        return err_set(e, EXIT_USAGE, "%s: path too long", r->folder);
    return file_folders(path, e) && file_write(path, bytes, size, NULL, 0, e);
}

static bool write_tables(const struct report *r, struct err *e) {
    static const struct {
        const char *name;
        enum table_format format;
    } files[] = {{"results.csv", TABLE_CSV},
                 {"results.md", TABLE_MD},
                 {"results.tex", TABLE_LATEX},
                 {"results.json", TABLE_JSON}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);
        CHECK(out);
        bool ok = table_print_against(r->db, r->choice->run, r->choice->reference, files[i].format,
                                      out, e);
        CHECK(fclose(out) == 0);
        ok = ok && write_file(r, files[i].name, text, size, e);
        free(text);
        if (!ok)
            return false;
    }
    return true;
}

static bool write_queries(const struct report *r, struct err *e) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    CHECK(out);
    for (int i = 0; i < r->n_queries; i++) {
        fprintf(out, "-- %d. ", i + 1);
        for (const char *c = r->queries[i].title; *c; c++) /* a comment is one line */
            putc((unsigned char)*c < 0x20 ? ' ' : *c, out);
        fprintf(out, "\n%s;\n\n", r->queries[i].sql);
    }
    CHECK(fclose(out) == 0);
    bool ok = write_file(r, "queries.sql", text, size, e);
    free(text);
    return ok;
}

bool report_write(struct db *db, const struct report_choice *choice, const char *out,
                  struct err *e) {
    struct report r = {.db = db, .choice = choice, .folder = out};
    char *page = NULL;
    size_t size;
    char inside[PATH_MAX];
    if (snprintf(inside, sizeof inside, "%s/x", out) >= PATH_MAX - 100)
        return err_set(e, EXIT_USAGE, "%s: path too long", out);
    bool ok =
        results_load(db, choice->run, choice->reference, &r.results, e) && file_folders(inside, e);
    r.out = open_memstream(&page, &size);
    CHECK(r.out);
    r.pairs = must_zalloc((size_t)r.results.n + 1, sizeof *r.pairs);
    ok = ok && put_page(&r, e);
    CHECK(fclose(r.out) == 0);
    ok = ok && write_tables(&r, e) && write_queries(&r, e) &&
         write_file(&r, "report.html", page, size, e);
    free(page);
    for (int i = 0; i < r.n_queries; i++) {
        free(r.queries[i].title);
        free(r.queries[i].sql);
    }
    free(r.queries);
    free(r.pairs);
    results_free(&r.results);
    return ok;
}
