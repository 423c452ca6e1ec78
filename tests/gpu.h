/* What tests of device code share: device memory that is poisoned and guarded, copies that check
 * for errors, a skip where there is no GPU. Every failure fails the running test. */
#pragma once

#include <stddef.h>

/* First line of a test: prints "skipped: no CUDA device" and skips it where there is none. */
void gpu_or_skip(void);

/* Device memory of `size` bytes, aligned to 256, filled with 0xA5, between two guards that gpu_free
 * looks at. What a test leaves behind is freed by its gpu_teardown, or at exit. */
void *gpu_alloc(size_t size);
void *gpu_copy_in(const void *host, size_t size); /* allocated as above, holds a copy */
void gpu_write(void *device, const void *host, size_t size);
/* Waits for the device, then copies from any place of device memory. */
void gpu_copy_out(void *host, const void *device, size_t size);
/* Fails the test where something was written beside the block. NULL is passed over. */
void gpu_free(void *device);
/* Frees all blocks and looks at all guards; a cmocka teardown of a test or a group. */
int gpu_teardown(void **state);

/* Waits for the device; fails the test on any error so far. */
#define gpu_check() gpu_check_at(__FILE__, __LINE__)
void gpu_check_at(const char *file, int line);

/* Random numbers: one sequence per program, another one with RAAS_SEED=n in the environment. */
unsigned gpu_random(void); /* 32 bits */
int gpu_random_below(int n);
float gpu_random_float(void); /* uniform in [-1, 1) */
float gpu_random_normal(void);
float *gpu_random_floats(size_t count, float scale); /* normal * scale; test_free() it */
