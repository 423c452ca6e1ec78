/* A whole experiment as a user runs it: a child process from its start to its table. */
#pragma once

#include "base/err.h"

/* Runs argv (argv[0] is a path, NULL-ended), its stdout and stderr to files in `folder`, and waits
 * for at most `limit` seconds, then kills it. Wall time to *seconds. EXIT_ENV with the last line of
 * its stderr unless it ended with 0. */
bool bench_child(char *const argv[], const char *folder, double limit, double *seconds,
                 struct err *e);

/* `raas run experiments/sweep.json --backend cuda` with an empty database. */
bool bench_sweep(double *seconds, struct err *e);
