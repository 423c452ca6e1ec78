/* What a run will be able to tell apart, said before it begins: the minimum detectable difference
 * of the comparisons with full that its table will make. */
#pragma once

#include "experiments/workload.h"

enum { DETECTABLE_SHARES = 2 };
extern const double detectable_shares[DETECTABLE_SHARES]; /* of problems that differ: 0.1, 0.3 */
#define DETECTABLE_LEVEL 0.05
#define DETECTABLE_POWER 0.8

/* Of one dataset. Differences are of accuracy; NaN: none is detectable. [0] by itself, [1] under
 * the hardest step of Holm over all comparisons. Repeats make no problem more, so they count once.
 */
struct detectable {
    int problems, comparisons;          /* 0 comparisons: full is not among the cells, or alone */
    double least[2];                    /* smaller ones are never seen */
    double found[DETECTABLE_SHARES][2]; /* found with DETECTABLE_POWER where such a share differs */
};
struct detectable detectable_in(const struct workload *workload, int dataset);

/* A table (dry run) or a line for each dataset (stderr). Nothing where nothing is compared. */
void detectable_print(const struct workload *workload);
void detectable_log(const struct workload *workload);
