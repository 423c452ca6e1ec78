#include "commands/bench_device.h"

#include "engine/cuda_info.h"

#ifndef RAAS_CUDA

bool bench_device_measure(struct bench_device *out, struct err *e) {
    (void)out;
    CHECK(!cuda_device_count(e));
    return false;
}

#else

#include <stdio.h>
#include <string.h>

#include "engine/cuda_device.h"

enum { SAMPLES = 12, PASSES = 4, PARTS_BYTES = 1 << 20 };
static const size_t largest_sweep = (size_t)4 << 30;

struct yardstick {
    char *data; /* [bytes], random: zeros are read faster */
    float *parts;
    size_t bytes;
    cudaStream_t stream;
    cudaEvent_t start, end;
};

static void sweep(const struct yardstick *y) { cuda_sweep(y->data, y->bytes, y->parts, y->stream); }

static void copy(const struct yardstick *y) {
    cudaMemcpyAsync(y->data, y->data + y->bytes / 2, y->bytes / 2, cudaMemcpyDeviceToDevice,
                    y->stream);
}

/* Bytes a second of the best sample; several passes a sample hide their launches. */
static double best_rate(const struct yardstick *y, void (*pass)(const struct yardstick *)) {
    float best = 0, ms = 0;
    pass(y);
    for (int i = 0; i < SAMPLES; i++) {
        cudaEventRecord(y->start, y->stream);
        for (int j = 0; j < PASSES; j++)
            pass(y);
        cudaEventRecord(y->end, y->stream);
        cudaEventSynchronize(y->end);
        cudaEventElapsedTime(&ms, y->start, y->end);
        best = i == 0 || ms < best ? ms : best;
    }
    return best > 0 ? (double)y->bytes * PASSES / (best * 1e-3) : 0;
}

static void describe(struct bench_device *out) {
    struct cudaDeviceProp prop;
    size_t free_bytes = 0, total = 0;
    int device = 0, khz = 0;
    cudaGetDevice(&device);
    if (cudaGetDeviceProperties(&prop, device) == cudaSuccess)
        snprintf(out->name, sizeof out->name, "%.*s", (int)sizeof out->name - 1, prop.name);
    for (char *c = out->name; *c; c++)
        *c = *c == ',' || *c == '"' ? ' ' : *c;
    cudaMemGetInfo(&free_bytes, &total);
    out->memory = (double)total, out->free = (double)free_bytes;
    if (cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, device) == cudaSuccess)
        out->clock = 1e3 * khz;
    if (cudaDeviceGetAttribute(&khz, cudaDevAttrMemoryClockRate, device) == cudaSuccess)
        out->memory_clock = 1e3 * khz;
}

static bool measure(struct yardstick *y, struct bench_device *out, struct err *e) {
    cudaStreamCreateWithFlags(&y->stream, cudaStreamNonBlocking);
    cudaEventCreate(&y->start), cudaEventCreate(&y->end);
    if (cudaMalloc((void **)&y->data, y->bytes) != cudaSuccess ||
        cudaMalloc((void **)&y->parts, PARTS_BYTES) != cudaSuccess)
        return err_set(e, EXIT_ENV, "%s: no room for a sweep over %zu MiB", out->name,
                       y->bytes >> 20);
    cuda_pack_random((uint16_t *)y->data, y->bytes / 2, 1, 1, y->stream);
    out->read = best_rate(y, sweep);
    out->copy = best_rate(y, copy);
    cudaError_t code = cudaStreamSynchronize(y->stream);
    return (code == cudaSuccess && out->read > 0 && out->copy > 0) ||
           err_set(e, EXIT_ENV, "%s: the sweep failed: %s", out->name, cudaGetErrorString(code));
}

bool bench_device_measure(struct bench_device *out, struct err *e) {
    char text[400];
    memset(out, 0, sizeof *out);
    if (!cuda_device_count(e))
        return false;
    if (!cuda_device_text(0, text, sizeof text))
        return err_set(e, EXIT_ENV, "%s", text);
    describe(out);
    size_t bytes = (size_t)(out->free / 4) & ~(size_t)0xffff;
    struct yardstick y = {.bytes = bytes < largest_sweep ? bytes : largest_sweep};
    bool ok = measure(&y, out, e);
    cudaFree(y.data), cudaFree(y.parts);
    if (y.start)
        cudaEventDestroy(y.start);
    if (y.end)
        cudaEventDestroy(y.end);
    if (y.stream)
        cudaStreamDestroy(y.stream);
    return ok;
}
#endif
