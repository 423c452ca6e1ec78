/* Shadow runs on a tiny model: nothing is lost where nothing is left out, and what is measured is
 * what the definitions say, computed here from whole distributions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "experiments/shadow.h"
#include "experiments/shadow_reference.h"
#include "tests/tiny.h"

enum { PROMPT = 30, TOTAL = 230, STEPS = TOTAL - PROMPT, VOCAB = 61, TEXTS = 3, HEADS = 4 };
enum { PLANS = 32 };

static struct model *model;
static int32_t ids[TEXTS][TOTAL];

static int open_model(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    model = tiny_open(shape);
    for (int t = 0; t < TEXTS; t++)
        tiny_ids(&shape, (uint64_t)t + 5, ids[t], TOTAL);
    return 0;
}
static int close_model(void **state) {
    (void)state;
    model_close(model);
    return 0;
}

/* What the last run has told. */
struct kept {
    int n, first[PLANS][TEXTS];
    double kl[PLANS][TEXTS][STEPS], lost[PLANS][TEXTS];
    bool agrees[PLANS][TEXTS][STEPS];
    int32_t most[PLANS];
};
static struct kept kept;

static bool keep(void *user, const struct shadow_result *r, struct err *e) {
    (void)user, (void)e;
    assert_int_equal(r->n_steps, STEPS);
    memcpy(kept.kl[r->plan][r->text], r->kl, sizeof kept.kl[0][0]);
    memcpy(kept.agrees[r->plan][r->text], r->agrees, sizeof kept.agrees[0][0]);
    kept.first[r->plan][r->text] = r->first_divergence;
    kept.lost[r->plan][r->text] = 0;
    for (int h = 0; r->lost && h < HEADS; h++)
        kept.lost[r->plan][r->text] += (double)r->lost[h] / HEADS;
    kept.most[r->plan] = r->stats.kept_peak;
    kept.n++;
    return true;
}

static void run(const char *const *policies, int n, int width, int threads, bool attention) {
    static struct plan plans[PLANS];
    struct shadow_text texts[TEXTS];
    for (int i = 0; i < n; i++)
        plans[i] = tiny_plan(policies[i]);
    for (int t = 0; t < TEXTS; t++)
        texts[t] = (struct shadow_text){ids[t], PROMPT, TOTAL};
    struct shadow shadow = {.model = model,
                            .session = tiny_session(model, false, threads, width, TOTAL),
                            .width = width,
                            .plans = plans,
                            .n_plans = n,
                            .texts = texts,
                            .n_texts = TEXTS,
                            .attention = attention,
                            .done = keep};
    struct err e = {0};
    memset(&kept, 0, sizeof kept);
    assert_true(shadow_run(&shadow, &e));
    assert_int_equal(kept.n, n * TEXTS);
    session_close(shadow.session);
}

/* Every policy that is registered, full among them, with a budget that covers the text. */
static void test_shadow_loses_nothing_where_nothing_is_left_out(void **state) {
    (void)state;
    static char spelled[PLANS][64];
    const char *policies[PLANS] = {NULL};
    int n = 0;
    for (const struct policy *const *p = all_policies; *p; p++, n++) {
        assert_true(n < PLANS);
        snprintf(spelled[n], sizeof spelled[n], "%s%s", (*p)->name,
                 (*p)->has_budget ? ":budget=240" : "");
        policies[n] = spelled[n];
    }
    run(policies, n, 2, 2, true);
    for (int p = 0; p < n; p++)
        for (int t = 0; t < TEXTS; t++) {
            assert_int_equal(kept.first[p][t], -1);
            assert_true(kept.lost[p][t] == 0);
            for (int i = 0; i < STEPS; i++)
                assert_true(kept.kl[p][t][i] == 0 && kept.agrees[p][t][i]);
        }
}

/* A model without finite logits must not pass for one that loses nothing. */
static void test_shadow_refuses_logits_that_are_not_finite(void **state) {
    (void)state;
    struct tiny broken = TINY_DEFAULT;
    broken.broken = true;
    struct model *bad = tiny_open(broken);
    struct plan plan = tiny_plan("raas:budget=64");
    struct shadow_text text = {ids[0], PROMPT, TOTAL};
    struct shadow shadow = {.model = bad,
                            .session = tiny_session(bad, false, 1, 2, TOTAL),
                            .width = 2,
                            .plans = &plan,
                            .n_plans = 1,
                            .texts = &text,
                            .n_texts = 1,
                            .done = keep};
    struct err e = {0};
    memset(&kept, 0, sizeof kept);
    assert_false(shadow_run(&shadow, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "not finite"));
    assert_int_equal(kept.n, 0);
    session_close(shadow.session);
    model_close(bad);
}

/* The same by whole distributions from plain sessions. */
static struct tape logits_of(const char *policy, int text) {
    struct plan plan = tiny_plan(policy);
    struct tape tape = tape_new(model, TOTAL);
    struct session *session = tiny_session(model, false, 1, 1, TOTAL);
    struct request request = tiny_forced(&plan, ids[text], PROMPT, TOTAL, &tape);
    struct answer answer;
    tiny_answer(session, &request, 1, 0, &answer);
    session_close(session);
    return tape;
}

