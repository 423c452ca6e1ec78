/* gnuplot as a child process. */
#pragma once

#include "base/err.h"

/* Runs `gnuplot -d SCRIPT` in `folder`: an argv without a shell, an environment of its own, no
 * user's start-up file, killed after `seconds`. EXIT_ENV with the first line it complained about.
 */
bool gnuplot_run(const char *folder, const char *script, double seconds, struct err *e);
