/* What a comparison of n paired problems can tell apart, known before anything is decoded. */
#pragma once

#include <stdint.h>

/* The least share of n problems that the exact McNemar test calls different at level `alpha`: all
 * pairs that differ lean one way. Smaller differences are never seen, whatever happens. 1 or less;
 * NaN where even n of n are not enough. */
double power_least(int64_t n, double alpha);

/* Chance that the exact two-sided McNemar test rejects at `alpha`, where a share `discordant` of n
 * problems differs between the policies, and the accuracies by `difference` (at most
 * `discordant`). Unconditional: summed over the number of problems that happen to differ
 * (Duffy, Biometrics 40:1005, 1984). */
double power_mcnemar(int64_t n, double discordant, double difference, double alpha);

/* The minimum detectable difference: the least one that is found with chance `power`. NaN where not
 * even difference = discordant is. Within 1e-6. */
double power_detectable(int64_t n, double discordant, double alpha, double power);
