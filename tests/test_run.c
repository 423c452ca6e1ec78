/* The runner from outside: whole runs of the program on a small experiment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "experiments/answer.h"
#include "experiments/progress.h"
#include "store/db.h"
#include "tests/runs.h"

/* --- whole runs ----------------------------------------------------------------------------- */

static void test_run_stores_one_graded_row_per_cell_and_sample(void **state) {
    (void)state;
    assert_int_equal(runs_rows(runs.whole), SMALL_ROWS);
    runs_expect_number(runs.whole, SMALL_CELLS, "SELECT count(*) FROM v_accuracy WHERE n = %d",
                       SMALL_N);
    runs_expect_number(runs.whole, 0,
                       "SELECT count(*) FROM result WHERE prompt_tokens < 10 OR new_tokens < 1 OR "
                       "new_tokens > %d OR kv_bytes_peak < 1",
                       SMALL_NEW);
    runs_expect_number(runs.whole, 0,
                       "SELECT count(*) FROM v_result WHERE kv_tokens_peak > effective_budget OR "
                       "(policy = 'streaming' AND kv_tokens_peak > budget)");
    assert_true(runs_number(runs.whole, "SELECT sum(evictions) FROM result") > 0);
    runs_expect_number(runs.whole, 1, "SELECT count(*) FROM run WHERE status = 'finished'");
    assert_non_null(strstr(runs.table, "streaming"));
}

static void test_run_again_does_nothing_and_prints_the_table(void **state) {
    (void)state;
    runs_expect(RUN(runs.whole, "--quiet"), EXIT_OK);
    char *table = runs_read("stdout");
    assert_string_equal(table, runs.table);
    assert_int_equal(runs_rows(runs.whole), SMALL_ROWS);
    free(table);
}

static void test_run_answers_do_not_depend_on_the_batch(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "width.db");
    runs_expect(RUN(db, "--width", "3", "--threads", "1"), EXIT_OK);
    runs_expect_same(db, runs.rows);
}

static void test_run_shards_are_a_partition(void **state) {
    (void)state;
    char one[64], two[64];
    runs_path(one, "shard0.db");
    runs_path(two, "shard1.db");
    runs_expect(RUN(one, "--shard", "0/2"), EXIT_OK);
    runs_expect(RUN(two, "--shard", "1/2"), EXIT_OK);
    assert_true(runs_rows(one) > 0 && runs_rows(two) > 0);
    assert_int_equal(runs_rows(one) + runs_rows(two), SMALL_ROWS);
    runs_expect(RUN(two, "--shard", "0/2"), EXIT_OK); /* nothing twice, nothing missing */
    runs_expect_same(two, runs.rows);
}

static void test_run_grows_with_its_experiment(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "grow.db");
    runs_expect(RUN(db, "--limit", "1", "--set", "policy=full"), EXIT_OK);
    assert_true(runs_rows(db) < SMALL_ROWS);
    runs_expect(RUN(db), EXIT_OK);
    runs_expect_same(db, runs.rows);
}

static void expect_plan(int stored) {
    char words[120], *text = runs_read("stdout");
    snprintf(words, sizeof words, "%d cells, %d answers, %d stored, %d to do", SMALL_CELLS,
             SMALL_ROWS, stored, SMALL_ROWS - stored);
    if (!strstr(text, words))
        fail_msg("'%s' does not say '%s'", text, words);
    free(text);
}

static void test_run_dry_run_writes_nothing(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "dry.db");
    runs_expect(RUN(db, "--dry-run"), EXIT_OK);
    assert_int_not_equal(access(db, F_OK), 0);
    expect_plan(0);
    runs_expect(RUN(runs.whole, "--dry-run"), EXIT_OK);
    expect_plan(SMALL_ROWS);
}

static void test_run_isolated_rows_are_timed_apart(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "isolated.db");
    runs_expect(RUN(db, "--isolated", "--limit", "1", "--set", "policy=[\"full\",\"streaming\"]",
                    "--set", "budget=64", "--set", "temperature=0", "--set", "max_new=20"),
                EXIT_OK);
    runs_expect_number(db, 10, "SELECT count(*) FROM v_result WHERE timing = 'isolated'");
    runs_expect_number(db, 0,
                       "SELECT count(*) FROM v_result WHERE prefill_seconds <= 0 OR "
                       "decode_seconds < 0");
    runs_expect_number(db, 1, "SELECT count(DISTINCT text) FROM v_result WHERE policy = 'full'");
}

/* A pool that some cells do not fit into at all: they are named and left out, the others wait for
 * each other. */
static void test_run_leaves_out_what_does_not_fit_into_memory(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "pool.db");
    runs_expect(RUN(db, "--kv-bytes", SMALL_N > 1 ? "448800" : "224400"), EXIT_PARTIAL);
    runs_expect_words("full: sample ");
    runs_expect_words("KV pages, the pool holds");
    runs_expect_words("answers are missing");
    runs_expect_number(db, 0, "SELECT count(*) FROM v_result WHERE policy = 'full'");
    runs_expect_number(db, 1, "SELECT count(*) FROM run WHERE status = 'incomplete'");
    assert_true(runs_rows(db) > 0 && runs_rows(db) % SMALL_N == 0);
    char *table = runs_read("stdout");
    assert_non_null(strstr(table, "streaming"));
    free(table);
    runs_expect(RUN(db), EXIT_OK);
    runs_expect_same(db, runs.rows);
}

