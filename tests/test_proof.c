/* Agreement of lives that are known with lives that are found, on units made by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "analysis/proof.h"

static void close_to(double got, double want) {
    if (!(fabs(got - want) < 1e-12))
        fail_msg("%.15g, expected %.15g", got, want);
}

/* Two problems of four lemmas. */
static const struct proof_life known[] = {
    {true, 3, 100, 10, 0}, {true, 2, 30, 10, 0}, {false, 2, 0, 0, 0}, {false, 3, 0, 0, 0},
    {true, 1, 20, 10, 0},  {false, 1, 0, 0, 0},  {true, 4, 50, 9, 0}, {false, 3, 0, 0, 0},
};
static const int start[] = {0, 4, 8};
static const struct proof_units units = {known, 8, start, 2};

static void test_proof_agrees_with_itself(void **state) {
    (void)state;
    struct proof_score s = proof_score(&units, known);
    close_to(s.f1, 1);
    close_to(s.precision, 1);
    close_to(s.recall, 1);
    close_to(s.last_use_median, 0);
    close_to(s.rank, 1);
    struct proof_intervals i = proof_bootstrap(&units, known, 200, 1);
    close_to(i.f1.lo, 1);
    close_to(i.rank.lo, 1);
}

static void test_proof_counts_by_hand(void **state) {
    (void)state;
    /* one missed (known last use 1, birth 0), one too many, last uses off by 1, 0, 1 and 2 */
    static const struct proof_life found[] = {
        {true, 2, 70, 0, 0.5f}, {true, 2, 30, 0, 0.4f},  {true, 3, 25, 0, 0.1f},
        {false, 3, 0, 0, 0},    {false, 0, 0, 0, 0.05f}, {false, 1, 0, 0, 0},
        {true, 2, 10, 0, 0.3f}, {false, 3, 0, 0, 0},
    };
    struct proof_score s = proof_score(&units, found);
    close_to(s.precision, 0.75);
    close_to(s.recall, 0.75);
    close_to(s.f1, 0.75);
    close_to(s.last_use_median, 1); /* 0 1 1 2 */
    close_to(s.last_use_mean, 1);
    /* ranks of lives: known 7 5 1.5 1.5 4 1.5 6 1.5 (four zeros: 0..3), found 7 6 5 2 2 2 4 2 */
    double x[] = {7, 5, 1.5, 1.5, 4, 1.5, 6, 1.5}, y[] = {7, 6, 5, 1.5, 1.5, 1.5, 4, 1.5};
    double xy = 0, xx = 0, yy = 0, mx = 28 / 8., my = 28 / 8.;
    for (int i = 0; i < 8; i++)
        xy += (x[i] - mx) * (y[i] - my), xx += (x[i] - mx) * (x[i] - mx),
            yy += (y[i] - my) * (y[i] - my);
    close_to(s.rank, xy / sqrt(xx * yy));

    double peaks[8], f1;
    for (int i = 0; i < 8; i++)
        peaks[i] = (double)found[i].peak;
    /* 0.3 finds three of four and nothing wrong: 6/7; 0.05 finds all and one wrong: 8/9 */
    close_to(proof_threshold(&units, peaks, &f1), (double)0.05f);
    close_to(f1, 8 / 9.);
    close_to(proof_threshold_f1(&units, peaks, 0.3), 6 / 7.);
    close_to(proof_threshold_f1(&units, peaks, 1), 0);
    close_to(proof_f1(0, 3, 4), 0);
}

/* Where all lemmas of a problem are found, or none, permuting labels changes nothing. */
static void test_proof_control(void **state) {
    (void)state;
    struct proof_life all[8];
    for (int i = 0; i < 8; i++)
        all[i] = (struct proof_life){.used = true};
    struct proof_band band = proof_shuffled(&units, all, 1000, 1);
    close_to(band.lo, 2 / 3.);
    close_to(band.hi, 2 / 3.);
    /* four of eight found: a permuted label agrees in half of the cases */
    band = proof_shuffled(&units, known, 1000, 1);
    assert_true(fabs(band.mean - 0.5) < 0.03);
    assert_true(band.lo <= 0.25 && band.hi >= 0.75);
    struct proof_band again = proof_shuffled(&units, known, 1000, 1);
    assert_memory_equal(&band, &again, sizeof band);
}

static void test_proof_of_nothing(void **state) {
    (void)state;
    struct proof_life none[8] = {{0}};
    struct proof_score s = proof_score(&units, none);
    close_to(s.f1, 0);
    close_to(s.rank, 0);
    close_to(s.last_use_mean, (3 + 2 + 1 + 4) / 4.);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proof_agrees_with_itself),
        cmocka_unit_test(test_proof_counts_by_hand),
        cmocka_unit_test(test_proof_control),
        cmocka_unit_test(test_proof_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
