/* The results table in every format against tests/golden/table/, and what it pairs with what.
 * The golden files are this program's own output, read and checked by eye; the numbers in them are
 * checked independently in test_db.c and test_stats.c. To renew them after a deliberate change of
 * layout:
 *
 *     RAAS_RENEW=1 make test ONLY=test_table && git diff tests/golden/table */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "analysis/results.h"
#include "analysis/table.h"
#include "base/file.h"
#include "tests/folder.h"
#include "tests/store_rows.h"

/* n answers of which the first `right` are right, the last `capped` reached the cap in a loop. */
static void add_cell(struct rows *rows, const char *policy, int64_t budget, int n, int right,
                     int capped) {
    char key[HASH_HEX];
    int64_t cell = rows_cell(rows, policy, budget, DB_SHARED);
    for (int i = 0; i < n; i++) {
        struct db_result result = rows_result(rows, cell, i, 0, i < right, key);
        result.n_new = 780 + i;
        if (!strcmp(policy, "quest"))
            result.kept_peak = 940;
        if (!strcmp(policy, "raas") && i % 4 == 0) {
            result.effective_budget = result.kept_peak = budget + 16;
            result.kv_bytes_peak = (uint64_t)result.kept_peak * 1536;
        }
        if (i >= n - capped) {
            result.finish = "cap";
            result.loop_period = 12;
            result.n_new = 1100;
        }
        rows_add(rows, &result);
    }
}

static void fill(const char *path) {
    struct rows rows = rows_open(path, "demo", "lemmas:steps=16", "chain");
    rows_begin(&rows);
    add_cell(&rows, "full", 0, 40, 39, 0);
    add_cell(&rows, "raas", 256, 40, 24, 2);
    add_cell(&rows, "raas", 512, 40, 38, 0);
    add_cell(&rows, "h2o", 256, 40, 10, 7);
    add_cell(&rows, "quest", 256, 40, 36, 0);
    rows_commit(&rows);
    db_close(rows.db);

    rows = rows_open(path, "speed", "lemmas:steps=16", "chain");
    rows_begin(&rows);
    char key[HASH_HEX];
    for (int policy = 0; policy < 2; policy++) {
        int64_t cell = rows_cell(&rows, policy ? "raas" : "full", policy ? 256 : 0, DB_ISOLATED);
        for (int i = 0; i < 5; i++) {
            struct db_result result = rows_result(&rows, cell, i, 0, true, key);
            result.decode_seconds = 1.6 + 0.2 * i - 0.7 * policy;
            rows_add(&rows, &result);
        }
    }
    rows_commit(&rows);
    db_close(rows.db);

    rows = rows_open(path, "names", "=set_1|50%&<\"odd\">", "box");
    rows_begin(&rows);
    for (int i = 0; i < 15; i++) {
        int64_t cell = rows_cell(&rows, "raas:alpha=0.001,score=prob", 1024, DB_SHARED);
        struct db_result result = rows_result(&rows, cell, i / 3, i % 3, i % 4 > 0, key);
        if (i == 0)
            result.finish = "numeric";
        rows_add(&rows, &result);
    }
    rows_commit(&rows);
    db_close(rows.db);
}

static struct db *open_filled(struct folder *folder) {
    struct err e = {0};
    const char *path = folder_path(folder, "raas.db");
    fill(path);
    struct db *db = db_open(path, DB_READ, &e);
    assert_non_null(db);
    return db;
}

/* The table as text; free() it. */
static char *printed(struct db *db, const char *run, const char *reference,
                     enum table_format format) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct err e = {0};
    if (!table_print_against(db, run, reference, format, out, &e))
        fail_msg("%s", e.text);
    fclose(out);
    return text;
}

