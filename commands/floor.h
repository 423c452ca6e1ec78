/* What the machine gives at best, measured with the kernels and threads that decode: the yardsticks
 * of a floor. Other programs run too: a caller samples often, close to what it compares with, and
 * takes medians. */
#pragma once

#include "base/pool.h"
#include "engine/cpu_kernels.h"

struct floor;

/* Finds the shape on which the table's products are fastest. Never fails; close with floor_close.
 */
struct floor *floor_open(const struct cpu_kernels *kernels, int n_threads);
void floor_close(struct floor *f);

/* Floating point operations a second of products at that shape, all threads together: one sample of
 * some 2 ms. */
double floor_matmul(struct floor *f);

/* Bytes a second that all threads together read of a buffer of this size, swept again and again,
 * from whichever cache holds it: one sample of at least 2 ms. */
double floor_read(struct floor *f, size_t bytes);

/* Floating point operations a second of the bare units with everything in registers: a median. */
double floor_peak(struct floor *f);
