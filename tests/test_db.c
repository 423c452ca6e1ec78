/* The results database: what is stored, and what its views say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/folder.h"
#include "tests/store_rows.h"

static void test_db_stores_and_finds_again(void **state) {
    const char *path = folder_path(*state, "new/folders/raas.db");
    char key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas:steps=16", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    assert_int_equal(cell, rows_cell(&rows, "raas", 256, DB_SHARED));
    assert_int_not_equal(cell, rows_cell(&rows, "raas", 384, DB_SHARED));
    assert_int_not_equal(cell, rows_cell(&rows, "raas", 256, DB_ISOLATED));

    struct err e = {0};
    bool done = true;
    struct db_result result = rows_result(&rows, cell, 3, 0, true, key);
    result.ids = (const int32_t[]){5, 6, 7};
    result.n_ids = 3;
    assert_true(db_done(rows.db, key, &done, &e));
    assert_false(done);
    rows_add(&rows, &result);
    assert_true(db_run_finish(rows.db, rows.run, DB_FINISHED, &e));
    assert_true(db_verify(rows.db, &e));
    db_close(rows.db);

    struct rows again = rows_open(path, "demo", "lemmas:steps=16", "chain");
    assert_int_equal(again.model, rows.model);
    assert_int_equal(again.dataset, rows.dataset);
    assert_int_not_equal(again.run, rows.run);
    assert_true(db_done(again.db, key, &done, &e));
    assert_true(done);
    int64_t n, correct;
    assert_true(db_cell_score(again.db, cell, &n, &correct, &e));
    assert_int_equal(n, 1);
    assert_int_equal(correct, 1);
    rows_expect(again.db, "SELECT text || ' ' || encoding FROM result", "The answer is 77. utf8");
    rows_expect(again.db, "SELECT ids FROM result", "[5,6,7]");
    rows_expect(again.db, "SELECT loop_period IS NULL AND correct_mv IS NULL FROM result", "1");
    rows_expect(again.db, "SELECT status FROM run WHERE id = 1", "finished");
    rows_expect(again.db, "SELECT status FROM run WHERE id = 2", "running");
    rows_expect(again.db, "SELECT json_extract(argv, '$[2]') FROM run", "test.json");
    rows_expect(again.db, "SELECT count(*) FROM machine", "1");
    rows_expect(again.db, "SELECT sample || ' ' || position FROM v_result", "p3 3");
    db_close(again.db);
}

/* What stands in a database of schema 1 stays; whoever only reads is told to let it be migrated. */
static void test_db_migrates(void **state) {
    static const char *const back[] = {
        "DROP VIEW v_causes",        "DROP VIEW v_explain",      "DROP TABLE explain",
        "DROP VIEW v_shadow",        "DROP VIEW v_shadow_head",  "DROP VIEW v_shadow_step",
        "DROP VIEW v_shadow_text",   "DROP TABLE shadow_head",   "DROP TABLE shadow",
        "DROP TABLE shadow_cell",    "DROP TABLE shadow_text",   "DROP VIEW v_analysis",
        "DROP TABLE analysis_point", "DROP TABLE analysis_head", "DROP TABLE analysis",
        "DROP VIEW v_outcome",       "DROP VIEW v_answer",       "DROP VIEW v_plan",
        "DROP TABLE seal",           "DROP TABLE run_plan",      "PRAGMA user_version = 1",
    };
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
    struct err e = {0}, older = {0};
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    struct db_result result =
        rows_result(&rows, rows_cell(&rows, "raas", 256, DB_SHARED), 0, 0, true, key);
    rows_add(&rows, &result);
    for (size_t i = 0; i < sizeof back / sizeof *back; i++) {
        struct db_query *q = db_query(rows.db, back[i], &e);
        assert_non_null(q);
        assert_false(db_next(q, &e));
        assert_true(db_query_end(q));
    }
    db_close(rows.db);
    assert_null(db_open(path, DB_READ, &older));
    assert_int_equal(older.code, EXIT_CONTENT);
    assert_non_null(strstr(older.text, "schema 1 is older than 5"));
    struct db *db = db_open(path, DB_WRITE, &e);
    assert_non_null(db);
    assert_true(db_verify(db, &e));
    rows_expect(db, "PRAGMA user_version", "5");
    rows_expect(db, "SELECT count(*) FROM result", "1");
    rows_expect(db, "SELECT count(*) FROM v_analysis", "0");
    rows_expect(db, "SELECT count(*) FROM v_shadow", "0");
    rows_expect(db, "SELECT count(*) FROM v_explain", "0");
    rows_expect(db, "SELECT outcome FROM v_answer", "right");
    db_close(db);
}

