/* Shards and their merge, from outside: whatever the number of shards, their order and the kills in
 * between, the merged database says what one run says; what was altered is told and left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "store/db.h"
#include "tests/runs.h"

static const char *shard_path(int i, int n) {
    static char paths[4][64];
    char name[40];
    snprintf(name, sizeof name, "shard%d-%d.db", i, n);
    runs_path(paths[i % 4], name);
    return paths[i % 4];
}

static pid_t start_shard(int i, int n) {
    char shard[24];
    snprintf(shard, sizeof shard, "%d/%d", i, n);
    return runs_start((const char *const[]){"run", runs.experiment, "--db", shard_path(i, n),
                                            "--model", RUNS_MODEL, "--shard", shard, "--quiet",
                                            NULL});
}

/* Runs a shard, killed `kills` times at random moments before that. */
static void run_shard(int i, int n, int kills, struct rng *rng) {
    for (int k = 0;; k++) {
        pid_t child = start_shard(i, n);
        if (k < kills) {
            usleep((useconds_t)(6e5 * runs.seconds / n * rng_real(rng)));
            kill(child, SIGKILL);
        }
        int code = runs_end(child);
        if (code == EXIT_OK)
            return;
        runs_expect(code, 128 + SIGKILL);
    }
}

static void do_sql(const char *path, const char *sql) {
    struct err e = {0};
    struct db *db = db_open(path, DB_WRITE, &e);
    struct db_query *q = db ? db_query(db, sql, &e) : NULL;
    if (q)
        db_next(q, &e);
    if (!db_query_end(q))
        fail_msg("%s: %s", sql, e.text);
    db_close(db);
}

/* As `raas table` prints the small experiment of a database. */
static void expect_table(const char *db, const char *expected) {
    runs_expect(RAAS("table", "--db", db, "--run", "small"), EXIT_OK);
    char *table = runs_read("stdout");
    assert_string_equal(table, expected);
    free(table);
}

static void test_merge_of_any_shards_is_one_run(void **state) {
    (void)state;
    struct rng rng = {.key = (uint64_t)getpid()};
    static const int counts[] = {1, 2, 4};
    for (int c = 0; c < 3; c++) {
        char up[64], down[64], name[40];
        int n = counts[c];
        snprintf(name, sizeof name, "up%d.db", n), runs_path(up, name);
        snprintf(name, sizeof name, "down%d.db", n), runs_path(down, name);
        for (int i = n - 1; i >= 0; i--)
            run_shard(i, n, SMALL_N > 1 ? 2 : 1, &rng);
        for (int i = 0; i < n; i++) {
            runs_expect(RAAS("merge", "--db", up, shard_path(i, n)), EXIT_OK);
            runs_expect(RAAS("merge", "--db", down, shard_path(n - 1 - i, n)), EXIT_OK);
        }
        runs_expect_same(up, runs.rows);
        runs_expect_same(down, runs.rows);
        expect_table(up, runs.table);
        expect_table(down, runs.table);
        runs_expect_number(up, SMALL_ROWS, "SELECT count(*) FROM seal");
        /* the merged database is one to go on from: nothing is left to do */
        runs_expect(RUN(up, "--quiet"), EXIT_OK);
        runs_expect_number(up, SMALL_ROWS, "SELECT count(*) FROM result");
    }
}

/* Shards of an earlier test, whole by then. */
static void merge_two(const char *db, int code) {
    runs_expect(RAAS("merge", "--db", db, shard_path(0, 2), shard_path(1, 2)), code);
}

