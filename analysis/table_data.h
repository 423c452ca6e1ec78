/* The results table as data. */
#pragma once

#include <stdio.h>

#include "analysis/results.h"

/* The columns of v_accuracy, then dataset_sha256 and weights_sha256 (two files may have one name),
 * outcomes and costs of v_outcome, and how many answers were planned.
 * RFC 4180. Texts that a spreadsheet would run as a formula are guarded with an apostrophe. */
bool table_csv(struct db *db, const struct results *results, FILE *out, struct err *e);

/* An array of objects: the same columns and "comparison" (null where there is none). */
bool table_json(struct db *db, const struct results *results, const char *reference, FILE *out,
                struct err *e);
