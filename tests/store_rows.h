/* Synthetic databases for the tests of store, table and plot. What fails here fails the test. */
#pragma once

#include "store/db.h"

/* A new folder under $TMPDIR (or /tmp); free() it after rows_remove, which deletes all in it. */
char *rows_folder(void);
void rows_remove(char *folder);
char *rows_path(const char *folder, const char *name); /* folder/name; free() */

struct rows {
    struct db *db;
    int64_t run, model, dataset;
};

/* Opens path for writing and adds a run, a model "tiny" and a dataset of that name and metric. */
struct rows rows_open(const char *path, const char *run, const char *dataset, const char *metric);

/* A cell that the run planned. budget 0: none. */
int64_t rows_cell(struct rows *rows, const char *policy, int64_t budget, enum db_timing timing);

/* A result with plausible fields, to change before rows_add: sample number i of the dataset, the
 * asked budget as the effective one, an answer that is right or wrong by both verdicts. `key` must
 * live until rows_add. */
struct db_result rows_result(struct rows *rows, int64_t cell, int i, int repeat, bool correct,
                             char key[HASH_HEX]);
void rows_add(struct rows *rows, const struct db_result *result);
