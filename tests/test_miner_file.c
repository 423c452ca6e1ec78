/* The miner on recorded files: the same as on rows that stream by. Mode lifecycle is exact; mode
 * full is exact against streamed rows that were rounded to half precision, which is what it keeps.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "analysis/miner_file.h"
#include "store/attn_half.h"
#include "tests/attn_feed.h"
#include "tests/cli.h"
#include "tests/folder.h"
#include "tests/tiny.h"

enum { PROMPT = 30, TOTAL = 200 };
static const struct lifecycle_params params = {
    .theta = 0.02, .window = 4, .gap = 8, .budget = 32, .settle = 8, .rows = ROWS_ALL};

static struct tee { /* one decode, to a file and to miners beside it */
    struct attn_file *file;
    struct miner whole, rounded;
    void (*spoil)(struct key_life *key); /* a key of the lives that are stored; NULL */
    bool some;
} tee; /* the session's user is the test's helper */

static bool taken(int layer, int head) { return !tee.some || (layer == 1 && head != 1); }

static void watch(void *user, const struct attention_row *row) {
    (void)user;
    attn_watch(tee.file, row);
    for (int g = 0; g < row->group; g++) {
        uint16_t half[TOTAL];
        float prob[TOTAL];
        int head = row->kv_head * row->group + g;
        struct attended a = {row->query, row->prompt,   row->n_resident,
                             row->n,     row->position, row->prob + (size_t)g * (size_t)row->n};
        if (!taken(row->layer, head))
            continue;
        miner_row(&tee.whole, row->layer, head, &a, true);
        half_narrow(a.prob, (size_t)a.n, half);
        half_widen(half, (size_t)a.n, prob);
        a.prob = prob;
        miner_row(&tee.rounded, row->layer, head, &a, true);
    }
}

/* Decodes into `path` and into the miners; lives go to the file where `lives` says so. */
static void decode(const struct model *model, const char *policy, const char *path, bool lives) {
    static int32_t layer[] = {1}, heads[] = {0, 2, 3};
    struct tiny shape = TINY_DEFAULT;
    struct plan plan = tiny_plan(policy);
    struct attn_params to = feed_params(path, PROMPT, TOTAL);
    int32_t ids[TOTAL];
    struct answer answer;
    to.prompt = true, to.pooled = false;
    to.full = !lives, to.lives = lives;
    if (tee.some)
        to.layers = (struct attn_numbers){1, layer}, to.heads = (struct attn_numbers){3, heads};
    tiny_ids(&shape, 3, ids, TOTAL);
    struct attn_writer *writer = feed_writer();
    tee.file = feed_begin(writer, &to);
    struct miner *const miners[] = {&tee.whole, &tee.rounded};
    for (int i = 0; i < 2; i++) {
        miner_open(miners[i], FEED_LAYERS, FEED_HEADS, TOTAL, &params);
        miner_begin(miners[i], PROMPT);
    }
    struct session *session = tiny_session(model, false, 2, 1, TOTAL);
    struct request request = tiny_forced(&plan, ids, PROMPT, TOTAL, NULL);
    request.on_attention = watch, request.watch_prompt = true;
    tiny_answer(session, &request, 1, 0, &answer);
    session_close(session);
    char *life = miner_params_note(&params), *curves = miner_curves_note();
    const struct attn_note notes[] = {{"lives_params", life, 0}, {"lives_curves", curves, 0}};
    if (tee.spoil)
        tee.spoil(&tee.whole.heads[FEED_HEADS + 2].life.keys[PROMPT]);
    if (lives)
        miner_write(&tee.whole, tee.file, &to.layers, &to.heads);
    attn_end(tee.file,
             &(struct attn_tokens){.n = TOTAL, .n_prompt = PROMPT, .id = ids, .text = feed_texts},
             notes, lives ? 2 : 0);
    feed_close(writer);
    free(life), free(curves);
    miner_end(&tee.whole), miner_end(&tee.rounded);
}

static void close_tee(void) {
    miner_close(&tee.whole);
    miner_close(&tee.rounded);
}

static struct miner read_file(const char *path, const struct lifecycle_params *with) {
    struct miner miner;
    struct err e = {0};
    struct attn_reader *r = feed_open(path);
    miner_open(&miner, FEED_LAYERS, FEED_HEADS, 8, with); /* it grows */
    if (!miner_read(&miner, r, -1, -1, &e))
        fail_msg("%s", e.text);
    attn_close(r);
    return miner;
}

/* All that a miner says, number by number; of heads that were told, the keys too. */
static void same(const struct miner *a, const struct miner *b) {
    char *x = miner_json(a), *y = miner_json(b);
    assert_string_equal(x, y);
    free(x), free(y);
    for (int h = 0; h < FEED_LAYERS * FEED_HEADS; h++)
        if (taken(h / FEED_HEADS, h % FEED_HEADS))
            assert_memory_equal(a->heads[h].life.keys, b->heads[h].life.keys,
                                TOTAL * sizeof *a->heads[h].life.keys);
}

