/* Figures: what is drawn from a database, what is kept beside it, and what cannot be made to run.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "plots/gnuplot.h"
#include "plots/plot.h"
#include "tests/folder.h"
#include "tests/store_rows.h"

#define FIGURE "accuracy_vs_budget"
static const struct plot_choice anything;

/* Five answers, of which the first `right` are right; kept a little above the budget when grown. */
static void add_cell(struct rows *rows, const char *policy, int64_t budget, int right, bool grown) {
    char key[HASH_HEX];
    int64_t cell = rows_cell(rows, policy, budget, DB_SHARED);
    for (int i = 0; i < 5; i++) {
        struct db_result result = rows_result(rows, cell, i, 0, i < right, key);
        if (grown) {
            result.effective_budget = result.kept_peak = budget + 32;
            result.kv_bytes_peak = (uint64_t)result.kept_peak * 1536;
        }
        rows_add(rows, &result);
    }
}

static struct rows open_rows(struct folder *folder, const char *dataset) {
    struct rows rows = rows_open(folder_path(folder, "raas.db"), "demo", dataset, "chain");
    rows_begin(&rows);
    return rows;
}

static void must_draw(struct rows *rows, const struct plot_choice *choice, const char *out) {
    struct err e = {0};
    rows_commit(rows);
    if (!plot_figure(rows->db, FIGURE, choice, out, &e))
        fail_msg("%s", e.text);
}

static char *read_figure(const char *out, const char *ending, size_t *size) {
    char path[200];
    struct err e = {0};
    snprintf(path, sizeof path, "%s/" FIGURE "%s", out, ending);
    char *bytes = file_read(path, 1 << 24, size, &e);
    if (!bytes)
        fail_msg("%s", e.text);
    return bytes;
}

static void holds(const char *out, const char *ending, const char *words) {
    size_t size;
    char *bytes = read_figure(out, ending, &size);
    if (!strstr(bytes, words))
        fail_msg("no \"%s\" in the %s", words, ending);
    free(bytes);
}

static bool is_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

static void test_plot_draws_svg_and_png_and_keeps_the_data(void **state) {
    const char *out = folder_path(*state, "new/plots");
    struct rows rows = open_rows(*state, "lemmas:steps=16");
    add_cell(&rows, "full", 0, 5, false);
    add_cell(&rows, "raas", 256, 2, true);
    add_cell(&rows, "raas", 512, 4, false);
    add_cell(&rows, "h2o", 256, 1, false);
    must_draw(&rows, &anything, out);
    db_close(rows.db);

    holds(out, ".svg", "<svg");
    holds(out, ".svg", "lemmas:steps=16");
    holds(out, ".svg", "n = 5");
    holds(out, ".svg", ">raas<");
    holds(out, ".svg", "grown beyond it");
    size_t size;
    char *png = read_figure(out, ".png", &size);
    assert_memory_equal(png, "\x89PNG\r\n\x1a\n", 8);
    free(png);
    holds(out, ".tsv",
          "policy\tbudget\teffective\tkept\tbytes\taccuracy\tlo\thi\tn\tmodel\tdataset\n"
          "full\tNaN\tNaN\t959\t1473024\t1\t");
    holds(out, ".tsv", "\nraas\t256\t288\t288\t442368\t0.4\t");

    struct err e = {0};
    char svg[200];
    snprintf(svg, sizeof svg, "%s/" FIGURE ".svg", out);
    assert_int_equal(unlink(svg), 0);
    assert_true(gnuplot_run(out, FIGURE ".gp", 60, &e)); /* as its first line says */
    assert_true(is_there(svg));
}

static void test_plot_draws_whatever_cells_there_are(void **state) {
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
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        struct folder folder;
        folder_make(&folder);
        struct rows rows = open_rows(&folder, "lemmas");
        for (int p = 0; p < 4 && sets[s][p].policy; p++)
            for (int b = 0; b < 3 && (b == 0 || sets[s][p].budget[b]); b++)
                add_cell(&rows, sets[s][p].policy, sets[s][p].budget[b], 3, false);
        must_draw(&rows, &anything, folder.path);
        db_close(rows.db);
        for (int p = 0; p < 4 && sets[s][p].policy; p++)
            holds(folder.path, ".svg", sets[s][p].policy);
        folder_remove(&folder);
    }
}

