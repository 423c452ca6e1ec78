/* A batch in flight for measuring: every row holds as many tokens as asked, decodes without an end,
 * and steps are timed in windows on the wall clock, while the backend runs ahead as it does in
 * work. */
#pragma once

#include "commands/bench_bytes.h"
#include "engine/session.h"

enum { BENCH_PROMPT = 16, BENCH_WARM = 20, BENCH_WINDOW = 50 };

struct bench_point {
    const char *backend;       /* "cuda" */
    const struct model *model; /* borrowed, as the plan */
    const struct plan *plan;
    int batch;
    int context; /* tokens of a sequence in the middle of the measured steps, mean over the rows */
    int spread;  /* rows lie evenly within context +- spread */
    int windows; /* of BENCH_WINDOW steps */
    int total;   /* tokens a row may grow to; 0: as many as this point takes */
};

struct bench_reading {
    double step, p10, p90;    /* seconds of one step: median, 10 % and 90 % over the windows */
    double mean;              /* all measured steps together */
    struct bench_bytes bytes; /* that a step must move, mean over the rows' contexts */
    double context;           /* mean over rows and steps, as it was */
    double kept, kv_bytes;    /* tokens a KV head holds, bytes of a sequence: of the largest row, in
                                 the middle of the steps */
    double syncs, launches;   /* of the host, a step: waits for the device, launches of kernels or
                                 graphs; NAN where the backend does not count them */
};

struct bench_flight;

/* Whether the model has the positions that the point takes (EXIT_USAGE where not). */
bool bench_flight_check(const struct bench_point *point, struct err *e);

/* Opens the session and lets all rows join, with prompts of BENCH_PROMPT random ids. NULL on error;
 * EXIT_ENV where the device's memory is too small. */
struct bench_flight *bench_flight_open(const struct bench_point *point, struct err *e);
void bench_flight_close(struct bench_flight *flight);

/* As if the rows had been fed until BENCH_WARM steps before the point's measured ones. Once. */
bool bench_flight_fill(struct bench_flight *flight, struct err *e);
/* Decodes until the mean context is so many tokens. */
bool bench_flight_reach(struct bench_flight *flight, int context, struct err *e);
bool bench_flight_measure(struct bench_flight *flight, struct bench_reading *out, struct err *e);

/* Steps before the middle of the measured ones. */
static inline int bench_half(const struct bench_point *p) { return p->windows * BENCH_WINDOW / 2; }

enum { BENCH_KERNELS = 64 };
struct bench_kernels {
    struct kernel_time items[BENCH_KERNELS];
    int count;
};

/* Open, fill, warm up, measure, close. `kernels` is not NULL: the kernels of the step, each timed
 * alone afterwards. */
bool bench_measure(const struct bench_point *point, struct bench_reading *out,
                   struct bench_kernels *kernels, struct err *e);
