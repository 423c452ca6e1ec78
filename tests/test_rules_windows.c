/* Hand-computed traces of policies that observe only the last queries before an eviction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/scripted.h"
#include "tests/tiny.h"

/* The head holds these n tokens and no others. */
static void must_hold(const int32_t *positions, int n) {
    assert_int_equal(script.head.n_live, n);
    for (int i = 0; i < n; i++)
        if (!script_holds(positions[i]))
            fail_msg("before token %d: %d is gone", script.now, positions[i]);
}

/* --- tova: L = 4, a prompt of 6 -------------------------------------------------------------- */

static float tova_mass(int32_t query, int32_t key) {
    static const float given[9][9] = {
        [5] = {1, 4, 2, 2, 3, 5},
        [6] = {[1] = 1, [4] = 3, [5] = 1, [6] = 1},
        [7] = {[5] = 2, [7] = 9},
        [8] = {[5] = 3, [6] = 1, [7] = 2},
    };
    if (query < 5)
        return key ? 0 : 100; /* none of the last query's business */
    return query < 9 ? given[query][key] : 0;
}

static void test_rules_tova_trace(void **state) {
    (void)state;
    static const int32_t kept[][4] = {
        {1, 4, 5, 6}, /* 4 2 3 5: 3 goes */
        {4, 5, 6, 7}, /* 1 3 1 1: 1, the oldest of three */
        {5, 6, 7, 8}, /* 0 2 0 9: 4, older than 6 */
        {5, 6, 7, 9}, /* 3 1 2 0: 8, nothing is exempt */
    };
    static const int32_t cut[] = {1, 3, 4, 5}; /* 1 4 2 2 3 5: 0, then 2, older than 3 */
    script_open();
    script.mass = tova_mass;
    struct plan plan = tiny_plan("tova:budget=4");
    struct head_step step = script_step(&plan, 6);
    for (int32_t t = 0; t < 6; t++)
        script_take(&step, t, true);
    rules_shrink(&step);
    must_hold(cut, 4);
    for (int32_t i = 0; i < 4; i++) {
        script_take(&step, 6 + i, false);
        must_hold(kept[i], 4);
    }
    script_close();
}

/* A prompt that just fits: its last query decides the first eviction. */
static void test_rules_tova_looks_at_a_prompt_that_fits(void **state) {
    (void)state;
    static const int32_t kept[] = {1, 2, 3, 4, 5, 6}; /* 0 got 1 of the last query */
    script_open();
    script.mass = tova_mass;
    struct plan plan = tiny_plan("tova:budget=6");
    struct head_step step = script_step(&plan, 6);
    for (int32_t t = 0; t < 7; t++)
        script_take(&step, t, t < 6);
    must_hold(kept, 6);
    script_close();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_tova_trace),
        cmocka_unit_test(test_rules_tova_looks_at_a_prompt_that_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
