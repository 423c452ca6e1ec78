/* What code prints that cannot be called in the test's own process: it ends the program, or owns a
 * stream. */
#pragma once

#include <stddef.h>

/* Runs body in a child whose descriptor `fd` (1 or 2) fills `out` (cut to size, 0-ended). Returns
 * the child's exit code, 0 when body returns, -1 when a signal ended it. */
int printed(void (*body)(void), int fd, char *out, size_t size);
