/* Statistics of accuracy: intervals, and paired comparisons of two policies on the same problems.
 * Nothing is drawn but by the bootstraps, whose draws come from a seed: a table printed twice is
 * the same twice. Planning (what a run of n problems can tell apart) stands in analysis/power.h. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct interval {
    double lo, hi;
};

/* The paired verdicts on one problem: one pair, or several where answers are drawn repeatedly.
 * Repeats of a problem are not independent of each other, so problems are what is drawn again. */
struct paired {
    int32_t pairs;      /* at least 1 */
    int32_t difference; /* pairs where only the cell was right, less those where only the reference
                           was */
};

/* Wilson's 95 % interval of a share `p` seen in n independent trials (Wilson 1927). Whole range for
 * n = 0. p is correct / n, or with several draws per problem their mean and n the number of
 * problems. */
struct interval stats_wilson(double p, int64_t n);

/* Exact two-sided McNemar test of paired verdicts (McNemar 1947): `only_a` pairs where only a was
 * right, `only_b` where only b was. The binomial tail at 1/2, doubled, at most 1. */
double stats_mcnemar(int64_t only_a, int64_t only_b);

/* Two-sided sign-flip permutation test of no difference, by problem: the share of all 2^n ways to
 * exchange the two policies problem by problem (all repeats of a problem together) that differ by
 * as much as was seen (Fisher 1935, section 21). Nothing is drawn: the whole distribution is
 * summed, in n * sum of |difference| steps, and where those are more than 2e9 (thousands of
 * problems) its normal limit is taken. With one pair a problem it is stats_mcnemar. 1 for n = 0. */
double stats_sign_flip(const struct paired *problems, size_t n);

/* 95 % percentile interval of the mean of n values, drawn again `draws` times. Zeros for n = 0.
 * (Efron 1979.) */
struct interval stats_bootstrap(const double *values, size_t n, int draws, uint64_t seed);

/* The same of the difference of two accuracies, the sum of differences over the sum of pairs:
 * problems are drawn again with all their repeats (cluster bootstrap, Davison and Hinkley 1997,
 * section 3.8). With one pair a problem it is the paired bootstrap. */
struct interval stats_cluster_bootstrap(const struct paired *problems, size_t n, int draws,
                                        uint64_t seed);

/* One-sided p of "worse by `margin` or more" for n paired verdicts of which `gained` were right in
 * the cell alone and `lost` in the reference alone: the score test of Tango (Statistics in Medicine
 * 17:891, 1998), which stays honest where pairs hardly ever differ. Small: the cell is not
 * inferior. Counts may be fractions: with repeats give n problems and their mean counts, which is
 * cautious, since a mean varies less than one draw. 0 < margin < 1; 1 for n = 0. */
double stats_noninferior(double gained, double lost, double n, double margin);

/* Holm's step-down adjustment of n p-values, in place (Holm 1979). */
void stats_holm(double *p, size_t n);