static void test_table_formats_match_golden_files(void **state) {
    static const char *const files[] = {"text.txt", "csv.csv", "md.md", "latex.tex", "json.json"};
    struct db *db = open_filled(*state);
    for (int format = TABLE_TEXT; format <= TABLE_JSON; format++) {
        struct err e = {0};
        char path[64], *got = printed(db, NULL, "full", (enum table_format)format);
        snprintf(path, sizeof path, "tests/golden/table/%s", files[format]);
        if (getenv("RAAS_RENEW"))
            assert_true(file_write(path, got, strlen(got), NULL, 0, &e));
        size_t size;
        char *golden = file_read(path, 1 << 20, &size, &e);
        if (!golden)
            fail_msg("%s", e.text);
        assert_string_equal(got, golden);
        free(golden);
        free(got);
    }
    db_close(db);
}

static void test_table_text_fits_a_terminal(void **state) {
    struct db *db = open_filled(*state);
    char *text = printed(db, "demo", "full", TABLE_TEXT);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        assert_in_range(strlen(line), 0, 120);
    free(text);
    db_close(db);
}

static void test_table_csv_has_the_columns_of_the_view(void **state) {
    struct db *db = open_filled(*state);
    struct err e = {0};
    char head[2000] = "", *csv = printed(db, "demo", "full", TABLE_CSV);
    struct db_query *q = db_query(db, "SELECT * FROM v_accuracy", &e);
    assert_non_null(q);
    for (int c = 0; c < db_columns(q); c++)
        snprintf(head + strlen(head), sizeof head - strlen(head), "%s%s", c ? "," : "",
                 db_column(q, c));
    db_query_end(q);
    assert_memory_equal(csv, head, strlen(head));
    const char *hashes = ",dataset_sha256,weights_sha256,answered_wrong,looped,truncated,unboxed,"
                         "tokens_per_right,kv_bytes_per_right,seconds_per_right,planned\n";
    assert_memory_equal(csv + strlen(head), hashes, strlen(hashes));
    const char *asked =
        "model,dataset,policy,budget,mean_effective_budget,n,correct,accuracy,lo,hi,"
        "metric,mean_tokens,kv_tokens_peak,kv_bytes_peak,";
    assert_memory_equal(csv, asked, strlen(asked));
    free(csv);
    db_close(db);
}