static void test_run_that_leaves_all_out_is_incomplete(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "none.db");
    runs_expect(RUN(db, "--kv-bytes", "99999", "--set", "policy=full"), EXIT_PARTIAL);
    runs_expect_words("answers are missing");
    char *said = runs_read("stderr");
    assert_null(strstr(said, "error"));
    free(said);
    runs_expect(RUN(db, "--kv-bytes", "9007199254740993"), EXIT_USAGE);
}

/* --- what cannot be ------------------------------------------------------------------------- */

static void test_run_names_what_is_wrong_with_a_database(void **state) {
    (void)state;
    char path[64];
    runs_expect(RUN(runs.folder), EXIT_CONTENT);
    runs_expect_words(runs.folder);
    runs_path(path, "garbage.db");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", f);
    assert_int_equal(fclose(f), 0);
    runs_expect(RUN(path), EXIT_CONTENT);
    runs_expect_words(path);
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_size, 20000); /* left as it was */
    runs_expect(RUN("/proc/nowhere/raas.db"), EXIT_ENV);
    runs_expect_words("/proc/nowhere");

    struct err e = {0};
    runs_path(path, "locked.db");
    struct db *db = db_open(path, DB_WRITE, &e);
    assert_non_null(db);
    runs_expect(RUN(path), EXIT_ENV);
    runs_expect_words(path);
    db_close(db);
}

static bool copy_file(const char *from, const char *to, size_t spoil) {
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    char *bytes = malloc(64 << 20);
    size_t n = in && out && bytes ? fread(bytes, 1, 64 << 20, in) : 0;
    if (spoil && n > spoil)
        memset(bytes + n - spoil, 0xff, spoil);
    bool ok = n && fwrite(bytes, 1, n, out) == n;
    free(bytes);
    return (!in || fclose(in) == 0) && (!out || fclose(out) == 0) && ok;
}

/* All-ones is NaN in bf16, f16 and f32 alike. */
static void test_run_numeric_errors_end_the_answer_and_not_the_run(void **state) {
    (void)state;
    static const char *const files[] = {"config.json", "tokenizer.json", "model.safetensors"};
    char model[64], db[64], from[96], to[96];
    runs_path(model, "nan");
    runs_path(db, "nan.db");
    assert_int_equal(mkdir(model, 0700), 0);
    for (int i = 0; i < 3; i++) {
        snprintf(from, sizeof from, RUNS_MODEL "/%s", files[i]);
        snprintf(to, sizeof to, "%s/%s", model, files[i]);
        assert_true(copy_file(from, to, i == 2 ? 256 : 0));
    }
    for (int i = 0; i < 2; i++) { /* a rerun has nothing to do and tells the same */
        runs_expect(RAAS("run", runs.experiment, "--db", db, "--model", model), EXIT_PARTIAL);
        runs_expect_words("not finite");
        runs_expect_number(db, SMALL_ROWS,
                           "SELECT count(*) FROM v_result WHERE finish = 'numeric' AND "
                           "NOT correct");
    }
}

static void test_run_command_line_mistakes_are_told_at_once(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "never.db");
    double begin = clock_seconds();
    runs_expect(RUN(db, "--set", "bugdet=3"), EXIT_USAGE);
    runs_expect_words("'bugdet'");
    runs_expect(RUN(db, "--set", "budget=100"), EXIT_USAGE);
    runs_expect_words("multiple of 16");
    runs_expect(RUN(db, "--scale", "tiny"), EXIT_USAGE);
    runs_expect_words("tiny");
    runs_expect(RUN(db, "--shard", "3/3"), EXIT_USAGE);
    runs_expect_words("--shard");
    runs_expect(RUN(db, "--shard", "-1/3"), EXIT_USAGE);
    runs_expect(RUN(db, "--limit", "-2"), EXIT_USAGE);
    runs_expect(RUN(db, "--gpus", "2"), EXIT_USAGE);
    runs_expect_words("--backend cuda");
    runs_expect(RUN(db, "--gpus", "0", "--backend", "cuda"), EXIT_USAGE);
    runs_expect_words("1 to 64, or all");
    runs_expect(RUN(db, "--gpus", "all", "--backend", "cuda", "--isolated"), EXIT_USAGE);
    runs_expect_words("--isolated");
    runs_expect(RUN(db, "--precision", "fp8"), EXIT_USAGE);
    runs_expect_words("precision");
    runs_expect(RUN(db, "--width", "65"), EXIT_USAGE);
    runs_expect_words("--set width: 65, expected 1 to 64 on cpu");
    runs_expect(RAAS("run", "--db", db), EXIT_USAGE);
    runs_expect(RAAS("run", "/nowhere.json", "--db", db), EXIT_USAGE);
    runs_expect_words("/nowhere.json");
    runs_expect(RAAS("run", runs.experiment, "--model", "/nowhere", "--db", db), EXIT_USAGE);
    runs_expect_words("/nowhere");
    runs_expect(RUN(db, "--set", "max_new=1000000"), EXIT_CONTENT);
    runs_expect_words("max_new");
    assert_true(clock_seconds() - begin < 11);
    assert_int_not_equal(access(db, F_OK), 0);
}

