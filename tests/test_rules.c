/* Hand-computed traces: which tokens and pages stay, step by step, when the signals are scripted.
 * No model is involved: a kernel table stands in whose attention and bounds come from the script.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/rules.h"
#include "tests/tiny.h"

enum { HEAD_SIZE = 4, GROUP = 2, ROOM = 64 };

static struct {
    struct page_pool pool;
    struct head head;
    struct rules_scratch scratch;
    int32_t table[ROOM];
    uint16_t live[ROOM];
    int32_t now;
    float (*mass)(int32_t query, int32_t key); /* what the group gives the key in all */
    float (*bound)(int32_t query, int32_t page);
} script;

/* Page and slot of a scripted key are found again through the pool's own positions. */
static int32_t page_of(const void *bytes) {
    return (int32_t)(((const uint8_t *)bytes - script.pool.kv) / (ptrdiff_t)script.pool.page_bytes);
}

static void scripted_attend(const struct cpu_attention *a) {
    for (int i = 0; i < a->n_pages; i++)
        for (int s = 0; s < PAGE; s++) {
            int32_t key = script.pool.position[page_of(a->pages[i]) * PAGE + s];
            float mass = a->live[i] >> s & 1 && script.mass ? script.mass(script.now, key) : 0;
            a->prob[i * PAGE + s] = mass * 0.25f;
            a->prob[(a->n_pages + i) * PAGE + s] = mass * 0.75f;
        }
}

static void scripted_append(void *page, int s, int head_size, const float *k, const float *v,
                            void *bounds, bool first) {
    (void)page, (void)s, (void)head_size, (void)k, (void)v, (void)bounds, (void)first;
}

/* The second query of the group sees less, so the group's max is the script's bound. */
static void scripted_bounds(const float *q, int group, int head_size, const void *const *bounds,
                            int n, float *bound) {
    (void)q, (void)head_size;
    assert_int_equal(group, GROUP);
    for (int i = 0; i < n; i++) {
        ptrdiff_t page =
            ((const uint8_t *)bounds[i] - script.pool.bounds) / (ptrdiff_t)script.pool.bounds_bytes;
        bound[i] = script.bound(script.now, script.pool.position[page * PAGE] / PAGE);
        bound[n + i] = bound[i] - 1;
    }
}

static const struct cpu_kernels scripted = {.isa = "script",
                                            .cache_size = 4,
                                            .act_size = 4,
                                            .attend = scripted_attend,
                                            .append = scripted_append,
                                            .bounds = scripted_bounds};

static void open_script(void) {
    struct err e = {0};
    assert_true(pool_init(&script.pool, &scripted, HEAD_SIZE, ROOM, &e));
    script.head = (struct head){.table = script.table, .live = script.live};
    rules_scratch_init(&script.scratch, ROOM * PAGE, GROUP, script.pool.page_bytes, 1);
}

static void close_script(void) {
    rules_scratch_free(&script.scratch);
    pool_destroy(&script.pool);
    script.mass = NULL;
    script.bound = NULL;
}

static struct head_step step_of(const struct plan *plan, int n_prompt) {
    return (struct head_step){.plan = plan,
                              .pool = &script.pool,
                              .head = &script.head,
                              .needs = plan_page_needs(plan),
                              .group = GROUP,
                              .n_prompt = n_prompt,
                              .capacity = plan_capacity(plan, n_prompt, ROOM * PAGE)};
}

static void take(struct head_step *step, int32_t position, bool prefill) {
    float kv[HEAD_SIZE] = {0}, q[GROUP * HEAD_SIZE] = {0}, out[GROUP * HEAD_SIZE];
    script.now = step->now = position;
    if (!prefill)
        rules_make_room(step);
    head_append(step->pool, step->head, step->needs, position, 0, kv, kv);
    assert_true(step->head->n_live <= step->capacity || prefill);
    rules_attend(step, &script.scratch, q, 1, prefill ? position + 1 : INT32_MAX, NULL, out);
}

static bool holds(int32_t position) {
    for (int i = 0; i < script.head.n_pages; i++)
        for (int s = 0; s < PAGE; s++)
            if (script.head.live[i] >> s & 1 &&
                script.pool.position[script.head.table[i] * PAGE + s] == position)
                return true;
    return false;
}

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
    open_script();
    script.mass = mass_of_key;
    struct plan plan = tiny_plan("h2o:budget=6");
    struct head_step step = step_of(&plan, 4);
    for (int32_t t = 0; t < 4; t++)
        take(&step, t, true);
    rules_shrink(&step);
    assert_int_equal(script.head.n_live, 4);
    take(&step, 4, false);
    take(&step, 5, false);
    assert_int_equal(script.head.n_live, 6);
    for (size_t i = 0; i < sizeof trace / sizeof *trace; i++) {
        take(&step, trace[i].t, false);
        assert_int_equal(script.head.n_live, 6);
        for (int j = 0; j < 6; j++)
            assert_true(holds(trace[i].kept[j]));
    }
    close_script();
}

/* A prompt longer than L is cut once after prefill; the newest L/2 stay. */
static void test_rules_h2o_cuts_a_long_prompt_once(void **state) {
    (void)state;
    open_script();
    script.mass = mass_of_key;
    struct plan plan = tiny_plan("h2o:budget=4");
    struct head_step step = step_of(&plan, 6);
    for (int32_t t = 0; t < 6; t++)
        take(&step, t, true);
    rules_shrink(&step);
    assert_int_equal(script.head.n_live, 4);
    assert_true(holds(0) && holds(2) && holds(4) && holds(5)); /* 54 5 20 9: 1, then 3 */
    close_script();
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
    open_script();
    script.bound = bound_of_page;
    struct plan plan = tiny_plan("raas:budget=80");
    struct head_step step = step_of(&plan, 20);
    assert_int_equal(step.capacity, 80);
    for (int32_t t = 0; t < 20; t++)
        take(&step, t, true);
    rules_shrink(&step);
    size_t i = 0;
    for (int32_t t = 20; t < 146; t++) {
        take(&step, t, false);
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
    close_script();
}

/* Pages with equal bounds: the older ones are selected; the newest is always in; attention sees
 * ascending positions. */
static int32_t seen[ROOM];
static int n_seen;
static void seeing_attend(const struct cpu_attention *a) {
    n_seen = 0;
    for (int i = 0; i < a->n_pages; i++)
        seen[n_seen++] = script.pool.position[page_of(a->pages[i]) * PAGE] / PAGE;
}
static float tied_bound(int32_t t, int32_t page) {
    (void)t;
    return page == 3 ? 2 : 1;
}

static void test_rules_quest_selects_older_of_equals_and_the_newest(void **state) {
    (void)state;
    open_script();
    struct cpu_kernels kernels = scripted;
    kernels.attend = seeing_attend;
    script.pool.kernels = &kernels;
    script.bound = tied_bound;
    struct plan plan = tiny_plan("quest:budget=64");
    struct head_step step = step_of(&plan, 1);
    for (int32_t t = 0; t < 100; t++)
        take(&step, t, t == 0);
    int32_t expected[] = {0, 1, 3, 6};
    assert_int_equal(n_seen, 4);
    assert_memory_equal(seen, expected, sizeof expected);
    assert_int_equal(script.head.n_live, 100);
    close_script();
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
