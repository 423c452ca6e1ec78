/* What the GPU is and what its memory gives at best: the yardsticks of `raas bench gpu`. */
#pragma once

#include "base/err.h"

struct bench_device {
    char name[128];             /* without commas */
    double memory, free;        /* bytes */
    double read, copy;          /* bytes a second, the best of many: a sweep that only reads; a copy
                                   from device to device, read and written bytes counted */
    double clock, memory_clock; /* Hz at most, as the driver says */
};

/* Names the device and measures. EXIT_ENV with one line where there is no usable one. */
bool bench_device_measure(struct bench_device *out, struct err *e);
