/* Monotonic seconds for durations; UTC text for stored rows. */
#pragma once

#include <stdio.h>
#include <time.h>

static inline double clock_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ISO-8601 UTC with milliseconds, e.g. 2026-01-31T12:00:00.123Z; out holds at least 32 bytes. */
static inline void clock_utc(char out[32]) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    struct tm utc;
    gmtime_r(&t.tv_sec, &utc);
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + n, 32 - n, ".%03ldZ", t.tv_nsec / 1000000);
}