static const char *const policies[] = {"full", "streaming:budget=64", "h2o:budget=64",
                                       "quest:budget=64", "raas:budget=64"};

static void test_miner_file_of_mode_full_is_exact_for_rounded_rows(void **state) {
    struct model *model = tiny_open((struct tiny)TINY_DEFAULT);
    for (size_t p = 0; p < sizeof policies / sizeof *policies; p++)
        for (int some = 0; some < 2; some++) {
            const char *path = folder_path(*state, "full.h5");
            tee.some = some;
            decode(model, policies[p], path, false);
            struct miner found = read_file(path, &params);
            same(&found, &tee.rounded);
            int window = portrait_find("mass.window"); /* what rounding does to sums */
            assert_true(fabs(tally_estimate(&found.all, window).mean -
                             tally_estimate(&tee.whole.all, window).mean) < 1e-3);
            assert_int_equal(miner_head_sequences(&found.heads[1]), !some);
            miner_close(&found);
            close_tee();
        }
    model_close(model);
}

static void test_miner_file_of_mode_lifecycle_is_exact(void **state) {
    struct model *model = tiny_open((struct tiny)TINY_DEFAULT);
    for (size_t p = 0; p < sizeof policies / sizeof *policies; p++)
        for (int some = 0; some < 2; some++) {
            const char *path = folder_path(*state, "lives.h5");
            tee.some = some;
            decode(model, policies[p], path, true);
            struct miner found = read_file(path, &params);
            same(&found, &tee.whole);
            miner_close(&found);
            close_tee();
        }
    model_close(model);
}

