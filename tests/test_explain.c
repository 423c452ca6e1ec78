/* Why answers are wrong: where they leave gold, what that needed, and each cause by construction.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "experiments/explain.h"
#include "tests/lemmas.h"
#include "tests/tiny.h"

enum { ROOM = 700 };
static struct model *model;
static struct session *session;
static struct problem problem; /* of eight steps */

static int open_all(void **state) {
    (void)state;
    struct err e = {0};
    void *param = lemmas_options("steps=8,seed=5");
    assert_true(dataset_find("lemmas")->get(param, 0, &problem, &e));
    free(param);
    model = lemmas_model();
    session = model ? tiny_session(model, true, 2, 2, ROOM) : NULL;
    return 0;
}
static int close_all(void **state) {
    (void)state;
    problem_free(&problem);
    session_close(session);
    model_close(model);
    return 0;
}

/* --- the first wrong step --------------------------------------------------------------------- */

/* The solution with `what`, found behind byte `from`, written as `with`; malloc'd. */
static char *spoil(size_t from, const char *what, const char *with) {
    const char *found = strstr(problem.solution + from, what);
    assert_non_null(found);
    char *out = must_alloc(strlen(problem.solution) + strlen(with) + 1);
    size_t before = (size_t)(found - problem.solution);
    memcpy(out, problem.solution, before);
    strcpy(out + before, with);
    strcat(out, found + strlen(what));
    return out;
}

/* The solution with the last digit of a span changed. */
static char *spoil_span(const struct span *span) {
    char *out = must_strdup(problem.solution);
    char *digit = out + span->to - 1;
    *digit = *digit == '9' ? '1' : (char)(*digit + 1);
    return out;
}

static struct wrong_step look(char *text) {
    int32_t *at = must_alloc((strlen(problem.solution) + 1) * sizeof *at);
    struct wrong_step w = wrong_step(&problem, text, strlen(text), at);
    for (size_t i = 0; i < strlen(problem.solution); i++)
        assert_true(i < w.gold ? at[i] >= 0 && at[i] < (int)strlen(text) : at[i] == -1);
    free(at);
    free(text);
    return w;
}

static void expect(char *text, enum wrong_part part, int step, int source) {
    struct wrong_step w = look(text);
    if (w.part != part || w.step != step || w.source != source)
        fail_msg("%s of step %d, source %d", wrong_part_names[w.part], w.step, w.source);
}

static size_t line_of(int step) {
    const char *at = problem.solution;
    for (int i = 0; i < step; i++)
        at = strchr(at, '\n') + 1;
    return (size_t)(at - problem.solution);
}

static const struct span *use_of(int step) {
    for (int k = 0; k < problem.n_uses; k++)
        if (problem.uses[k].step == step)
            return &problem.uses[k];
    fail();
    return NULL;
}

static void test_explain_finds_the_part(void **state) {
    (void)state;
    const struct span *recall = use_of(5), *answer = use_of(8);
    expect(must_strdup(problem.solution), WRONG_NOTHING, 8, -1);
    expect(spoil_span(recall), WRONG_RECALL, 5, recall->source);
    expect(spoil_span(answer), WRONG_ANSWER, 8, answer->source);
    expect(spoil_span(&problem.lemmas[6]), WRONG_RESULT, 6, -1);
    expect(spoil(line_of(4), "Compute ", "Compute 9"), WRONG_COMPUTE, 4, -1);
    expect(spoil(line_of(4), "=", "=9"), WRONG_COMPUTE, 4, -1);
    expect(spoil(line_of(3), ": ", ": Zelda"), WRONG_STATEMENT, 3, -1);
    expect(spoil(line_of(3), "Recall ", "Recall X"), WRONG_STATEMENT, 3, -1);
    expect(spoil(line_of(2), "Step ", "The answer is "), WRONG_LABEL, 2, -1);
    expect(spoil(line_of(8), "The answer", "Step 9: "), WRONG_LABEL, 8, -1);
    /* a number whose first token takes the space with it, and one that goes on */
    char *short_of = spoil((size_t)recall->from - 1, " ", "");
    expect(short_of, WRONG_RECALL, 5, recall->source);
    char *longer = must_alloc(strlen(problem.solution) + 2);
    sprintf(longer, "%.*s0%s", recall->to, problem.solution, problem.solution + recall->to);
    expect(longer, WRONG_RECALL, 5, recall->source);
}

