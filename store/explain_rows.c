/* Rows written: explanations of wrong answers. */
#include "store/db_explain.h"
#include "store/db_private.h"

static void some(struct db_row *row, int64_t value, bool known) {
    if (known)
        db_row_int(row, value);
    else
        db_row_some(row, 0);
}

bool db_add_explain(struct db *db, const struct db_explain *x, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, NULL,
                     "INSERT INTO explain (key, run_id, result_id, params, cause, step, part, "
                     "source_step, gold, written, kv_heads, holders, query, evicted_at, "
                     "evicted_step, given, theta, agreement, full_right, account) VALUES (?1, ?2, "
                     "?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, "
                     "?19, ?20)",
                     e))
        return false;
    db_row_text(&row, x->key);
    db_row_int(&row, x->run);
    db_row_int(&row, x->result);
    db_row_text(&row, x->params);
    db_row_text(&row, x->cause);
    db_row_int(&row, x->step);
    db_row_text(&row, x->part);
    some(&row, x->source_step, x->source_step >= 0);
    db_row_text(&row, x->gold);
    db_row_text(&row, x->written);
    some(&row, x->kv_heads, x->kv_heads >= 0);
    some(&row, x->holders, x->holders >= 0);
    some(&row, x->query, x->query >= 0);
    some(&row, x->evicted_at, x->evicted_at >= 0);
    some(&row, x->evicted_step, x->evicted_at >= 0);
    db_row_real(&row, x->given);
    db_row_real(&row, x->theta);
    db_row_real(&row, x->agreement);
    some(&row, x->full_right, x->full_right >= 0);
    db_row_text(&row, x->account);
    return db_row_done(&row, NULL, e);
}

bool db_explained(struct db *db, const char *key, bool *done, struct err *e) {
    struct db_query *q = db_query(db, "SELECT 1 FROM explain WHERE key = ?1", e);
    if (!q)
        return false;
    db_bind_text(q, 1, key);
    *done = db_next(q, e);
    return db_query_end(q);
}
