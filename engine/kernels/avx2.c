/* bf16 weights and cache, fp32 activations, AVX2 with FMA. */
#pragma GCC target("avx2,fma")
#include <string.h>

#include "engine/kernels/vec256.h"
#include "engine/kernels/chain_fp32.h"
#include "engine/kernels/fast.h"

const struct cpu_kernels cpu_kernels_avx2 = FAST_TABLE("avx2", keep_fp32);