/* --- parts ---------------------------------------------------------------------------------- */

static void test_run_loops_are_found(void **state) {
    (void)state;
    int32_t ids[700];
    for (int i = 0; i < 700; i++)
        ids[i] = i;
    assert_int_equal(answer_loop(ids, 700), 0);
    for (int period = 1; period <= 130; period++) {
        for (int i = 0; i < LOOP_WINDOW; i++)
            ids[700 - LOOP_WINDOW + i] = 1000 + i % period;
        assert_int_equal(answer_loop(ids, 700), period <= LOOP_LONGEST ? period : 0);
        ids[700 - LOOP_WINDOW] = 7; /* one id short of a window */
        assert_int_equal(answer_loop(ids, 700), 0);
        assert_int_equal(answer_loop(ids + 700 - LOOP_WINDOW + 1, LOOP_WINDOW - 1), 0);
    }
}

static void test_run_progress_tells_accuracy_and_time_left(void **state) {
    (void)state;
    struct experiment x;
    struct err e = {0};
    const char *sets[] = {"temperature=0"};
    assert_true(
        experiment_read(runs.experiment, &(struct experiment_options){NULL, sets, 1}, &x, &e));
    assert_int_equal(x.n_cells, 7); /* full, and three policies at two budgets */
    struct progress p;
    progress_open(&p, &x);
    p.total = 14;
    for (int c = 0; c < 7; c++)
        p.cells[c].left = 2;
    assert_true(progress_eta(&p) < 0);
    p.start -= 10; /* ten seconds ago */
    progress_tokens(&p, 150);
    progress_answer(&p, 0, true, 100);
    progress_answer(&p, 1, false, 10);
    /* left: 100 + 10 for the two begun cells, a mean of 55 for the ten others; 40 in flight; 15/s
     */
    assert_true(progress_eta(&p) > 40.9 && progress_eta(&p) < 41.9);
    char line[300];
    progress_line(&p, line, sizeof line);
    assert_string_equal(
        line, "2/14  15 tok/s  0:41 left  full 1.0  streaming .00/-  raas -/-  random -/-");
    char cut[20]; /* never beyond its buffer */
    progress_line(&p, cut, sizeof cut);
    assert_int_equal(strlen(cut), sizeof cut - 1);
    progress_tokens(&p, 1000); /* what is in flight is longer than all that has ended */
    assert_true(progress_eta(&p) < 0);
    progress_close(&p);
    experiment_free(&x);
}

static void test_run_progress_names_datasets_where_there_are_several(void **state) {
    (void)state;
    struct experiment x;
    struct err e = {0};
    const char *sets[] = {"dataset=[\"lemmas:steps=3\",\"lemmas:steps=4\"]",
                          "policy=[\"full\",\"raas\"]", "budget=256", "temperature=0"};
    assert_true(
        experiment_read(runs.experiment, &(struct experiment_options){NULL, sets, 4}, &x, &e));
    struct progress p;
    char line[300];
    progress_open(&p, &x);
    p.total = 4;
    progress_line(&p, line, sizeof line);
    assert_string_equal(line, "0/4  0 tok/s  lemmas:steps=3: full -  raas -  lemmas:steps=4: full "
                              "-  raas -");
    progress_close(&p);
    experiment_free(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_stores_one_graded_row_per_cell_and_sample),
        cmocka_unit_test(test_run_progress_names_datasets_where_there_are_several),
        cmocka_unit_test(test_run_again_does_nothing_and_prints_the_table),
        cmocka_unit_test(test_run_answers_do_not_depend_on_the_batch),
        cmocka_unit_test(test_run_shards_are_a_partition),
        cmocka_unit_test(test_run_grows_with_its_experiment),
        cmocka_unit_test(test_run_dry_run_writes_nothing),
        cmocka_unit_test(test_run_isolated_rows_are_timed_apart),
        cmocka_unit_test(test_run_leaves_out_what_does_not_fit_into_memory),
        cmocka_unit_test(test_run_that_leaves_all_out_is_incomplete),
        cmocka_unit_test(test_run_names_what_is_wrong_with_a_database),
        cmocka_unit_test(test_run_numeric_errors_end_the_answer_and_not_the_run),
        cmocka_unit_test(test_run_command_line_mistakes_are_told_at_once),
        cmocka_unit_test(test_run_loops_are_found),
        cmocka_unit_test(test_run_progress_tells_accuracy_and_time_left),
    };
    return cmocka_run_group_tests(tests, runs_setup, runs_teardown);
}
