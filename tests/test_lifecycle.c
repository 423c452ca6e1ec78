/* Lives of keys on synthetic rows, against classes worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "analysis/lifecycle.h"
#include "base/rng.h"

enum { ROOM = 100, PROMPT = 10, END = ROOM - 1 };

/* Short lengths, so that every row can be counted with a finger: queries 10 to 99. */
static const struct lifecycle_params params = {
    .theta = 0.01, .window = 4, .gap = 8, .budget = 16, .settle = 6};

struct use {
    int query;
    float prob;
};

/* One head in which `key` gets what `uses` says, and every query gives the rest to itself. */
static void feed(struct lifecycle *life, const struct lifecycle_params *p, int key,
                 const struct use *uses, int n) {
    lifecycle_open(life, ROOM);
    lifecycle_begin(life, p, PROMPT);
    for (int q = 0; q < ROOM; q++) {
        int32_t position[2] = {q, key};
        float prob[2] = {1, 0};
        for (int u = 0; u < n; u++)
            if (uses[u].query == q)
                prob[1] = uses[u].prob, prob[0] = 1 - uses[u].prob;
        struct attended row = {q, q < PROMPT, q + 1, key < q ? 2 : 1, position, prob};
        lifecycle_row(life, &row);
    }
}

struct expected {
    enum key_class class;
    int lifetime, birth_silence;
};

static void expect_with(const struct lifecycle_params *p, int key, const struct use *uses, int n,
                        struct expected want) {
    struct lifecycle life;
    feed(&life, p, key, uses, n);
    enum key_class class = lifecycle_class(&life, key, p);
    if (class != want.class)
        fail_msg("key %d: %s, expected %s", key, key_class_names[class],
                 key_class_names[want.class]);
    assert_int_equal(lifecycle_lifetime(&life, key), want.lifetime);
    assert_int_equal(lifecycle_birth_silence(&life, key), want.birth_silence);
    lifecycle_close(&life);
}
#define USES(...) \
    (const struct use[]){__VA_ARGS__}, sizeof(struct use[]){__VA_ARGS__} / sizeof(struct use)
#define EXPECT(key, class, lifetime, silence, ...) \
    expect_with(&params, key, USES(__VA_ARGS__), (struct expected){class, lifetime, silence})

static void test_lifecycle_threshold_is_met_by_equality(void **state) {
    (void)state;
    EXPECT(23, KEY_MILESTONE, 7, 6, {30, 0.01f});
    /* its own query gives it all, so that a key that is never used is local, not unused */
    EXPECT(23, KEY_LOCAL, 0, 0, {30, nextafterf(0.01f, 0)});
    struct lifecycle_params relative = params;
    relative.relative = 2; /* of 50 tokens that are held: 0.04 */
    relative.budget = 25;
    expect_with(&relative, 23, USES({49, 0.04f}), (struct expected){KEY_MILESTONE, 26, 25});
    expect_with(&relative, 23, USES({49, nextafterf(0.04f, 0)}),
                (struct expected){KEY_LOCAL, 0, 0});
}

static void test_lifecycle_window_ends_where_it_says(void **state) {
    (void)state;
    EXPECT(21, KEY_LOCAL, 4, 0, {25, 0.5f});
    EXPECT(21, KEY_MILESTONE, 5, 4, {26, 0.5f});
}

static void test_lifecycle_silences_are_counted_in_rows(void **state) {
    (void)state;
    EXPECT(30, KEY_MILESTONE, 19, 9, {40, 0.5f}, {49, 0.5f}); /* 8 silent rows: one stretch */
    EXPECT(30, KEY_RECURRING, 20, 9, {40, 0.5f}, {50, 0.5f});
    EXPECT(30, KEY_RECURRING, 27, 9, {40, 0.5f}, {57, 0.5f}); /* 16: within the budget */
    EXPECT(30, KEY_PHOENIX, 28, 9, {40, 0.5f}, {58, 0.5f});
    EXPECT(30, KEY_MILESTONE, 17, 16, {47, 0.5f}); /* after birth: no gap between uses */
    EXPECT(30, KEY_PHOENIX, 18, 17, {48, 0.5f});
    EXPECT(30, KEY_PHOENIX, 46, 9, {40, 0.5f}, {58, 0.5f}, {67, 0.5f}, {76, 0.5f});
}

