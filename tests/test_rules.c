/* Hand-computed traces: which tokens and pages stay, step by step, when the signals are scripted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/scripted.h"
#include "tests/tiny.h"

/* Every query gives key j the mass c[j], so m_j after query t is c[j] (t - j + 1). Prompt of 4, L =
 * 6, the newest 3 exempt. Before t = 7, keys 3 and 4 tie at 12, before t = 13 keys 8 and 10 tie at
 * 75: the older one goes. */
static const float h2o_mass[] = {9, 1, 5, 3, 4, 2, 8, 11, 15, 20, 25, 1, 1, 1};
static float mass_of_key(int32_t query, int32_t key) {
    (void)query;
    return h2o_mass[key];
}

static void test_rules_h2o_trace(void **state) {
    (void)state;
    static const struct {
        int32_t t, kept[6];
    } trace[] = {
        {6, {0, 2, 3, 4, 5, 6}},      /* 54  5 20  9: 1 goes */
        {7, {0, 2, 4, 5, 6, 7}},      /* 63 25 12 12: 3 goes, older than 4 */
        {8, {0, 2, 4, 6, 7, 8}},      /* 72 30 16  6: 5 */
        {9, {0, 2, 6, 7, 8, 9}},      /* 81 35 20 24: 4 */
        {10, {0, 2, 7, 8, 9, 10}},    /* 90 40 32 33: 6 */
        {11, {0, 2, 8, 9, 10, 11}},   /* 99 45 44 45: 7 */
        {12, {0, 8, 9, 10, 11, 12}},  /* 108 50 60 60: 2 */
        {13, {0, 9, 10, 11, 12, 13}}, /* 117 75 80 75: 8, older than 10 */
    };
    script_open();
    script.mass = mass_of_key;
    struct plan plan = tiny_plan("h2o:budget=6");
    struct head_step step = script_step(&plan, 4);
    for (int32_t t = 0; t < 4; t++)
        script_take(&step, t, true);
    rules_shrink(&step, &script.scratch);
    assert_int_equal(script.head.n_live, 4);
    script_take(&step, 4, false);
    script_take(&step, 5, false);
    assert_int_equal(script.head.n_live, 6);
    for (size_t i = 0; i < sizeof trace / sizeof *trace; i++) {
        script_take(&step, trace[i].t, false);
        assert_int_equal(script.head.n_live, 6);
        for (int j = 0; j < 6; j++)
            assert_true(script_holds(trace[i].kept[j]));
    }
    script_close();
}

/* A prompt longer than L is cut once after prefill; the newest L/2 stay. */
static void test_rules_h2o_cuts_a_long_prompt_once(void **state) {
    (void)state;
    script_open();
    script.mass = mass_of_key;
    struct plan plan = tiny_plan("h2o:budget=4");
    struct head_step step = script_step(&plan, 6);
    for (int32_t t = 0; t < 6; t++)
        script_take(&step, t, true);
    rules_shrink(&step, &script.scratch);
    assert_int_equal(script.head.n_live, 4);
    assert_true(script_holds(0) && script_holds(2) && script_holds(4) &&
                script_holds(5)); /* 54 5 20 9: 1, then 3 */
    script_close();
}

/* Prompt of 20: pages 0 and 1 are pinned (1 is shared with the first answers). L = 80: five pages,
 * of which three are marked each step, and the open one. */
static float bound_of_page(int32_t t, int32_t page) {
    if (t < 80)
        return page < 2 ? 7 : page == 2 ? 6 : page == 3 ? 2 : 1;
    if (t < 96)
        return page < 2 ? 7 : page == 2 ? (t <= 85 ? 6 : 0) : page == 4 ? 5 : 1;
    if (t < 112)
        return page < 2 ? 7 : page == 4 || page == 5 ? 4 : 0;
    if (t < 128)
        return 3;
    return page == 8 ? 9 : page == 7 ? 8 : page == 4 ? 7 : 0;
}

static void test_rules_raas_trace(void **state) {
    (void)state;
    static const struct {
        int32_t t, pages[5];
    } trace[] = {
        {80, {0, 1, 2, 4, 5}},  /* stamps 2:79 3:63 4:79: 3 goes, although 2 is older */
        {96, {0, 1, 4, 5, 6}},  /* 2:85 4:95 5:95: 2, unused since 85 */
        {112, {0, 1, 4, 6, 7}}, /* 4:111 5:95 6:111: 5 lost the tie for the third mark to 4 */
        {128, {0, 1, 4, 7, 8}}, /* all bounds tie: 0, 1, 4 are marked; 4:127 6:111 7:127: 6 */
        {144, {0, 1, 7, 8, 9}}, /* 4, 7 and 8 all 143: 4 is the oldest */
    };
    script_open();
    script.bound = bound_of_page;
    struct plan plan = tiny_plan("raas:budget=80");
    struct head_step step = script_step(&plan, 20);
    assert_int_equal(step.capacity, 80);
    for (int32_t t = 0; t < 20; t++)
        script_take(&step, t, true);
    rules_shrink(&step, &script.scratch);
    size_t i = 0;
    for (int32_t t = 20; t < 146; t++) {
        script_take(&step, t, false);
        if (i < sizeof trace / sizeof *trace && t == trace[i].t) {
            assert_int_equal(script.head.n_pages, 5);
            for (int j = 0; j < 5; j++)
                assert_int_equal(script.pool.position[script.head.table[j] * PAGE],
                                 trace[i].pages[j] * PAGE);
            i++;
        }
    }
    assert_int_equal(i, sizeof trace / sizeof *trace);
    assert_int_equal(script.head.evictions, 5);
    script_close();
}

/* Pages with equal bounds: the older ones are selected; the newest is always in; attention sees
 * ascending positions. */
static int32_t seen[SCRIPT_ROOM];
static int n_seen;
static void seeing_attend(const struct cpu_attention *a) {
    n_seen = 0;
    for (int i = 0; i < a->n_pages; i++)
        seen[n_seen++] = script.pool.position[script_page_of(a->pages[i]) * PAGE] / PAGE;
}
static float tied_bound(int32_t t, int32_t page) {
    (void)t;
    return page == 3 ? 2 : 1;
}

static void test_rules_quest_selects_older_of_equals_and_the_newest(void **state) {
    (void)state;
    script_open();
    struct cpu_kernels kernels = *script.pool.kernels;
    kernels.attend = seeing_attend;
    script.pool.kernels = &kernels;
    script.bound = tied_bound;
    struct plan plan = tiny_plan("quest:budget=64");
    struct head_step step = script_step(&plan, 1);
    for (int32_t t = 0; t < 100; t++)
        script_take(&step, t, t == 0);
    int32_t expected[] = {0, 1, 3, 6};
    assert_int_equal(n_seen, 4);
    assert_memory_equal(seen, expected, sizeof expected);
    assert_int_equal(script.head.n_live, 100);
    script_close();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_h2o_trace),
        cmocka_unit_test(test_rules_h2o_cuts_a_long_prompt_once),
        cmocka_unit_test(test_rules_raas_trace),
        cmocka_unit_test(test_rules_quest_selects_older_of_equals_and_the_newest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
