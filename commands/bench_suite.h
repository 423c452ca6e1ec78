/* The table of targets, measured: `raas bench gpu --suite`. */
#pragma once

#include <stdio.h>

#include "base/option.h"
#include "commands/bench_shape.h"

struct bench_suite {
    const struct bench_device *device;
    const struct option_list *only; /* names of cases; none: all */
    const char *peers;              /* what tests/bench_peers.py wrote, or NULL */
    const char *out;                /* CSV; rows of cases that are not asked for stay */
    FILE *table;                    /* for people */
    /* how a step is measured, and the sweep over lemmas (seconds from start to end) */
    bool (*measure)(const struct bench_step *step, struct bench_reading *out, struct err *e);
    bool (*sweep)(double *seconds, struct err *e);
};

/* Whether the cases asked for and the file of peers are there (EXIT_USAGE where not). */
bool bench_suite_check(const struct bench_suite *suite, struct err *e);

/* Of a suite that was checked. Measures case after case; `out` is written after each. A case that
 * fails keeps an empty number and says why in the table. EXIT_PARTIAL where one did, EXIT_ENV where
 * `out` cannot be written. */
int bench_suite_run(const struct bench_suite *suite, struct err *e);

/* Milliseconds of a step on this GPU in a CSV of tests/bench_peers.py: static cache and compiled.
 * false: no such row (EXIT_CONTENT), as where another GPU was timed. */
bool bench_peer_step(const char *path, const struct bench_step *step, const char *gpu, double *ms,
                     struct err *e);
