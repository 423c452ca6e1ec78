#include "tests/gpu.h"

#ifdef RAAS_CUDA
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>

#include "base/rng.h"

enum { GUARD = 1024, POISON = 0xA5, FENCE = 0x5C };

struct block {
    char *memory; /* guard, block, guard */
    size_t size;
    struct block *next;
};
static struct block *blocks;

static void check(cudaError_t error, const char *what) {
    if (error != cudaSuccess)
        fail_msg("%s: %s", what, cudaGetErrorString(error));
}

void gpu_or_skip(void) {
    int n = 0;
    if (cudaGetDeviceCount(&n) == cudaSuccess && n > 0)
        return;
    (void)cudaGetLastError();
    printf("skipped: no CUDA device\n");
    fflush(stdout);
    skip();
}

void gpu_check_at(const char *file, int line) {
    cudaError_t launch = cudaGetLastError(), run = cudaDeviceSynchronize();
    if (launch != cudaSuccess || run != cudaSuccess)
        fail_msg("%s:%d: launch: %s; run: %s", file, line, cudaGetErrorString(launch),
                 cudaGetErrorString(run));
}

void *gpu_alloc(size_t size) {
    struct block *b = malloc(sizeof *b);
    assert_non_null(b);
    *b = (struct block){.size = size, .next = blocks};
    size_t padded = (size + 255) / 256 * 256;
    check(cudaMalloc((void **)&b->memory, padded + (size_t)(2 * GUARD)), "cudaMalloc");
    blocks = b;
    check(cudaMemset(b->memory, FENCE, padded + (size_t)(2 * GUARD)), "cudaMemset");
    check(cudaMemset(b->memory + GUARD, POISON, size), "cudaMemset");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    return b->memory + GUARD;
}

void gpu_write(void *device, const void *host, size_t size) {
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    check(cudaMemcpy(device, host, size, cudaMemcpyHostToDevice), "cudaMemcpy to the device");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

void *gpu_copy_in(const void *host, size_t size) {
    void *device = gpu_alloc(size);
    gpu_write(device, host, size);
    return device;
}

void gpu_copy_out(void *host, const void *device, size_t size) {
    check(cudaGetLastError(), "launch");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    check(cudaMemcpy(host, device, size, cudaMemcpyDeviceToHost), "cudaMemcpy from the device");
}

static void check_guard(const char *guard, size_t size, const char *where, size_t block) {
    for (size_t i = 0; i < size; i++)
        if (guard[i] != FENCE)
            fail_msg("a block of %zu bytes: byte %zu %s it was written", block, i, where);
}

/* Unlinked and freed before anything can fail, so that a failing test leaves nothing half freed. */
static void release(struct block *b) {
    char before[GUARD], behind[GUARD];
    cudaError_t error = cudaDeviceSynchronize();
    if (error == cudaSuccess)
        error = cudaMemcpy(before, b->memory, GUARD, cudaMemcpyDeviceToHost);
    if (error == cudaSuccess)
        error = cudaMemcpy(behind, b->memory + GUARD + b->size, GUARD, cudaMemcpyDeviceToHost);
    cudaFree(b->memory);
    size_t size = b->size;
    free(b);
    check(error, "an earlier kernel");
    check_guard(before, GUARD, "of the kilobyte before", size);
    check_guard(behind, GUARD, "behind", size);
}

void gpu_free(void *device) {
    for (struct block **at = &blocks; device && *at; at = &(*at)->next)
        if ((*at)->memory + GUARD == (char *)device) {
            struct block *b = *at;
            *at = b->next;
            release(b);
            return;
        }
    if (device)
        fail_msg("gpu_free: not a block of gpu_alloc");
}

int gpu_teardown(void **state) {
    (void)state;
    while (blocks) {
        struct block *b = blocks;
        blocks = b->next;
        release(b);
    }
    return 0;
}

static struct rng *source(void) {
    static struct rng rng;
    if (!rng.key) {
        const char *seed = getenv("RAAS_SEED");
        rng.key = rng_key(1, seed ? strtoull(seed, NULL, 10) : 0);
    }
    return &rng;
}

unsigned gpu_random(void) { return (unsigned)(rng_next(source()) >> 32); }
int gpu_random_below(int n) { return (int)rng_below(source(), (uint32_t)n); }
float gpu_random_float(void) { return (float)(2 * rng_real(source()) - 1); }

float gpu_random_normal(void) {
    double r = sqrt(-2 * log(1 - rng_real(source())));
    return (float)(r * cos(6.283185307179586 * rng_real(source())));
}

float *gpu_random_floats(size_t count, float scale) {
    float *x = test_malloc((count ? count : 1) * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = scale * gpu_random_normal();
    return x;
}
#endif
