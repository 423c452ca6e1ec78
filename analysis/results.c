#include "analysis/results.h"

#include <stdlib.h>
#include <string.h>

// clang-format off
/* What tells rows apart that agree in `same`, where they differ in `hash`. */
#define MARK(same, hash, word)                                                                     \
    "CASE WHEN min(" hash ") OVER (PARTITION BY " same ") = max(" hash                             \
    ") OVER (PARTITION BY " same ") THEN '' ELSE ' (" word " ' || substr(" hash ", 1, 8) || ')' END"

/* A section of a table is one model, dataset and settings: all that decides a result shows in these,
 * but policy and budget. Of cell.config settings say what is not as by default. */
static const char rows_sql[] =
    "WITH hashed AS ("
    "  SELECT v_accuracy.*, cell.config, cell.policy_version, dataset.sha256 AS file, "
    "    weights_sha256, tokenizer_sha256, ifnull(template_sha256, '') AS template_sha256 "
    "  FROM v_accuracy JOIN cell ON cell.id = v_accuracy.cell_id "
    "  JOIN model ON model.id = cell.model_id JOIN dataset ON dataset.id = cell.dataset_id "
    "  WHERE ?1 = 0 OR cell_id IN (SELECT cell_id FROM run_cell WHERE run_id = ?1)) "
    "SELECT cell_id, "
    "  model || " MARK("model", "weights_sha256", "weights") " || "
    "    " MARK("model", "tokenizer_sha256", "tokenizer") " || "
    "    " MARK("model, prompt_variant", "template_sha256", "template") ", "
    "  dataset || " MARK("dataset", "file", "SHA-256") ", "
    "  policy || " MARK("policy", "policy_version", "version") ", metric, "
    "  precision || ' on ' || backend || ' (' || isa || '), ' || "
    "  CASE WHEN temperature = 0 THEN 'greedy' "
    "       ELSE 'temperature ' || temperature || ', top-p ' || top_p END || "
    "  ', seed ' || seed || "
    "  CASE prompt_variant WHEN 'none' THEN '' ELSE ', prompt ' || prompt_variant END || "
    "  ', at most ' || max_new || ' new tokens' || ifnull(', width ' || width, '') || "
    "  CASE timing WHEN 'isolated' THEN ', isolated' ELSE '' END || "
    "  CASE WHEN json_extract(config, '$.stop_loops') THEN ', loops stopped' ELSE '' END || "
    "  ifnull(', result version ' || nullif(json_extract(config, '$.result_version'), 1), '') "
    "    AS settings, "
    "  ifnull(budget, 0), mean_effective_budget, n, samples, correct, wrong, capped, numeric, "
    "  loops, accuracy, lo, hi, mean_tokens, kv_tokens_peak, kv_bytes_peak, ttft_seconds, "
    "  tpot_seconds, jct_seconds "
    "FROM hashed ORDER BY 2, 3, settings, hashed.policy <> 'full', 4, budget, cell_id";
// clang-format on

bool results_run(struct db *db, const char *run, int64_t *id, struct err *e) {
    *id = 0;
    if (!run)
        return true;
    struct db_query *q = db_query(db,
                                  "SELECT id FROM run WHERE name = ?1 OR CAST(id AS TEXT) = ?1 "
                                  "ORDER BY name = ?1 DESC, id DESC LIMIT 1",
                                  e);
    if (!q)
        return false;
    db_bind_text(q, 1, run);
    bool found = db_next(q, e);
    *id = found ? db_int(q, 0) : 0;
    if (!db_query_end(q))
        return false;
    return found || err_set(e, EXIT_USAGE, "%s: no run '%s'", db_path(db), run);
}

static struct result_row read_row(const struct db_query *q) {
    return (struct result_row){.cell = db_int(q, 0),
                               .model = must_strdup(db_text(q, 1)),
                               .dataset = must_strdup(db_text(q, 2)),
                               .policy = must_strdup(db_text(q, 3)),
                               .metric = must_strdup(db_text(q, 4)),
                               .settings = must_strdup(db_text(q, 5)),
                               .budget = db_int(q, 6),
                               .effective = db_real(q, 7),
                               .n = db_int(q, 8),
                               .samples = db_int(q, 9),
                               .correct = db_int(q, 10),
                               .wrong = db_int(q, 11),
                               .capped = db_int(q, 12),
                               .numeric = db_int(q, 13),
                               .loops = db_int(q, 14),
                               .accuracy = db_real(q, 15),
                               .lo = db_real(q, 16),
                               .hi = db_real(q, 17),
                               .mean_tokens = db_real(q, 18),
                               .kv_tokens = db_real(q, 19),
                               .kv_bytes = db_real(q, 20),
                               .ttft = db_real(q, 21),
                               .tpot = db_real(q, 22),
                               .jct = db_real(q, 23)};
}

static bool load_rows(struct db *db, struct results *out, struct err *e) {
    struct db_query *q = db_query(db, rows_sql, e);
    if (!q)
        return false;
    db_bind_int(q, 1, out->run);
    while (db_next(q, e)) {
        out->rows = must_realloc(out->rows, (size_t)(out->n + 1) * sizeof *out->rows);
        out->rows[out->n++] = read_row(q);
    }
    if (!db_query_end(q))
        return false;
    return out->n > 0 || err_set(e, EXIT_CONTENT, "%s: no results yet", db_path(db));
}

/* Rows come ordered by model and dataset: each family is one stretch. */
static void adjust(struct results *results) {
    double *p = must_alloc((size_t)results->n * sizeof *p);
    for (int from = 0, to; from < results->n; from = to) {
        const struct result_row *first = &results->rows[from];
        size_t n = 0;
        for (to = from; to < results->n && !strcmp(results->rows[to].model, first->model) &&
                        !strcmp(results->rows[to].dataset, first->dataset);
             to++)
            if (results->rows[to].against.pairs)
                p[n++] = results->rows[to].against.p;
        stats_holm(p, n);
        n = 0;
        for (int i = from; i < to; i++)
            if (results->rows[i].against.pairs)
                results->rows[i].against.p_holm = p[n++];
    }
    free(p);
}

bool results_load(struct db *db, const char *run, const char *reference, struct results *out,
                  struct err *e) {
    *out = (struct results){0};
    if (!results_run(db, run, &out->run, e) || !load_rows(db, out, e))
        return false;
    for (int i = 0; i < out->n; i++)
        if (!compare_cell(db, out->rows[i].cell, reference, &out->rows[i].against, e))
            return false;
    adjust(out);
    return true;
}

void results_free(struct results *results) {
    for (int i = 0; i < results->n; i++) {
        struct result_row *row = &results->rows[i];
        free(row->model);
        free(row->dataset);
        free(row->policy);
        free(row->metric);
        free(row->settings);
    }
    free(results->rows);
    *results = (struct results){0};
}
