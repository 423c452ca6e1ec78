/* What a shadow run says, from the database: policies by divergence, and beside that ranking the
 * one by accuracy, where the database has accuracies of the same model on the same dataset. */
#pragma once

#include <stdio.h>

#include "store/db.h"

struct shadow_rows {      /* which results; borrowed */
    const int64_t *cells; /* [n_cells] of shadow_cell */
    int n_cells;
    const int64_t *texts; /* [n_texts] of shadow_text */
    int n_texts;
    const char *dataset; /* whose accuracies; NULL: the texts are of several */
};

/* Ranks are within one asked budget, among policies that had just that on every text: one that
 * grew beyond it keeps more than the others, and has no rank. Of selecting policies the budget is
 * what they attend to. */
bool shadow_table(struct db *db, const struct shadow_rows *rows, FILE *out, struct err *e);
/* An array of objects, the least divergence first. */
bool shadow_json(struct db *db, const struct shadow_rows *rows, FILE *out, struct err *e);
