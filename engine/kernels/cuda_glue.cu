/* Between passes: rows of a pack become rows of the batch, and reports become the host's. */
#include "engine/cuda_glue.h"
#include "engine/kernels/cuda_common.cuh"

/* pairs: row of `from`, row of `to`. Activations move in groups of 8 dims. */
__global__ void k_gather(const cuda_acts from, const float *squares_from, int stride_from,
                         const cuda_acts to, float *squares_to, int stride_to, int dim,
                         const int32_t *pairs) {
    pdl_launch();
    pdl_wait();
    const int source = pairs[2 * blockIdx.x], target = pairs[2 * blockIdx.x + 1];
    for (int i = threadIdx.x; i < (dim + 7) / 8; i += blockDim.x)
        *(uint4 *)(to.data + acts_at(to, target, 8 * i)) =
            *(const uint4 *)(from.data + acts_at(from, source, 8 * i));
    for (int i = threadIdx.x; i < square_tiles(dim); i += blockDim.x)
        squares_to[(size_t)i * stride_to + target] = squares_from[(size_t)i * stride_from + source];
}

/* The ring is pinned memory of the host: plain stores reach it before the pass's event. */
__global__ void k_publish(const cuda_report *report, int n, cuda_report *ring, int stride,
                          uint64_t *published) {
    pdl_launch();
    pdl_wait();
    const uint64_t pass = *published;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        ring[pass % CUDA_RING * stride + i] = report[i];
    __syncthreads();
    if (threadIdx.x == 0)
        *published = pass + 1;
}

void cuda_gather(const cuda_acts *from, const float *squares_from, int32_t stride_from,
                 const cuda_acts *to, float *squares_to, int32_t stride_to, int32_t dim,
                 const int32_t *pairs, int32_t n, cudaStream_t stream) {
    launch(k_gather, dim3(n), dim3(128), 0, stream, *from, squares_from, stride_from, *to,
           squares_to, stride_to, dim, pairs);
}

void cuda_publish(const cuda_report *report, int32_t n, cuda_report *ring, int32_t stride,
                  uint64_t *published, cudaStream_t stream) {
    launch(k_publish, dim3(1), dim3(1024), 0, stream, report, n, ring, stride, published);
}
