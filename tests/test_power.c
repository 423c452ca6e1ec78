/* What a run can tell apart, against every pair of counts weighed by scipy 1.17.1's binomial;
 * tests/golden/make_stats.py prints the numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "analysis/power.h"
#include "analysis/stats.h"

static void assert_close(double got, double expected, double within) {
    if (!(fabs(got - expected) <= within))
        fail_msg("%.17g, expected %.17g within %g", got, expected, within);
}

static const struct {
    int64_t n;
    double discordant, difference, alpha, power;
} golden[] = {
    {30, 0.3, 0.2, 0.05, 0.403176107243},   {40, 0.3, 0.3, 0.05, 0.991381946689},
    {200, 0.1, 0.07, 0.05, 0.881149615337}, {200, 0.3, 0.1, 0.05 / 15, 0.324406318569},
    {120, 1.0, 0.3, 0.05, 0.892428618526},  {12, 0.5, 0.0, 0.05, 0.0135029554367},
};
enum { N_GOLDEN = sizeof golden / sizeof *golden };

static void test_power_matches_scipy(void **state) {
    (void)state;
    for (int i = 0; i < N_GOLDEN; i++)
        assert_close(
            power_mcnemar(golden[i].n, golden[i].discordant, golden[i].difference, golden[i].alpha),
            golden[i].power, 1e-10);
}

static void test_power_detectable_is_where_the_power_is_reached(void **state) {
    (void)state;
    for (int i = 0; i < N_GOLDEN - 1; i++)
        assert_close(power_detectable(golden[i].n, golden[i].discordant, golden[i].alpha,
                                      golden[i].power - 1e-9),
                     golden[i].difference, 1e-5);
    assert_true(isnan(power_detectable(12, 0.1, 0.05, 0.8)));
}

/* Six of six, as the binomial says: 2 / 2^6 is below 5 %, 2 / 2^5 is not. */
static void test_power_least_is_what_mcnemar_can_see(void **state) {
    (void)state;
    assert_close(power_least(30, 0.05), 6. / 30, 1e-15);
    assert_close(power_least(40, 0.05 / 15), 10. / 40, 1e-15);
    assert_true(isnan(power_least(5, 0.05)));
    assert_true(stats_mcnemar(6, 0) < 0.05 && stats_mcnemar(5, 0) > 0.05);
}

static void test_power_of_many_problems_is_quick_and_follows_the_normal_law(void **state) {
    (void)state;
    /* Connor 1987: n = (z_a sqrt(s) + z_b sqrt(s - d^2))^2 / d^2 */
    double d = power_detectable(1000000, 0.3, 0.05, 0.8);
    double n = pow(1.959964 * sqrt(0.3) + 0.841621 * sqrt(0.3 - d * d), 2) / (d * d);
    assert_close(n / 1e6, 1, 0.01);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_matches_scipy),
        cmocka_unit_test(test_power_detectable_is_where_the_power_is_reached),
        cmocka_unit_test(test_power_least_is_what_mcnemar_can_see),
        cmocka_unit_test(test_power_of_many_problems_is_quick_and_follows_the_normal_law),
    };
    return cmocka_run_group_tests_name("power", tests, NULL, NULL);
}
