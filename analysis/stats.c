#include "analysis/stats.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/rng.h"

#define EXACT_STEPS 2e9
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
    for (int64_t k = least; k >= 0 && term > 1e-20 * sum; k--) {
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

static struct interval percentiles(double *means, int draws) {
    qsort(means, (size_t)draws, sizeof *means, by_value);
    return (struct interval){quantile(means, draws, 0.025), quantile(means, draws, 0.975)};
}

struct interval stats_bootstrap(const double *values, size_t n, int draws, uint64_t seed) {
    if (n == 0)
        return (struct interval){0, 0};
    CHECK(draws > 0 && n <= UINT32_MAX);
    double *means = must_alloc((size_t)draws * sizeof *means);
    struct rng rng = {.key = seed};
    for (int d = 0; d < draws; d++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += values[rng_below(&rng, (uint32_t)n)];
        means[d] = sum / (double)n;
    }
    struct interval out = percentiles(means, draws);
    free(means);
    return out;
}

struct interval stats_cluster_bootstrap(const struct paired *problems, size_t n, int draws,
                                        uint64_t seed) {
    if (n == 0)
        return (struct interval){0, 0};
    CHECK(draws > 0 && n <= UINT32_MAX);
    double *means = must_alloc((size_t)draws * sizeof *means);
    struct rng rng = {.key = seed};
    for (int d = 0; d < draws; d++) {
        int64_t sum = 0, pairs = 0;
        for (size_t i = 0; i < n; i++) {
            const struct paired *drawn = &problems[rng_below(&rng, (uint32_t)n)];
            sum += drawn->difference;
            pairs += drawn->pairs;
        }
        means[d] = (double)sum / (double)pairs;
    }
    struct interval out = percentiles(means, draws);
    free(means);
    return out;
}

/* p[x + range] is the share of flips of the problems so far whose sum is x; each problem moves half
 * of every share up by its difference and half down. */
double stats_sign_flip(const struct paired *problems, size_t n) {
    int64_t range = 0, observed = 0, reach = 0;
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        range += labs(problems[i].difference);
        observed += problems[i].difference;
        squares += pow(problems[i].difference, 2);
    }
    if ((double)n * (double)range > EXACT_STEPS)
        return erfc(fmax(0, fabs((double)observed) - 1) / sqrt(2 * squares)); /* sums step by 2 */
    size_t size = 2 * (size_t)range + 1;
    double *p = must_zalloc(size, sizeof *p), *next = must_zalloc(size, sizeof *next);
    p[range] = 1;
    for (size_t i = 0; i < n; i++) {
        int64_t move = labs(problems[i].difference);
        if (!move)
            continue;
        reach += move;
        for (int64_t x = range - reach; x <= range + reach; x++) {
            double below = x - move >= 0 ? p[x - move] : 0;
            double above = x + move < (int64_t)size ? p[x + move] : 0;
            next[x] = (below + above) / 2;
        }
        double *swap = p;
        p = next, next = swap;
    }
    double share = 0;
    for (int64_t x = -range; x <= range; x++)
        if (labs(x) >= labs(observed))
            share += p[x + range];
    free(p);
    free(next);
    return fmin(1, share);
}

/* Tango's names: with d = p12 - p21 held at -margin, q21 is the likeliest p21, and z is the
 * difference seen, measured from d in standard errors under that. */
double stats_noninferior(double gained, double lost, double n, double margin) {
    if (n <= 0)
        return 1;
    CHECK(margin > 0 && margin < 1 && gained >= 0 && lost >= 0 && gained + lost <= n * (1 + 1e-9));
    double d = -margin;
    double a = 2 * n, b = -gained - lost + (2 * n - gained + lost) * d, c = -lost * d * (1 - d);
    double q21 = (sqrt(fmax(0, b * b - 4 * a * c)) - b) / (2 * a);
    double variance = n * (2 * q21 + d * (1 - d));
    double z = (gained - lost - n * d) / sqrt(variance);
    return erfc(z * M_SQRT1_2) / 2;
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
