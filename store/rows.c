/* Rows written: models, datasets, samples, cells, runs' cells, results. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "store/db_private.h"
#include "store/seal.h"

/* --- what a result refers to ------------------------------------------------------- */

bool db_model(struct db *db, const struct db_model *model, int64_t *id, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db,
                     "SELECT id FROM model WHERE name = ?1 AND weights_sha256 = ?2 "
                     "AND tokenizer_sha256 = ?3 AND template_sha256 IS ?4",
                     "INSERT INTO model (name, weights_sha256, tokenizer_sha256, template_sha256, "
                     "config) VALUES (?1, ?2, ?3, ?4, ?5)",
                     e))
        return false;
    db_row_text(&row, model->name);
    db_row_text(&row, model->weights_sha256);
    db_row_text(&row, model->tokenizer_sha256);
    db_row_text(&row, model->template_sha256);
    db_row_text(&row, model->config);
    return db_row_done(&row, id, e) || err_in(e, "model %s", model->name);
}

bool db_dataset(struct db *db, const struct db_dataset *dataset, int64_t *id, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, "SELECT id FROM dataset WHERE name = ?1 AND sha256 = ?2",
                     "INSERT INTO dataset (name, sha256, options, metric) VALUES (?1, ?2, ?3, ?4)",
                     e))
        return false;
    db_row_text(&row, dataset->name);
    db_row_text(&row, dataset->sha256);
    db_row_text(&row, dataset->options);
    db_row_text(&row, dataset->metric);
    return db_row_done(&row, id, e) || err_in(e, "dataset %s", dataset->name);
}

bool db_sample(struct db *db, const struct db_sample *sample, int64_t *id, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, "SELECT id FROM sample WHERE dataset_id = ?1 AND name = ?2",
                     "INSERT INTO sample (dataset_id, name, position, prompt, gold) "
                     "VALUES (?1, ?2, ?3, ?4, ?5)",
                     e))
        return false;
    db_row_int(&row, sample->dataset);
    db_row_text(&row, sample->name);
    db_row_int(&row, sample->position);
    db_row_text(&row, sample->prompt);
    db_row_text(&row, sample->gold);
    return db_row_done(&row, id, e) || err_in(e, "sample %s", sample->name);
}

bool db_cell(struct db *db, const struct db_cell *cell, int64_t *id, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, "SELECT id FROM cell WHERE config_sha256 = ?1",
                     "INSERT INTO cell (config_sha256, config, model_id, dataset_id, policy, "
                     "policy_options, policy_version, budget, prompt_variant, temperature, top_p, "
                     "seed, max_new, precision, backend, isa, width, timing) VALUES (?1, ?2, ?3, "
                     "?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
                     e))
        return false;
    char hash[HASH_HEX];
    hash_bytes(cell->config, strlen(cell->config), hash);
    db_row_text(&row, hash);
    db_row_text(&row, cell->config);
    db_row_int(&row, cell->model);
    db_row_int(&row, cell->dataset);
    db_row_text(&row, cell->policy);
    db_row_text(&row, cell->policy_options);
    db_row_int(&row, cell->policy_version);
    db_row_some(&row, cell->budget);
    db_row_text(&row, cell->prompt_variant);
    db_row_real(&row, cell->temperature);
    db_row_real(&row, cell->top_p);
    db_row_int(&row, cell->seed);
    db_row_int(&row, cell->max_new);
    db_row_text(&row, cell->precision);
    db_row_text(&row, cell->backend);
    db_row_text(&row, cell->isa);
    db_row_some(&row, cell->width);
    db_row_text(&row, cell->timing == DB_ISOLATED ? "isolated" : "shared");
    return db_row_done(&row, id, e) || err_in(e, "cell %s", cell->policy);
}

bool db_run_cell(struct db *db, int64_t run, int64_t cell, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, "SELECT 1 FROM run_cell WHERE run_id = ?1 AND cell_id = ?2",
                     "INSERT INTO run_cell (run_id, cell_id) VALUES (?1, ?2)", e))
        return false;
    db_row_int(&row, run);
    db_row_int(&row, cell);
    return db_row_done(&row, NULL, e);
}

bool db_run_plan(struct db *db, int64_t run, int64_t cell, int64_t answers, struct err *e) {
    struct db_row row;
    if (!db_row_open(&row, db, "SELECT 1 FROM run_plan WHERE run_id = ?1 AND cell_id = ?2",
                     "INSERT INTO run_plan (run_id, cell_id, answers) VALUES (?1, ?2, ?3)", e))
        return false;
    db_row_int(&row, run);
    db_row_int(&row, cell);
    db_row_int(&row, answers);
    return db_row_done(&row, NULL, e);
}

/* --- results -------------------------------------------------------------------------- */

void db_key(const char *config, const char *sample, int repeat, char out[HASH_HEX]) {
    char *text;
    int size =
        asprintf(&text, "{\"cell\":%s,\"repeat\":%d,\"sample\":\"%s\"}", config, repeat, sample);
    CHECK(size >= 0);
    hash_bytes(text, (size_t)size, out);
    free(text);
}

bool db_done(struct db *db, const char *key, bool *done, struct err *e) {
    struct db_query *q = db_query(db, "SELECT 1 FROM result WHERE key = ?1", e);
    if (!q)
        return false;
    db_bind_text(q, 1, key);
    *done = db_next(q, e);
    return db_query_end(q);
}

