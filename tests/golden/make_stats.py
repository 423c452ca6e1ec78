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
