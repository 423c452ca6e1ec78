/* Figures of what was mined, drawn from databases with one head or several, one sequence or more.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "analysis/miner.h"
#include "base/file.h"
#include "base/rng.h"
#include "plots/plot.h"
#include "tests/folder.h"
#include "tests/store_rows.h"

enum { PROMPT = 40, TOTAL = 320 };
static const char *const figures[] = {"mined_classes",    "mined_cumulative", "mined_heads",
                                      "mined_importance", "mined_lifetimes",  "mined_phoenix",
                                      "mined_rows",       "mined_scores",     "mined_sparsity"};
enum { FIGURES = sizeof figures / sizeof *figures };

/* Rows of which a share goes to the newest keys, the rest to some that change now and then. */
static void tell(struct miner *m, int layer, int head, int seed) {
    struct rng rng = {.key = rng_key(rng_mix(7), (uint64_t)(100 * seed + 10 * layer + head))};
    int32_t position[TOTAL];
    float prob[TOTAL];
    for (int q = PROMPT; q < TOTAL; q++) {
        float total = 0;
        for (int k = 0; k <= q; k++) {
            bool lit = (k * 7 + q / (20 + 15 * head)) % 23 == 0;
            position[k] = k;
            prob[k] = (lit ? 0.5f : 0.001f) + (q - k < 8) + 0.001f * (float)rng_below(&rng, 9);
            total += prob[k];
        }
        for (int k = 0; k <= q; k++)
            prob[k] /= total;
        miner_row(m, layer, head, &(struct attended){q, false, q + 1, q + 1, position, prob}, true);
    }
}

static void mine(struct rows *rows, int layers, int heads, int sequences, const char *policy) {
    struct err e = {0};
    struct miner m;
    struct lifecycle_params params;
    option_defaults(lifecycle_options, &params);
    params.budget = 60, params.gap = 30;
    miner_open(&m, layers, heads, TOTAL, &params);
    for (int s = 0; s < sequences; s++) {
        miner_begin(&m, PROMPT);
        for (int i = 0; i < layers * heads; i++)
            tell(&m, i / heads, i % heads, s);
        miner_end(&m);
    }
    const struct miner_source source = {.run = rows->run,
                                        .model = rows->model,
                                        .dataset = rows->dataset,
                                        .policy = policy,
                                        .solution = "free"};
    if (!miner_store(&m, rows->db, &source, &e))
        fail_msg("%s", e.text);
    miner_close(&m);
}

static void draw(struct rows *rows, const char *figure, const char *out) {
    static const struct plot_choice anything;
    struct err e = {0};
    if (!plot_figure(rows->db, figure, &anything, out, &e))
        fail_msg("%s: %s", figure, e.text);
}

static char *read_figure(const char *out, const char *figure, const char *ending) {
    char path[300];
    size_t size;
    struct err e = {0};
    snprintf(path, sizeof path, "%s/%s%s", out, figure, ending);
    char *text = file_read(path, 1 << 26, &size, &e);
    if (!text)
        fail_msg("%s", e.text);
    return text;
}

static void holds(const char *out, const char *figure, const char *ending, const char *words) {
    char *text = read_figure(out, figure, ending);
    if (!strstr(text, words))
        fail_msg("no \"%s\" in %s%s", words, figure, ending);
    free(text);
}

static void test_plot_mined_draws_every_figure(void **state) {
    static const int shapes[][3] = {{2, 3, 3}, {1, 1, 1}};
    for (int s = 0; s < 2; s++) {
        char name[40];
        snprintf(name, sizeof name, "%d.db", s);
        struct rows rows = rows_open(folder_path(*state, name), "analyze", "some:steps=4", "chain");
        mine(&rows, shapes[s][0], shapes[s][1], shapes[s][2], "full");
        snprintf(name, sizeof name, "%d", s);
        char out[200];
        snprintf(out, sizeof out, "%s", folder_path(*state, name));
        for (int f = 0; f < FIGURES; f++) {
            draw(&rows, figures[f], out);
            holds(out, figures[f], ".svg", s ? "1 sequence;" : "3 sequences;");
            holds(out, figures[f], ".svg", "more than 16 back");
        }
        db_close(rows.db);
    }
}

/* Parts of a head's bar lie on each other and fill it. */
static void test_plot_mined_bars_are_whole(void **state) {
    struct rows rows = rows_open(folder_path(*state, "raas.db"), "analyze", "some", "chain");
    const char *out = folder_path(*state, "plots");
    mine(&rows, 2, 2, 2, "full");
    draw(&rows, "mined_heads", out);
    char *tsv = read_figure(out, "mined_heads", ".tsv");
    double below = 0;
    int n = 0;
    for (char *line = strchr(tsv, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        int place, layer, head;
        double low, high;
        assert_int_equal(
            sscanf(line, "%*s %d %d %d %*s %*s %*s %lf %lf", &place, &layer, &head, &low, &high),
            5);
        assert_true(fabs(low - below) < 1e-9 && high >= low - 1e-12);
        below = place == 9 ? 0 : high;
        assert_true(place < 9 || fabs(high - 1) < 1e-6);
        n++;
    }
    assert_int_equal(n, 9 * 4);
    free(tsv);
    db_close(rows.db);
}

/* The newest run's, and of its analyses that of full attention. */
static void test_plot_mined_shows_full_of_the_newest(void **state) {
    struct rows rows = rows_open(folder_path(*state, "raas.db"), "analyze", "older", "chain");
    const char *out = folder_path(*state, "plots");
    struct err e = {0};
    assert_false(plot_figure(rows.db, "mined_phoenix", &(struct plot_choice){0}, out, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    mine(&rows, 1, 2, 2, "full");
    db_close(rows.db);
    rows = rows_open(folder_path(*state, "raas.db"), "analyze", "newer", "chain");
    mine(&rows, 1, 2, 2, "full");
    mine(&rows, 1, 2, 2, "raas:budget=64");
    draw(&rows, "mined_phoenix", out);
    holds(out, "mined_phoenix", ".svg", "newer, tiny, full");
    e = (struct err){0};
    assert_true(plot_figure(rows.db, "mined_phoenix", &(struct plot_choice){.run = "1"}, out, &e));
    holds(out, "mined_phoenix", ".svg", "older, tiny, full");
    db_close(rows.db);
}

static void test_plot_mined_runs_nothing_from_names(void **state) {
    struct rows rows = rows_open(folder_path(*state, "raas.db"), "analyze",
                                 "`touch pwned`'.sys"
                                 "tem(\"touch pwned\").' a_b^c",
                                 "chain");
    const char *out = folder_path(*state, "plots");
    struct stat st;
    mine(&rows, 1, 2, 2,
         "\"; sys"
         "tem 'touch pwned'; @x");
    for (int f = 0; f < FIGURES; f++) {
        draw(&rows, figures[f], out);
        holds(out, figures[f], ".svg", "a_b^c, tiny");
    }
    db_close(rows.db);
    assert_int_equal(stat(folder_path(*state, "plots/pwned"), &st), -1);
    assert_int_equal(stat("pwned", &st), -1);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_plot_mined_draws_every_figure),
        IN_FOLDER(test_plot_mined_bars_are_whole),
        IN_FOLDER(test_plot_mined_shows_full_of_the_newest),
        IN_FOLDER(test_plot_mined_runs_nothing_from_names),
    };
    return cmocka_run_group_tests_name("plot_mined", tests, NULL, NULL);
}
