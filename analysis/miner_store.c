/* What was mined, as rows of the database. */
#include "analysis/miner.h"
#include "store/db_analysis.h"

static bool store_curves(struct db *db, int64_t id, int layer, int head, const struct tally *tally,
                         struct err *e) {
    for (int i = 0, n = portrait_size(); i < n; i++) {
        struct estimate x = tally_estimate(tally, i);
        struct portrait_point at = portrait_point(i);
        struct db_point point = {id, layer, head, at.curve, at.x, x.mean, x.lo, x.hi, x.n};
        if (x.n && !db_add_point(db, &point, e))
            return false;
    }
    return true;
}

static bool store_all(const struct miner *m, struct db *db, const struct miner_source *source,
                      struct err *e) {
    char params[400];
    option_json(lifecycle_options, &m->params, params, sizeof params);
    struct db_analysis row = {
        .kind = "lifecycle",
        .run = source->run,
        .model = source->model,
        .dataset = source->dataset,
        .policy = source->policy,
        .solution = source->solution,
        .sequences = m->n_sequences,
        .params = params,
    };
    int64_t id;
    if (!db_add_analysis(db, &row, &id, e) || !store_curves(db, id, -1, -1, &m->all, e))
        return false;
    for (int i = 0; i < m->n_layers * m->n_heads; i++) {
        double agree;
        if (!miner_head_sequences(&m->heads[i]))
            continue;
        enum head_class class = miner_head_class(&m->heads[i], &agree);
        int layer = i / m->n_heads, head = i % m->n_heads;
        if (!db_add_head(db, id, layer, head, head_class_names[class], agree, e) ||
            !store_curves(db, id, layer, head, &m->heads[i].tally, e))
            return false;
    }
    return true;
}

bool miner_store(const struct miner *m, struct db *db, const struct miner_source *source,
                 struct err *e) {
    if (db_begin(db, e) && store_all(m, db, source, e) && db_commit(db, e))
        return true;
    db_rollback(db);
    return false;
}
