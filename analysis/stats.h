/* Statistics of accuracy: intervals, and paired comparisons of two policies on the same problems.
 * Every random draw comes from a seed, so that a table printed twice is the same twice. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct interval {
    double lo, hi;
};

/* Wilson's 95 % interval of a share `p` seen in n independent trials (Wilson 1927). Whole range for
 * n = 0. p is correct / n, or with several draws per problem their mean and n the number of
 * problems. */
struct interval stats_wilson(double p, int64_t n);

/* Exact two-sided McNemar test of paired verdicts (McNemar 1947): `only_a` pairs where only a was
 * right, `only_b` where only b was. The binomial tail at 1/2, doubled, at most 1. */
double stats_mcnemar(int64_t only_a, int64_t only_b);

/* 95 % percentile interval of the mean of n paired differences, one per problem (with repeats: the
 * problem's mean difference, so that problems are what is drawn again). Zeros for n = 0. */
struct interval stats_bootstrap(const double *difference, size_t n, int draws, uint64_t seed);

/* Two-sided sign-flip permutation test of a mean difference of zero: for repeats, where McNemar's
 * pairs within one problem would not be independent. (1 + flips at least as extreme) / (1 + draws).
 * 1 for n = 0. */
double stats_sign_flip(const double *difference, size_t n, int draws, uint64_t seed);

/* Holm's step-down adjustment of n p-values, in place (Holm 1979). */
void stats_holm(double *p, size_t n);
