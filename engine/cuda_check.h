/* Errors of the CUDA runtime as errors of ours. C only. */
#pragma once

#include <cuda_runtime_api.h>
#include <string.h>

#include "base/err.h"

/* Fills e with the call that failed, file and line. */
static inline bool cuda_check_at(cudaError_t code, const char *call, const char *file, int line,
                                 struct err *e) {
    if (code == cudaSuccess)
        return true;
    cudaGetLastError(); /* or the next call would find it again */
    return err_set(e, EXIT_ENV, "cuda: %s: %s (%.*s at %s:%d)", cudaGetErrorName(code),
                   cudaGetErrorString(code), (int)strcspn(call, "("), call, file, line);
}
#define CUDA_CHECK(call, e) cuda_check_at((call), #call, __FILE__, __LINE__, (e))
