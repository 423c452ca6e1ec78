/* The kernels of products behind cuda_product_run. */
#pragma once

#include "engine/cuda_device.h"

/* Rings of more than half of a multiprocessor's memory: then two blocks of products never share
 * one, but for light ones (cuda_product.light), beside which the next fits. */
bool product_is_deep();
/* Blocks for so many shares of work: one a multiprocessor at most. At least half as many and one,
 * idle ones too: of two products in a row that aren't light, the second can't begin everywhere
 * before the first has begun to end. It doesn't hold of a pair with a light one (o and gate and up,
 * down and q k v). What prepare, attention and merge read early (cuda_pass.early) rests on gate and
 * up, and down alone, which are never light: cuda_pass.c checks it. */
int product_grid(int shares);
void product_few(const cuda_product *p, cudaStream_t stream);  /* rows <= 4 */
void product_many(const cuda_product *p, cudaStream_t stream); /* 8, 16, 32, 64, k * 128 rows */
/* k * 128 rows on compute capability 9.0; false elsewhere, and nothing is done. */
bool product_wide(const cuda_product *p, cudaStream_t stream);