static void test_db_key_is_a_hash_of_canonical_json(void **state) {
    (void)state;
    char key[HASH_HEX], other[HASH_HEX];
    db_key("{\"a\":1}", "p7", 2, key);
    hash_bytes("{\"cell\":{\"a\":1},\"repeat\":2,\"sample\":\"p7\"}", 41, other);
    assert_string_equal(key, other);
    db_key("{\"a\":1}", "p7", 3, other);
    assert_string_not_equal(key, other);
}

static void test_db_keeps_the_first_of_two_equal_keys(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    struct db_result result = rows_result(&rows, cell, 0, 0, true, key);
    rows_add(&rows, &result);
    result = rows_result(&rows, cell, 0, 0, false, key);
    struct err e = {0};
    assert_false(db_add_result(rows.db, &result, &e));
    assert_int_equal(e.code, EXIT_PARTIAL);
    rows_expect(rows.db, "SELECT sum(correct_chain) || '/' || count(*) FROM result", "1/1");
    db_close(rows.db);
}

static void test_db_keeps_any_bytes_of_an_answer(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    rows_begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    const char *texts[] = {"caf\xc3\xa9", "bad \xff\xfe", "nul \0 inside", ""};
    const size_t sizes[] = {5, 6, 12, 0};
    for (int i = 0; i < 4; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, true, key);
        result.text = texts[i];
        result.text_size = sizes[i];
        result.extracted = "7\xff";
        rows_add(&rows, &result);
    }
    rows_expect(rows.db, "SELECT text || encoding FROM v_result WHERE sample = 'p0'",
                "caf\xc3\xa9utf8");
    rows_expect(rows.db, "SELECT text FROM v_result WHERE encoding = 'hex' AND sample = 'p1'",
                "62616420fffe");
    rows_expect(rows.db, "SELECT text FROM v_result WHERE encoding = 'hex' AND sample = 'p2'",
                "6e756c200020696e73696465");
    rows_expect(rows.db, "SELECT count(*) FROM v_result WHERE text = '' AND sample = 'p3'", "1");
    rows_expect(rows.db, "SELECT DISTINCT extracted FROM result", "7\xef\xbf\xbd");
    db_close(rows.db);
}

/* Wilson's bounds from statsmodels 0.15.0: proportion_confint(7, 10, method="wilson") etc. */
static void test_db_accuracy_view_counts_and_bounds(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    rows_begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    for (int i = 0; i < 10; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, i < 7, key);
        result.n_new = 700 + i;
        result.kept_peak = 256 + i % 2;
        rows_add(&rows, &result);
    }
    rows_expect(rows.db, "SELECT n || ' ' || correct || ' ' || wrong FROM v_accuracy", "10 7 3");
    rows_expect_real(rows.db, "SELECT accuracy FROM v_accuracy", 0.7);
    rows_expect_real(rows.db, "SELECT lo FROM v_accuracy", 0.39677814746114537);
    rows_expect_real(rows.db, "SELECT hi FROM v_accuracy", 0.89220873259369893);
    rows_expect_real(rows.db, "SELECT mean_tokens FROM v_accuracy", 704.5);
    rows_expect_real(rows.db, "SELECT kv_tokens_peak FROM v_accuracy", 256.5);
    rows_expect_real(rows.db, "SELECT mean_effective_budget FROM v_accuracy", 256);
    rows_expect(rows.db,
                "SELECT model || ' ' || dataset || ' ' || policy || ' ' || budget || metric FROM "
                "v_accuracy",
                "tiny lemmas raas 256chain");
    int64_t full = rows_cell(&rows, "full", 0, DB_SHARED);
    for (int i = 0; i < 10; i++) {
        struct db_result result = rows_result(&rows, full, i, 0, true, key);
        rows_add(&rows, &result);
    }
    const char *of_full = "SELECT budget IS NULL AND mean_effective_budget IS NULL AND hi = 1 "
                          "AND ttft_seconds IS NULL FROM v_accuracy WHERE policy = 'full'";
    rows_expect(rows.db, of_full, "1");
    rows_expect_real(rows.db, "SELECT lo FROM v_accuracy WHERE policy = 'full'",
                     0.72246720013711063);
    db_close(rows.db);
}