static void test_lifecycle_ends_are_censored(void **state) {
    (void)state;
    EXPECT(80, KEY_MILESTONE, 13, 12, {END - 6, 0.5f});
    EXPECT(80, KEY_CENSORED, 14, 13, {END - 5, 0.5f});
    EXPECT(30, KEY_CENSORED, 64, 9, {40, 0.5f}, {END - 5, 0.5f}); /* before phoenix */
    expect_with(&params, END - 5, NULL, 0, (struct expected){KEY_CENSORED, 0, 0});
    expect_with(&params, END - 6, NULL, 0, (struct expected){KEY_LOCAL, 0, 0});
}

static void test_lifecycle_unused_keys_never_reached_the_threshold(void **state) {
    (void)state;
    /* queries of the prompt don't count, so nobody has seen what a prompt key gave itself */
    expect_with(&params, 5, NULL, 0, (struct expected){KEY_UNUSED, 0, 0});
    struct lifecycle_params all = params;
    all.rows = ROWS_ALL;
    expect_with(&all, 5, NULL, 0, (struct expected){KEY_LOCAL, 0, 0});
}

static void test_lifecycle_sinks(void **state) {
    (void)state;
    struct use uses[25];
    for (int i = 0; i < 25; i++)
        uses[i] = (struct use){55 + i, 0.5f};
    for (int key = 0; key < 4; key++)
        expect_with(&params, key, NULL, 0, (struct expected){KEY_SINK, 0, 0});
    /* 49 queries since birth: 25 are most, 24 are not */
    expect_with(&params, 50, uses, 25, (struct expected){KEY_SINK, 29, 4});
    expect_with(&params, 50, uses, 24, (struct expected){KEY_MILESTONE, 28, 4});
    /* 48 queries: 24 are just half */
    expect_with(&params, 51, uses + 1, 24, (struct expected){KEY_MILESTONE, 28, 4});
}

static void test_lifecycle_prompt_keys_are_born_with_the_rows(void **state) {
    (void)state;
    EXPECT(5, KEY_MILESTONE, 1, 0, {10, 0.5f});
    EXPECT(5, KEY_MILESTONE, 17, 16, {26, 0.5f});
    EXPECT(5, KEY_PHOENIX, 18, 17, {27, 0.5f});
    struct lifecycle_params all = params; /* then it is born at 5, four rows earlier */
    all.rows = ROWS_ALL;
    expect_with(&all, 5, USES({22, 0.5f}), (struct expected){KEY_MILESTONE, 17, 16});
    expect_with(&all, 5, USES({23, 0.5f}), (struct expected){KEY_PHOENIX, 18, 17});
}

/* An evicted key is not listed any more, one that a policy did not select neither, and in a file
 * both are 0: all the same to its life. */
static void test_lifecycle_evicted_keys_are_silent(void **state) {
    (void)state;
    struct lifecycle zero, gone;
    feed(&zero, &params, 30, USES({40, 0.5f}, {44, 0.25f}));
    lifecycle_open(&gone, ROOM);
    lifecycle_begin(&gone, &params, PROMPT);
    for (int q = 0; q < ROOM; q++) {
        int32_t position[2] = {30, q};
        float prob[2] = {q == 40 ? 0.5f : 0.25f, q == 40 ? 0.5f : 0.75f};
        int listed = q == 40 || q == 44;
        float alone = 1;
        struct attended row = {q,
                               q < PROMPT,
                               q + 1,
                               listed ? 2 : 1,
                               listed ? position : position + 1,
                               listed ? prob : &alone};
        lifecycle_row(&gone, &row);
    }
    assert_memory_equal(&zero.keys[30], &gone.keys[30], sizeof *zero.keys);
    assert_int_equal(lifecycle_class(&gone, 30, &params), KEY_MILESTONE);
    lifecycle_close(&zero);
    lifecycle_close(&gone);
}

static float noise(struct rng *rng) {
    float u = (float)rng_real(rng);
    return u * u * u * u * u * u;
}