static double log_sum(const float *x) {
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)x[i]);
    return log(sum);
}
static double divergence(const float *p, const float *q) {
    double kl = 0, a = log_sum(p), b = log_sum(q);
    for (int i = 0; i < VOCAB; i++)
        kl += exp((double)p[i] - a) * ((double)p[i] - a - ((double)q[i] - b));
    return kl;
}
static int best_of(const float *x) {
    int best = 0;
    for (int i = 1; i < VOCAB; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

static void test_shadow_measures_the_divergence(void **state) {
    (void)state;
    static const char *const policies[] = {"streaming:budget=48", "raas:budget=64"};
    double seen = 0;
    run(policies, 2, 3, 2, false);
    for (int p = 0; p < 2; p++)
        for (int t = 0; t < TEXTS; t++) {
            struct tape full = logits_of("full", t), other = logits_of(policies[p], t);
            int first = -1;
            for (int i = 0; i < STEPS; i++) {
                const float *a = full.logits + (size_t)(PROMPT + i) * VOCAB;
                const float *b = other.logits + (size_t)(PROMPT + i) * VOCAB;
                double kl = divergence(a, b);
                assert_true(fabs(kept.kl[p][t][i] - kl) < 1e-7 + 1e-6 * kl);
                assert_int_equal(kept.agrees[p][t][i], best_of(a) == best_of(b));
                if (first < 0 && best_of(a) != best_of(b))
                    first = i;
                seen += kl;
            }
            assert_int_equal(kept.first[p][t], first);
            assert_true(isnan(kept.lost[p][t]) || kept.lost[p][t] == 0);
            free(full.logits), free(other.logits);
        }
    assert_true(seen > 1); /* there is something to measure */
}

static void test_shadow_is_the_same_for_any_width_and_threads(void **state) {
    (void)state;
    static const char *const policies[] = {"quest:budget=48", "h2o:budget=48"};
    run(policies, 2, 1, 1, true);
    struct kept *alone = malloc(sizeof *alone);
    *alone = kept;
    run(policies, 2, 6, 3, true);
    assert_memory_equal(alone, &kept, sizeof kept);
    free(alone);
}

static bool not_the_first(void *user, int text, int plan) {
    (void)user;
    return text > 0 && !(text == 1 && plan == 0);
}

static bool count(void *user, const struct shadow_result *r, struct err *e) {
    (void)e;
    assert_true(not_the_first(NULL, r->text, r->plan));
    ++*(int *)user;
    return true;
}

static void test_shadow_replays_what_is_wanted(void **state) {
    (void)state;
    struct plan plans[2] = {tiny_plan("h2o:budget=48"), tiny_plan("raas:budget=48")};
    struct shadow_text texts[TEXTS];
    int told = 0;
    for (int t = 0; t < TEXTS; t++)
        texts[t] = (struct shadow_text){ids[t], PROMPT, TOTAL};
    struct shadow shadow = {.model = model,
                            .session = tiny_session(model, false, 1, 2, TOTAL),
                            .width = 2,
                            .plans = plans,
                            .n_plans = 2,
                            .texts = texts,
                            .n_texts = TEXTS,
                            .wanted = not_the_first,
                            .done = count,
                            .user = &told};
    struct err e = {0};
    assert_true(shadow_run(&shadow, &e));
    assert_int_equal(told, 3);
    session_close(shadow.session);
}

/* One head by hand: full gives .5, .3, .2 to positions 0, 1, 2; a policy that has lost 1 loses .3.
 */
static void test_shadow_reference_counts_lost_mass(void **state) {
    (void)state;
    struct shadow_reference r;
    uint8_t seen[8] = {0};
    static const int32_t all[] = {0, 1, 2}, some[] = {0, 2};
    static const float prob[] = {.6f, .2f, .2f, .4f, .4f, .2f}, half[] = {.5f, .5f, .5f, .5f};
    reference_init(&r, 2, 1, 1);
    struct attention_row row = {.group = 2, .query = 2, .n = 3, .position = all, .prob = prob};
    reference_keep_row(&r, 0, &row);
    row.n = 2, row.position = some, row.prob = half;
    assert_true(fabs(reference_lost(&r, 0, &row, seen) - .3) < 1e-6);
    for (int i = 0; i < 8; i++)
        assert_int_equal(seen[i], 0);
    reference_free(&r);
}

/* Ids that are unlikely count as one: the divergence is that of the lumped distributions. */
static void test_shadow_reference_lumps_what_is_unlikely(void **state) {
    (void)state;
    struct shadow_reference r;
    int32_t best;
    float p[4] = {0, -30, -31, -1}, q[4] = {0, -2, -31, -1};
    reference_init(&r, 1, 1, 0);
    reference_keep(&r, 0, p, 4);
    assert_int_equal(r.steps[0].n, 2);
    double sum_p = 1 + exp(-30) + exp(-31) + exp(-1), sum_q = 1 + exp(-2) + exp(-31) + exp(-1);
    double kl = 1 / sum_p * log(sum_q / sum_p) + exp(-1) / sum_p * log(sum_q / sum_p);
    assert_true(fabs(reference_kl(&r, 0, q, 4, &best) - kl) < 1e-7);
    assert_int_equal(best, 0);
    assert_true(reference_kl(&r, 0, p, 4, &best) == 0);
    reference_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shadow_loses_nothing_where_nothing_is_left_out),
        cmocka_unit_test(test_shadow_refuses_logits_that_are_not_finite),
        cmocka_unit_test(test_shadow_measures_the_divergence),
        cmocka_unit_test(test_shadow_is_the_same_for_any_width_and_threads),
        cmocka_unit_test(test_shadow_replays_what_is_wanted),
        cmocka_unit_test(test_shadow_reference_counts_lost_mass),
        cmocka_unit_test(test_shadow_reference_lumps_what_is_unlikely),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
