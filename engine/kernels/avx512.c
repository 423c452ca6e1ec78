/* bf16 weights and cache, fp32 activations, AVX-512. */
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma")
#include <string.h>

#include "engine/kernels/vec512.h"
#include "engine/kernels/chain_fp32.h"
#include "engine/kernels/fast.h"

const struct cpu_kernels cpu_kernels_avx512 = FAST_TABLE("avx512", keep_fp32);
