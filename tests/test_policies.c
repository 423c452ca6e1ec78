/* What every registered policy must hold, found through the table: a new policy file is tested by
 * being there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/policy_checks.h"
#include "tests/spellings.h"

static struct session_params cpu(bool bf16, int threads, int width) {
    return (struct session_params){.backend = "cpu",
                                   .precision = bf16 ? PRECISION_BF16 : PRECISION_FP32,
                                   .n_threads = threads,
                                   .width = width};
}

static void test_policies_keep_their_capacity_and_pins(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    for (int i = 0; i < n_spellings; i++)
        policy_checks_tables(model, &shape, cpu(i & 1, 1, 1), spellings[i], 1);
    model_close(model);
}

static void test_policies_equal_full_when_the_budget_suffices(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    for (int bf16 = 0; bf16 < 2; bf16++)
        policy_checks_full(model, &shape, cpu(bf16, 1, 1));
    model_close(model);
}

static void test_policies_do_not_depend_on_neighbours_or_threads(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    static struct answer alone[256], batch[256];
    for (int bf16 = 0; bf16 < 2; bf16++) {
        policy_checks_decode(model, &shape, cpu(bf16, 1, 1), 0, alone);
        static const int widths[] = {2, 7, 32}, threads[] = {2, 1, 2};
        for (int i = 0; i < 3; i++) {
            policy_checks_decode(model, &shape, cpu(bf16, threads[i], widths[i]), 0, batch);
            policy_checks_same(alone, batch, n_spellings, "a batch");
        }
    }
    model_close(model);
}

static void test_policies_report_bad_spellings(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"rass:budget=64", "unknown policy 'rass'"},
        {"raas:budget=100", "multiple of 16"},
        {"quest:budget=40", "multiple of 16"},
        {"raas:budget=0", "budget"},
        {"raas:bugdet=64", "bugdet"},
        {"raas:budget=64,budget=64", "budget"},
        {"raas:budget=64,r=2", "r"},
        {"raas:budget=64,alpha=-0.5", "alpha"},
        {"streaming:budget=4", "budget"},
        {"snapkv:budget=8", "more than the 8 tokens"},
        {"snapkv:budget=64,every=7", "window=8, expected at most every=7"},
        {"rkv:budget=64,pool=4", "odd"},
        {"rkv:budget=64,lambda=1.5", "lambda"},
        {"full:budget=64", "budget"},
        {"", "unknown policy"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct plan plan;
        struct err e = {0};
        assert_false(policy_parse(bad[i].text, &plan, &e));
        assert_int_equal(e.code, EXIT_USAGE);
        if (!strstr(e.text, bad[i].says))
            fprintf(stderr, "%s: %s\n", bad[i].text, e.text);
        assert_non_null(strstr(e.text, bad[i].says));
    }
}

static void test_policies_budget_match_gives_the_pinned_capacity(void **state) {
    (void)state;
    struct plan raas = tiny_plan("raas:budget=64"), h2o = tiny_plan("h2o:budget=64,match=1"),
                floor = tiny_plan("streaming:budget=match"),
                quest = tiny_plan("quest:budget=64,match=1");
    for (int n = 1; n < 200; n += 7) {
        int32_t capacity = plan_capacity(&raas, n, 1000), least = (pages_of(n) + 2) * PAGE;
        assert_int_equal(capacity, least > 64 ? least : 64);
        assert_int_equal(plan_capacity(&h2o, n, 1000), capacity);
        assert_int_equal(plan_capacity(&floor, n, 1000), least);
        assert_int_equal(plan_effective_budget(&quest, n), capacity);
        assert_int_equal(plan_capacity(&quest, n, 1000), 1000);
    }
}

/* L tokens are kept; those that go together wait beside them, whatever L grows to. */
static void test_policies_capacity_has_room_for_those_that_wait(void **state) {
    (void)state;
    struct plan snapkv = tiny_plan("snapkv:budget=64,every=20"),
                pinned = tiny_plan("rkv:budget=64,every=20,pin_prompt=1"),
                match = tiny_plan("snapkv:budget=match,every=20"),
                raas = tiny_plan("raas:budget=64");
    for (int n = 1; n < 200; n += 7) {
        assert_int_equal(plan_capacity(&snapkv, n, 1000), 84);
        assert_int_equal(plan_effective_budget(&snapkv, n), 84);
        assert_int_equal(plan_capacity(&pinned, n, 1000), plan_capacity(&raas, n, 1000) + 20);
        assert_int_equal(plan_capacity(&match, n, 1000), (pages_of(n) + 2) * PAGE + 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies_keep_their_capacity_and_pins),
        cmocka_unit_test(test_policies_equal_full_when_the_budget_suffices),
        cmocka_unit_test(test_policies_do_not_depend_on_neighbours_or_threads),
        cmocka_unit_test(test_policies_report_bad_spellings),
        cmocka_unit_test(test_policies_budget_match_gives_the_pinned_capacity),
        cmocka_unit_test(test_policies_capacity_has_room_for_those_that_wait),
    };
    return cmocka_run_group_tests(tests, list_spellings, NULL);
}
