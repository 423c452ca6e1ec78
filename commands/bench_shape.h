/* One decode step on the GPU, named by a model's shape and a policy's spelling. */
#pragma once

#include "commands/bench_device.h"
#include "commands/bench_flight.h"

struct bench_step {
    const char *shape;  /* of engine/shape.h, with random weights; "embedded": the model itself */
    const char *policy; /* "raas:budget=1024" */
    int batch, context, spread, windows;
};

/* NULL on error; close it with model_close. */
struct model *bench_model(const char *shape, struct err *e);

/* Opens the model, measures (bench_measure), closes it. */
bool bench_measure_step(const struct bench_step *step, struct bench_reading *out,
                        struct bench_kernels *kernels, struct err *e);

/* Seconds that a step takes at least: its bytes at the measured read ceiling. */
static inline double bench_floor(const struct bench_reading *r, const struct bench_device *d) {
    return bench_sum(&r->bytes) / d->read;
}
