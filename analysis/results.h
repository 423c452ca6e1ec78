/* Cells with their scores and comparisons, read once, in the order in which tables show them. */
#pragma once

#include "analysis/compare.h"

struct result_row { /* a row of v_accuracy; texts are owned */
    int64_t cell;
    /* Names, with a short hash behind where rows of one name have other files, and a policy's
     * version where rows have several. */
    char *model, *dataset, *policy, *metric;
    char *settings;   /* all else that decides a result: precision, backend, sampling, ... */
    int64_t budget;   /* 0: none */
    double effective; /* mean effective budget; NaN: none */
    int64_t n, samples, correct, wrong, capped, numeric, loops;
    double accuracy, lo, hi;
    double mean_tokens, kv_tokens, kv_bytes;
    double ttft, tpot, jct; /* seconds; NaN unless the cell is isolated */
    struct comparison against;
};

struct results {
    struct result_row *rows;
    int n;
    int64_t run; /* 0: all */
};

/* Number of a run: given as that, or as a name, which stands for its latest run; 0 for NULL (all).
 * EXIT_USAGE where there is none. */
bool results_run(struct db *db, const char *run, int64_t *id, struct err *e);

/* Cells that a run planned (as results_run takes it; NULL: all cells), compared
 * with the policy `reference` wherever it has results; p is adjusted within one model x dataset.
 * Errors: EXIT_USAGE for a run that does not exist, EXIT_CONTENT when there is no result.
 * results_free in any case. */
bool results_load(struct db *db, const char *run, const char *reference, struct results *out,
                  struct err *e);
void results_free(struct results *results);
