/* See store_rows.h. */
#include "tests/store_rows.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

/* Prints the error, so that the log of a failed test says why. */
static void must(bool ok, const struct err *e) {
    if (!ok)
        fail_msg("%s", e->text);
}

struct rows rows_open(const char *path, const char *run, const char *dataset, const char *metric) {
    struct err e = {0};
    struct rows rows = {.db = db_open(path, DB_WRITE, &e)};
    must(rows.db, &e);
    char *argv[] = {"raas", "run", "test.json"};
    struct db_run r = {
        .name = run, .experiment = "{}", .argc = 3, .argv = argv, .threads = 2, .isa = "fp32"};
    must(db_run_start(rows.db, &r, &rows.run, &e), &e);
    struct db_model model = {.name = "tiny", .weights_sha256 = ZEROS, .tokenizer_sha256 = ZEROS};
    must(db_model(rows.db, &model, &rows.model, &e), &e);
    struct db_dataset d = {.name = dataset, .options = "{}", .sha256 = ZEROS, .metric = metric};
    must(db_dataset(rows.db, &d, &rows.dataset, &e), &e);
    return rows;
}

int64_t rows_cell(struct rows *rows, const char *policy, int64_t budget, enum db_timing timing) {
    struct err e = {0};
    struct json_out config = {0};
    json_open(&config, '{');
    json_add_int(&config, "dataset", rows->dataset);
    json_name(&config, "policy");
    json_open(&config, '{');
    json_add_int(&config, "budget", budget);
    json_add_text(&config, "name", policy);
    json_add_int(&config, "version", 1 + rows->versions);
    json_close(&config, '}');
    json_add_int(&config, "result_version", 1 + rows->result_versions);
    json_add_bool(&config, "stop_loops", rows->stop_loops);
    json_add_int(&config, "timing", timing);
    json_close(&config, '}');
    struct db_cell cell = {.model = rows->model,
                           .dataset = rows->dataset,
                           .config = config.text,
                           .policy = policy,
                           .policy_options = "{}",
                           .policy_version = 1 + rows->versions,
                           .budget = budget,
                           .prompt_variant = "none",
                           .top_p = 1,
                           .max_new = 1200,
                           .precision = "bf16",
                           .backend = "cpu",
                           .isa = "avx2",
                           .timing = timing};
    int64_t id;
    must(db_cell(rows->db, &cell, &id, &e), &e);
    must(db_run_cell(rows->db, rows->run, id, &e), &e);
    free(config.text);
    return id;
}

struct db_result rows_result(struct rows *rows, int64_t cell, int i, int repeat, bool correct,
                             char key[HASH_HEX]) {
    struct err e = {0};
    char name[32], config[32];
    snprintf(name, sizeof name, "p%d", i);
    struct db_sample sample = {
        .dataset = rows->dataset, .name = name, .position = i, .prompt = "How many?", .gold = "77"};
    int64_t id;
    must(db_sample(rows->db, &sample, &id, &e), &e);
    snprintf(config, sizeof config, "{\"cell\":%d}", (int)cell);
    db_key(config, name, repeat, key);
    struct db_query *q = db_query(rows->db, "SELECT ifnull(budget, 0) FROM cell WHERE id = ?", &e);
    must(q, &e);
    db_bind_int(q, 1, cell);
    must(db_next(q, &e), &e);
    int64_t budget = db_int(q, 0);
    db_query_end(q);
    return (struct db_result){.key = key,
                              .run = rows->run,
                              .cell = cell,
                              .sample = id,
                              .repeat = repeat,
                              .text = correct ? "The answer is 77." : "The answer is 7.",
                              .text_size = correct ? 17 : 16,
                              .n_prompt = 160,
                              .n_new = 800,
                              .finish = "answer",
                              .correct_box = correct,
                              .correct_chain = correct,
                              .correct_mv = -1,
                              .path = "phrase",
                              .extracted = correct ? "77" : "7",
                              .effective_budget = budget,
                              .kept_peak = budget ? budget : 959,
                              .kv_bytes_peak = (uint64_t)(budget ? budget : 959) * 1536,
                              .evictions = budget ? 1000 : 0,
                              .prefill_seconds = 0.25,
                              .decode_seconds = 2.0};
}

void rows_add(struct rows *rows, const struct db_result *result) {
    struct err e = {0};
    must(db_add_result(rows->db, result, &e), &e);
}

void rows_begin(struct rows *rows) {
    struct err e = {0};
    must(db_begin(rows->db, &e), &e);
}

void rows_commit(struct rows *rows) {
    struct err e = {0};
    must(db_commit(rows->db, &e), &e);
}

/* First column of the first row, as text; free() it. */
static char *ask(struct db *db, const char *sql) {
    struct err e = {0};
    struct db_query *q = db_query(db, sql, &e);
    if (!q || !db_next(q, &e))
        fail_msg("%s: %s", sql, e.code ? e.text : "no row");
    char *out = must_strdup(db_text(q, 0));
    db_query_end(q);
    return out;
}

void rows_expect(struct db *db, const char *sql, const char *expected) {
    char *got = ask(db, sql);
    if (strcmp(got, expected))
        fail_msg("%s\n  gave     %s\n  expected %s", sql, got, expected);
    free(got);
}

void rows_expect_real(struct db *db, const char *sql, double expected) {
    char *got = ask(db, sql);
    if (!(fabs(atof(got) - expected) < 1e-12))
        fail_msg("%s\n  gave     %s\n  expected %.15g", sql, got, expected);
    free(got);
}
