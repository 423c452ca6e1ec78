/* Rows written: analyses, heads, points. */
#include "store/db_analysis.h"
#include "store/db_private.h"

bool db_add_analysis(struct db *db, const struct db_analysis *a, int64_t *id, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, NULL,
                     "INSERT INTO analysis (kind, run_id, model_id, dataset_id, policy, solution, "
                     "sequences, params, summary) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                     e))
        return false;
    db_row_text(&row, a->kind);
    db_row_int(&row, a->run);
    db_row_int(&row, a->model);
    db_row_int(&row, a->dataset);
    db_row_text(&row, a->policy);
    db_row_text(&row, a->solution);
    db_row_int(&row, a->sequences);
    db_row_text(&row, a->params);
    db_row_text(&row, a->summary);
    return db_row_done(&row, id, e);
}

bool db_add_head(struct db *db, int64_t analysis, int layer, int head, const char *class,
                 double agree, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, NULL,
                     "INSERT INTO analysis_head (analysis_id, layer, head, class, agree) "
                     "VALUES (?1, ?2, ?3, ?4, ?5)",
                     e))
        return false;
    db_row_int(&row, analysis);
    db_row_int(&row, layer);
    db_row_int(&row, head);
    db_row_text(&row, class);
    db_row_real(&row, agree);
    return db_row_done(&row, NULL, e);
}

bool db_add_point(struct db *db, const struct db_point *p, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, NULL,
                     "INSERT INTO analysis_point (analysis_id, layer, head, curve, x, mean, lo, "
                     "hi, n) VALUES (?1, nullif(?2, -1), nullif(?3, -1), ?4, ?5, ?6, ?7, ?8, ?9)",
                     e))
        return false;
    db_row_int(&row, p->analysis);
    db_row_int(&row, p->layer);
    db_row_int(&row, p->head);
    db_row_text(&row, p->curve);
    db_row_real(&row, p->x);
    db_row_real(&row, p->mean);
    db_row_real(&row, p->lo);
    db_row_real(&row, p->hi);
    db_row_int(&row, p->n);
    return db_row_done(&row, NULL, e);
}
