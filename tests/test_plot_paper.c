/* The figures of the paper, drawn from small databases whose numbers are known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "plots/plot.h"
#include "tests/folder.h"
#include "tests/store_rows.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
enum { ANSWERS = 8 };
static const char *const figures[] = {"lengths",      "outcomes", "decode_lengths",
                                      "beyond_cache", "cost",     "milestone_map"};
enum { FIGURES = sizeof figures / sizeof *figures };

/* Answers of which the first `right` are right; number i has 100 (i + 1) tokens. */
static int64_t add_cell(struct rows *rows, const char *policy, int64_t budget, int right) {
    char key[HASH_HEX];
    int64_t cell = rows_cell(rows, policy, budget, DB_SHARED);
    for (int i = 0; i < ANSWERS; i++) {
        struct db_result result = rows_result(rows, cell, i, 0, i < right, key);
        result.n_new = 100 * (i + 1);
        rows_add(rows, &result);
    }
    return cell;
}

/* One answer of each outcome, and one more that is right. */
static void add_outcomes(struct rows *rows, const char *policy, int64_t budget) {
    char key[HASH_HEX];
    int64_t cell = rows_cell(rows, policy, budget, DB_SHARED);
    for (int i = 0; i < ANSWERS; i++) {
        struct db_result result = rows_result(rows, cell, i, 0, i < 2, key);
        result.finish = i == 3 ? "cap" : i == 4 ? "cap" : i == 5 ? "numeric" : "answer";
        result.loop_period = i == 3 ? 7 : 0;
        result.path = i == 6 ? "last_number" : "phrase";
        rows_add(rows, &result);
    }
}

static struct rows open_rows(struct folder *folder, const char *dataset) {
    struct rows rows = rows_open(folder_path(folder, "raas.db"), "paper", dataset, "chain");
    rows_begin(&rows);
    return rows;
}

/* The cells to come answer lemmas of this lifetime. */
static void use_lifetime(struct rows *rows, int lifetime) {
    char name[64], options[160];
    struct err e = {0};
    snprintf(name, sizeof name, "lemmas:lifetime=%d", lifetime);
    snprintf(options, sizeof options,
             "{\"lifetime\":%d,\"phoenix\":0,\"reuse\":\"lru\",\"seed\":1,\"steps\":16}", lifetime);
    struct db_dataset d = {.name = name, .options = options, .sha256 = ZEROS, .metric = "chain"};
    if (!db_dataset(rows->db, &d, &rows->dataset, &e))
        fail_msg("%s", e.text);
}

static bool draw(struct rows *rows, const char *figure, const char *out) {
    static const struct plot_choice anything;
    struct err e = {0};
    bool ok = plot_figure(rows->db, figure, &anything, out, &e);
    if (!ok && e.code != EXIT_CONTENT)
        fail_msg("%s: %s", figure, e.text);
    return ok;
}

static void holds(const char *out, const char *figure, const char *ending, const char *words) {
    char path[300];
    size_t size;
    struct err e = {0};
    snprintf(path, sizeof path, "%s/%s%s", out, figure, ending);
    char *text = file_read(path, 1 << 26, &size, &e);
    if (!text || !strstr(text, words))
        fail_msg("no \"%s\" in %s%s: %s", words, figure, ending, text ? text : e.text);
    free(text);
}

static void test_plot_paper_outcomes_are_shares_of_all(void **state) {
    const char *out = folder_path(*state, "plots");
    struct rows rows = open_rows(*state, "lemmas");
    add_cell(&rows, "full", 0, ANSWERS);
    add_outcomes(&rows, "raas", 256);
    rows_commit(&rows);
    assert_true(draw(&rows, "outcomes", out));
    holds(out, "outcomes", ".tsv",
          "raas\t256\t0.25\t0.25\t0.125\t0.125\t0.125\t0.125\t"); /* two wrong: numbers 2 and 7 */
    holds(out, "outcomes", ".svg", ">unboxed<");
    db_close(rows.db);
}

