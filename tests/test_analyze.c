/* From problems to lives: labels of tokens, live rows against stored ones, the command. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "experiments/survey.h"
#include "tests/cli.h"
#include "tests/lemmas.h"
#include "tests/tiny.h"

static struct model *model;
static int open_model(void **state) {
    (void)state;
    model = lemmas_model();
    return 0;
}
static int close_model(void **state) {
    (void)state;
    model_close(model);
    return 0;
}

/* The text that the tokens from `from` to the first of another lemma spell, without blanks. */
static void spell(const struct mined *m, const struct units *u, enum unit_scoring scoring, int from,
                  char out[64]) {
    size_t n = 0;
    for (int i = from; i < u->n_ids && u->lemma[scoring][i] == u->lemma[scoring][from]; i++) {
        size_t size;
        bool special;
        const char *piece = tokenizer_piece(model->tokenizer, m->ids.ids[i], &size, &special);
        for (size_t k = 0; k < size && n < 63; k++)
            if (piece[k] != ' ')
                out[n++] = piece[k];
    }
    out[n] = '\0';
}

/* Every labelled token spells its lemma's value, and lives are those of the gold labels. */
static void test_analyze_labels_tokens(void **state) {
    (void)state;
    struct mine mine;
    struct err e = {0};
    if (!model)
        skip();
    assert_true(mine_open(&mine, model, "lemmas:steps=12,seed=9", "auto", 5, 0, &e));
    for (int p = 0; p < mine.n; p++) {
        const struct mined *m = &mine.problems[p];
        const struct problem *q = &m->problem;
        struct units u;
        char value[2][64];
        int restated = 0;
        assert_true(units_make(model->tokenizer, m, &u, &e));
        for (int l = 0; l < u.n_lemmas; l++) {
            snprintf(value[0], sizeof value[0], "%.*s", q->lemmas[l].to - q->lemmas[l].from,
                     q->solution + q->lemmas[l].from);
            spell(m, &u, UNIT_ORIGINAL, u.from[l], value[1]);
            assert_string_equal(value[0], value[1]);
            int last = -1;
            for (int k = 0; k < q->n_uses; k++)
                if (q->uses[k].source == l)
                    last = q->uses[k].step;
            assert_int_equal(u.known[l].used, last >= 0);
            assert_int_equal(u.known[l].last_step, last >= 0 ? last : l);
            assert_int_equal(u.step[u.birth[l]], l);
            for (int i = m->n_prompt; i < u.n_ids; i++)
                if (u.lemma[UNIT_RESTATED][i] == l && u.lemma[UNIT_RESTATED][i - 1] != l &&
                    u.lemma[UNIT_ORIGINAL][i] != l) {
                    spell(m, &u, UNIT_RESTATED, i, value[1]);
                    assert_string_equal(value[0], value[1]);
                    restated++;
                }
        }
        assert_int_equal(restated, q->n_uses);
        for (int i = 0; i < m->n_prompt; i++)
            assert_int_equal(u.step[i], -1);
        units_free(&u);
    }
    mine_close(&mine);
}

/* --- live and stored rows -------------------------------------------------------------------- */

enum { PROMPT = 30, TOTAL = 150, HEADS = 4, LAYERS = 2 };

struct stored { /* all rows of a decode, as a recorder would keep them */
    struct miner live;
    float prob[LAYERS * HEADS][TOTAL][TOTAL];
    int32_t held[LAYERS * HEADS][TOTAL];
};

static struct stored *stored; /* the session's user is the test's helper */

static void store_row(void *user, const struct attention_row *row) {
    struct stored *s = stored;
    (void)user;
    for (int g = 0; g < row->group; g++) {
        struct attended a = mine_head(row, g);
        int head = row->kv_head * row->group + g, all = row->layer * HEADS + head;
        miner_row(&s->live, row->layer, head, &a, true);
        s->held[all][row->query] = a.held;
        for (int32_t k = 0; k < a.n; k++)
            s->prob[all][row->query][a.position[k]] = a.prob[k];
    }
}