static void test_merge_again_changes_nothing(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "again.db");
    merge_two(db, EXIT_OK);
    static const char counts[] =
        "SELECT (SELECT count(*) FROM result) + 1000 * ((SELECT count(*) FROM run) + 100 * "
        "((SELECT count(*) FROM cell) + 100 * ((SELECT count(*) FROM sample) + 100 * ((SELECT "
        "count(*) FROM run_cell) + 100 * (SELECT count(*) FROM seal)))))";
    int64_t before = runs_number(db, counts);
    char *first = runs_read("stdout");
    assert_non_null(strstr(first, " added, 0 known, 0 conflicts"));
    merge_two(db, EXIT_OK);
    char *second = runs_read("stdout");
    assert_non_null(strstr(second, ": 0 added, "));
    assert_int_equal(runs_number(db, counts), before);
    runs_expect_same(db, runs.rows);
    free(first);
    free(second);
}

/* One transaction each: a kill leaves all of a shard or nothing of it. */
static void test_merge_killed_goes_on(void **state) {
    (void)state;
    struct rng rng = {.key = (uint64_t)getpid() + 1};
    char db[64];
    for (int i = 0; i < 6; i++) {
        char name[40];
        snprintf(name, sizeof name, "killed%d.db", i), runs_path(db, name);
        pid_t child = runs_start(
            (const char *const[]){"merge", "--db", db, shard_path(0, 2), shard_path(1, 2), NULL});
        usleep((useconds_t)(60000 * rng_real(&rng)));
        kill(child, SIGKILL);
        int code = runs_end(child);
        assert_true(code == EXIT_OK || code == 128 + SIGKILL);
        int64_t rows = runs_stored(db);
        assert_true(rows == 0 || rows == runs_rows(shard_path(0, 2)) || rows == SMALL_ROWS);
        merge_two(db, EXIT_OK);
        runs_expect_same(db, runs.rows);
    }
}

static void test_merge_of_some_shards_is_partial(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "some.db");
    runs_expect(RAAS("merge", "--db", db, shard_path(0, 2)), EXIT_OK);
    char *said = runs_read("stdout"), words[64];
    snprintf(words, sizeof words, "small: %lld of %d planned answers\n", (long long)runs_rows(db),
             SMALL_ROWS);
    if (!strstr(said, words))
        fail_msg("'%s' does not say '%s'", said, words);
    free(said);
    runs_expect(RAAS("table", "--db", db), EXIT_OK);
    said = runs_read("stdout");
    assert_memory_equal(said, "PARTIAL: ", 9);
    free(said);
}

/* One answer, sample or cell of a shard is changed by hand. A fresh database can't know better, but
 * for the seal; one that holds the answers knows. */
static void test_merge_tells_what_was_altered(void **state) {
    (void)state;
    static const struct {
        const char *sql, *fresh, *holding;
    } cases[] = {
        {"UPDATE result SET text = 'The answer is 1.' WHERE id = 1", "altered since", "altered"},
        {"UPDATE result SET correct_chain = 1 - correct_chain WHERE id = 1", "altered since",
         "altered"},
        {"UPDATE sample SET gold = '0' WHERE id = 1", "altered since", "altered"},
        {"DELETE FROM seal", NULL, NULL},
        {"UPDATE result SET new_tokens = 999 WHERE id = 1", NULL, "another answer"},
        {"UPDATE result SET repeat = 7 WHERE id = 1", "its key is not", "its key is not"},
        {"UPDATE cell SET config = json_set(config, '$.seed', 77)", "its cell's settings",
         "its cell's settings"},
    };
    char shard[64], fresh[64], holding[64];
    runs_path(shard, "altered.db");
    runs_path(holding, "holding.db");
    merge_two(holding, EXIT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[40];
        if (cases[i].fresh || i == 3) {
            unlink(shard);
            runs_expect(RAAS("merge", "--db", shard, shard_path(0, 2)), EXIT_OK);
        }
        int64_t rows = runs_rows(shard);
        if (i == 5 || i == 6)
            do_sql(shard, "DELETE FROM seal");
        do_sql(shard, cases[i].sql);
        snprintf(name, sizeof name, "fresh%d.db", (int)i), runs_path(fresh, name);
        runs_expect(RAAS("merge", "--db", fresh, shard), cases[i].fresh ? EXIT_PARTIAL : EXIT_OK);
        if (cases[i].fresh)
            runs_expect_words(cases[i].fresh);
        else
            runs_expect_words("carry no seal");
        if (i < 2) /* the rest is taken */
            runs_expect_number(fresh, rows - 1, "SELECT count(*) FROM result");
        runs_expect(RAAS("merge", "--db", holding, shard),
                    cases[i].holding ? EXIT_PARTIAL : EXIT_OK);
        if (cases[i].holding)
            runs_expect_words(cases[i].holding);
        runs_expect_same(holding, runs.rows);
    }
}

