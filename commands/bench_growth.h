/* Step time and memory against decoded tokens: that evictors are O(L) is measured, not claimed. */
#pragma once

#include <stdio.h>

#include "base/option.h"
#include "commands/bench.h"
#include "commands/bench_shape.h"

struct bench_growth {
    const struct bench_device *device;
    const char *shape;
    const struct option_list *policies;
    struct bench_numbers marks; /* tokens at which 200 steps are timed */
    int batch;
    bool jump; /* rows are filled up to each mark, in a session of its own, not decoded there */
    const char *out;
    FILE *table;
};

/* Whether the shape is there and the marks can be measured on it (EXIT_USAGE where not). */
bool bench_growth_check(const struct bench_growth *growth, struct err *e);

/* Of a growth that was checked. Writes `out` after each policy. EXIT_PARTIAL where one failed (its
 * line says why). */
int bench_growth_run(const struct bench_growth *growth, struct err *e);

/* Draws such a CSV into a folder: gpu_growth.svg, gpu_growth.png, data and script beside them. */
bool bench_growth_draw(const char *csv, const char *folder, struct err *e);