/* What is counted, and the numbers of steps, decide nothing. */
static void test_explain_passes_over_what_decides_nothing(void **state) {
    (void)state;
    char object[32];
    assert_int_equal(sscanf(problem.prompt, "Some friends count %31[a-z].", object), 1);
    const char *other = strcmp(object, "nuts") ? "nuts" : "rings";
    expect(spoil(line_of(2), object, other), WRONG_NOTHING, 8, -1);
    expect(spoil(line_of(2), object, "x"), WRONG_NOTHING, 8, -1);
    expect(spoil(line_of(5), "Step 6", "Step 12"), WRONG_NOTHING, 8, -1);
    struct wrong_step w = look(spoil(line_of(5), "Step 6: ", "Step 12: Zelda"));
    assert_int_equal(w.part, WRONG_STATEMENT);
    assert_int_equal(w.text, w.gold + 1);
    assert_int_equal(w.line, line_of(5));
}

static void test_explain_sees_where_an_answer_ends(void **state) {
    (void)state;
    for (size_t n = 0; n < strlen(problem.solution); n += 7) {
        char *text = must_strdup(problem.solution);
        text[n] = 0;
        struct wrong_step w = look(text);
        assert_true(w.part != WRONG_NOTHING);
        assert_in_range(w.gold, n, n + 8); /* part of a word that decides nothing is passed over */
        assert_int_equal(w.text, n);
    }
}

/* --- causes by hand ----------------------------------------------------------------------------
 * Two layers of four heads over two KV heads. Heads 0 and 3 of layer 1 are validated, so both of
 * its KV heads serve. The value stands at 2 and 3, and again at 6 and 7; the statement at 0. */

enum { QUERY = 12 };
static const struct validated_head hand[] = {{1, 0, 0.5, 1}, {1, 3, 0.4, 1}};

struct hand {
    struct needs needs;
    struct trace trace;
};

static struct hand *hand_open(bool near) {
    static const int32_t first[] = {2, 3}, again[] = {6, 7}, prompt[] = {0};
    struct hand *h = must_zalloc(1, sizeof *h);
    struct need *value = needs_add(&h->needs, NEED_VALUE, 1);
    need_add(value, first, 2, 1);
    need_add(value, again, 2, 2);
    need_add(needs_add(&h->needs, NEED_STATEMENT, 3), prompt, 1, -1);
    h->needs.near = near;
    trace_open(&h->trace, &h->needs, hand, 2, 2, 4, 2, QUERY, QUERY);
    return h;
}
static void hand_close(struct hand *h) {
    trace_close(&h->trace);
    needs_free(&h->needs);
    free(h);
}

/* A row in which a head holds all positions up to the query but `gone` (-1 ends them), and gives
 * `to` this much and the query the rest. */
static void feed(struct hand *h, int layer, int kv_head, int32_t query, const int32_t *gone,
                 int32_t to, float given) {
    int32_t positions[QUERY + 2];
    float prob[2 * (QUERY + 2)];
    int n = 0;
    for (int32_t p = 0; p <= query; p++) {
        bool held = true;
        for (const int32_t *g = gone; *g >= 0; g++)
            held = held && *g != p;
        if (held)
            positions[n++] = p;
    }
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < n; i++)
            prob[g * n + i] = positions[i] == to ? given : positions[i] == query ? 1 - given : 0;
    struct attention_row row = {.layer = layer,
                                .kv_head = kv_head,
                                .group = 2,
                                .query = query,
                                .n = n,
                                .position = positions,
                                .prob = prob,
                                .n_resident = n,
                                .resident = positions};
    trace_row(&h->trace, &row);
}

/* All rows; KV head k of layer 1 loses gone[k] with query 9. */
static void feed_all(struct hand *h, const int32_t *gone0, const int32_t *gone1, float given) {
    static const int32_t none[] = {-1};
    for (int32_t q = 4; q <= QUERY + 1; q++) /* one more than counts */
        for (int k = 0; k < 4; k++)
            feed(h, k / 2, k % 2, q, k < 2 || q < 9 ? none : k == 2 ? gone0 : gone1, 7, given);
}

