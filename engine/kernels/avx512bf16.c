/* bf16 weights, cache and activations of products (VDPBF16PS); attention and the rest as avx512.c,
 * with fp32 queries. */
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")
#include "engine/kernels/vec512.h"
#include "engine/kernels/chain_bf16.h"
#include "engine/kernels/fast.h"

const struct cpu_kernels cpu_kernels_avx512bf16 = FAST_TABLE("avx512bf16", narrow);
