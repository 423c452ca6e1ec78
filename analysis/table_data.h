/* The results table as data. */
#pragma once

#include <stdio.h>

#include "analysis/results.h"

/* View v_accuracy, RFC 4180. Texts that a spreadsheet would run as a formula are guarded with an
 * apostrophe. */
bool table_csv(struct db *db, const struct results *results, FILE *out, struct err *e);

/* An array of objects: the columns of v_accuracy and "comparison" (null where there is none). */
bool table_json(struct db *db, const struct results *results, const char *reference, FILE *out,
                struct err *e);
