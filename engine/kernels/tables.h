/* The tables that engine/cpu_kernels.c chooses from; one per file of this folder. */
#pragma once

#include "engine/cpu_kernels.h"

extern const struct cpu_kernels cpu_kernels_fp32;
extern const struct cpu_kernels cpu_kernels_avx2;
extern const struct cpu_kernels cpu_kernels_avx512;
extern const struct cpu_kernels cpu_kernels_avx512bf16;
extern const struct cpu_kernels cpu_kernels_amx;
