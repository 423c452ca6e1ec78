/* Rows of shadow runs: tables shadow_text, shadow_cell, shadow, shadow_head
 * (store/schema_shadow.sql). Errors as in store/db.h. */
#pragma once

#include "store/db.h"

struct db_shadow_text {           /* identity: sha256 */
    const char *sha256;           /* of all below and of the ids */
    const char *source;           /* "gold", "answers" or "lines" */
    const char *dataset, *sample; /* names */
    int64_t n_prompt, n_new;      /* tokens */
};
bool db_shadow_text(struct db *db, const struct db_shadow_text *text, int64_t *id, struct err *e);

struct db_shadow_cell { /* identity: config */
    const char *config; /* canonical JSON */
    int64_t model;
    const char *policy, *policy_options; /* as in db_cell */
    int policy_version;
    int64_t budget; /* 0: none */
    const char *precision, *backend, *isa;
};
bool db_shadow_cell(struct db *db, const struct db_shadow_cell *cell, int64_t *id, struct err *e);

struct db_shadow {
    const char *key;
    int64_t run, cell, text;
    double kl, agreement;
    int64_t first_divergence; /* -1: none */
    double lost;              /* NAN: not known */
    int64_t effective_budget; /* 0: none */
    int64_t kept_peak;
    uint64_t kv_bytes_peak, evictions;
    const char *steps; /* JSON */
    /* of each layer and KV head; NULL: not known */
    const float *heads; /* [n_layers][n_kv_heads] */
    int n_layers, n_kv_heads;
};
/* The row and its heads, in one transaction. */
bool db_add_shadow(struct db *db, const struct db_shadow *row, struct err *e);
bool db_shadow_done(struct db *db, const char *key, bool *done, struct err *e);
