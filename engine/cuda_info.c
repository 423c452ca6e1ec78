#include "engine/cuda_info.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <string.h>

/* CUDA counts 1000 * major + 10 * minor. */
static void version_text(int version, char *out, size_t size) {
    snprintf(out, size, "%d.%d", version / 1000, version % 1000 / 10);
}

/* The number that NVIDIA's release has, "" where the system doesn't say. */
static void driver_release(char *out, size_t size) {
    char line[256] = "", release[32] = "";
    FILE *f = fopen("/proc/driver/nvidia/version", "re");
    if (f && fgets(line, sizeof line, f))
        for (char *word = strtok(line, " "); word && !*release; word = strtok(NULL, " "))
            if (strspn(word, "0123456789.") == strlen(word) && strchr(word, '.'))
                snprintf(release, sizeof release, "%s", word);
    if (f)
        fclose(f);
    snprintf(out, size, "%s", release);
}

int cuda_device_count(struct err *e) {
    int n = 0, driver = 0, runtime = 0;
    char has[16], needs[16];
    cudaError_t error = cudaGetDeviceCount(&n);
    if (error == cudaSuccess && n > 0)
        return n;
    (void)cudaGetLastError(); /* what follows must not meet this error again */
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    version_text(driver, has, sizeof has);
    version_text(runtime, needs, sizeof needs);
    if (driver == 0)
        err_set(e, EXIT_ENV, "no NVIDIA driver (CUDA %s or later is needed)", needs);
    else if (error == cudaErrorInsufficientDriver)
        err_set(e, EXIT_ENV, "the NVIDIA driver is for CUDA %s, expected %s or later", has, needs);
    else if (error == cudaSuccess || error == cudaErrorNoDevice)
        err_set(e, EXIT_ENV, "no CUDA device (the driver is there, for CUDA %s)", has);
    else
        err_set(e, EXIT_ENV, "CUDA devices cannot be counted: %s", cudaGetErrorString(error));
    return 0;
}

bool cuda_device_text(int device, char *out, size_t size) {
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        snprintf(out, size, "device %d: %s", device, cudaGetErrorString(error));
        return false;
    }
    int version = 0;
    char release[32], cuda[16];
    cudaDriverGetVersion(&version);
    version_text(version, cuda, sizeof cuda);
    driver_release(release, sizeof release);
    bool usable = p.major * 10 + p.minor >= CUDA_LEAST_CAPABILITY;
    int n = snprintf(out, size, "%s, %.1f GB, compute capability %d.%d, driver %s%sfor CUDA %s",
                     p.name, 1e-9 * (double)p.totalGlobalMem, p.major, p.minor, release,
                     *release ? " " : "", cuda);
    if (!usable && n >= 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, "; expected compute capability %d.%d or later",
                 CUDA_LEAST_CAPABILITY / 10, CUDA_LEAST_CAPABILITY % 10);
    return usable;
}
