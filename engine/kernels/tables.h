/* The tables that engine/cpu_kernels.c chooses from; one per file of this folder. */
#pragma once

#include "engine/cpu_kernels.h"

extern const struct cpu_kernels cpu_kernels_fp32;