static void test_merge_refuses_with_one_line(void **state) {
    (void)state;
    char db[64], text[64];
    runs_path(db, "refuse.db");
    runs_path(text, "text.db");
    FILE *f = fopen(text, "w");
    for (int i = 0; i < 100; i++)
        fputs("no database ", f);
    fclose(f);
    runs_expect(RAAS("merge", "--db", db), EXIT_USAGE);
    runs_expect_words("expected databases to merge");
    runs_expect(RAAS("merge", "--db", db, "/nonexistent/x.db"), EXIT_USAGE);
    assert_int_not_equal(access(db, F_OK), 0);
    runs_expect(RAAS("merge", "--db", runs.whole, runs.whole), EXIT_USAGE);
    runs_expect_words("is the database to merge into");
    runs_expect(RAAS("merge", "--db", db, text), EXIT_CONTENT);
    runs_expect_words("not an SQLite database");
    runs_expect_same(runs.whole, runs.rows);
}

/* The lock that a running program holds. */
static void test_merge_waits_for_no_writer(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "locked.db");
    struct err e = {0};
    struct db *held = db_open(db, DB_WRITE, &e);
    assert_non_null(held);
    runs_expect(RAAS("merge", "--db", db, runs.whole), EXIT_ENV);
    runs_expect_words("another raas is writing to it");
    db_close(held);
    runs_expect(RAAS("merge", "--db", db, runs.whole), EXIT_OK);
    runs_expect_same(db, runs.rows);
}

static void test_merge_verify_finds_altered_answers(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "verify.db");
    runs_expect(RAAS("merge", "--db", db, runs.whole), EXIT_OK);
    runs_expect(RAAS("doctor", "--verify", db), EXIT_OK);
    do_sql(db, "UPDATE result SET correct_box = 1 - correct_box WHERE id IN (1, 2)");
    runs_expect(RAAS("doctor", "--verify", db), EXIT_CONTENT);
    char *said = runs_read("stdout");
    if (!strstr(said, "2 answers were altered"))
        fail_msg("%s", said);
    free(said);
}

/* Tables and reports say so too, as wrong numbers must not pass in silence. */
static void test_merge_altered_answers_are_warned_of(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "warned.db");
    runs_expect(RAAS("merge", "--db", db, runs.whole), EXIT_OK);
    runs_expect(RAAS("table", "--db", db), EXIT_OK);
    char *before = runs_read("stderr");
    assert_null(strstr(before, "altered"));
    free(before);
    do_sql(db, "UPDATE result SET correct_box = 1 - correct_box WHERE id = 2");
    runs_expect(RAAS("table", "--db", db), EXIT_OK);
    runs_expect_words("1 answers were altered since they were stored");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_of_any_shards_is_one_run),
        cmocka_unit_test(test_merge_again_changes_nothing),
        cmocka_unit_test(test_merge_killed_goes_on),
        cmocka_unit_test(test_merge_of_some_shards_is_partial),
        cmocka_unit_test(test_merge_tells_what_was_altered),
        cmocka_unit_test(test_merge_refuses_with_one_line),
        cmocka_unit_test(test_merge_waits_for_no_writer),
        cmocka_unit_test(test_merge_verify_finds_altered_answers),
        cmocka_unit_test(test_merge_altered_answers_are_warned_of),
    };
    return cmocka_run_group_tests_name("merge", tests, runs_setup, runs_teardown);
}
