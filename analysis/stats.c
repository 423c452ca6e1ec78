#include "analysis/stats.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/rng.h"

#define Z95 \
    1.959963984540054 /* 97.5 % quantile of the normal distribution; schema.sql has it too */

struct interval stats_wilson(double p, int64_t n) {
    if (n <= 0)
        return (struct interval){0, 1};
    double count = (double)n, z2 = Z95 * Z95, scale = 1 + z2 / count;
    double middle = (p + z2 / (2 * count)) / scale;
    double half = Z95 * sqrt(p * (1 - p) / count + z2 / (4 * count * count)) / scale;
    return (struct interval){fmax(0, middle - half), fmin(1, middle + half)};
}

double stats_mcnemar(int64_t only_a, int64_t only_b) {
    int64_t n = only_a + only_b, least = only_a < only_b ? only_a : only_b;
    /* Terms relative to the largest, so that none of thousands of pairs underflows before the sum.
     */
    double largest = lgamma((double)n + 1) - lgamma((double)least + 1) -
                     lgamma((double)(n - least) + 1) - (double)n * M_LN2;
    double sum = 0, term = 1;
    for (int64_t k = least; k >= 0 && term > 0; k--) {
        sum += term;
        term *= (double)k / (double)(n - k + 1);
    }
    return fmin(1, 2 * exp(largest) * sum);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Quantile q of sorted values, interpolated between neighbours (Hyndman and Fan's type 7). */
static double quantile(const double *sorted, int n, double q) {
    double place = q * (n - 1);
    int below = (int)place;
    int above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

struct interval stats_bootstrap(const double *difference, size_t n, int draws, uint64_t seed) {
    if (n == 0)
        return (struct interval){0, 0};
    CHECK(draws > 0 && n <= UINT32_MAX);
    double *means = must_alloc((size_t)draws * sizeof *means);
    struct rng rng = {.key = seed};
    for (int d = 0; d < draws; d++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += difference[rng_below(&rng, (uint32_t)n)];
        means[d] = sum / (double)n;
    }
    qsort(means, (size_t)draws, sizeof *means, by_value);
    struct interval out = {quantile(means, draws, 0.025), quantile(means, draws, 0.975)};
    free(means);
    return out;
}

double stats_sign_flip(const double *difference, size_t n, int draws, uint64_t seed) {
    double observed = 0;
    for (size_t i = 0; i < n; i++)
        observed += difference[i];
    /* Sums of the same numbers in another order differ in their last bits. */
    double least = fabs(observed) - 1e-9 * (double)n;
    struct rng rng = {.key = seed};
    int64_t extreme = 0;
    for (int d = 0; d < draws; d++) {
        double sum = 0;
        uint64_t bits = 0;
        for (size_t i = 0; i < n; i++, bits >>= 1) {
            if (i % 64 == 0)
                bits = rng_next(&rng);
            sum += bits & 1 ? difference[i] : -difference[i];
        }
        extreme += fabs(sum) >= least;
    }
    return (1 + (double)extreme) / (1 + (double)draws);
}

struct rank {
    double p;
    size_t place;
};

static int by_p(const void *a, const void *b) {
    const struct rank *x = a, *y = b;
    return by_value(&x->p, &y->p);
}

void stats_holm(double *p, size_t n) {
    struct rank *ranks = must_alloc((n ? n : 1) * sizeof *ranks);
    for (size_t i = 0; i < n; i++)
        ranks[i] = (struct rank){p[i], i};
    qsort(ranks, n, sizeof *ranks, by_p);
    double least = 0;
    for (size_t i = 0; i < n; i++) {
        least = fmax(least, fmin(1, ranks[i].p * (double)(n - i)));
        p[ranks[i].place] = least;
    }
    free(ranks);
}
