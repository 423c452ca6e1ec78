/* How well lives that were found agree with lives that are known. A unit is a lemma, the digits of
 * its value; it is positive where it is used again later. Units of one problem lie side by side. */
#pragma once

#include <stdint.h>

#include "analysis/stats.h"
#include "base/err.h"

struct proof_life {    /* of one unit, known or found */
    bool used;         /* again, at least once */
    int32_t last_step; /* of the last use; where it is never used the step of its birth */
    int32_t life;      /* rows from birth to last use; 0 */
    int32_t silence;   /* longest between two uses, or birth and first use, in rows */
    float peak;        /* found: most that any use gave */
};

struct proof_units {
    const struct proof_life *known; /* [n] */
    int n;
    const int *start; /* [n_problems + 1] first unit of each */
    int n_problems;
};

struct proof_score {
    double f1, precision, recall; /* of `used`; 0 where nothing is found */
    /* Over the units that are used again: |last step found - known|, where one that is missed
     * counts as last used at its birth. */
    double last_use_median, last_use_mean;
    double rank; /* Spearman's correlation of lives over all units, equal ones share a rank */
};
struct proof_score proof_score(const struct proof_units *units, const struct proof_life *found);

/* F1 from counts; 0 for no true positive. */
double proof_f1(int true_positive, int false_positive, int missed);

struct proof_intervals {
    struct interval f1, last_use_median, rank;
};
/* 95 % percentile intervals: problems are drawn again. */
struct proof_intervals proof_bootstrap(const struct proof_units *units,
                                       const struct proof_life *found, int draws, uint64_t seed);

struct proof_band {
    double mean, lo, hi;
};
/* F1 where the labels `used` are permuted among the lemmas of each problem: its mean and central
 * 95 %. What is left of agreement then comes from how many are used, not from which. */
struct proof_band proof_shuffled(const struct proof_units *units, const struct proof_life *found,
                                 int draws, uint64_t seed);

/* The threshold t for which predicting `used` where values[i] >= t gives the best F1, tried at
 * every value there is; *f1 is that F1. For peaks: all thresholds that a miner could have had. */
double proof_threshold(const struct proof_units *units, const double *values, double *f1);
/* F1 of predicting `used` where values[i] >= threshold. */
double proof_threshold_f1(const struct proof_units *units, const double *values, double threshold);
