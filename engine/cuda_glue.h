/* Launchers of cuda_glue.cu: what moves between passes. */
#pragma once

#include "engine/cuda_device.h"

enum { CUDA_RING = 8 }; /* passes whose reports may wait for the host */

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of a residual stream become rows of another: activations and squares; pairs[n] of (row of
 * from, row of to). */
void cuda_gather(const struct cuda_acts *from, const float *squares_from, int32_t stride_from,
                 const struct cuda_acts *to, float *squares_to, int32_t stride_to, int32_t dim,
                 const int32_t *pairs, int32_t n, cudaStream_t stream);
/* Copies a pass's n reports to place *published % CUDA_RING of the host's ring (stride reports a
 * place), and counts it. */
void cuda_publish(const struct cuda_report *report, int32_t n, struct cuda_report *ring,
                  int32_t stride, uint64_t *published, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
