/* The heads that read lemmas, from a stored proof. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "experiments/explain.h"

static bool take(struct explain_heads *heads, const struct json *head, double least) {
    double f1, theta;
    int64_t layer, number;
    if (!json_number(json_get(head, "f1"), &f1) || !json_number(json_get(head, "theta"), &theta) ||
        !json_integer(json_get(head, "layer"), 0, 1 << 20, &layer) ||
        !json_integer(json_get(head, "head"), 0, 1 << 20, &number))
        return false;
    if (f1 >= least && heads->n < EXPLAIN_HEADS)
        heads->items[heads->n++] = (struct validated_head){(int)layer, (int)number, theta, f1};
    return true;
}

static bool read_proof(struct explain_heads *heads, const char *text, double least, struct err *e) {
    struct json_doc *doc = json_parse(text, strlen(text), "proof", e);
    bool ok = doc != NULL;
    double best = 0, f1;
    const struct json *list = ok ? json_get(json_root(doc), "heads") : NULL;
    for (const struct json *h = list ? json_first(list) : NULL; ok && h; h = json_next(h)) {
        ok = take(heads, h, least) || err_set(e, EXIT_CONTENT, "proof: a head without numbers");
        if (ok && json_number(json_get(h, "f1"), &f1) && f1 > best)
            best = f1;
    }
    if (ok && !heads->n)
        err_set(e, EXIT_CONTENT,
                "no head of this model reads lemmas with an F1 of %g, the best has %.3f: see raas "
                "analyze --validate, or ask for less with --f1",
                least, best);
    json_free(doc);
    return ok && heads->n;
}

bool explain_heads_load(struct explain_heads *heads, struct db *db, const struct model *model,
                        double least, bool *found, struct err *e) {
    *heads = (struct explain_heads){0};
    struct db_query *q =
        db_query(db,
                 "SELECT summary FROM analysis JOIN model ON model.id = analysis.model_id "
                 "WHERE kind = 'proof' AND weights_sha256 = ?1 AND tokenizer_sha256 = ?2 "
                 "ORDER BY analysis.id DESC LIMIT 1",
                 e);
    if (!q)
        return false;
    db_bind_text(q, 1, model->hash);
    db_bind_text(q, 2, model->tokenizer_hash);
    *found = db_next(q, e);
    bool ok = !*found || read_proof(heads, db_text(q, 0), least, e);
    return db_query_end(q) && ok;
}

char *explain_heads_json(const struct explain_heads *heads) {
    struct json_out o = {0};
    json_open(&o, '[');
    for (int h = 0; h < heads->n; h++) {
        json_open(&o, '{');
        json_add_int(&o, "head", heads->items[h].head);
        json_add_int(&o, "layer", heads->items[h].layer);
        json_add_real(&o, "theta", heads->items[h].theta);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    return o.text;
}