bool db_cell_score(struct db *db, int64_t cell, int64_t *n, int64_t *correct, struct err *e) {
    struct db_query *q = db_query(
        db, "SELECT count(*), ifnull(sum(correct), 0) FROM v_result WHERE cell_id = ?1", e);
    if (!q)
        return false;
    db_bind_int(q, 1, cell);
    bool ok = db_next(q, e);
    *n = ok ? db_int(q, 0) : 0;
    *correct = ok ? db_int(q, 1) : 0;
    return db_query_end(q);
}

void db_quote(const char *text, FILE *out) {
    if (!text) {
        fputs("NULL", out);
        return;
    }
    putc('\'', out);
    for (; *text; text++) {
        if (*text == '\'')
            putc('\'', out);
        putc(*text, out);
    }
    putc('\'', out);
}

/* Lossless text of an answer; the caller frees it. */
static char *encode(const char *text, size_t size, const char **encoding) {
    bool plain = utf8_check(text, size) == size && !memchr(text, '\0', size);
    *encoding = plain ? "utf8" : "hex";
    char *out = must_alloc(plain ? size + 1 : 2 * size + 1);
    if (plain)
        memcpy(out, text, size);
    else
        for (size_t i = 0; i < size; i++)
            snprintf(out + 2 * i, 3, "%02x", (unsigned char)text[i]);
    out[plain ? size : 2 * size] = '\0';
    return out;
}

/* Text with U+FFFD for what is no UTF-8; the caller frees it. */
static char *legible(const char *text) {
    size_t size = strlen(text);
    char *out = must_alloc(3 * size + 1);
    out[utf8_mend(text, size, out)] = '\0';
    return out;
}

static char *ids_json(const int32_t *ids, int n) {
    if (!ids)
        return NULL;
    struct json_out out = {0};
    json_put_ids(&out, ids, (size_t)n);
    return out.text;
}

static bool add_encoded(struct db *db, const struct db_result *r, const char *encoding,
                        const char *text, const char *extracted, const char *ids, struct err *e) {
    struct db_row row;
    if (!db_row_open(
            &row, db, NULL,
            "INSERT INTO result (key, run_id, cell_id, sample_id, repeat, created, finish, "
            "loop_period, correct_box, correct_chain, correct_mv, path, extracted, "
            "prompt_tokens, new_tokens, effective_budget, kv_tokens_peak, kv_bytes_peak, "
            "evictions, prefill_seconds, decode_seconds, ids, encoding, text) VALUES "
            "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, nullif(?11, -1), ?12, ?13, ?14, "
            "?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)",
            e))
        return false;
    char created[32];
    clock_utc(created);
    db_row_text(&row, r->key);
    db_row_int(&row, r->run);
    db_row_int(&row, r->cell);
    db_row_int(&row, r->sample);
    db_row_int(&row, r->repeat);
    db_row_text(&row, created);
    db_row_text(&row, r->finish);
    db_row_some(&row, r->loop_period);
    db_row_int(&row, r->correct_box);
    db_row_int(&row, r->correct_chain);
    db_row_int(&row, r->correct_mv);
    db_row_text(&row, r->path);
    db_row_text(&row, extracted);
    db_row_int(&row, r->n_prompt);
    db_row_int(&row, r->n_new);
    db_row_some(&row, r->effective_budget);
    db_row_int(&row, r->kept_peak);
    db_row_int(&row, (int64_t)r->kv_bytes_peak);
    db_row_int(&row, (int64_t)r->evictions);
    db_row_real(&row, r->prefill_seconds);
    db_row_real(&row, r->decode_seconds);
    db_row_text(&row, ids);
    db_row_text(&row, encoding);
    db_row_text(&row, text);
    int64_t id;
    return db_row_done(&row, &id, e) && seal_put(db, id, e);
}

bool db_add_result(struct db *db, const struct db_result *r, struct err *e) {
    bool done;
    if (!db_done(db, r->key, &done, e))
        return false;
    if (done)
        return err_set(e, EXIT_PARTIAL, "%s: result %.12s is stored already", db_path(db), r->key);
    const char *encoding;
    char *text = encode(r->text, r->text_size, &encoding);
    char *extracted = legible(r->extracted);
    char *ids = ids_json(r->ids, r->n_ids);
    bool ok = add_encoded(db, r, encoding, text, extracted, ids, e);
    free(text);
    free(extracted);
    free(ids);
    return ok;
}

bool db_regrade(struct db *db, int64_t result, const struct db_verdicts *v, struct err *e) {
    struct db_query *q =
        db_query(db,
                 "UPDATE result SET correct_box = ?1, correct_chain = ?2, correct_mv = ?3, "
                 "path = ?4, extracted = ?5 WHERE id = ?6",
                 e);
    if (!q)
        return false;
    char *extracted = legible(v->extracted);
    db_bind_int(q, 1, v->box);
    db_bind_int(q, 2, v->chain);
    db_bind_int(q, 3, v->mv);
    db_bind_text(q, 4, v->path);
    db_bind_text(q, 5, extracted);
    db_bind_int(q, 6, result);
    db_next(q, e);
    free(extracted);
    return db_query_end(q) && seal_put(db, result, e);
}
