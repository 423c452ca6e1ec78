/* Rows written: texts, cells and results of shadow runs. */
#include <string.h>

#include "store/db_private.h"
#include "store/db_shadow.h"

bool db_shadow_text(struct db *db, const struct db_shadow_text *t, int64_t *id, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, "SELECT id FROM shadow_text WHERE sha256 = ?1",
                     "INSERT INTO shadow_text (sha256, source, dataset, sample, prompt_tokens, "
                     "new_tokens) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                     e))
        return false;
    db_row_text(&row, t->sha256);
    db_row_text(&row, t->source);
    db_row_text(&row, t->dataset);
    db_row_text(&row, t->sample);
    db_row_int(&row, t->n_prompt);
    db_row_int(&row, t->n_new);
    return db_row_done(&row, id, e);
}

bool db_shadow_cell(struct db *db, const struct db_shadow_cell *c, int64_t *id, struct err *e) {
    struct db_row row;
    char hash[HASH_HEX];
    if (!db_row_open(&row, db, "SELECT id FROM shadow_cell WHERE config_sha256 = ?1",
                     "INSERT INTO shadow_cell (config_sha256, config, model_id, policy, "
                     "policy_options, policy_version, budget, precision, backend, isa) "
                     "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                     e))
        return false;
    hash_bytes(c->config, strlen(c->config), hash);
    db_row_text(&row, hash);
    db_row_text(&row, c->config);
    db_row_int(&row, c->model);
    db_row_text(&row, c->policy);
    db_row_text(&row, c->policy_options);
    db_row_int(&row, c->policy_version);
    db_row_some(&row, c->budget);
    db_row_text(&row, c->precision);
    db_row_text(&row, c->backend);
    db_row_text(&row, c->isa);
    return db_row_done(&row, id, e);
}

static bool add_head(struct db *db, int64_t shadow, int layer, int kv_head, double lost,
                     struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, NULL,
                     "INSERT INTO shadow_head (shadow_id, layer, kv_head, lost) "
                     "VALUES (?1, ?2, ?3, ?4)",
                     e))
        return false;
    db_row_int(&row, shadow);
    db_row_int(&row, layer);
    db_row_int(&row, kv_head);
    db_row_real(&row, lost);
    return db_row_done(&row, NULL, e);
}

static bool add_shadow(struct db *db, const struct db_shadow *s, struct err *e) {
    struct db_row row;
    int64_t id;
    if (!db_row_open(&row, db, NULL,
                     "INSERT INTO shadow (key, run_id, cell_id, text_id, kl, agreement, "
                     "first_divergence, lost, effective_budget, kv_tokens_peak, kv_bytes_peak, "
                     "evictions, steps) VALUES (?1, ?2, ?3, ?4, ?5, ?6, nullif(?7, -1), ?8, ?9, "
                     "?10, ?11, ?12, ?13)",
                     e))
        return false;
    db_row_text(&row, s->key);
    db_row_int(&row, s->run);
    db_row_int(&row, s->cell);
    db_row_int(&row, s->text);
    db_row_real(&row, s->kl);
    db_row_real(&row, s->agreement);
    db_row_int(&row, s->first_divergence);
    db_row_real(&row, s->lost);
    db_row_some(&row, s->effective_budget);
    db_row_int(&row, s->kept_peak);
    db_row_int(&row, (int64_t)s->kv_bytes_peak);
    db_row_int(&row, (int64_t)s->evictions);
    db_row_text(&row, s->steps);
    bool ok = db_row_done(&row, &id, e);
    for (int i = 0; ok && s->heads && i < s->n_layers * s->n_kv_heads; i++)
        ok = add_head(db, id, i / s->n_kv_heads, i % s->n_kv_heads, (double)s->heads[i], e);
    return ok;
}

bool db_add_shadow(struct db *db, const struct db_shadow *s, struct err *e) {
    if (db_begin(db, e) && add_shadow(db, s, e) && db_commit(db, e))
        return true;
    db_rollback(db);
    return false;
}

bool db_shadow_done(struct db *db, const char *key, bool *done, struct err *e) {
    struct db_query *q = db_query(db, "SELECT 1 FROM shadow WHERE key = ?1", e);
    if (!q)
        return false;
    db_bind_text(q, 1, key);
    *done = db_next(q, e);
    return db_query_end(q);
}
