/* What the machine gives at best, measured with the kernels and threads that decode: the yardsticks
 * of a floor. Medians of short windows, because other programs run too. */
#pragma once

#include "base/pool.h"
#include "engine/cpu_kernels.h"

struct floor;

/* Finds the shape on which the table's products are fastest. Never fails; close with floor_close.
 */
struct floor *floor_open(const struct cpu_kernels *kernels, int n_threads);
void floor_close(struct floor *floor);

/* Floating point operations a second, all threads together: of products at that shape, now; and of
 * the bare units with everything in registers. */
double floor_matmul(struct floor *floor);
double floor_peak(struct floor *floor);

/* Bytes a second that all threads together read of a buffer of this size, swept again and again:
 * from whichever cache holds it. */
double floor_read(struct floor *floor, size_t bytes);

/* Sorts values and returns the middle one (of an even number, the mean of both). */
double floor_median(double *values, int n);