static void test_table_shows_the_cells_of_a_run(void **state) {
    struct db *db = open_filled(*state);
    struct err e = {0};
    struct results results;
    assert_true(results_load(db, "speed", "full", &results, &e));
    assert_int_equal(results.n, 2);
    results_free(&results);
    assert_true(results_load(db, "1", "full", &results, &e));
    assert_int_equal(results.n, 5);
    results_free(&results);
    assert_false(results_load(db, "other", "full", &results, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    results_free(&results);
    e = (struct err){0};
    assert_false(
        results_load(db, "demo", "raas:budget=256", &results, &e)); /* nothing to compare */
    assert_int_equal(e.code, EXIT_USAGE);
    assert_non_null(strstr(e.text, "reference 'raas:budget=256'"));
    results_free(&results);
    db_close(db);
}

static const struct result_row *find(const struct results *results, const char *policy,
                                     int64_t budget) {
    for (int i = 0; i < results->n; i++)
        if (!strcmp(results->rows[i].policy, policy) && results->rows[i].budget == budget)
            return &results->rows[i];
    fail_msg("no row %s %d", policy, (int)budget);
    return NULL;
}

/* p-values: scipy.stats.binomtest(lost, gained + lost).pvalue, Holm by statsmodels' multipletests.
 */
static void test_table_compares_with_full_and_adjusts(void **state) {
    struct db *db = open_filled(*state);
    struct err e = {0};
    struct results results;
    assert_true(results_load(db, "demo", "full", &results, &e));
    const struct comparison *raas = &find(&results, "raas", 256)->against;
    assert_int_equal(raas->pairs, 40);
    assert_int_equal(raas->only_cell, 0);
    assert_int_equal(raas->only_reference, 15);
    assert_true(fabs(raas->difference + 0.375) < 1e-12);
    assert_true(fabs(raas->p - 6.103515625e-05) < 1e-12);
    assert_true(fabs(raas->p_holm - 3 * 6.103515625e-05) < 1e-12);
    assert_string_equal(compare_verdict(raas), "worse");
    const struct comparison *more = &find(&results, "raas", 512)->against;
    assert_true(fabs(more->p - 1) < 1e-12);
    assert_string_equal(compare_verdict(more), "not distinguishable");
    assert_int_equal(find(&results, "full", 0)->against.pairs, 0);
    results_free(&results);
    db_close(db);
}

/* raas grew on every fourth problem: those are no pairs for h2o at 256. */
static void test_table_pairs_equal_effective_budgets_only(void **state) {
    struct db *db = open_filled(*state);
    struct err e = {0};
    struct results results;
    assert_true(results_load(db, "demo", "raas", &results, &e));
    assert_int_equal(find(&results, "h2o", 256)->against.pairs, 30);
    assert_int_equal(find(&results, "raas", 256)->against.pairs, 0);
    assert_int_equal(find(&results, "full", 0)->against.pairs, 0);
    results_free(&results);
    db_close(db);
}

/* Three draws of each of 5 problems are 15 pairs of 5 problems: McNemar would count them as 15. */
static void test_table_repeats_are_tested_by_problem(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "lemmas", "chain");
    char key[HASH_HEX];
    rows_begin(&rows);
    for (int policy = 0; policy < 2; policy++) {
        int64_t cell = rows_cell(&rows, policy ? "raas" : "full", policy ? 256 : 0, DB_SHARED);
        for (int i = 0; i < 15; i++) {
            struct db_result result = rows_result(&rows, cell, i / 3, i % 3, !policy, key);
            rows_add(&rows, &result);
        }
    }
    rows_commit(&rows);
    struct err e = {0};
    struct results results;
    assert_true(results_load(rows.db, NULL, "full", &results, &e));
    const struct comparison *raas = &find(&results, "raas", 256)->against;
    assert_int_equal(raas->pairs, 15);
    assert_true(raas->difference == -1);
    assert_true(fabs(raas->p - 2. / 32) < 1e-12); /* both ends of 2^5 flips; McNemar: 6e-5 */
    results_free(&results);
    db_close(rows.db);
}

/* full answers once, the other draws thrice: all three count, as they do in its accuracy. */
static void test_table_one_answer_meets_every_repeat(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "lemmas", "chain");
    char key[HASH_HEX];
    rows_begin(&rows);
    int64_t full = rows_cell(&rows, "full", 0, DB_SHARED);
    int64_t drawing = rows_cell(&rows, "random", 256, DB_SHARED);
    for (int i = 0; i < 12; i++) {
        struct db_result result = rows_result(&rows, drawing, i / 3, i % 3, i % 3 == 0, key);
        rows_add(&rows, &result);
        if (i % 3 == 0) {
            result = rows_result(&rows, full, i / 3, 0, true, key);
            rows_add(&rows, &result);
        }
    }
    rows_commit(&rows);
    struct err e = {0};
    struct results results;
    assert_true(results_load(rows.db, NULL, "full", &results, &e));
    const struct comparison *random = &find(&results, "random", 256)->against;
    assert_int_equal(random->pairs, 12);
    assert_int_equal(random->only_reference, 8);
    assert_true(fabs(random->difference + 8. / 12) < 1e-12);
    results_free(&results);
    db_close(rows.db);
}

