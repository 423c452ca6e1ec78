/* What launchers know of the device: asked once, of the first device that is current. A process
 * that uses several has them alike. */
#include "engine/kernels/cuda_common.cuh"

static int attribute(cudaDeviceAttr which) {
    int device = 0, value = 0;
    if (cudaGetDevice(&device) == cudaSuccess)
        cudaDeviceGetAttribute(&value, which, device);
    return value;
}

int device_multiprocessors() {
    static int n = 0;
    if (!n)
        n = attribute(cudaDevAttrMultiProcessorCount);
    return n ? n : 1;
}

int device_capability() {
    static int capability = 0;
    if (!capability)
        capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                     attribute(cudaDevAttrComputeCapabilityMinor);
    return capability;
}

int device_block_memory() {
    static int bytes = 0;
    if (!bytes)
        bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    return bytes;
}

bool cuda_early_launch() { return device_capability() >= 90; }