/* Whole rows, rows pruned at the threshold, and rows in another order live the same lives. */
static void test_lifecycle_pruned_rows_live_the_same_lives(void **state) {
    (void)state;
    struct lifecycle whole, pruned, turned;
    struct lifecycle *all[] = {&whole, &pruned, &turned};
    struct rng rng = {.key = 5};
    for (int k = 0; k < 3; k++) {
        lifecycle_open(all[k], ROOM);
        lifecycle_begin(all[k], &params, PROMPT);
    }
    for (int q = 0; q < ROOM; q++) {
        int32_t position[2][ROOM];
        float prob[2][ROOM];
        for (int j = 0; j <= q; j++) {
            position[0][j] = j, position[1][q - j] = j;
            prob[0][j] = prob[1][q - j] = noise(&rng) / 8;
        }
        struct attended row = {q, q < PROMPT, q + 1, q + 1, position[0], prob[0]};
        lifecycle_row(&whole, &row);
        row.n = lifecycle_prune(position[0], prob[0], row.n, 0.01f);
        assert_true(q < 20 || row.n < q);
        lifecycle_row(&pruned, &row);
        row = (struct attended){q, q < PROMPT, q + 1, q + 1, position[1], prob[1]};
        lifecycle_row(&turned, &row);
    }
    for (int j = 0; j < ROOM; j++) {
        assert_memory_equal(&whole.keys[j], &turned.keys[j], sizeof *whole.keys);
        whole.keys[j].mass = pruned.keys[j].mass = 0;
        assert_memory_equal(&whole.keys[j], &pruned.keys[j], sizeof *whole.keys);
    }
    assert_true(pruned.listed < whole.listed);
    for (int k = 0; k < 3; k++)
        lifecycle_close(all[k]);
}

static void test_lifecycle_begins_anew(void **state) {
    (void)state;
    struct lifecycle used, fresh;
    feed(&used, &params, 30, USES({40, 0.5f}, {58, 0.5f}));
    lifecycle_begin(&used, &params, PROMPT);
    lifecycle_open(&fresh, ROOM);
    lifecycle_begin(&fresh, &params, PROMPT);
    assert_memory_equal(used.keys, fresh.keys, ROOM * sizeof *used.keys);
    assert_int_equal(used.n_rows, 0);
    assert_true(used.mass <= 0 && used.listed <= 0 && used.near_by <= 0);
    lifecycle_close(&used);
    lifecycle_close(&fresh);
}

/* 90 rows; a tenth of their mass and more goes where the case says, the rest to the query itself.
 */
static enum head_class head_of(int key, int every, float prob) {
    struct lifecycle life;
    struct use uses[ROOM];
    struct head_mass mass = {0};
    int n = 0;
    for (int q = key + 5; q < ROOM - 10 && q >= PROMPT; q += every)
        uses[n++] = (struct use){q, prob};
    feed(&life, &params, key, uses, n);
    head_mass_add(&mass, &life);
    lifecycle_close(&life);
    return head_mass_class(&mass);
}

static void test_lifecycle_heads(void **state) {
    (void)state;
    assert_int_equal(head_of(12, 3, 0.2f), HEAD_STREAMING); /* nine tenths stay near */
    assert_int_equal(head_of(12, 3, 0.9f), HEAD_WATERFALL);
    assert_int_equal(head_of(12, 18, 0.99f), HEAD_STREAMING);
    assert_int_equal(head_of(12, 1, 0.9f), HEAD_STREAMING); /* a sink */
    assert_int_equal(head_of(5, 3, 0.9f), HEAD_RETRIEVAL);  /* the prompt */
    assert_int_equal(head_of(2, 3, 0.9f), HEAD_STREAMING);  /* the first tokens */

    struct head_mass edge = {.total = 100, .near_by = 40, .sink = 50};
    assert_int_equal(head_mass_class(&edge), HEAD_STREAMING); /* exactly 0.9 */
    edge = (struct head_mass){.total = 100, .near_by = 50, .sink = 30, .waterfall = 10};
    assert_int_equal(head_mass_class(&edge), HEAD_WATERFALL); /* exactly half of the remainder */
    edge.waterfall = 9.9, edge.retrieval = 10;
    assert_int_equal(head_mass_class(&edge), HEAD_RETRIEVAL);
    edge.retrieval = 9.9;
    assert_int_equal(head_mass_class(&edge), HEAD_DIFFUSE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lifecycle_threshold_is_met_by_equality),
        cmocka_unit_test(test_lifecycle_window_ends_where_it_says),
        cmocka_unit_test(test_lifecycle_silences_are_counted_in_rows),
        cmocka_unit_test(test_lifecycle_ends_are_censored),
        cmocka_unit_test(test_lifecycle_unused_keys_never_reached_the_threshold),
        cmocka_unit_test(test_lifecycle_sinks),
        cmocka_unit_test(test_lifecycle_prompt_keys_are_born_with_the_rows),
        cmocka_unit_test(test_lifecycle_evicted_keys_are_silent),
        cmocka_unit_test(test_lifecycle_pruned_rows_live_the_same_lives),
        cmocka_unit_test(test_lifecycle_begins_anew),
        cmocka_unit_test(test_lifecycle_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