static void test_plot_shows_the_newest_or_what_was_chosen(void **state) {
    const char *out = folder_path(*state, "plots");
    struct rows rows = open_rows(*state, "older");
    add_cell(&rows, "full", 0, 5, false);
    rows_commit(&rows);
    db_close(rows.db);
    rows = open_rows(*state, "newer");
    add_cell(&rows, "full", 0, 5, false);
    must_draw(&rows, &anything, out);
    holds(out, ".tsv", "\tnewer\n");
    rows_begin(&rows);
    must_draw(&rows, &(struct plot_choice){.dataset = "older"}, out);
    holds(out, ".tsv", "\tolder\n");
    rows_begin(&rows);
    must_draw(&rows, &(struct plot_choice){.run = "1", .model = "tiny"}, out);
    holds(out, ".tsv", "\tolder\n");

    struct err e = {0};
    assert_false(plot_figure(rows.db, FIGURE, &(struct plot_choice){.model = "other"}, out, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "no results to draw among those asked for"));
    db_close(rows.db);
}

/* Names in a database are data: gnuplot runs backticks in its own strings. */
static void test_plot_runs_nothing_from_names(void **state) {
    const char *out = folder_path(*state, "plots");
    const char *names[] = {"`touch pwned`",
                           "'.sys"
                           "tem('touch pwned').'",
                           "\"; system \"touch pwned\"", "@pwned $(touch pwned)",
                           "a\tb\nc {/Symbol a}_b^c %s \\"};
    struct rows rows = open_rows(*state, "`touch pwned` ' \" \n\t #");
    for (int i = 0; i < 5; i++)
        add_cell(&rows, names[i], 256, i, false);
    add_cell(&rows, "# full", 256, 3, false);
    must_draw(&rows, &anything, out);
    db_close(rows.db);
    assert_false(is_there(folder_path(*state, "plots/pwned")));
    assert_false(is_there("pwned"));
    holds(out, ".svg", "`touch_pwned`");
    holds(out, ".svg", "`touch pwned` ' ' __ #");
    holds(out, ".svg", "#_full");
}

static void refused(struct db *db, const char *name, const char *out, int code, const char *words) {
    struct err e = {0};
    assert_false(plot_figure(db, name, &anything, out, &e));
    if (e.code != code || !strstr(e.text, words))
        fail_msg("code %d, \"%s\"; expected %d and \"%s\"", e.code, e.text, code, words);
}

static void test_plot_refuses_with_one_line(void **state) {
    const char *out = folder_path(*state, "plots"), *file = folder_path(*state, "file");
    struct rows rows = open_rows(*state, "lemmas");
    rows_commit(&rows);
    refused(rows.db, FIGURE, out, EXIT_CONTENT, "no results to draw yet");
    refused(rows.db, "nothing_like_it", out, EXIT_USAGE, "no figure");
    refused(rows.db, "../store/schema", out, EXIT_USAGE, "no figure");
    refused(rows.db, "", out, EXIT_USAGE, "no figure");
    assert_false(is_there(out));
    rows_begin(&rows);
    add_cell(&rows, "full", 0, 5, false);
    rows_commit(&rows);
    folder_text(*state, "file", "in the way");
    char below[200];
    snprintf(below, sizeof below, "%s/plots", file);
    refused(rows.db, FIGURE, below, EXIT_ENV, "cannot");
    char *path = must_strdup(getenv("PATH"));
    setenv("PATH", ((struct folder *)*state)->path, 1);
    refused(rows.db, FIGURE, out, EXIT_ENV, "gnuplot is not installed");
    setenv("PATH", path, 1);
    free(path);
    db_close(rows.db);
}

static void test_plot_gnuplot_errors_and_endless_scripts_end(void **state) {
    const char *folder = ((struct folder *)*state)->path;
    struct err e = {0};
    folder_text(*state, "bad.gp", "plot nonsense_that_is_not_defined\n");
    assert_false(gnuplot_run(folder, "bad.gp", 60, &e));
    assert_int_equal(e.code, EXIT_ENV);
    assert_non_null(strstr(e.text, "undefined variable: nonsense"));
    e = (struct err){0};
    folder_text(*state, "endless.gp", "while (1) { x = 1 }\n");
    double start = clock_seconds();
    assert_false(gnuplot_run(folder, "endless.gp", 0.3, &e));
    assert_true(clock_seconds() - start < 5);
    assert_int_equal(e.code, EXIT_ENV);
    assert_non_null(strstr(e.text, "stopped after"));
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_plot_draws_svg_and_png_and_keeps_the_data),
        cmocka_unit_test(test_plot_draws_whatever_cells_there_are),
        IN_FOLDER(test_plot_shows_the_newest_or_what_was_chosen),
        IN_FOLDER(test_plot_runs_nothing_from_names),
        IN_FOLDER(test_plot_refuses_with_one_line),
        IN_FOLDER(test_plot_gnuplot_errors_and_endless_scripts_end),
    };
    return cmocka_run_group_tests_name("plot", tests, NULL, NULL);
}
