/* A whole bf16 table. Include the register width (vec256.h or vec512.h) and define the chain (see
 * fast_matmul.h) first. */
#pragma once

#include "engine/kernels/fast_matmul.h"
#include "engine/kernels/fast_attend.h"
#include "engine/kernels/fast_rows.h"
#include "engine/kernels/fast_floor.h"
#include "engine/kernels/tables.h"

// clang-format off
#define FAST_TABLE(name, converter)                                                                \
    FAST_TABLE_WITH(name, converter, fast_matmul, fast_peak, 4.0 * TILE_ROWS * WIDE * LANES)
#define FAST_TABLE_WITH(name, converter, product, yardstick, flops)                                \
    {                                                                                              \
        .isa = name, .cache_size = sizeof(uint16_t), .act_size = sizeof(act),                      \
        .pack_bytes = fast_pack_bytes, .pack = fast_pack, .convert = converter,                    \
        .matmul = product, .attend = fast_attend, .append = fast_append,                       \
        .bounds = fast_bounds, .read = fast_read, .rmsnorm = fast_rmsnorm, .swiglu = fast_swiglu,  \
        .peak = yardstick, .sweep = fast_sweep,                                                    \
        .round_flops = flops,                                            \
    }
// clang-format on
