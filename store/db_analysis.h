/* Rows of what was mined from attention: tables analysis, analysis_head, analysis_point
 * (store/schema_analysis.sql). Errors as in store/db.h; callers put all of one analysis into one
 * transaction. */
#pragma once

#include "store/db.h"

struct db_analysis {
    const char *kind; /* "lifecycle" or "proof" */
    int64_t run, model, dataset;
    const char *policy;   /* spelling, budget included */
    const char *solution; /* "free" or "gold" */
    int64_t sequences;
    const char *params;  /* JSON */
    const char *summary; /* JSON or NULL */
};
bool db_add_analysis(struct db *db, const struct db_analysis *analysis, int64_t *id, struct err *e);

bool db_add_head(struct db *db, int64_t analysis, int layer, int head, const char *class,
                 double agree, struct err *e);

struct db_point {
    int64_t analysis;
    int layer, head; /* -1: over all heads */
    const char *curve;
    double x, mean, lo, hi; /* NAN: NULL; never the mean */
    int n;
};
bool db_add_point(struct db *db, const struct db_point *point, struct err *e);
