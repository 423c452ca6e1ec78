/* What became of answers, what right ones cost, what "comparable" takes, and tables of plans that
 * are not finished. */
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
#include "tests/folder.h"
#include "tests/store_rows.h"

/* n answers of which the first `right` are right. */
static void add_cell(struct rows *rows, const char *policy, int64_t budget, int n, int right) {
    char key[HASH_HEX];
    int64_t cell = rows_cell(rows, policy, budget, DB_SHARED);
    for (int i = 0; i < n; i++) {
        struct db_result result = rows_result(rows, cell, i, 0, i < right, key);
        rows_add(rows, &result);
    }
}

static const struct result_row *find(const struct results *results, const char *policy) {
    for (int i = 0; i < results->n; i++)
        if (!strcmp(results->rows[i].policy, policy))
            return &results->rows[i];
    fail_msg("no row %s", policy);
    return NULL;
}

/* The table; free() it. */
static char *printed(struct db *db, enum table_format format) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct err e = {0};
    if (!table_print(db, NULL, format, out, &e))
        fail_msg("%s", e.text);
    fclose(out);
    return text;
}

/* Each answer has one outcome, the first that holds; all six add up to n. */
static void test_outcomes_are_one_an_answer_and_costs_count_all(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "lemmas", "box");
    char key[HASH_HEX];
    rows_begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    for (int i = 0; i < 9; i++) {
        struct db_result r = rows_result(&rows, cell, i, 0, i < 2, key);
        r.path = "box";
        if (i == 1 || i == 3)
            r.loop_period = 7; /* a right answer that loops is right */
        if (i == 4 || i == 3)
            r.finish = "cap";
        if (i == 5)
            r.finish = "numeric", r.loop_period = 3;
        if (i == 6)
            r.path = "phrase", r.correct_chain = true; /* stated, but not in a box */
        rows_add(&rows, &r);
    }
    rows_commit(&rows);
    struct err e = {0};
    struct results results;
    assert_true(results_load(rows.db, NULL, "full", &results, &e));
    const struct result_row *row = &results.rows[0];
    assert_int_equal(row->right, 2);
    assert_int_equal(row->looped, 1);
    assert_int_equal(row->truncated, 1);
    assert_int_equal(row->numeric, 1);
    assert_int_equal(row->unboxed, 1);
    assert_int_equal(row->wrong, 3);
    assert_true(row->tokens_per_right == 9 * 800 / 2.);
    assert_true(row->kv_bytes_per_right == 9 * 256 * 1536 / 2.);
    assert_true(isnan(row->seconds_per_right)); /* times of mixed batches are nobody's */
    results_free(&results);
    db_close(rows.db);
}

static void do_sql(struct db *db, const char *sql) {
    struct err e = {0};
    struct db_query *q = db_query(db, sql, &e);
    if (q)
        db_next(q, &e);
    if (!db_query_end(q))
        fail_msg("%s: %s", sql, e.text);
}

/* 200 problems of which one is lost: no difference found at 3 points is one shown to be small at 5,
 * and none at 1. */
static void test_outcomes_comparable_takes_a_margin(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "lemmas", "chain");
    rows_begin(&rows);
    add_cell(&rows, "full", 0, 200, 190);
    add_cell(&rows, "raas", 512, 200, 189);
    rows_commit(&rows);
    struct err e = {0};
    struct results results;
    const struct {
        const char *experiment;
        double margin;
        const char *verdict;
    } cases[] = {{"{}", 0.03, "comparable"},
                 {"{\"margin\":0.05}", 0.05, "comparable"},
                 {"{\"margin\":0.01}", 0.01, "not distinguishable"}};
    for (int i = 0; i < 3; i++) {
        char sql[80];
        snprintf(sql, sizeof sql, "UPDATE run SET experiment = '%s'", cases[i].experiment);
        do_sql(rows.db, sql);
        assert_true(results_load(rows.db, NULL, "full", &results, &e));
        const struct comparison *raas = &find(&results, "raas")->against;
        assert_true(raas->margin == cases[i].margin);
        assert_string_equal(compare_verdict(raas), cases[i].verdict);
        results_free(&results);
    }
    db_close(rows.db);
}

static void test_outcomes_of_an_unfinished_plan_are_marked(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "lemmas", "chain");
    struct err e = {0};
    rows_begin(&rows);
    add_cell(&rows, "full", 0, 4, 4);
    assert_true(db_run_plan(rows.db, rows.run, 1, 10, &e));
    rows_commit(&rows);
    static const char *const marks[] = {
        "PARTIAL: 4 of 10 planned answers\n", ",10\n", "> **PARTIAL: 4 of 10 planned answers**\n",
        "\\textbf{PARTIAL: 4 of 10 planned answers}", "\"planned\":10"};
    for (int format = TABLE_TEXT; format <= TABLE_JSON; format++) {
        char *text = printed(rows.db, (enum table_format)format);
        if (!strstr(text, marks[format]))
            fail_msg("'%s' does not say '%s'", text, marks[format]);
        free(text);
    }
    do_sql(rows.db, "UPDATE run_plan SET answers = 4");
    char *text = printed(rows.db, TABLE_TEXT);
    assert_null(strstr(text, "PARTIAL"));
    free(text);
    db_close(rows.db);
}

/* Policies that answer 200 problems just as full does: p = 0.0064 of losing 3 points
 * (make_stats.py), which Holm lets stand for three at a time and not for four. */
static void test_outcomes_comparable_is_adjusted_for_all_pairs(void **state) {
    struct rows rows = rows_open(folder_path(*state, "r.db"), "demo", "lemmas", "chain");
    static const char *const policies[] = {"raas", "quest", "h2o", "fifo"};
    struct err e = {0};
    struct results results;
    rows_begin(&rows);
    add_cell(&rows, "full", 0, 200, 190);
    for (int i = 0; i < 4; i++) {
        add_cell(&rows, policies[i], 512, 200, 190);
        assert_true(results_load(rows.db, NULL, "full", &results, &e));
        const struct comparison *raas = &find(&results, "raas")->against;
        assert_true(fabs(raas->p_margin - 0.00643982133) < 1e-8);
        assert_true(fabs(raas->p_margin_holm - (i + 1) * raas->p_margin) < 1e-12);
        assert_string_equal(compare_verdict(raas), i < 3 ? "comparable" : "not distinguishable");
        results_free(&results);
    }
    rows_commit(&rows);
    db_close(rows.db);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_outcomes_are_one_an_answer_and_costs_count_all),
        IN_FOLDER(test_outcomes_comparable_takes_a_margin),
        IN_FOLDER(test_outcomes_comparable_is_adjusted_for_all_pairs),
        IN_FOLDER(test_outcomes_of_an_unfinished_plan_are_marked),
    };
    return cmocka_run_group_tests_name("outcomes", tests, NULL, NULL);
}