static void test_plot_paper_lengths_rise_to_all(void **state) {
    const char *out = folder_path(*state, "plots");
    struct rows rows = open_rows(*state, "lemmas");
    add_cell(&rows, "full", 0, ANSWERS);
    add_cell(&rows, "raas", 256, 3); /* its lengths don't count */
    rows_commit(&rows);
    assert_true(draw(&rows, "lengths", out));
    holds(out, "lengths", ".tsv", "lemmas\tprompt\t160\t0\t");
    holds(out, "lengths", ".tsv", "lemmas\tdecode\t100\t0.125\t");
    holds(out, "lengths", ".tsv", "lemmas\tdecode\t800\t1\t");
    holds(out, "lengths", ".svg", "n = 8");
    db_close(rows.db);
}

static void test_plot_paper_decode_lengths_take_the_least_budget_from_128(void **state) {
    const char *out = folder_path(*state, "plots");
    struct rows rows = open_rows(*state, "lemmas");
    add_cell(&rows, "full", 0, ANSWERS);
    add_cell(&rows, "raas", 64, 0);
    add_cell(&rows, "raas", 192, 2);
    add_cell(&rows, "raas", 512, 4);
    add_outcomes(&rows, "h2o", 192);
    rows_commit(&rows);
    assert_true(draw(&rows, "decode_lengths", out));
    holds(out, "decode_lengths", ".tsv", "raas\t64\t0\t192\t450\t");
    holds(out, "decode_lengths", ".tsv", "raas\t192\t1\t192\t450\t");
    holds(out, "decode_lengths", ".tsv", "\t800\t800\t800\t800\t800\t0.25\t"); /* h2o: stuck */
    holds(out, "decode_lengths", ".svg", "at budget 192");
    db_close(rows.db);
}

/* 160 + 100 (i + 1) tokens: beyond 512 are numbers 3 to 7, of which raas got 3 and 4 right. */
static void test_plot_paper_beyond_cache_selects_by_full(void **state) {
    const char *out = folder_path(*state, "plots");
    struct rows rows = open_rows(*state, "lemmas");
    add_cell(&rows, "full", 0, ANSWERS);
    add_cell(&rows, "raas", 512, 5);
    add_outcomes(&rows, "h2o", 512); /* long answers of its own change nothing */
    rows_commit(&rows);
    assert_true(draw(&rows, "beyond_cache", out));
    holds(out, "beyond_cache", ".tsv", "full\t512\t1\t");
    holds(out, "beyond_cache", ".tsv", "\nraas\t512\t0.4\t");
    holds(out, "beyond_cache", ".tsv", "\nh2o\t512\t0\t");
    holds(out, "beyond_cache", ".svg", "n = 5");
    db_close(rows.db);
}

static void test_plot_paper_cost_names_the_best_for_its_memory(void **state) {
    const char *out = folder_path(*state, "plots");
    struct rows rows = open_rows(*state, "lemmas");
    add_cell(&rows, "full", 0, ANSWERS);
    add_cell(&rows, "raas", 256, 4);
    add_cell(&rows, "h2o", 256, 2);
    add_cell(&rows, "h2o", 512, 0); /* no right answer: no cost */
    rows_commit(&rows);
    assert_true(draw(&rows, "cost", out));
    holds(out, "cost", ".tsv", "cell\traas\t256\t0.375\t256\t0.5\t");
    holds(out, "cost", ".tsv", "\t0.75\t"); /* MiB for each right answer of raas */
    holds(out, "cost", ".tsv", "front\traas\t256\t");
    holds(out, "cost", ".tsv", "front\tfull\tNaN\t");
    holds(out, "cost", ".tsv", "cell\th2o\t512\t0.75\t512\t0\t");
    db_close(rows.db);
}

