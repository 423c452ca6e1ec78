/* Rankings and their agreement, against numbers worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "analysis/rank.h"

static void test_rank_places_share_the_middle(void **state) {
    (void)state;
    const double values[] = {3, 1, 2, 2, 5, 2};
    const double expected[] = {5, 1, 3, 3, 6, 3};
    double places[6];
    rank_places(values, 6, places);
    for (int i = 0; i < 6; i++)
        assert_true(places[i] == expected[i]);
}

static void test_rank_agreement_of_equal_and_turned_rankings(void **state) {
    (void)state;
    const double x[] = {1, 2, 3, 4}, up[] = {10, 20, 30, 40}, down[] = {4, 3, 2, 1};
    assert_true(fabs(rank_kendall(x, up, 4) - 1) < 1e-12);
    assert_true(fabs(rank_spearman(x, up, 4) - 1) < 1e-12);
    assert_true(fabs(rank_kendall(x, down, 4) + 1) < 1e-12);
    assert_true(fabs(rank_spearman(x, down, 4) + 1) < 1e-12);
}

/* Of the six pairs four agree, one doesn't, and one is tied in y. */
static void test_rank_counts_ties_in_neither_direction(void **state) {
    (void)state;
    const double x[] = {1, 2, 3, 4}, y[] = {2, 1, 3, 3};
    assert_true(fabs(rank_kendall(x, y, 4) - 3 / sqrt(6.0 * 5.0)) < 1e-12);
    /* ranks 2, 1, 3.5, 3.5: sum of products of deviations 3.5, of squares 5 and 4.5 */
    assert_true(fabs(rank_spearman(x, y, 4) - 3.5 / sqrt(5.0 * 4.5)) < 1e-12);
}

static void test_rank_says_when_nothing_can_be_said(void **state) {
    (void)state;
    const double x[] = {1, 2, 3}, flat[] = {7, 7, 7};
    assert_true(isnan(rank_kendall(x, flat, 3)) && isnan(rank_spearman(x, flat, 3)));
    assert_true(isnan(rank_kendall(x, x, 1)) && isnan(rank_spearman(x, x, 1)));
    assert_true(isnan(rank_kendall(x, x, 0)) && isnan(rank_spearman(x, x, 0)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rank_places_share_the_middle),
        cmocka_unit_test(test_rank_agreement_of_equal_and_turned_rankings),
        cmocka_unit_test(test_rank_counts_ties_in_neither_direction),
        cmocka_unit_test(test_rank_says_when_nothing_can_be_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
