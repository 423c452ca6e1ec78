/* Shapes of rows, and portraits of heads, against numbers worked out by hand or the slow way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "analysis/miner.h"
#include "base/json.h"
#include "base/rng.h"
#include "tests/folder.h"
#include "tests/store_rows.h"

static void close_to(double got, double want) {
    if (!(fabs(got - want) < 1e-6))
        fail_msg("%.9g, expected %.9g", got, want);
}

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

static int32_t fewest_slowly(const float *values, int32_t n, double share) {
    float sorted[300];
    double wanted = 0, sum = 0;
    memcpy(sorted, values, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, descending);
    for (int32_t i = 0; i < n; i++)
        wanted += (double)sorted[i];
    for (int32_t i = 0; i < n; i++)
        if ((sum += (double)sorted[i]) >= wanted * share - 1e-12)
            return i + 1;
    return n;
}

static void test_scores_fewest_keys(void **state) {
    (void)state;
    float one[] = {0.25f}, equal[] = {0.25f, 0.25f, 0.25f, 0.25f}, none[] = {0, 0, 0};
    assert_int_equal(scores_fewest(one, 0, 0.99), 0);
    assert_int_equal(scores_fewest(one, 1, 0.99), 1);
    assert_int_equal(scores_fewest(equal, 4, 0.5), 2);
    assert_int_equal(scores_fewest(equal, 4, 0.51), 3);
    assert_int_equal(scores_fewest(equal, 4, 1), 4);
    assert_true(scores_fewest(none, 3, 0.99) <= 1);
    struct rng rng = {.key = 1};
    for (int round = 0; round < 500; round++) {
        float values[300];
        int32_t n = 1 + (int32_t)rng_below(&rng, 299);
        for (int32_t i = 0; i < n; i++) /* few distinct ones: ties */
            values[i] = round % 2 ? (float)(1 + rng_below(&rng, 4))
                                  : expf(-8 * rng_uniform(rng_next(&rng)));
        double share = 0.1 + 0.8 * rng_real(&rng);
        int32_t slow = fewest_slowly(values, n, share);
        assert_int_equal(scores_fewest(values, n, share), slow);
    }
}

/* Two rows of a head, a prompt of two tokens. */
static void test_scores_of_two_rows(void **state) {
    (void)state;
    struct scores s;
    scores_open(&s, 8);
    scores_begin(&s);
    int32_t position[] = {3, 0, 2, 1};
    float first[] = {0.5f, 0.25f, 0.25f, 0}, second[] = {1, 0, 0, 0};
    scores_row(&s, &(struct attended){3, false, 4, 4, position, first}, 2);
    scores_row(&s, &(struct attended){3, false, 4, 4, position, second}, 2);
    assert_int_equal(s.rows, 2);
    assert_int_equal(s.linear[49] + s.linear[50], 1); /* 0.5 of 99 bins */
    assert_int_equal(s.linear[24], 2);
    assert_int_equal(s.linear[98], 1);  /* 1 is in the last bin */
    assert_int_equal(s.linear[0], 0);   /* zeros are no entries */
    assert_int_equal(s.halvings[0], 2); /* 1 and 0.5 */
    assert_int_equal(s.halvings[1], 2);
    assert_int_equal(s.enough[0], 1); /* one key */
    assert_int_equal(s.enough[2], 1); /* three: more than 2, at most 4 */
    close_to(s.enough_sum, 4);
    close_to(s.cumulative[0], 0.25);
    close_to(s.cumulative[16], 0.25);
    close_to(s.cumulative[24], 1.5);
    close_to(s.age_mass[1][0], 1.5); /* the query itself: age 0 */
    close_to(s.age_mass[1][1], 0.25);
    close_to(s.age_mass[0][2], 0.25); /* ages 3 and up; of the prompt */
    assert_int_equal(s.age_count[0][1] + s.age_count[0][2], 4);
    assert_int_equal(s.boxes[0], 1); /* the first row of ten: 0, 0.1875, 0.25, 0.3125, 0.5 */
    close_to(s.box[0][0], 0);
    close_to(s.box[0][1], 0.1875);
    close_to(s.box[0][2], 0.25);
    close_to(s.box[0][3], 0.3125);
    close_to(s.box[0][4], 0.5);
    scores_close(&s);
}

static void test_portrait_names_its_points(void **state) {
    (void)state;
    int n = portrait_size();
    for (int i = 0; i < n; i++) {
        struct portrait_point p = portrait_point(i);
        int first = portrait_find(p.curve);
        assert_in_range(first, 0, i);
        for (int k = first; k <= i; k++)
            assert_string_equal(portrait_point(k).curve, p.curve);
    }
    assert_int_equal(portrait_find("tokens.sink.prompt"), 0);
    assert_true(portrait_find("mass.milestone.generated") > 0);
    assert_true(portrait_find("box.max") > 0);
    assert_int_equal(portrait_find("nothing"), -1);
    close_to(portrait_point(portrait_find("phoenix.generated") + 2).x, 256);
    close_to(portrait_point(portrait_find("lifetime.milestone") + 1).x, 0.5);
}

/* A broken model's row may be seen before its logits are: nothing is read or written elsewhere. */
static void test_scores_bear_rows_without_numbers(void **state) {
    (void)state;
    static const float odd[] = {NAN, -NAN, INFINITY};
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
        struct scores s;
        scores_open(&s, 3);
        scores_begin(&s);
        const int32_t position[] = {0, 1, 2};
        const float prob[] = {odd[k], odd[k], odd[k]};
        scores_row(&s, &(struct attended){2, false, 3, 3, position, prob}, 1);
        assert_int_equal(s.rows, 0);
        scores_close(&s);
    }
}