/* Thresholds of silence are free afterwards; what decides a use is not. */
static void test_miner_file_takes_other_silences_later(void **state) {
    struct model *model = tiny_open((struct tiny)TINY_DEFAULT);
    const char *full = folder_path(*state, "full.h5"), *lives = folder_path(*state, "lives.h5");
    struct lifecycle_params later = params;
    struct err e = {0};
    tee.some = false;
    decode(model, "full", full, false);
    close_tee();
    decode(model, "full", lives, true);
    later.gap = 3, later.budget = 16, later.settle = 20;
    struct miner found = read_file(lives, &later), rows = read_file(full, &later);
    for (int c = 0; c < KEY_CLASSES; c++) {
        char curve[40];
        snprintf(curve, sizeof curve, "tokens.%s.generated", key_class_names[c]);
        int at = portrait_find(curve); /* half precision moves a few keys across theta */
        assert_true(fabs(tally_estimate(&found.all, at).mean - tally_estimate(&rows.all, at).mean) <
                    0.02);
    }
    miner_close(&found), miner_close(&rows);
    later.theta = 0.05;
    struct attn_reader *r = feed_open(lives);
    miner_open(&found, FEED_LAYERS, FEED_HEADS, TOTAL, &later);
    assert_false(miner_read(&found, r, -1, -1, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    assert_non_null(strstr(e.text, "only gap, budget and settle"));
    miner_close(&found);
    attn_close(r);
    close_tee();
    model_close(model);
}

static void no_number(struct key_life *key) { key->mass = NAN; }
static void negative(struct key_life *key) { key->uses = -1; }
static void beyond(struct key_life *key) { key->last = TOTAL; }

static void test_miner_file_refuses_lives_that_cannot_be(void **state) {
    struct model *model = tiny_open((struct tiny)TINY_DEFAULT);
    const char *path = folder_path(*state, "spoiled.h5");
    void (*const ways[])(struct key_life *) = {no_number, negative, beyond};
    tee.some = false;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct miner miner;
        struct err e = {0};
        tee.spoil = ways[i];
        decode(model, "full", path, true);
        tee.spoil = NULL;
        struct attn_reader *r = feed_open(path);
        miner_open(&miner, FEED_LAYERS, FEED_HEADS, TOTAL, &params);
        assert_false(miner_read(&miner, r, -1, -1, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
        assert_non_null(strstr(e.text, "/lives of layer 1, head 2"));
        miner_close(&miner);
        attn_close(r);
        close_tee();
    }
    model_close(model);
}

/* --- the commands ----------------------------------------------------------------------------- */

static char *analyze(const char *a, const char *b, const char *c, const char *d) {
    struct cli cli;
    cli_run(&cli, NULL, "analyze", "--json", "--db", cli_path("files.db"), a, b, c, d, NULL);
    if (cli.code)
        fail_msg("%s", cli.err);
    free(cli.err);
    return cli.out;
}

static void record(const char *mode, const char *out) {
    struct cli cli;
    cli_run(&cli, NULL, "record", "--dataset", "lemmas:steps=3", "--n", "2", "--solution", "gold",
            "--mode", mode, "--out", out, NULL);
    if (cli.code)
        fail_msg("%s", cli.err);
    cli_free(&cli);
}

static void test_miner_file_through_the_commands(void **state) {
    struct cli cli;
    char lives[120], full[160], path[4][300];
    snprintf(lives, sizeof lives, "%s", folder_path(*state, "lives"));
    snprintf(full, sizeof full, "%s", folder_path(*state, "full"));
    record("lifecycle", lives), record("full", full);
    for (int i = 0; i < 4; i++)
        snprintf(path[i], sizeof path[i], "%s/lemmas-3-1-%d.h5", i < 2 ? lives : full, i % 2);
    char *live = analyze("--dataset=lemmas:steps=3", "--n=2", "--solution", "gold");
    char *file = analyze(path[0], path[1], NULL, NULL);
    assert_string_equal(live, file);
    free(file);
    file = analyze(path[2], path[3], NULL, NULL);
    assert_non_null(strstr(file, "\"policy\":\"full\""));
    free(file), free(live);

    CLI_FAILS(EXIT_USAGE, "expected one of", "analyze", path[0], "--dataset", "lemmas");
    cli_run(&cli, NULL, "analyze", path[0], path[0], "--db", cli_path("files.db"), NULL);
    assert_int_equal(cli.code, EXIT_USAGE);
    assert_non_null(strstr(cli.err, "as in a file before it"));
    cli_free(&cli);
    CLI_FAILS(EXIT_USAGE, "take --dataset", "analyze", path[0], "--policy", "raas");
    CLI_FAILS(EXIT_USAGE, "expected full", "plot", "attention", path[0]);
    char db[200], other[120];
    snprintf(db, sizeof db, "%s", cli_path("files.db"));
    snprintf(other, sizeof other, "%s", folder_path(*state, "other"));
    CLI_FAILS(EXIT_USAGE, "No such file", "analyze", other, "--db", db);
    CLI_FAILS(EXIT_USAGE, "no queries of the prompt", "analyze", path[2], "--rows", "all", "--db",
              db);
    cli_run(&cli, NULL, "record", "--dataset", "lemmas:steps=2", "--mode", "pooled,lifecycle",
            "--out", other, NULL);
    assert_int_equal(cli.code, 0);
    cli_free(&cli);
    snprintf(full, sizeof full, "%s/lemmas-2-1-0.h5", other);
    cli_run(&cli, NULL, "analyze", path[0], full, "--db", db, NULL);
    assert_int_equal(cli.code, EXIT_USAGE);
    assert_non_null(strstr(cli.err, "analyze them apart"));
    cli_free(&cli);
    cli_run(&cli, NULL, "record", "--dataset", "lemmas:steps=2", "--mode", "pooled", "--out", other,
            NULL);
    assert_int_equal(cli.code, 0);
    cli_free(&cli);
    CLI_FAILS(EXIT_USAGE, "mode pooled, expected full or lifecycle", "analyze", full, "--db", db);
}

/* Each recorded cell of a run is an analysis of its own. */
static void test_miner_file_takes_a_run(void **state) {
    struct cli cli;
    char out[200], db[260];
    snprintf(out, sizeof out, "%s", folder_path(*state, "run"));
    snprintf(db, sizeof db, "%s/raas.db", out);
    folder_text(*state, "small.json",
                "{\"name\": \"small\", \"dataset\": \"lemmas:steps=2\", \"policy\": [\"full\", "
                "\"raas\"], \"budget\": 64, \"n\": 2, \"max_new\": 40}");
    const char *experiment = folder_path(*state, "small.json");
    cli_run(&cli, NULL, "run", experiment, "--out", out, "--quiet", NULL);
    assert_int_equal(cli.code, 0);
    cli_free(&cli);
    CLI_FAILS(EXIT_USAGE, "nothing recorded in", "analyze", "--run", "small", "--db", db);
    snprintf(out, sizeof out, "%s", folder_path(*state, "again"));
    snprintf(db, sizeof db, "%s/raas.db", out);
    cli_run(&cli, NULL, "run", experiment, "--out", out, "--quiet", "--record", "lifecycle", NULL);
    assert_int_equal(cli.code, 0);
    cli_free(&cli);
    cli_run(&cli, NULL, "analyze", "--run", "small", "--db", db, NULL);
    if (cli.code)
        fail_msg("%s", cli.err);
    assert_non_null(strstr(cli.out, "full on lemmas:steps=2\n2 sequences"));
    assert_non_null(strstr(cli.out, "raas:budget=64 on lemmas:steps=2\n2 sequences"));
    cli_free(&cli);
    CLI_FAILS(EXIT_USAGE, "nothing_like_it", "analyze", "--run", "nothing_like_it", "--db", db);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_miner_file_of_mode_full_is_exact_for_rounded_rows),
        IN_FOLDER(test_miner_file_of_mode_lifecycle_is_exact),
        IN_FOLDER(test_miner_file_takes_other_silences_later),
        IN_FOLDER(test_miner_file_refuses_lives_that_cannot_be),
        IN_FOLDER(test_miner_file_through_the_commands),
        IN_FOLDER(test_miner_file_takes_a_run),
    };
    return cmocka_run_group_tests_name("miner_file", tests, NULL, NULL);
}
