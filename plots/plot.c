#include "plots/plot.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "analysis/results.h"
#include "base/file.h"
#include "base/home.h"
#include "base/real.h"
#include "plots/gnuplot.h"

#define SCRIPT_MAX (1 << 20)
#define SECONDS 300 /* histograms of 784 heads take 30 on two cores */

/* --- data ---------------------------------------------------------------------------- */

/* Nothing in a text may end a field or quote it. */
static void put_text(const char *text, FILE *out) {
    for (; *text; text++)
        putc((unsigned char)*text < 0x20 || *text == 0x7f ? '_' : *text == '"' ? '\'' : *text, out);
}

static void put_value(const struct db_query *q, int column, FILE *out) {
    char number[REAL_TEXT];
    switch (db_type(q, column)) {
    case DB_NULL:
        fputs("NaN", out);
        break;
    case DB_REAL:
        real_spell(db_real(q, column), number);
        fputs(number, out);
        break;
    default:
        put_text(db_text(q, column), out);
    }
}

/* Tab-separated, with a heading; returns how many rows came after it. */
static int64_t put_rows(struct db_query *q, FILE *out, struct err *e) {
    int n = db_columns(q);
    for (int c = 0; c < n; c++)
        fprintf(out, "%s%s", db_column(q, c), c + 1 < n ? "\t" : "\n");
    int64_t rows = 0;
    for (; db_next(q, e); rows++)
        for (int c = 0; c < n; c++) {
            put_value(q, c, out);
            putc(c + 1 < n ? '\t' : '\n', out);
        }
    return rows;
}

static struct db_query *ask(struct db *db, const char *sql, const struct plot_choice *choice,
                            struct err *e) {
    int64_t run;
    struct db_query *q = results_run(db, choice->run, &run, e) ? db_query(db, sql, e) : NULL;
    if (!q)
        return NULL;
    const char *texts[] = {choice->model, choice->dataset};
    if (db_parameters(q) >= 1)
        db_bind_int(q, 1, run);
    for (int i = 0; i < 2 && i + 2 <= db_parameters(q); i++)
        db_bind_text(q, i + 2, texts[i]);
    return q;
}

/* The query's answer as the bytes of the .tsv; free(*tsv) in any case. */
static bool gather(struct db *db, const char *sql, const struct plot_choice *choice, char **tsv,
                   size_t *size, struct err *e) {
    struct db_query *q = ask(db, sql, choice, e);
    if (!q)
        return false;
    FILE *out = open_memstream(tsv, size);
    CHECK(out);
    int64_t rows = put_rows(q, out, e);
    bool ok = db_query_end(q);
    CHECK(fclose(out) == 0);
    return ok && (rows > 0 ||
                  err_set(e, EXIT_CONTENT, "%s: no results to draw%s", db_path(db),
                          choice->run || choice->model || choice->dataset ? " among those asked for"
                                                                          : " yet"));
}

/* --- files ---------------------------------------------------------------------------- */

/* plots/NAMEending, read whole; NULL on error. */
static char *read_part(const char *name, const char *ending, size_t *size, struct err *e) {
    char part[100], path[PATH_MAX];
    snprintf(part, sizeof part, "plots/%s%s", name, ending);
    if (!home_find(part, path, sizeof path)) {
        snprintf(part, sizeof part, "plots/%s.gp", name);
        bool other = home_find(part, path, sizeof path);
        err_set(e, EXIT_USAGE,
                other ? "figure '%s' is not drawn from the database; `raas list figures` says how"
                      : "no figure '%s'; `raas list figures` names them",
                name);
        return NULL;
    }
    return file_read(path, SCRIPT_MAX, size, e);
}

static bool write_part(const char *out, const char *name, const char *ending, const char *bytes,
                       size_t size, struct err *e) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s%s", out, name, ending);
    return file_write(path, bytes, size, NULL, 0, e);
}

static bool copy_script(const char *name, const char *out, struct err *e) {
    size_t size;
    char *script = read_part(name, ".gp", &size, e);
    bool ok = script && write_part(out, name, ".gp", script, size, e);
    free(script);
    return ok;
}

/* What figures share is called as they are: attention_heads and attention_style. False: nothing
 * is. */
static bool find_shared(const char *name, const char *what, const char *ending, char out[80]) {
    char part[100], path[PATH_MAX];
    snprintf(out, 80, "%.*s_%s", (int)strcspn(name, "_"), name, what);
    snprintf(part, sizeof part, "plots/%s%s", out, ending);
    return home_find(part, path, sizeof path);
}

static bool copy_styles(const char *name, const char *out, struct err *e) {
    char own[80];
    return copy_script("style", out, e) &&
           (!find_shared(name, "style", ".gp", own) || copy_script(own, out, e));
}

char *plot_query(const char *name, struct err *e) {
    char shared[80], *begin = NULL, *sql;
    size_t size = 0, rest;
    if (find_shared(name, "chosen", ".sql", shared) &&
        !(begin = read_part(shared, ".sql", &size, e)))
        return NULL;
    sql = read_part(name, ".sql", &rest, e);
    if (sql && begin) {
        begin = must_realloc(begin, size + rest + 1);
        memcpy(begin + size, sql, rest + 1);
        free(sql);
        return begin;
    }
    free(begin);
    return sql;
}

static bool has_drawn(const char *out, const char *name, const char *ending, struct err *e) {
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s%s", out, name, ending);
    return (stat(path, &st) == 0 && st.st_size > 0) ||
           err_set(e, EXIT_ENV, "gnuplot did not write %s", path);
}

static void remove_drawn(const char *out, const char *name, const char *ending) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s%s", out, name, ending);
    unlink(path);
}

bool plot_draw(const char *name, const char *out, const char *tsv, size_t size, struct err *e) {
    char inside[PATH_MAX];
    if (snprintf(inside, sizeof inside, "%s/x", out) >= PATH_MAX - 100)
        return err_set(e, EXIT_USAGE, "%s: path too long", out);
    if (!file_folders(inside, e) || !write_part(out, name, ".tsv", tsv, size, e) ||
        !copy_styles(name, out, e) || !copy_script(name, out, e))
        return false;
    char script[100];
    snprintf(script, sizeof script, "%s.gp", name);
    remove_drawn(out, name, ".svg"); /* an old figure must not pass for a new one */
    remove_drawn(out, name, ".png");
    return gnuplot_run(out, script, SECONDS, e) && has_drawn(out, name, ".svg", e) &&
           has_drawn(out, name, ".png", e);
}

bool plot_is_figure(const char *name) {
    const char *last = strrchr(name, '_') ? strrchr(name, '_') + 1 : name;
    size_t n = strlen(name);
    return n > 0 && n < 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n &&
           strcmp(last, "style") != 0 && strcmp(last, "chosen") != 0;
}

bool plot_figure(struct db *db, const char *name, const struct plot_choice *choice, const char *out,
                 struct err *e) {
    if (!plot_is_figure(name))
        return err_set(e, EXIT_USAGE, "no figure '%s'; `raas list figures` names them", name);
    char *sql = plot_query(name, e), *tsv = NULL;
    if (!sql)
        return false;
    size_t size;
    bool ok = gather(db, sql, choice, &tsv, &size, e) && plot_draw(name, out, tsv, size, e);
    free(tsv);
    free(sql);
    return ok;
}
