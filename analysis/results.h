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
    int64_t n, samples;
    int64_t right, wrong, looped, truncated, unboxed,
        numeric; /* v_answer.outcome; their sum is n */
    double accuracy, lo, hi;
    double mean_tokens, kv_tokens, kv_bytes;
    double ttft, tpot, jct; /* seconds; NaN unless the cell is isolated */
    /* What one right answer cost, wrong ones included; NaN without any, seconds also unless the
     * cell is isolated. */
    double tokens_per_right, kv_bytes_per_right, seconds_per_right;
    double margin; /* of non-inferiority: of the newest run that planned the cell */
    struct comparison against;
};

struct results {
    struct result_row *rows;
    int n;
    int64_t run; /* 0: all */
    int64_t planned,
        stored; /* answers of the plans that chose these cells; 0 planned: none known */
};

/* Whether answers that were planned are missing. */
bool results_partial(const struct results *results);

/* Number of a run: given as that, or as a name, which stands for its latest run; 0 for NULL (all).
 * EXIT_USAGE where there is none. */
bool results_run(struct db *db, const char *run, int64_t *id, struct err *e);

/* Cells that a run planned (as results_run takes it; NULL: all cells), compared
 * with the policy `reference` wherever it has results; both p are adjusted within one model x
 * dataset.
 * Errors: EXIT_USAGE for a run that does not exist, EXIT_CONTENT when there is no result.
 * results_free in any case. */
bool results_load(struct db *db, const char *run, const char *reference, struct results *out,
                  struct err *e);
void results_free(struct results *results);
