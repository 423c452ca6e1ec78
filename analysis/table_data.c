#include "analysis/table_data.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/real.h"

static struct db_query *select_rows(struct db *db, const struct results *results, struct err *e) {
    struct db_query *q =
        db_query(db,
                 "SELECT v_accuracy.*, dataset.sha256 AS dataset_sha256, weights_sha256, "
                 "  v_outcome.wrong AS answered_wrong, looped, truncated, unboxed, "
                 "  tokens_per_right, kv_bytes_per_right, seconds_per_right, "
                 "  (SELECT planned FROM v_plan JOIN run ON run.id = v_plan.run_id "
                 "   WHERE v_plan.cell_id = cell.id AND (?1 = 0 OR run.id = ?1) "
                 "   ORDER BY run.started DESC, run.id DESC LIMIT 1) AS planned "
                 "FROM v_accuracy JOIN cell ON cell.id = v_accuracy.cell_id "
                 "JOIN v_outcome ON v_outcome.cell_id = cell.id "
                 "JOIN model ON model.id = cell.model_id "
                 "JOIN dataset ON dataset.id = cell.dataset_id "
                 "WHERE ?1 = 0 OR cell.id IN (SELECT cell_id FROM run_cell WHERE run_id = ?1)",
                 e);
    if (q)
        db_bind_int(q, 1, results->run);
    return q;
}

static void csv_text(const char *text, FILE *out) {
    const char *guard = strchr("=+-@\t\r", text[0]) && text[0] ? "'" : "";
    if (!strpbrk(text, ",\"\r\n")) {
        fprintf(out, "%s%s", guard, text);
        return;
    }
    fprintf(out, "\"%s", guard);
    for (; *text; text++) {
        if (*text == '"')
            putc('"', out);
        putc(*text, out);
    }
    putc('"', out);
}

static void csv_value(const struct db_query *q, int column, FILE *out) {
    char number[REAL_TEXT];
    switch (db_type(q, column)) {
    case DB_NULL:
        break;
    case DB_REAL:
        real_spell(db_real(q, column), number);
        fputs(number, out);
        break;
    case DB_INT:
        fputs(db_text(q, column), out);
        break;
    case DB_TEXT:
        csv_text(db_text(q, column), out);
    }
}

bool table_csv(struct db *db, const struct results *results, FILE *out, struct err *e) {
    struct db_query *q = select_rows(db, results, e);
    if (!q)
        return false;
    int n = db_columns(q);
    for (int c = 0; c < n; c++)
        fprintf(out, "%s%s", c ? "," : "", db_column(q, c));
    putc('\n', out);
    while (db_next(q, e)) {
        for (int c = 0; c < n; c++) {
            if (c)
                putc(',', out);
            csv_value(q, c, out);
        }
        putc('\n', out);
    }
    return db_query_end(q);
}

static void json_comparison(const struct comparison *against, const char *reference,
                            struct json_out *json) {
    json_name(json, "comparison");
    if (against->pairs == 0) {
        json_put_null(json);
        return;
    }
    json_open(json, '{');
    json_add_text(json, "reference", reference);
    json_add_int(json, "pairs", against->pairs);
    json_add_int(json, "problems", against->problems);
    json_add_int(json, "only_policy", against->only_cell);
    json_add_int(json, "only_reference", against->only_reference);
    json_add_real(json, "difference", against->difference);
    json_add_real(json, "lo", against->ci.lo);
    json_add_real(json, "hi", against->ci.hi);
    json_add_real(json, "p", against->p);
    json_add_real(json, "p_holm", against->p_holm);
    json_add_real(json, "margin", against->margin);
    json_add_real(json, "p_margin", against->p_margin);
    json_add_real(json, "p_margin_holm", against->p_margin_holm);
    json_add_text(json, "verdict", compare_verdict(against));
    json_close(json, '}');
}

static const struct comparison *find_comparison(const struct results *results, int64_t cell) {
    static const struct comparison none;
    for (int i = 0; i < results->n; i++)
        if (results->rows[i].cell == cell)
            return &results->rows[i].against;
    return &none;
}

bool table_json(struct db *db, const struct results *results, const char *reference, FILE *out,
                struct err *e) {
    struct db_query *q = select_rows(db, results, e);
    if (!q)
        return false;
    for (const char *before = "["; db_next(q, e); before = ",") {
        struct json_out json = {0};
        json_open(&json, '{');
        int64_t cell = 0;
        for (int c = 0; c < db_columns(q); c++) {
            db_put_json(q, c, &json);
            if (!strcmp(db_column(q, c), "cell_id"))
                cell = db_int(q, c);
        }
        json_comparison(find_comparison(results, cell), reference, &json);
        json_close(&json, '}');
        fprintf(out, "%s\n%s", before, json.text);
        free(json.text);
    }
    fputs("\n]\n", out);
    return db_query_end(q);
}