/* Answers of the same problems in cells that differ in one thing more than the policy. */
static void test_table_pairs_only_what_is_equal_but_for_the_policy(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "lemmas", "chain");
    rows_begin(&rows);
    rows.stop_loops = true;
    add_cell(&rows, "full", 0, 4, 4, 0);
    rows.stop_loops = false, rows.result_versions = 1;
    add_cell(&rows, "full", 0, 4, 4, 0);
    rows.result_versions = 0;
    add_cell(&rows, "h2o", 256, 4, 1, 0);
    rows_commit(&rows);
    struct err e = {0};
    struct results results;
    assert_true(results_load(rows.db, NULL, "full", &results, &e));
    assert_int_equal(find(&results, "h2o", 256)->against.pairs, 0);
    results_free(&results);
    char *text = printed(rows.db, NULL, "full", TABLE_TEXT);
    assert_non_null(strstr(text, "new tokens, loops stopped\n"));
    assert_non_null(strstr(text, "new tokens, result version 2\n"));
    assert_non_null(strstr(text, "new tokens\n"));
    free(text);
    db_close(rows.db);
}

/* The first version of full is right, the second wrong: it is the second that counts. */
static void test_table_tells_versions_of_a_policy_apart(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "lemmas", "chain");
    rows_begin(&rows);
    add_cell(&rows, "full", 0, 4, 4, 0);
    add_cell(&rows, "h2o", 256, 4, 1, 0);
    rows.versions = 1;
    add_cell(&rows, "full", 0, 4, 0, 0);
    rows_commit(&rows);
    struct err e = {0};
    struct results results;
    assert_true(results_load(rows.db, NULL, "full", &results, &e));
    assert_int_equal(find(&results, "h2o", 256)->against.pairs, 4);
    assert_int_equal(find(&results, "h2o", 256)->against.only_cell, 1);
    assert_int_equal(find(&results, "full (version 1)", 0)->right, 4);
    assert_int_equal(find(&results, "full (version 2)", 0)->right, 0);
    results_free(&results);
    db_close(rows.db);
}

/* Another file of the same name: a section of its own, with the hash in its heading. */
static void test_table_tells_files_of_one_name_apart(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "gsm8k", "chain");
    struct err e = {0};
    rows_begin(&rows);
    add_cell(&rows, "full", 0, 4, 4, 0);
    char hash[HASH_HEX];
    hash_bytes("other", 5, hash);
    struct db_dataset other = {.name = "gsm8k", .options = "{}", .sha256 = hash, .metric = "chain"};
    assert_true(db_dataset(rows.db, &other, &rows.dataset, &e));
    add_cell(&rows, "h2o", 256, 4, 1, 0);
    rows_commit(&rows);
    char heading[80], *text = printed(rows.db, NULL, "full", TABLE_TEXT);
    snprintf(heading, sizeof heading, "tiny on gsm8k (SHA-256 %.8s)\n", hash);
    assert_non_null(strstr(text, heading));
    assert_non_null(strstr(text, "tiny on gsm8k (SHA-256 00000000)\n"));
    assert_null(strstr(text, "Against"));
    free(text);
    text = printed(rows.db, NULL, "full", TABLE_CSV);
    assert_non_null(strstr(text, hash));
    free(text);
    db_close(rows.db);
}

static void test_table_says_when_there_is_nothing(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "lemmas", "chain");
    struct err e = {0};
    assert_false(table_print(rows.db, NULL, TABLE_TEXT, stderr, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "no results yet"));
    db_close(rows.db);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_table_formats_match_golden_files),
        IN_FOLDER(test_table_text_fits_a_terminal),
        IN_FOLDER(test_table_csv_has_the_columns_of_the_view),
        IN_FOLDER(test_table_shows_the_cells_of_a_run),
        IN_FOLDER(test_table_compares_with_full_and_adjusts),
        IN_FOLDER(test_table_pairs_equal_effective_budgets_only),
        IN_FOLDER(test_table_repeats_are_tested_by_problem),
        IN_FOLDER(test_table_one_answer_meets_every_repeat),
        IN_FOLDER(test_table_pairs_only_what_is_equal_but_for_the_policy),
        IN_FOLDER(test_table_tells_versions_of_a_policy_apart),
        IN_FOLDER(test_table_tells_files_of_one_name_apart),
        IN_FOLDER(test_table_says_when_there_is_nothing),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
