/* Yardsticks of a bf16 table: what the arithmetic units and the memory give to this instruction set
 * at best. */
#pragma once

#include "engine/kernels/fast_matmul.h"
#include "engine/kernels/yardstick.h"

/* A product's tile with everything in registers: as many chains, and no loads. */
__attribute__((unused)) static void fast_peak(int64_t rounds) { /* amx has its own */
    vec sum[TILE_ROWS][WIDE];
    uint16_t weights[2 * LANES] = {0};
    act x[2] = {0};
    yardstick_hide(weights);
    yardstick_hide(x);
    memset(sum, 0, sizeof sum);
    yardstick_hide(sum); /* else equal chains would be computed once */
    const pairs w = p_load(weights);
    for (int64_t i = 0; i < rounds; i++)
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 8
            for (int j = 0; j < WIDE; j++)
                sum[r][j] = chain(sum[r][j], w, x);
    yardstick_hide(sum);
}

static void fast_sweep(const void *data, size_t bytes) {
    const uint16_t *p = data, *end = p + bytes / sizeof *p;
    pairs sum[8];
    memset(sum, 0, sizeof sum);
    for (; p < end; p += 8 * 2 * LANES)
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
            sum[j] = p_xor(sum[j], p_load(p + j * 2 * LANES));
    yardstick_hide(sum);
}
