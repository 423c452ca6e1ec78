#include "experiments/mine_run.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/results.h"

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All .h5 of a folder, which may not be there. */
static struct mine_cell list_files(const char *folder) {
    struct mine_cell cell = {0};
    DIR *dir = opendir(folder);
    for (struct dirent *f; dir && (f = readdir(dir));) {
        size_t n = strlen(f->d_name);
        if (n < 4 || strcmp(f->d_name + n - 3, ".h5") != 0)
            continue;
        cell.paths = must_realloc(cell.paths, (size_t)(cell.n + 1) * sizeof *cell.paths);
        CHECK(asprintf(&cell.paths[cell.n++], "%s/%s", folder, f->d_name) > 0);
    }
    if (dir)
        closedir(dir);
    if (cell.n)
        qsort(cell.paths, (size_t)cell.n, sizeof *cell.paths, by_text);
    return cell;
}

bool mine_run_files(struct db *db, const char *run, struct mine_run_files *out, struct err *e) {
    char folder[PATH_MAX - 20], cell[PATH_MAX];
    const char *slash = strrchr(db_path(db), '/');
    int64_t id;
    *out = (struct mine_run_files){0};
    snprintf(folder, sizeof folder, "%.*sattn", slash ? (int)(slash + 1 - db_path(db)) : 0,
             db_path(db));
    if (!results_run(db, run, &id, e))
        return false;
    struct db_query *q = db_query(db,
                                  "SELECT substr(config_sha256, 1, 8) FROM cell "
                                  "JOIN run_cell ON run_cell.cell_id = cell.id "
                                  "WHERE run_cell.run_id = ?1 ORDER BY cell.id",
                                  e);
    if (q)
        db_bind_int(q, 1, id);
    while (q && db_next(q, e)) {
        snprintf(cell, sizeof cell, "%s/%s", folder, db_text(q, 0));
        struct mine_cell files = list_files(cell);
        if (!files.n)
            continue;
        out->cells = must_realloc(out->cells, (size_t)(out->n + 1) * sizeof *out->cells);
        out->cells[out->n++] = files;
    }
    bool ok = db_query_end(q) &&
              (out->n || err_set(e, EXIT_USAGE,
                                 "run %s: nothing recorded in %s; raas run --record lifecycle "
                                 "(or full) records what it decodes",
                                 run, folder));
    if (!ok)
        mine_run_files_free(out);
    return ok;
}

void mine_run_files_free(struct mine_run_files *f) {
    for (int c = 0; c < f->n; c++) {
        for (int i = 0; i < f->cells[c].n; i++)
            free(f->cells[c].paths[i]);
        free(f->cells[c].paths);
    }
    free(f->cells);
    *f = (struct mine_run_files){0};
}
