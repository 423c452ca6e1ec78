/* What the parts of `raas bench` share. */
#pragma once

#include "base/err.h"
#include "engine/policy.h"

/* argv[0] is "bench", flags follow. Return the exit code, as a command's run does. */
int bench_cpu(int argc, char **argv, struct err *e);
int bench_gpu(int argc, char **argv, struct err *e);
int bench_growth(int argc, char **argv, struct err *e);
int bench_breakdown(int argc, char **argv, struct err *e);
int bench_record(int argc, char **argv, struct err *e);
int bench_mine(int argc, char **argv, struct err *e);

enum { BENCH_NUMBERS = 16 };
struct bench_numbers {
    int count, items[BENCH_NUMBERS]; /* ascending */
};

/* Sorts n >= 1 values; the value below which `share` of them lie, between two of them in
 * proportion. */
double bench_quantile(double *values, int n, double share);

/* "1,8,32", each from 1 to max. EXIT_USAGE names the flag. */
bool bench_parse_numbers(const char *text, const char *flag, int max, struct bench_numbers *out,
                         struct err *e);
