/* Hand-computed traces of policies that observe only the last queries before an eviction, and of
 * those that evict many tokens at once. */
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
    rules_shrink(&step, &script.scratch);
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

/* --- snapkv: L = 6, and 4 that wait; the last 2 queries; the largest of 3 neighbours ---------- */

static float snapkv_mass(int32_t query, int32_t key) {
    static const float given[14][14] = {
        [8] = {1, [3] = 4, [7] = 2},
        [9] = {1, [3] = 2, [8] = 2, [9] = 50},
        [12] = {[2] = 1, [4] = 3, [9] = 1},
        [13] = {[9] = 1, [11] = 5, [13] = 9},
    };
    bool counts = query == 8 || query == 9 || query == 12 || query == 13;
    return counts ? given[query][key] : key == 1 ? 100 : 0;
}

static void test_rules_snapkv_trace(void **state) {
    (void)state;
    /* columns  2 0 0 6 0 0 0 2 2, pooled 2 2 6 6 6 0 2 2 2: 5 goes, then 0, 1, 6, older than 7 */
    static const int32_t first[] = {2, 3, 4, 7, 8, 9, 10};
    /* of 2 3 4 7 8 9 10 11 12: 1 0 3 0 0 2 0 5 0, pooled 1 3 3 3 2 2 5 5 5: 2, 8, 9, and 3 */
    static const int32_t second[] = {4, 7, 10, 11, 12, 13, 14};
    script_open();
    script.mass = snapkv_mass;
    struct plan plan = tiny_plan("snapkv:budget=6,every=4,window=2,pool=3");
    struct head_step step = script_step(&plan, 3);
    assert_int_equal(step.capacity, 10);
    for (int32_t t = 0; t < 3; t++)
        script_take(&step, t, true);
    rules_shrink(&step, &script.scratch);
    for (int32_t t = 3; t < 15; t++) {
        script_take(&step, t, false);
        if (t == 9 || t == 13)
            assert_int_equal(script.head.n_live, 10);
        if (t == 10)
            must_hold(first, 7);
    }
    must_hold(second, 7);
    assert_int_equal(script.head.evictions, 8);
    script_close();
}

static float last_two_mass(int32_t query, int32_t key) {
    static const float given[2][8] = {{4, 1, 0, 1, 0, 3, 9, 0}, {0, 0, 0, 1, 0, 0, 9, 9}};
    return query < 6 ? (float)(10 - key) : given[query - 6][key];
}

/* A prompt longer than L is cut to L by its last two queries: 4 1 0 2 0 3, without neighbours. */
static void test_rules_snapkv_cuts_a_long_prompt(void **state) {
    (void)state;
    static const int32_t kept[] = {0, 1, 3, 5, 6, 7};
    script_open();
    script.mass = last_two_mass;
    struct plan plan = tiny_plan("snapkv:budget=6,every=4,window=2,pool=1");
    struct head_step step = script_step(&plan, 8);
    for (int32_t t = 0; t < 8; t++)
        script_take(&step, t, true);
    rules_shrink(&step, &script.scratch);
    must_hold(kept, 6);
    script_close();
}

/* --- rkv: L = 4, and 2 that wait; the last query; no neighbours ------------------------------- */

/* Keys 0, 2, 4 are one direction, 1 and 5 another, 3 a third. 0 is charged with 2 and 4; 2 with 0
 * and 4, less the 1 of key 4, whose newest like it is 2; 4 with 0 and 2, less 1 each; 1 and 5 with
 * each other, less 1: of 6 keys 0 has 2/6, 2 has 1/6, the others nothing. Softmax: .212, .180 and
 * .152 each. */
static void rkv_key(int32_t position, float *k) {
    static const int direction[] = {0, 1, 0, 2, 0, 1, 3, 3};
    for (int d = 0; d < SCRIPT_HEAD_SIZE; d++)
        k[d] = d == direction[position] ? (float)(1 << position) : 0;
}

static float rkv_mass(int32_t query, int32_t key) {
    return query < 5 ? (float)(10 - key) : query == 5 && key == 0 ? 0.2f : 0;
}

static void rkv_evicts(const char *spelling, const int32_t *kept) {
    script_open();
    script.mass = rkv_mass;
    script.key = rkv_key;
    struct plan plan = tiny_plan(spelling);
    struct head_step step = script_step(&plan, 1);
    for (int32_t t = 0; t < 7; t++) {
        script_take(&step, t, t == 0);
        if (t == 5)
            assert_int_equal(script.head.n_live, 6);
    }
    must_hold(kept, 5);
    script_close();
}

static void test_rules_rkv_trace(void **state) {
    (void)state;
    static const int32_t redundant[] = {1, 3, 4, 5, 6}; /* 0, then 2 */
    static const int32_t mixed[] = {0, 3, 4, 5, 6};     /* -.056 -.076 -.090 -.076 ...: 2, 1 */
    static const int32_t important[] = {0, 3, 4, 5, 6}; /* all but 0 tie: 1, 2 */
    rkv_evicts("rkv:budget=4,every=2,window=1,pool=1,lambda=0", redundant);
    rkv_evicts("rkv:budget=4,every=2,window=1,pool=1,lambda=0.5", mixed);
    rkv_evicts("rkv:budget=4,every=2,window=1,pool=1,lambda=1", important);
}

/* All keys alike: each is charged with all others; the newest is relieved of everybody's, and that
 * before it of the newest's. What is left ties, and the oldest go. */
static void same_key(int32_t position, float *k) {
    for (int d = 0; d < SCRIPT_HEAD_SIZE; d++)
        k[d] = (float)(1 << position) * (d < 2 ? 2.0f : -1.0f);
}

static void test_rules_rkv_spares_the_newest_of_like_keys(void **state) {
    (void)state;
    static const int32_t kept[] = {2, 3, 4, 5, 6};
    script_open();
    script.mass = NULL;
    script.key = same_key;
    struct plan plan = tiny_plan("rkv:budget=4,every=2,window=1");
    struct head_step step = script_step(&plan, 1);
    for (int32_t t = 0; t < 7; t++)
        script_take(&step, t, t == 0);
    must_hold(kept, 5);
    script_close();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_tova_trace),
        cmocka_unit_test(test_rules_tova_looks_at_a_prompt_that_fits),
        cmocka_unit_test(test_rules_snapkv_trace),
        cmocka_unit_test(test_rules_snapkv_cuts_a_long_prompt),
        cmocka_unit_test(test_rules_rkv_trace),
        cmocka_unit_test(test_rules_rkv_spares_the_newest_of_like_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