enum { LAYERS = 2, HEADS = 3, LONGEST = 400, N_PROMPT = 20 };

/* Random rows, the sequence's length a function of its number. */
static void mine_sequence(struct miner *m, int number, bool prune) {
    struct rng rng = {.key = (uint64_t)number};
    int length = 200 + 50 * number;
    miner_begin(m, N_PROMPT);
    for (int q = 0; q < length; q++)
        for (int h = 0; h < LAYERS * HEADS; h++) {
            int32_t position[LONGEST];
            float prob[LONGEST];
            double sum = 0;
            for (int j = 0; j <= q; j++) {
                position[j] = j;
                prob[j] = expf((float)(1 + h) * 2 * rng_uniform(rng_next(&rng)));
                sum += (double)prob[j];
            }
            for (int j = 0; j <= q; j++)
                prob[j] = (float)((double)prob[j] / sum);
            struct attended row = {q, q < N_PROMPT, q + 1, q + 1, position, prob};
            if (prune)
                row.n = lifecycle_prune(position, prob, row.n, 0.01f);
            miner_row(m, h / HEADS, h % HEADS, &row, false);
        }
    miner_end(m);
}

static double at(const struct tally *tally, const char *curve, int k) {
    return tally_estimate(tally, portrait_find(curve) + k).mean;
}

static void mine_all(struct miner *m, bool prune) {
    struct lifecycle_params params;
    option_defaults(lifecycle_options, &params);
    miner_open(m, LAYERS, HEADS, LONGEST, &params);
    for (int i = 0; i < 3; i++)
        mine_sequence(m, i, prune);
    assert_int_equal(m->n_sequences, 3);
    assert_int_equal(m->n_rows, 200 + 250 + 300 - 3 * N_PROMPT);
}

static void test_miner_shares_sum_to_one(void **state) {
    (void)state;
    for (int prune = 0; prune < 2; prune++) {
        struct miner m;
        mine_all(&m, prune);
        for (int h = 0; h < LAYERS * HEADS; h++) {
            double tokens = 0, mass = at(&m.heads[h].tally, "mass.window", 0) +
                                      at(&m.heads[h].tally, "mass.rest", 0);
            for (int k = 0; k < 2 * KEY_CLASSES; k++) {
                tokens += tally_estimate(&m.heads[h].tally, k).mean;
                mass += tally_estimate(&m.heads[h].tally, 2 * KEY_CLASSES + k).mean;
            }
            close_to(tokens, 1);
            assert_true(fabs(mass - 1) < 1e-5);
            /* a pruned row has no shape, and says so */
            assert_int_equal(isnan(at(&m.heads[h].tally, "enough_mean", 0)), prune);
            if (!prune)
                close_to(at(&m.heads[h].tally, "cumulative", SCORES_SHARES - 1), 1);
        }
        miner_close(&m);
    }
}

static void test_miner_pruned_rows_give_the_same_classes(void **state) {
    (void)state;
    struct miner whole, pruned;
    mine_all(&whole, false);
    mine_all(&pruned, true);
    int first = portrait_find("lifetime.sink"), end = portrait_find("enough_cdf");
    for (int h = 0; h < LAYERS * HEADS; h++) {
        const struct tally *a = &whole.heads[h].tally, *b = &pruned.heads[h].tally;
        assert_memory_equal(a->sum, b->sum, 2 * KEY_CLASSES * sizeof *a->sum);
        assert_memory_equal(a->sum + first, b->sum + first, (size_t)(end - first) * sizeof *a->sum);
    }
    miner_close(&whole);
    miner_close(&pruned);
}

static void test_miner_writes_json_and_rows(void **state) {
    struct miner m;
    struct err e = {0};
    mine_all(&m, false);
    char *text = miner_json(&m);
    struct json_doc *doc = json_parse(text, strlen(text), "miner", &e);
    assert_non_null(doc);
    assert_int_equal(json_count(json_get(json_root(doc), "heads")), LAYERS * HEADS);
    assert_int_equal(json_count(json_get(json_get(json_root(doc), "curves"), "phoenix.prompt")), 5);
    json_free(doc);
    free(text);

    struct rows rows = rows_open(folder_path(*state, "raas.db"), "analyze", "lemmas", "chain");
    struct miner_source source = {rows.run, rows.model, rows.dataset, "raas:budget=256", "gold"};
    assert_true(miner_store(&m, rows.db, &source, &e));
    assert_true(db_verify(rows.db, &e));
    rows_expect(rows.db, "SELECT count(*) FROM analysis_head", "6");
    rows_expect(rows.db, "SELECT policy || ' ' || solution || ' ' || sequences FROM analysis",
                "raas:budget=256 gold 3");
    rows_expect(rows.db, "SELECT count(DISTINCT ifnull(layer || '.' || head, '')) FROM v_analysis",
                "7");
    rows_expect_real(rows.db,
                     "SELECT mean FROM v_analysis WHERE layer = 1 AND head = 2 AND curve = "
                     "'mass.window'",
                     at(&m.heads[5].tally, "mass.window", 0));
    rows_expect(rows.db, "SELECT json_extract(params, '$.theta') FROM analysis", "0.01");
    db_close(rows.db);
    miner_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores_fewest_keys),
        cmocka_unit_test(test_scores_of_two_rows),
        cmocka_unit_test(test_scores_bear_rows_without_numbers),
        cmocka_unit_test(test_portrait_names_its_points),
        cmocka_unit_test(test_miner_shares_sum_to_one),
        cmocka_unit_test(test_miner_pruned_rows_give_the_same_classes),
        cmocka_unit_test_setup_teardown(test_miner_writes_json_and_rows, folder_setup,
                                        folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