static void test_db_repeats_do_not_narrow_the_interval(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    rows_begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    for (int i = 0; i < 10; i++)
        for (int repeat = 0; repeat < 3; repeat++) {
            struct db_result result = rows_result(&rows, cell, i, repeat, i < 7, key);
            rows_add(&rows, &result);
        }
    rows_expect(rows.db, "SELECT n || ' ' || samples FROM v_accuracy", "30 10");
    rows_expect_real(rows.db, "SELECT lo FROM v_accuracy", 0.39677814746114537);
    db_close(rows.db);
}

static void test_db_metric_decides_what_counts(void **state) {
    char key[HASH_HEX];
    const struct {
        const char *metric, *finish;
        bool box, chain;
        const char *outcome; /* correct wrong capped numeric */
    } cases[] = {
        {"chain", "answer", false, true, "1 0 0 0"},  {"box", "answer", false, true, "0 1 0 0"},
        {"box", "answer", true, true, "1 0 0 0"},     {"chain", "cap", false, true, "0 0 1 0"},
        {"chain", "cap", true, true, "1 0 0 0"},      {"chain", "numeric", true, true, "0 0 0 1"},
        {"chain", "answer", false, false, "0 1 0 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[16];
        snprintf(name, sizeof name, "%zu.db", i);
        const char *path = folder_path(*state, name);
        struct rows rows = rows_open(path, "demo", "lemmas", cases[i].metric);
        int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
        struct db_result result = rows_result(&rows, cell, 0, 0, true, key);
        result.finish = cases[i].finish;
        result.correct_box = cases[i].box;
        result.correct_chain = cases[i].chain;
        rows_add(&rows, &result);
        rows_expect(
            rows.db,
            "SELECT correct || ' ' || wrong || ' ' || capped || ' ' || numeric FROM v_accuracy",
            cases[i].outcome);
        db_close(rows.db);
    }
}

static void test_db_speed_is_the_median_of_isolated_rows(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    rows_begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_ISOLATED);
    const double prefill[] = {0.5, 0.1, 0.2, 9.0};
    for (int i = 0; i < 4; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, true, key);
        result.prefill_seconds = prefill[i];
        result.decode_seconds = 2.0 * (i + 1);
        result.n_new = 101;
        rows_add(&rows, &result);
    }
    rows_expect_real(rows.db, "SELECT ttft_seconds FROM v_accuracy", 0.35);
    rows_expect_real(rows.db, "SELECT tpot_seconds FROM v_accuracy", 0.05);
    rows_expect_real(rows.db, "SELECT jct_seconds FROM v_accuracy", (4.1 + 6.2) / 2);
    db_close(rows.db);
}

static void test_db_checks_every_row(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    for (int i = 0; i < 5; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, true, key);
        struct err e = {0};
        if (i == 0)
            result.finish = "tired";
        else if (i == 1)
            result.cell = 999;
        else if (i == 2)
            result.key = "short";
        else if (i == 3)
            result.decode_seconds = NAN;
        else
            result.n_new = -1;
        assert_false(db_add_result(rows.db, &result, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
    }
    rows_expect(rows.db, "SELECT count(*) FROM result", "0");
    db_close(rows.db);
}

/* A stranger reads the file with the plain shell: views must need nothing of this program. */
static void test_db_views_work_in_the_sqlite_shell(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX], got[64] = "";
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    struct db_result result = rows_result(&rows, cell, 0, 0, true, key);
    rows_add(&rows, &result);
    db_close(rows.db);
    int out[2], status;
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        execlp("sqlite3", "sqlite3", path, "SELECT policy, n, round(lo, 9) FROM v_accuracy",
               (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    ssize_t n = read(out[0], got, sizeof got - 1);
    close(out[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        print_message("skipped: no sqlite3 shell here\n");
        skip();
    }
    assert_true(n > 0);
    assert_string_equal(got, "raas|1|0.206549314\n");
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_db_stores_and_finds_again),
        IN_FOLDER(test_db_migrates),
        cmocka_unit_test(test_db_key_is_a_hash_of_canonical_json),
        IN_FOLDER(test_db_keeps_the_first_of_two_equal_keys),
        IN_FOLDER(test_db_keeps_any_bytes_of_an_answer),
        IN_FOLDER(test_db_accuracy_view_counts_and_bounds),
        IN_FOLDER(test_db_repeats_do_not_narrow_the_interval),
        IN_FOLDER(test_db_metric_decides_what_counts),
        IN_FOLDER(test_db_speed_is_the_median_of_isolated_rows),
        IN_FOLDER(test_db_checks_every_row),
        IN_FOLDER(test_db_views_work_in_the_sqlite_shell),
    };
    return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
