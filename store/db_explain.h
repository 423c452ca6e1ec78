/* Rows of table explain (store/schema_explain.sql). Errors as in store/db.h. */
#pragma once

#include "store/db.h"

struct db_explain {
    const char *key;
    int64_t run, result;
    const char *params; /* JSON */
    const char *cause, *part;
    int64_t step, source_step;  /* source_step -1: none */
    const char *gold, *written; /* the step as it should be, and as it is */
    /* Of answers with a wrong step; -1 and NAN: not known. */
    int64_t kv_heads, holders, query, evicted_at;
    int64_t evicted_step; /* counts where evicted_at does */
    double given, theta, agreement;
    int64_t full_right;
    const char *account;
};
bool db_add_explain(struct db *db, const struct db_explain *row, struct err *e);
bool db_explained(struct db *db, const char *key, bool *done, struct err *e);