/* Eight problems that raas alone gets right: p = 2 / 2^8, and Holm of the two such doubles it. */
static void test_plot_paper_milestone_map_marks_what_is_significant(void **state) {
    const char *out = folder_path(*state, "plots");
    struct rows rows = open_rows(*state, "lemmas");
    for (int lifetime = 1; lifetime <= 4; lifetime += 3) {
        use_lifetime(&rows, lifetime);
        add_cell(&rows, "full", 0, ANSWERS);
        add_cell(&rows, "raas", 384, ANSWERS);
        add_cell(&rows, "h2o", 384, 0);
        add_cell(&rows, "fifo", 384, ANSWERS - 4); /* p = 0.125 */
    }
    rows_commit(&rows);
    assert_true(draw(&rows, "milestone_map", out));
    holds(out, "milestone_map", ".tsv", "raas\t1\t1\tlru\t1\t1\t1\t0\t1\t");
    holds(out, "milestone_map", ".tsv", "h2o\t2\t1\tlru\t2\t1\t4\t0\t1\t0.4");
    holds(out, "milestone_map", ".tsv", "\t0.0078125\t2\t8\t384");
    holds(out, "milestone_map", ".tsv", "\t0.125\t0\t8\t384");
    holds(out, "milestone_map", ".svg", "raas − fifo");
    db_close(rows.db);
}

/* A map of one story, or a comparison without full, says that there is nothing. */
static void test_plot_paper_draws_whatever_cells_there_are(void **state) {
    (void)state;
    static const struct {
        const char *policy;
        int64_t budget[3];
    } sets[][4] = {
        {{"full", {0}}},
        {{"raas", {256}}},
        {{"raas:match=1", {0}}},
        {{"full", {0}}, {"raas", {64, 256, 4096}}, {"h2o:match=1", {0}}},
    };
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++)
        for (int right = 0; right <= ANSWERS; right += ANSWERS) {
            struct folder folder;
            folder_make(&folder);
            struct rows rows = open_rows(&folder, "lemmas");
            for (int p = 0; p < 4 && sets[s][p].policy; p++)
                for (int b = 0; b < 3 && (b == 0 || sets[s][p].budget[b]); b++)
                    add_cell(&rows, sets[s][p].policy, sets[s][p].budget[b], right);
            rows_commit(&rows);
            for (int f = 0; f < FIGURES; f++) {
                bool drawn = draw(&rows, figures[f], folder.path);
                if (!strcmp(figures[f], "outcomes") || !strcmp(figures[f], "decode_lengths") ||
                    !strcmp(figures[f], "cost"))
                    assert_true(drawn);
            }
            db_close(rows.db);
            folder_remove(&folder);
        }
}

/* Names in a database are data: gnuplot runs backticks in its own strings. */
static void test_plot_paper_runs_nothing_from_names(void **state) {
    const char *out = folder_path(*state, "plots");
    const char *names[] = {"`touch pwned`", "\"; system \"touch pwned\"", "@pwned $(touch pwned)",
                           "a\tb\nc {/Symbol a}_b^c %s \\"};
    struct stat st;
    struct rows rows = open_rows(*state, "`touch pwned` ' \" \n\t #");
    for (int pass = 0; pass < 3; pass++) {
        add_cell(&rows, "full", 0, ANSWERS);
        add_cell(&rows, "raas", 256, 4);
        for (int i = 0; i < 4; i++)
            add_cell(&rows, names[i], 256, i);
        use_lifetime(&rows, pass + 1);
    }
    rows_commit(&rows);
    for (int f = 0; f < FIGURES; f++)
        assert_true(draw(&rows, figures[f], out));
    db_close(rows.db);
    assert_int_not_equal(stat(folder_path(*state, "plots/pwned"), &st), 0);
    assert_int_not_equal(stat("pwned", &st), 0);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_plot_paper_outcomes_are_shares_of_all),
        IN_FOLDER(test_plot_paper_lengths_rise_to_all),
        IN_FOLDER(test_plot_paper_decode_lengths_take_the_least_budget_from_128),
        IN_FOLDER(test_plot_paper_beyond_cache_selects_by_full),
        IN_FOLDER(test_plot_paper_cost_names_the_best_for_its_memory),
        IN_FOLDER(test_plot_paper_milestone_map_marks_what_is_significant),
        cmocka_unit_test(test_plot_paper_draws_whatever_cells_there_are),
        IN_FOLDER(test_plot_paper_runs_nothing_from_names),
    };
    return cmocka_run_group_tests_name("plot_paper", tests, NULL, NULL);
}