static enum cause verdict(bool near, const int32_t *gone0, const int32_t *gone1, float given) {
    struct hand *h = hand_open(near);
    int which;
    feed_all(h, gone0, gone1, given);
    enum cause cause = trace_cause(&h->trace, &which);
    assert_int_equal(which, cause == CAUSE_STATEMENT);
    hand_close(h);
    return cause;
}

static void test_explain_traces_each_cause(void **state) {
    (void)state;
    static const int32_t none[] = {-1}, one[] = {2, -1}, both[] = {2, 7, -1}, prompt[] = {0, -1},
                         all[] = {0, 3, 6, -1};
    assert_int_equal(verdict(false, none, none, 0.9f), CAUSE_ARITHMETIC);
    assert_int_equal(verdict(false, none, none, 0.1f), CAUSE_UNREAD);
    assert_int_equal(verdict(true, none, none, 0.1f), CAUSE_ARITHMETIC);   /* not judged */
    assert_int_equal(verdict(false, none, none, 0.45f), CAUSE_ARITHMETIC); /* one of two reads */
    assert_int_equal(verdict(false, one, one, 0.9f), CAUSE_ARITHMETIC); /* the restatement stays */
    assert_int_equal(verdict(false, both, none, 0.9f), CAUSE_SOURCE);   /* half of the KV heads */
    assert_int_equal(verdict(false, both, both, 0.9f), CAUSE_SOURCE);
    assert_int_equal(verdict(false, prompt, none, 0.9f), CAUSE_STATEMENT);
    assert_int_equal(verdict(false, all, prompt, 0.1f), CAUSE_SOURCE); /* the value first */
}

static void test_explain_traces_when_it_went(void **state) {
    (void)state;
    static const int32_t none[] = {-1}, both[] = {2, 7, -1};
    struct hand *h = hand_open(false);
    const struct need *value = &h->needs.items[0];
    bool asked[4];
    feed_all(h, both, none, 0.9f);
    assert_int_equal(trace_held(&h->trace, value, 2), 8);
    assert_int_equal(trace_held(&h->trace, value, 3), QUERY);
    assert_int_equal(trace_asked(&h->trace, NEED_VALUE, asked), 2);
    assert_true(!asked[0] && !asked[1] && asked[2] && asked[3]);
    assert_int_equal(trace_asked(&h->trace, NEED_WORKING, asked), 4);
    assert_int_equal(trace_holders(&h->trace, value), 1);
    assert_true(h->trace.given[0] == 0); /* what it would have given went to 7 */
    assert_true(h->trace.given[1] > 0.89 && h->trace.given[1] < 0.91);
    hand_close(h);
}

/* --- causes by policies -------------------------------------------------------------------------
 * The gold solution with one digit wrong, as the answer of a policy that makes the cause certain.
 */

static struct explain_heads heads = {{{5, 0, 0.7, 0.99}, {5, 1, 0.6, 0.99}}, 2};

static struct explain_answer answer_of(const char *policy, char *text) {
    struct explain_answer a = {.sample = must_strdup("s"), .extracted = must_strdup("")};
    struct id_list ids = {0};
    struct err e = {0};
    void *param = lemmas_options("steps=8,seed=5");
    assert_true(dataset_find("lemmas")->get(param, 0, &a.problem, &e));
    free(param);
    a.policy = must_strdup(policy);
    a.plan = tiny_plan(policy);
    assert_true(
        tokenizer_encode(model->tokenizer, problem.prompt, strlen(problem.prompt), true, &ids, &e));
    a.n_prompt = (int)ids.count;
    assert_true(tokenizer_encode(model->tokenizer, text, strlen(text), false, &ids, &e));
    a.ids = ids.ids, a.n = (int)ids.count, a.greedy = true;
    free(text);
    return a;
}

