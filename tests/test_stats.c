/* Statistics against scipy 1.17.1 and statsmodels 0.15.0; tests/golden/make_stats.py prints the
 * numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "analysis/stats.h"

static void assert_close(double got, double expected, double within) {
    if (!(fabs(got - expected) <= within))
        fail_msg("%.17g, expected %.17g within %g", got, expected, within);
}

static void test_stats_wilson_matches_statsmodels(void **state) {
    (void)state;
    const struct {
        double correct;
        int64_t n;
        double lo, hi;
    } golden[] = {
        {0, 40, 0, 0.08762160119728668},
        {1, 1, 0.20654931437723739, 1},
        {7, 10, 0.39677814746114537, 0.89220873259369893},
        {33, 40, 0.68050009668212275, 0.91254586253964087},
        {187, 200, 0.89198092070093105, 0.9616236453508471},
        {10, 10, 0.72246720013711063, 1},
        {50000, 100000, 0.49690108435968966, 0.50309891564031028},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        struct interval got = stats_wilson(golden[i].correct / (double)golden[i].n, golden[i].n);
        assert_close(got.lo, golden[i].lo, 1e-14);
        assert_close(got.hi, golden[i].hi, 1e-14);
    }
    assert_true(stats_wilson(0, 0).lo == 0 && stats_wilson(0, 0).hi == 1);
}

static void test_stats_mcnemar_matches_statsmodels(void **state) {
    (void)state;
    const struct {
        int64_t a, b;
        double p;
    } golden[] = {
        {0, 0, 1}, /* nothing to tell apart; statsmodels gives NaN */
        {0, 1, 1},
        {5, 0, 0.0625},
        {10, 3, 0.09228515625},
        {3, 10, 0.09228515625},
        {8, 8, 1},
        {25, 12, 0.047031027439516038},
        {200, 150, 0.0087200365305559469},
        {1000, 0, 1.8665272370064378e-301},
        {500, 400, 0.00095644413691893732},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
        assert_close(stats_mcnemar(golden[i].a, golden[i].b), golden[i].p, 1e-11 * golden[i].p);
    assert_close(stats_mcnemar(1000000, 0), 0, 0);
}

static void test_stats_holm_matches_statsmodels(void **state) {
    (void)state;
    double four[] = {0.01, 0.04, 0.03, 0.005}, three[] = {0.5, 0.9, 0.02};
    double five[] = {1e-9, 0.049, 0.051, 0.8, 0.012};
    const double four_golden[] = {0.03, 0.06, 0.06, 0.02}, three_golden[] = {1, 1, 0.06};
    const double five_golden[] = {5e-9, 0.147, 0.147, 0.8, 0.048};
    stats_holm(four, 4);
    stats_holm(three, 3);
    stats_holm(five, 5);
    stats_holm(NULL, 0);
    for (int i = 0; i < 4; i++)
        assert_close(four[i], four_golden[i], 1e-15);
    for (int i = 0; i < 3; i++)
        assert_close(three[i], three_golden[i], 1e-15);
    for (int i = 0; i < 5; i++)
        assert_close(five[i], five_golden[i], 1e-15);
}

/* 12 gained, 4 lost, 44 equal; and means of three repeats. */
static const double sixty[60] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1};
static const double twelve[12] = {2. / 3, 1. / 3,  -1. / 3, 0, 0,      1,
                                  2. / 3, -2. / 3, 1. / 3,  0, 1. / 3, 1. / 3};

static void test_stats_bootstrap_matches_scipy(void **state) {
    (void)state;
    struct interval got = stats_bootstrap(sixty, 60, 20000, 1);
    assert_close(got.lo, 0.0, 1. / 60 + 1e-9); /* means are whole sixtieths */
    assert_close(got.hi, 0.2667, 1. / 60 + 1e-4);
    got = stats_bootstrap(twelve, 12, 20000, 1);
    assert_close(got.lo, -0.0278, 1. / 36 + 1e-4);
    assert_close(got.hi, 0.4722, 1. / 36 + 1e-4);
}

/* Differences and pairs of problems with up to five repeats; make_stats.py has the same. */
static const struct paired clusters[12] = {{3, 2}, {3, 1},  {3, -1}, {3, 0}, {2, 0}, {3, 3},
                                           {3, 2}, {3, -2}, {1, 1},  {3, 0}, {3, 1}, {5, 4}};

static void test_stats_cluster_bootstrap_matches_scipy(void **state) {
    (void)state;
    struct interval got = stats_cluster_bootstrap(clusters, 12, 20000, 1);
    assert_close(got.lo, 0.0, 0.012);
    assert_close(got.hi, 0.5882, 0.012);
}

static void test_stats_cluster_bootstrap_of_single_pairs_is_the_paired_one(void **state) {
    (void)state;
    struct paired pairs[60];
    for (int i = 0; i < 60; i++)
        pairs[i] = (struct paired){.pairs = 1, .difference = (int32_t)sixty[i]};
    struct interval a = stats_bootstrap(sixty, 60, 500, 7),
                    b = stats_cluster_bootstrap(pairs, 60, 500, 7);
    assert_close(a.lo, b.lo, 1e-15);
    assert_close(a.hi, b.hi, 1e-15);
}