/* Whatever the policy keeps, and in whatever order it lists it: a map with zeros gives the same. */
static void test_analyze_stored_rows_give_the_same(void **state) {
    (void)state;
    static const char *const policies[] = {"full", "h2o:budget=64", "quest:budget=64"};
    struct tiny shape = TINY_DEFAULT;
    struct model *tiny = tiny_open(shape);
    struct stored *s = stored = must_zalloc(1, sizeof *s);
    struct lifecycle_params params = {
        .theta = 0.02, .window = 4, .gap = 8, .budget = 32, .settle = 8, .rows = ROWS_ALL};
    for (int p = 0; p < 3; p++) {
        int32_t ids[TOTAL];
        struct answer answer;
        struct plan plan = tiny_plan(policies[p]);
        struct session *session = tiny_session(tiny, false, 2, 1, TOTAL);
        tiny_ids(&shape, 3, ids, TOTAL);
        struct request request = tiny_forced(&plan, ids, PROMPT, TOTAL, NULL);
        request.on_attention = store_row, request.watch_prompt = true;
        memset(s, 0, sizeof *s);
        miner_open(&s->live, LAYERS, HEADS, TOTAL, &params);
        miner_begin(&s->live, PROMPT);
        tiny_answer(session, &request, 1, 0, &answer);
        session_close(session);
        for (int h = 0; h < LAYERS * HEADS; h++) {
            struct lifecycle again;
            int32_t position[TOTAL];
            lifecycle_open(&again, TOTAL);
            lifecycle_begin(&again, &params, PROMPT);
            for (int q = 0; q < TOTAL; q++) {
                position[q] = q;
                lifecycle_row(&again, &(struct attended){q, q < PROMPT, s->held[h][q], q + 1,
                                                         position, s->prob[h][q]});
            }
            const struct lifecycle *live = &s->live.heads[h].life;
            assert_int_equal(live->n_rows, TOTAL);
            assert_memory_equal(live->keys, again.keys, TOTAL * sizeof *again.keys);
            lifecycle_close(&again);
        }
        miner_close(&s->live);
    }
    free(s);
    model_close(tiny);
}

/* --- the command ------------------------------------------------------------------------------ */

static double number(const struct json *object, const char *name, const char *part) {
    double out = NAN;
    const struct json *value = json_get(object, name);
    assert_true(json_number(part ? json_get(value, part) : value, &out));
    return out;
}

static void test_analyze_proves_itself(void **state) {
    (void)state;
    struct cli cli;
    struct err e = {0};
    cli_run(&cli, NULL, "analyze", "--validate", "--steps", "12", "--n", "6", "--train", "4",
            "--seed", "3", "--json", "--db", cli_path("proof.db"), NULL);
    if (cli.code)
        fail_msg("%s", cli.err);
    struct json_doc *doc = json_parse(cli.out, cli.out_size, "analyze", &e);
    assert_non_null(doc);
    const struct json *root = json_root(doc);
    double best = number(root, "best", "f1");
    assert_true(best >= 0.9);
    assert_true(best >= number(json_get(root, "baselines"), "every_lemma", "f1") + 0.1);
    assert_true(best > number(root, "shuffled", "f1"));
    assert_true(number(root, "best", "last_use_error_median") <= 1);
    assert_true(number(root, "best", "rank_correlation") >= 0.8);
    assert_int_equal(json_count(json_get(root, "heads")), 24);
    for (const struct json *h = json_first(json_get(root, "heads")); h; h = json_next(h))
        assert_true(number(h, "f1", NULL) <= number(h, "f1_bound", NULL) + 1e-12);
    json_free(doc);
    cli_free(&cli);
}

static void test_analyze_prints_lives(void **state) {
    (void)state;
    struct cli cli;
    struct err e = {0};
    const char *db = cli_path("lives.db");
    cli_run(&cli, NULL, "analyze", "--dataset", "lemmas:steps=4", "--n", "2", "--solution", "gold",
            "--policy", "full", "--policy", "raas:budget=128", "--rows", "all", "--db", db, NULL);
    if (cli.code)
        fail_msg("%s", cli.err);
    assert_non_null(strstr(cli.out, "raas:budget=128 on lemmas:steps=4"));
    assert_non_null(strstr(cli.out, "phoenix keys of a head"));
    cli_free(&cli);
    cli_run(&cli, NULL, "analyze", "--dataset", "lemmas:steps=4", "--n", "1", "--json", "--db", db,
            NULL);
    struct json_doc *doc = json_parse(cli.out, cli.out_size, "analyze", &e);
    assert_non_null(doc);
    const struct json *one = json_get(json_first(json_root(doc)), "analysis");
    assert_int_equal(json_count(json_get(one, "heads")), 24);
    json_free(doc);
    cli_free(&cli);
}

static void test_analyze_refuses(void **state) {
    (void)state;
    CLI_FAILS(EXIT_USAGE, "expected one of recorded files", "analyze");
    CLI_FAILS(EXIT_USAGE, "--validate takes no --policy", "analyze", "--validate", "--policy",
              "full");
    CLI_FAILS(EXIT_USAGE, "--sweep takes --validate", "analyze", "--dataset", "lemmas", "--sweep");
    CLI_FAILS(EXIT_USAGE, "--theta", "analyze", "--validate", "--theta", "2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_analyze_labels_tokens),
        cmocka_unit_test(test_analyze_stored_rows_give_the_same),
        cmocka_unit_test(test_analyze_proves_itself),
        cmocka_unit_test(test_analyze_prints_lives),
        cmocka_unit_test(test_analyze_refuses),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