/* Replays the answer, checks what is always so, and gives the explanation. */
static enum cause explain(const char *policy, char *text, enum wrong_part part) {
    struct explain_answers all = {.items = must_alloc(sizeof *all.items), .n = 1};
    struct explanation x;
    struct err e = {0};
    all.items[0] = answer_of(policy, text);
    assert_true(all.items[0].n + EXPLAIN_STEP <= ROOM);
    if (!explain_run(model, session, 2, &heads, all.items, 1, &x, &e))
        fail_msg("%s", e.text);
    assert_int_equal(x.wrong.part, part);
    assert_int_equal(x.full_right, x.query < 0 ? -1 : 1); /* this model can do it */
    enum cause cause = x.cause;
    char *account = explain_account(&x, model);
    assert_non_null(strstr(account, cause_names[cause]));
    free(account);
    explanation_free(&x);
    explain_answers_free(&all);
    return cause;
}

/* The use that reaches back farthest: [0] its step, [1] its source. */
static const struct span *far_use(void) {
    const struct span *best = use_of(8);
    for (int k = 0; k < problem.n_uses; k++) {
        const struct span *use = &problem.uses[k];
        bool restated = false;
        for (int i = 0; i < k; i++)
            restated = restated || problem.uses[i].source == use->source;
        if (!restated && use->step < 8 &&
            (best->step == 8 || use->step - use->source > best->step - best->source))
            best = use;
    }
    assert_true(best->step - best->source >= 2);
    return best;
}

static void test_explain_knows_evictions_by_their_policy(void **state) {
    (void)state;
    if (!model)
        skip();
    const struct span *use = far_use();
    size_t from, to;
    wrong_step_statement(&problem, 6, &from, &to);
    /* a window of two lines at most: neither an early value nor the prompt is there */
    assert_int_equal(explain("streaming:budget=64", spoil_span(use), WRONG_RECALL), CAUSE_SOURCE);
    assert_int_equal(explain("streaming:budget=64", spoil(from, " ", " Zoe "), WRONG_STATEMENT),
                     CAUSE_STATEMENT);
    /* the prompt is pinned, so only the value can be gone */
    assert_int_equal(explain("fifo:budget=16", spoil_span(use), WRONG_RECALL), CAUSE_SOURCE);
    assert_true(explain("fifo:budget=16", spoil(from, " ", " Zoe "), WRONG_STATEMENT) >
                CAUSE_STATEMENT);
}

/* Where nothing is ever evicted nothing can be missing, whatever is wrong. */
static void test_explain_never_blames_eviction_under_full(void **state) {
    (void)state;
    static const char *const policies[] = {"full", "quest:budget=32", "raas:budget=4096"};
    if (!model)
        skip();
    for (int p = 0; p < 3; p++)
        for (int k = 0; k < problem.n_uses; k++) {
            enum wrong_part part = problem.uses[k].step == 8 ? WRONG_ANSWER : WRONG_RECALL;
            enum cause cause = explain(policies[p], spoil_span(&problem.uses[k]), part);
            assert_true(cause == CAUSE_UNREAD || cause == CAUSE_ARITHMETIC);
            assert_true(p != 0 || cause == CAUSE_ARITHMETIC); /* full reads what it recalls */
        }
}

/* Quest's one page is the newest: all is there, and far values get exactly nothing. */
static void test_explain_knows_what_is_unread(void **state) {
    (void)state;
    if (!model)
        skip();
    assert_int_equal(explain("quest:budget=16", spoil_span(far_use()), WRONG_RECALL), CAUSE_UNREAD);
    assert_int_equal(explain("full", spoil_span(&problem.lemmas[5]), WRONG_RESULT),
                     CAUSE_ARITHMETIC);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_explain_finds_the_part),
        cmocka_unit_test(test_explain_passes_over_what_decides_nothing),
        cmocka_unit_test(test_explain_sees_where_an_answer_ends),
        cmocka_unit_test(test_explain_traces_each_cause),
        cmocka_unit_test(test_explain_traces_when_it_went),
        cmocka_unit_test(test_explain_knows_evictions_by_their_policy),
        cmocka_unit_test(test_explain_never_blames_eviction_under_full),
        cmocka_unit_test(test_explain_knows_what_is_unread),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
