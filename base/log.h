/* Words for people, on stderr. stdout is data. */
#pragma once

#include <stdbool.h>

void log_quiet(bool quiet); /* keeps warnings and errors only */
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One status line: on a terminal it rewrites itself (at most 10 times a second), elsewhere a plain
 * line is printed at most every 10 seconds; `force` prints in any case. log_* lines clear it first.
 */
void log_status(bool force, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_status_end(void);
