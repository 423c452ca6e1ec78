/* bf16 products in the matrix unit (TDPBF16PS): an instruction multiplies 16 rows with 16
 * outputs over 32 inputs. Attention and the rest as avx512bf16.c. */
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,amx-tile,amx-bf16")
#include <string.h>

#include "engine/kernels/vec512.h"
#include "engine/kernels/chain_bf16.h"
#include "engine/kernels/fast.h"

enum { SIDE = 16, DEPTH = 32, LINE = 64 }; /* rows or outputs, inputs of a tile; bytes of its row */
enum { PANEL_STRIDE = CPU_PANEL * 2 * sizeof(uint16_t), AHEAD = 2 };
_Static_assert(CPU_PANEL == 2 * SIDE, "a panel is two tiles wide");

/* What LDTILECFG reads. Tiles 0 to 3 are sums (upper rows, left and right; lower rows), 4 and 5
 * activations (upper, lower), 6 and 7 weights (left, right). */
struct shapes {
    uint8_t palette, start_row, zero[14];
    uint16_t bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct shapes) == 64, "as the processor reads it");

static void shape_tiles(int upper, int lower) {
    struct shapes s = {.palette = 1};
    const int rows[8] = {upper, upper, lower, lower, upper, lower, SIDE, SIDE};
    for (int i = 0; i < 8; i++)
        s.rows[i] = (uint8_t)rows[i], s.bytes[i] = rows[i] ? LINE : 0;
    yardstick_hide(&s); /* the intrinsic does not say that it reads all of it */
    _tile_loadconfig(&s);
}

static inline void clear(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

static inline void fetch_ahead(const uint16_t *panel) {
#pragma GCC unroll 32
    for (int i = 0; i < 2 * SIDE; i++)
        _mm_prefetch(panel + i * LINE / 2, _MM_HINT_T0);
}

/* At most 16 rows: their sums stay in tiles 0 and 1. */
static void sum_upper(const uint16_t *panel, const act *x, size_t k) {
    _tile_zero(0);
    _tile_zero(1);
    for (size_t i = 0; i < k; i += DEPTH, panel += DEPTH * CPU_PANEL) {
        fetch_ahead(panel + AHEAD * DEPTH * CPU_PANEL);
        _tile_loadd(4, x + i, k * sizeof(act));
        _tile_loadd(6, panel, PANEL_STRIDE);
        _tile_loadd(7, panel + 2 * SIDE, PANEL_STRIDE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
    }
}

/* 17 to 32 rows: tiles 0 to 3. */
static void sum_both(const uint16_t *panel, const act *x, size_t k) {
    clear();
    for (size_t i = 0; i < k; i += DEPTH, panel += DEPTH * CPU_PANEL) {
        fetch_ahead(panel + AHEAD * DEPTH * CPU_PANEL);
        _tile_loadd(6, panel, PANEL_STRIDE);
        _tile_loadd(4, x + i, k * sizeof(act));
        _tile_loadd(7, panel + 2 * SIDE, PANEL_STRIDE);
        _tile_loadd(5, x + SIDE * k + i, k * sizeof(act));
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

static void finish_tile(const struct cpu_matrix *w, int column, const float *sums, int rows,
                        float *y, size_t ldy, bool add) {
    for (int r = 0; r < rows; r++)
        finish(w, column, v_load(sums + r * SIDE), y + (size_t)r * ldy, add);
}

/* Each output is one chain over its inputs, in a place of a tile that its neighbours don't reach:
 * how many rows there are, and how they are cut, changes no bit. Inputs that fill no tile take the
 * other way for all rows. */
static void amx_matmul(const struct cpu_matrix *w, const void *x, int m, int p0, int p1, float *y,
                       size_t ldy, bool add) {
    const size_t k = (size_t)w->k;
    float sums[4][SIDE * SIDE] __attribute__((aligned(LINE)));
    if (k % DEPTH) {
        fast_matmul(w, x, m, p0, p1, y, ldy, add);
        return;
    }
    for (int r = 0, rows; r < m; r += rows) {
        rows = m - r < 2 * SIDE ? m - r : 2 * SIDE;
        int upper = rows < SIDE ? rows : SIDE, lower = rows - upper;
        const act *xr = (const act *)x + (size_t)r * k;
        float *yr = y + (size_t)r * ldy;
        shape_tiles(upper, lower);
        for (int p = p0; p < p1; p++) {
            if (lower) {
                sum_both(panel_at(w, p), xr, k);
                _tile_stored(2, sums[2], LINE);
                _tile_stored(3, sums[3], LINE);
            } else {
                sum_upper(panel_at(w, p), xr, k);
            }
            _tile_stored(0, sums[0], LINE);
            _tile_stored(1, sums[1], LINE);
            for (int j = 0; j < 2; j++) {
                int column = p * CPU_PANEL + j * SIDE;
                finish_tile(w, column, sums[j], upper, yr, ldy, add);
                finish_tile(w, column, sums[2 + j], lower, yr + SIDE * ldy, ldy, add);
            }
        }
    }
    _tile_release();
}

static void amx_peak(int64_t rounds) {
    uint16_t zeros[SIDE * DEPTH] = {0};
    yardstick_hide(zeros);
    shape_tiles(SIDE, SIDE);
    clear();
    _tile_loadd(4, zeros, LINE);
    _tile_loadd(5, zeros, LINE);
    _tile_loadd(6, zeros, LINE);
    _tile_loadd(7, zeros, LINE);
    for (int64_t i = 0; i < rounds; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
}

const struct cpu_kernels cpu_kernels_amx =
    FAST_TABLE_WITH("amx", narrow, amx_matmul, amx_peak, 4 * 2.0 * SIDE * SIDE * DEPTH);