static void test_stats_sign_flip_matches_all_flips(void **state) {
    (void)state;
    assert_close(stats_sign_flip(clusters, 12), 0.12109375, 1e-15);
    struct paired thirds[12];
    for (int i = 0; i < 12; i++)
        thirds[i] = (struct paired){3, (int32_t)lround(3 * twelve[i])};
    assert_close(stats_sign_flip(thirds, 12), 0.175781, 5e-7);
}

/* One pair a problem: both are the binomial tail. Also where no draw would find the tail. */
static void test_stats_sign_flip_of_single_pairs_is_mcnemar(void **state) {
    (void)state;
    static struct paired pairs[900];
    const int cases[][2] = {{12, 4}, {0, 0}, {0, 30}, {500, 400}, {300, 0}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int gained = cases[c][0], lost = cases[c][1];
        for (int i = 0; i < 900; i++)
            pairs[i] = (struct paired){1, i < gained ? 1 : i < gained + lost ? -1 : 0};
        double p = stats_mcnemar(gained, lost);
        assert_close(stats_sign_flip(pairs, 900), p, 1e-11 * p);
    }
}

/* Where the whole distribution would take too long, its limit: McNemar's p within a hundredth. */
static void test_stats_sign_flip_of_very_many_problems_is_quick(void **state) {
    (void)state;
    static struct paired pairs[60000];
    for (int i = 0; i < 60000; i++)
        pairs[i] = (struct paired){1, i < 30300 ? 1 : -1};
    double p = stats_mcnemar(30300, 29700);
    assert_close(stats_sign_flip(pairs, 60000) / p, 1, 0.01);
}

static void test_stats_noninferior_matches_scipy(void **state) {
    (void)state;
    const struct {
        double gained, lost, n, margin, p;
    } golden[] = {
        {0, 0, 40, 0.03, 0.133014049},      {0, 0, 200, 0.03, 0.00643982133},
        {3, 5, 200, 0.03, 0.103845182},     {10, 4, 500, 0.03, 1.51140069e-05},
        {2, 12, 50, 0.1, 0.926183382},      {12, 2, 50, 0.1, 0.000110923341},
        {1.5, 0.5, 60, 0.05, 0.0280095196}, {20, 35, 1319, 0.03, 0.00138950673},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
        assert_close(
            stats_noninferior(golden[i].gained, golden[i].lost, golden[i].n, golden[i].margin),
            golden[i].p, 1e-6 * golden[i].p);
}

static void test_stats_noninferior_at_its_ends(void **state) {
    (void)state;
    assert_true(stats_noninferior(0, 0, 0, 0.03) == 1);
    assert_true(stats_noninferior(0, 50, 50, 0.03) > 0.999);
    assert_true(stats_noninferior(50, 0, 50, 0.03) < 1e-6);
    /* few pairs without a difference show nothing */
    assert_true(stats_noninferior(0, 0, 10, 0.03) > 0.2);
}

static void test_stats_draws_come_from_the_seed(void **state) {
    (void)state;
    struct interval a = stats_bootstrap(twelve, 12, 500, 7),
                    b = stats_bootstrap(twelve, 12, 500, 7),
                    c = stats_cluster_bootstrap(clusters, 12, 500, 7),
                    d = stats_cluster_bootstrap(clusters, 12, 500, 7);
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_equal(&c, &d, sizeof c);
}

static void test_stats_nothing_and_no_difference(void **state) {
    (void)state;
    const double zeros[70] = {0};
    static struct paired equal[70];
    for (int i = 0; i < 70; i++)
        equal[i].pairs = 2;
    struct interval none = stats_bootstrap(NULL, 0, 100, 1),
                    flat = stats_bootstrap(zeros, 70, 100, 1),
                    nobody = stats_cluster_bootstrap(NULL, 0, 100, 1),
                    same = stats_cluster_bootstrap(equal, 70, 100, 1);
    assert_true(none.lo == 0 && none.hi == 0 && flat.lo == 0 && flat.hi == 0);
    assert_true(nobody.lo == 0 && nobody.hi == 0 && same.lo == 0 && same.hi == 0);
    assert_true(stats_sign_flip(NULL, 0) == 1 && stats_sign_flip(equal, 70) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats_wilson_matches_statsmodels),
        cmocka_unit_test(test_stats_mcnemar_matches_statsmodels),
        cmocka_unit_test(test_stats_holm_matches_statsmodels),
        cmocka_unit_test(test_stats_bootstrap_matches_scipy),
        cmocka_unit_test(test_stats_cluster_bootstrap_matches_scipy),
        cmocka_unit_test(test_stats_cluster_bootstrap_of_single_pairs_is_the_paired_one),
        cmocka_unit_test(test_stats_sign_flip_matches_all_flips),
        cmocka_unit_test(test_stats_sign_flip_of_single_pairs_is_mcnemar),
        cmocka_unit_test(test_stats_sign_flip_of_very_many_problems_is_quick),
        cmocka_unit_test(test_stats_noninferior_matches_scipy),
        cmocka_unit_test(test_stats_noninferior_at_its_ends),
        cmocka_unit_test(test_stats_draws_come_from_the_seed),
        cmocka_unit_test(test_stats_nothing_and_no_difference),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
