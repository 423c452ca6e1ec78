"""Prints the golden numbers of tests/test_stats.c. Made with scipy 1.17.1, statsmodels 0.15.0, numpy.

    python3 tests/golden/make_stats.py
"""

import itertools

import numpy as np
from scipy.stats import bootstrap
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

for correct, n in [(0, 40), (1, 1), (7, 10), (33, 40), (187, 200), (10, 10), (50000, 100000)]:
    lo, hi = proportion_confint(correct, n, method="wilson")
    print(f"wilson {correct}/{n}: {lo:.17g} {hi:.17g}")

for a, b in [(0, 1), (5, 0), (10, 3), (3, 10), (8, 8), (25, 12), (200, 150), (1000, 0), (500, 400)]:
    print(f"mcnemar {a} {b}: {mcnemar([[5, a], [b, 7]], exact=True).pvalue:.17g}")

for p in [[0.01, 0.04, 0.03, 0.005], [0.5, 0.9, 0.02], [1e-9, 0.049, 0.051, 0.8, 0.012]]:
    print(f"holm {p}: {[float(x) for x in multipletests(p, method='holm')[1]]}")

sixty = np.array([1.0] * 12 + [-1.0] * 4 + [0.0] * 44)
twelve = np.array([2 / 3, 1 / 3, -1 / 3, 0, 0, 1, 2 / 3, -2 / 3, 1 / 3, 0, 1 / 3, 1 / 3])
for name, d in [("sixty", sixty), ("twelve", twelve)]:
    ci = bootstrap((d,), np.mean, method="percentile", n_resamples=200000, rng=1).confidence_interval
    print(f"bootstrap {name}: {ci.low:.4f} {ci.high:.4f}")
    moving = d[d != 0]
    flips = np.array(list(itertools.product([1, -1], repeat=len(moving)))) @ moving
    print(f"sign flip {name}, all flips: {np.mean(np.abs(flips) >= abs(d.sum()) - 1e-9):.6f}")

# Repeats: (difference, pairs) of each problem; all flips of the differences by brute force, and the ratio of sums over
# problems drawn again.
clusters = [(2, 3), (1, 3), (-1, 3), (0, 3), (0, 2), (3, 3), (2, 3), (-2, 3), (1, 1), (0, 3), (1, 3), (4, 5)]
moving = np.array([d for d, _ in clusters if d])
flips = np.array(list(itertools.product([1, -1], repeat=len(moving)))) @ moving
print(f"sign flip clusters, all flips: {np.mean(np.abs(flips) >= abs(moving.sum())):.17g}")
d, m = np.array(clusters).T


def ratio(d, m, axis):
    return d.sum(axis) / m.sum(axis)


ci = bootstrap((d, m), ratio, paired=True, vectorized=True, method="percentile", n_resamples=200000,
               rng=1).confidence_interval
print(f"bootstrap clusters: {ci.low:.4f} {ci.high:.4f}")

# Non-inferiority: the likeliest shares under "worse by exactly the margin", searched for; the score is what was seen,
# measured in standard errors under them.
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm

for gained, lost, n, margin in [(0, 0, 40, 0.03), (0, 0, 200, 0.03), (3, 5, 200, 0.03), (10, 4, 500, 0.03),
                                (2, 12, 50, 0.1), (12, 2, 50, 0.1), (1.5, 0.5, 60, 0.05), (20, 35, 1319, 0.03)]:
    def minus_log(lost_share):
        gained_share = lost_share - margin
        total = 0.0
        for count, share in [(gained, gained_share), (lost, lost_share),
                             (n - gained - lost, 1 - gained_share - lost_share)]:
            if count:
                total -= count * np.log(max(share, 1e-300))
        return total

    lost_share = minimize_scalar(minus_log, bounds=(margin, (1 + margin) / 2), method="bounded",
                                 options={"xatol": 1e-14}).x
    if minus_log(margin) <= minus_log(lost_share):
        lost_share = margin
    variance = n * (2 * lost_share - margin - margin**2)
    print(f"noninferior {gained} {lost} {n} {margin}: {norm.sf((gained - lost + n * margin) / variance**0.5):.9g}")

# Power of the exact McNemar test: every pair of counts that can happen, weighed by its chance.
def mcnemar_p(least, n):
    return min(1.0, 2 * binom.cdf(least, n, 0.5)) if n else 1.0


def power(n, discordant, difference, alpha):
    gained = (discordant + difference) / (2 * discordant)
    total = 0.0
    for differ in range(n + 1):
        k = np.arange(differ + 1)
        rejects = np.array([mcnemar_p(min(i, differ - i), differ) < alpha for i in k])
        total += binom.pmf(differ, n, discordant) * binom.pmf(k, differ, gained)[rejects].sum()
    return total


for n, discordant, difference, alpha in [(30, 0.3, 0.2, 0.05), (40, 0.3, 0.3, 0.05), (200, 0.1, 0.07, 0.05),
                                         (200, 0.3, 0.1, 0.05 / 15), (120, 1.0, 0.3, 0.05), (12, 0.5, 0.0, 0.05)]:
    print(f"power {n} {discordant} {difference} {alpha:.17g}: {power(n, discordant, difference, alpha):.12g}")
