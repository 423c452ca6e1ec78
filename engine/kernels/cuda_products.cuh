/* The two kernels of products behind cuda_product_run. */
#pragma once

#include "engine/cuda_device.h"

/* Blocks of the device's multiprocessors. */
int product_blocks();
void product_few(const cuda_product *p, cudaStream_t stream);  /* rows <= 4 */
void product_many(const cuda_product *p, cudaStream_t stream); /* 8, 16, 32, 64, k * 128 rows */
