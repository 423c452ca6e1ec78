/* The proof in the database. */
#include <stdio.h>

#include "experiments/validate.h"
#include "store/db_analysis.h"

bool validate_store(const struct validation *v, const struct model *model, const char *summary,
                    struct db *db, int64_t run, struct err *e) {
    struct mine mine; /* names model and dataset */
    struct miner_source source;
    char dataset[120], params[400];
    snprintf(dataset, sizeof dataset, "lemmas:steps=%d,seed=%lld", (int)v->params.steps,
             (long long)v->params.seed);
    if (!mine_open(&mine, model, dataset, "auto", 1, 0, e))
        return false;
    option_json(lifecycle_options, &v->params.life, params, sizeof params);
    bool ok = mine_register(&mine, db, &source, e);
    struct db_analysis row = {.kind = "proof",
                              .run = run,
                              .model = source.model,
                              .dataset = source.dataset,
                              .policy = "full",
                              .solution = "gold",
                              .sequences = v->params.n,
                              .params = params,
                              .summary = summary};
    int64_t id;
    ok = ok && db_add_analysis(db, &row, &id, e);
    mine_close(&mine);
    return ok;
}
