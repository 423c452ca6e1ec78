/* Synthetic databases for the tests of store, table and plot. What fails here fails the test. */
#pragma once

#include "store/db.h"

struct rows {
    struct db *db;
    int64_t run, model, dataset;
    /* of the cells to come */
    int versions, result_versions; /* of policies and results, above 1 */
    bool stop_loops;
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

/* Around many rows: one sync of the disk instead of many. */
void rows_begin(struct rows *rows);
void rows_commit(struct rows *rows);

/* The first column of the statement's first row must be this. */
void rows_expect(struct db *db, const char *sql, const char *expected);
void rows_expect_real(struct db *db, const char *sql, double expected); /* within 1e-12 */
