/* Counts of causes per policy and budget, from view v_causes. */
#pragma once

#include <stdio.h>

#include "store/db.h"

/* Cells of a run (0: any) of which answers were explained; sample accounts come from v_explain.
 * EXIT_CONTENT where there is none. */
bool cause_table(struct db *db, int64_t run, FILE *out, struct err *e);
/* An array of objects, one per cell. */
bool cause_json(struct db *db, int64_t run, FILE *out, struct err *e);
