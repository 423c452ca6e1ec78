/* The kernels of products behind cuda_product_run. */
#pragma once

#include "engine/cuda_device.h"

/* Of the current device: its multiprocessors. */
int product_blocks();
int product_capability();                                      /* major * 10 + minor */
void product_few(const cuda_product *p, cudaStream_t stream);  /* rows <= 4 */
void product_many(const cuda_product *p, cudaStream_t stream); /* 8, 16, 32, 64, k * 128 rows */
/* k * 128 rows on compute capability 9.0; false elsewhere, and nothing is done. */
bool product_wide(const cuda_product *p, cudaStream_t stream);
