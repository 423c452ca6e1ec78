/* A shadow run's results in the database: what is stored already is not replayed again. */
#pragma once

#include "experiments/shadow_texts.h"
#include "store/db_shadow.h"

enum { SHADOW_VERSION = 1 }; /* raised when the meaning of stored rows changes: part of their key */

struct shadow_store {
    struct db *db; /* borrowed, as shadow and texts */
    int64_t run;
    const struct shadow *shadow;
    int64_t *cells;           /* [n_plans] rows of shadow_cell, owned, as all below */
    int64_t *texts;           /* [n_texts] rows of shadow_text */
    char (*keys)[HASH_HEX];   /* [n_texts][n_plans] */
    bool *done;               /* [n_texts][n_plans] */
    int n_done, n_done_first; /* of all; of those that were stored before */
};

/* Puts model, plans and texts into the database and looks what is done. isa: session_isa. On
 * failure nothing has to be closed. */
bool shadow_store_open(struct shadow_store *store, struct db *db, int64_t run,
                       const struct shadow *shadow, const struct shadow_texts *texts,
                       enum precision precision, const char *backend, struct err *e);
void shadow_store_close(struct shadow_store *store);

/* A shadow's `wanted` and `done`; user is the store. */
bool shadow_store_wanted(void *user, int text, int plan);
bool shadow_store_add(void *user, const struct shadow_result *result, struct err *e);
