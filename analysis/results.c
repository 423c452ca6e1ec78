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
    "  SELECT v_accuracy.*, v_outcome.wrong AS outcome_wrong, looped, truncated, unboxed, "
    "    tokens_per_right, kv_bytes_per_right, seconds_per_right, cell.config, cell.policy_version, dataset.sha256 AS file, "
    "    weights_sha256, tokenizer_sha256, ifnull(template_sha256, '') AS template_sha256 "
    "  FROM v_accuracy JOIN v_outcome USING (cell_id) "
    "  JOIN cell ON cell.id = v_accuracy.cell_id "
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
    "  ifnull(budget, 0), mean_effective_budget, n, samples, correct, outcome_wrong, looped, "
    "  truncated, unboxed, numeric, accuracy, lo, hi, mean_tokens, kv_tokens_peak, kv_bytes_peak, "
    "  ttft_seconds, tpot_seconds, jct_seconds, tokens_per_right, kv_bytes_per_right, "
    "  seconds_per_right, "
    "  (SELECT json_extract(run.experiment, '$.margin') FROM run_cell "
    "   JOIN run ON run.id = run_cell.run_id WHERE run_cell.cell_id = hashed.cell_id "
    "   AND (?1 = 0 OR run.id = ?1) ORDER BY run.started DESC, run.id DESC LIMIT 1) "
    "FROM hashed ORDER BY 2, 3, settings, hashed.policy <> 'full', 4, budget, cell_id";
// clang-format on

bool results_run(struct db *db, const char *run, int64_t *id, struct err *e) {
    *id = 0;
    if (!run)
        return true;
    struct db_query *q = db_query(db,
                                  "SELECT id FROM run WHERE name = ?1 OR CAST(id AS TEXT) = ?1 "
                                  "ORDER BY name = ?1 DESC, started DESC, id DESC LIMIT 1",
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
                               .right = db_int(q, 10),
                               .wrong = db_int(q, 11),
                               .looped = db_int(q, 12),
                               .truncated = db_int(q, 13),
                               .unboxed = db_int(q, 14),
                               .numeric = db_int(q, 15),
                               .accuracy = db_real(q, 16),
                               .lo = db_real(q, 17),
                               .hi = db_real(q, 18),
                               .mean_tokens = db_real(q, 19),
                               .kv_tokens = db_real(q, 20),
                               .kv_bytes = db_real(q, 21),
                               .ttft = db_real(q, 22),
                               .tpot = db_real(q, 23),
                               .jct = db_real(q, 24),
                               .tokens_per_right = db_real(q, 25),
                               .kv_bytes_per_right = db_real(q, 26),
                               .seconds_per_right = db_real(q, 27),
                               .margin =
                                   db_type(q, 28) == DB_NULL ? COMPARE_MARGIN : db_real(q, 28)};
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

static int compared(const struct result_row *rows, int n, double *p, double *p_margin) {
    int count = 0;
    for (int i = 0; i < n; i++)
        if (rows[i].against.pairs) {
            p[count] = rows[i].against.p;
            p_margin[count++] = rows[i].against.p_margin;
        }
    return count;
}

/* Rows come ordered by model and dataset: each family is one stretch. */
static void adjust(struct results *results) {
    double *p = must_alloc((size_t)results->n * sizeof *p);
    double *p_margin = must_alloc((size_t)results->n * sizeof *p_margin);
    for (int from = 0, to; from < results->n; from = to) {
        struct result_row *first = &results->rows[from];
        for (to = from; to < results->n && !strcmp(results->rows[to].model, first->model) &&
                        !strcmp(results->rows[to].dataset, first->dataset);
             to++)
            ;
        int n = compared(first, to - from, p, p_margin);
        stats_holm(p, (size_t)n);
        stats_holm(p_margin, (size_t)n);
        n = 0;
        for (int i = from; i < to; i++)
            if (results->rows[i].against.pairs) {
                results->rows[i].against.p_holm = p[n];
                results->rows[i].against.p_margin_holm = p_margin[n++];
            }
    }
    free(p);
    free(p_margin);
}

/* A cell is complete when it holds what the newest run that planned it asked for. */
static bool count_plan(struct db *db, struct results *out, struct err *e) {
    struct db_query *q =
        db_query(db,
                 "WITH newest AS ("
                 "  SELECT v_plan.*, row_number() OVER (PARTITION BY cell_id "
                 "    ORDER BY run.started DESC, run.id DESC) AS place "
                 "  FROM v_plan JOIN run ON run.id = v_plan.run_id WHERE ?1 = 0 OR run.id = ?1) "
                 "SELECT sum(planned), sum(stored) FROM newest WHERE place = 1",
                 e);
    if (!q)
        return false;
    db_bind_int(q, 1, out->run);
    if (db_next(q, e))
        out->planned = db_int(q, 0), out->stored = db_int(q, 1);
    return db_query_end(q);
}

bool results_partial(const struct results *results) { return results->stored < results->planned; }

/* A table without `full` compares nothing; a name that was asked for and isn't there is an error.
 */
static bool check_reference(const struct db *db, const struct results *results,
                            const char *reference, struct err *e) {
    bool found = !results->n || !strcmp(reference, "full");
    for (int i = 0; !found && i < results->n; i++)
        found = !strcmp(results->rows[i].policy, reference);
    return found || err_set(e, EXIT_USAGE,
                            "%s: reference '%s': expected a policy as the table spells it, without "
                            "its budget",
                            db_path(db), reference);
}

bool results_load(struct db *db, const char *run, const char *reference, struct results *out,
                  struct err *e) {
    *out = (struct results){0};
    if (!results_run(db, run, &out->run, e) || !load_rows(db, out, e) || !count_plan(db, out, e) ||
        !check_reference(db, out, reference, e))
        return false;
    for (int i = 0; i < out->n; i++)
        if (!compare_cell(db, out->rows[i].cell, reference, out->rows[i].margin,
                          &out->rows[i].against, e))
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
