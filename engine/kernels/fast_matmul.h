/* Products with bf16 weights, for one register width (vec256.h or vec512.h, included before) and
 * one kind of activation: the including file defines act                     the type of an
 * activation chain(sum, w, x)        sum + two products: a lane's pair of weights times the
 * activations x[0], x[1] chain_last(sum, w, x)   the same for an odd last input, x[0] alone A panel
 * is [(k + 1) / 2][CPU_PANEL][2]: two inputs of one output side by side. Each output is one chain
 * over its inputs in order, whatever tile it falls into, so tiles may be chosen for speed alone. */
#pragma once

#include <string.h>

#include "engine/cpu_kernels.h"
#include "engine/bf16.h"

#define ALWAYS static inline __attribute__((always_inline))
enum { PANEL_VECS = CPU_PANEL / LANES, PANEL_GROUP = 4 };

static size_t fast_pack_bytes(int n, int k) {
    size_t panels = ((size_t)n + CPU_PANEL - 1) / CPU_PANEL;
    return panels * CPU_PANEL * (((size_t)k + 1) / 2) * 2 * sizeof(uint16_t);
}

static inline uint16_t *panel_at(const struct cpu_matrix *w, int panel) {
    return (uint16_t *)w->data + (size_t)panel * CPU_PANEL * ((size_t)w->k + (size_t)w->k % 2);
}

static void fast_pack(const struct cpu_matrix *w, int n0, int n_rows, const float *rows) {
    CHECK(n0 % CPU_PANEL == 0 && n0 + n_rows <= w->n);
    for (int i = 0; i < (n_rows + CPU_PANEL - 1) / CPU_PANEL * CPU_PANEL; i++) {
        uint16_t *out = panel_at(w, (n0 + i) / CPU_PANEL) + i % CPU_PANEL * 2;
        const float *row = rows + (size_t)i * (size_t)w->k;
        for (int k = 0; k < w->k + w->k % 2; k++)
            out[(size_t)(k / 2) * CPU_PANEL * 2 + (size_t)(k % 2)] =
                i < n_rows && k < w->k ? bf16_of(row[k]) : 0;
    }
}

static inline void finish(const struct cpu_matrix *w, int column, vec sum, float *y, bool add) {
    if (column + LANES <= w->n) {
        vec old = add ? v_load(y + column) : w->bias ? v_load(w->bias + column) : v_zero();
        v_store(y + column, v_add(old, sum));
        return;
    }
    float row[LANES];
    v_store(row, sum);
    for (int j = 0; column + j < w->n; j++)
        y[column + j] = (add ? y[column + j] : w->bias ? w->bias[column + j] : 0) + row[j];
}

/* `rows` rows times `wide` vectors of outputs, from vector `first` (counted over all panels) on. */
ALWAYS void tile(const struct cpu_matrix *w, int first, const act *x, float *y, size_t ldy,
                 bool add, const int rows, const int wide) {
    const size_t n_k = (size_t)w->k;
    const uint16_t *weights[8];
    vec sum[TILE_ROWS][8];
#pragma GCC unroll 8
    for (int j = 0; j < wide; j++)
        weights[j] = panel_at(w, (first + j) / PANEL_VECS) + (first + j) % PANEL_VECS * LANES * 2;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int j = 0; j < wide; j++)
            sum[r][j] = v_zero();
    for (size_t k = 0; k + 2 <= n_k; k += 2) {
        pairs v[8];
#pragma GCC unroll 8
        for (int j = 0; j < wide; j++)
            v[j] = p_load(weights[j] + k * CPU_PANEL);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (int j = 0; j < wide; j++)
                sum[r][j] = chain(sum[r][j], v[j], x + (size_t)r * n_k + k);
    }
    if (n_k % 2)
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (int j = 0; j < wide; j++)
                sum[r][j] = chain_last(sum[r][j], p_load(weights[j] + (n_k - 1) * CPU_PANEL),
                                       x + (size_t)r * n_k + n_k - 1);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int j = 0; j < wide; j++)
            finish(w, (first + j) * LANES, sum[r][j], y + (size_t)r * ldy, add);
}

/* Few rows make few chains: then a tile takes several panels. */
#define STRIP(rows, wide)                                                                        \
    static void strip_##rows(const struct cpu_matrix *w, int v0, int v1, const act *x, float *y, \
                             size_t ldy, bool add) {                                             \
        for (; v0 + (wide) <= v1; v0 += (wide))                                                  \
            tile(w, v0, x, y, ldy, add, rows, wide);                                             \
        for (; v0 < v1; v0 += 2)                                                                 \
            tile(w, v0, x, y, ldy, add, rows, 2);                                                \
    }
STRIP(1, WIDE_1)
STRIP(2, WIDE_2)
STRIP(3, WIDE_3)
STRIP(4, WIDE)
STRIP(5, WIDE)
#if TILE_ROWS > 5
STRIP(6, WIDE)
STRIP(7, WIDE)
STRIP(8, WIDE)
STRIP(9, WIDE)
STRIP(10, WIDE)
STRIP(11, WIDE)
STRIP(12, WIDE)
#endif

typedef void strip(const struct cpu_matrix *w, int v0, int v1, const act *x, float *y, size_t ldy,
                   bool add);
static strip *const strips[] = {
    NULL,    strip_1, strip_2, strip_3, strip_4,  strip_5,
#if TILE_ROWS > 5
    strip_6, strip_7, strip_8, strip_9, strip_10, strip_11, strip_12,
#endif
};

static void fast_matmul(const struct cpu_matrix *w, const void *x, int m, int p0, int p1, float *y,
                        size_t ldy, bool add) {
    /* The fewest tiles, and those as equal as can be; a group of panels stays in the first cache
     * for all of them. */
    int tiles = (m + TILE_ROWS - 1) / TILE_ROWS;
    for (int p = p0; p < p1; p += PANEL_GROUP) {
        int end = p + PANEL_GROUP < p1 ? p + PANEL_GROUP : p1;
        for (int i = 0, r = 0; i < tiles; i++) {
            int rows = (m - r + tiles - i - 1) / (tiles - i);
            strips[rows](w, p * PANEL_VECS, end * PANEL_VECS,
                         (const act *)x + (size_t)r * (size_t)w->k, y + (size_t)r * ldy, ldy, add);
            r += rows;
        }
    }
}
