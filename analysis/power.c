#include "analysis/power.h"

#include <math.h>
#include <stdlib.h>

#include "analysis/stats.h"
#include "base/err.h"

#define SIGMAS 9 /* numbers of differing problems farther out are left away: less than 1e-15 */

double power_least(int64_t n, double alpha) {
    for (int64_t k = 1; k <= n && k <= 1100; k++) /* 2^-1099 is below any alpha */
        if (stats_mcnemar(k, 0) < alpha)
            return (double)k / (double)n;
    return NAN;
}

static double binomial(int64_t n, int64_t k, double p) {
    if (p <= 0 || p >= 1)
        return k == (p <= 0 ? 0 : n);
    double chosen = lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1);
    return exp(chosen + (double)k * log(p) + (double)(n - k) * log1p(-p));
}

/* P(X <= k) for X of n trials, k below the middle or the sum small: from the largest term down. */
static double lower_tail(int64_t n, int64_t k, double p) {
    if (k < 0)
        return 0;
    if (p >= 1)
        return k >= n;
    if ((double)k > p * (double)n) { /* terms still grow downwards: sum the other end */
        double above = 0, term = k < n ? binomial(n, k + 1, p) : 0;
        for (int64_t i = k + 1; i <= n && term > 1e-20 * above; i++) {
            above += term;
            term *= (double)(n - i) / (double)(i + 1) * p / (1 - p);
        }
        return fmax(0, 1 - above);
    }
    double sum = 0, term = binomial(n, k, p);
    for (int64_t i = k; i >= 0 && term > 1e-20 * sum; i--) {
        sum += term;
        term *= (double)i / (double)(n - i + 1) * (1 - p) / p;
    }
    return sum;
}

/* The most of the rarer kind, among `differ` pairs, with which the test still rejects; -1: none.
 * `before`: that of one pair less, which it never falls below. */
static int64_t critical(int64_t differ, int64_t before, double alpha) {
    int64_t most = before;
    while (2 * (most + 1) < differ && stats_mcnemar(most + 1, differ - most - 1) < alpha)
        most++;
    return most;
}

/* The numbers of problems that may differ, and what the test asks of each. */
struct design {
    int64_t from, to;
    double *weight;
    int64_t *most;
};

static struct design design(int64_t n, double discordant, double alpha) {
    double mean = (double)n * discordant, reach = SIGMAS * sqrt(mean * (1 - discordant)) + 12;
    struct design d = {.from = (int64_t)fmax(0, mean - reach),
                       .to = (int64_t)fmin((double)n, mean + reach)};
    size_t count = (size_t)(d.to - d.from + 1);
    d.weight = must_alloc(count * sizeof *d.weight);
    d.most = must_alloc(count * sizeof *d.most);
    int64_t most = -1;
    /* from far below, where the limit is not known: it lies less than half of `from` up */
    if (d.from > 0) {
        int64_t lo = -1, hi = d.from / 2;
        while (hi - lo > 1) {
            int64_t middle = lo + (hi - lo) / 2;
            bool rejects = stats_mcnemar(middle, d.from - middle) < alpha;
            *(rejects ? &lo : &hi) = middle;
        }
        most = lo;
    }
    for (int64_t differ = d.from; differ <= d.to; differ++) {
        most = critical(differ, most, alpha);
        d.most[differ - d.from] = most;
        d.weight[differ - d.from] = binomial(n, differ, discordant);
    }
    return d;
}

static double power_of(const struct design *d, double discordant, double difference) {
    double gained = (discordant + difference) / (2 * discordant), sum = 0;
    for (int64_t differ = d->from; differ <= d->to; differ++) {
        int64_t most = d->most[differ - d->from];
        if (most >= 0)
            sum += d->weight[differ - d->from] *
                   (lower_tail(differ, most, gained) + lower_tail(differ, most, 1 - gained));
    }
    return sum;
}

static void design_free(struct design *d) {
    free(d->weight);
    free(d->most);
}

double power_mcnemar(int64_t n, double discordant, double difference, double alpha) {
    CHECK(n > 0 && discordant > 0 && discordant <= 1 && difference >= 0 &&
          difference <= discordant);
    struct design d = design(n, discordant, alpha);
    double power = power_of(&d, discordant, difference);
    design_free(&d);
    return power;
}

double power_detectable(int64_t n, double discordant, double alpha, double power) {
    CHECK(n > 0 && discordant > 0 && discordant <= 1);
    struct design d = design(n, discordant, alpha);
    double lo = 0, hi = discordant;
    bool reached = power_of(&d, discordant, hi) >= power;
    while (reached && hi - lo > 1e-7) {
        double middle = (lo + hi) / 2;
        *(power_of(&d, discordant, middle) >= power ? &hi : &lo) = middle;
    }
    design_free(&d);
    return reached ? hi : NAN;
}
