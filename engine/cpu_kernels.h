/* CPU kernels: one table of functions per instruction set, chosen at run time. The "fp32" table is
 * the reference: plain loops in a fixed order, fp32 weights and cache, the same bits on every
 * x86-64. The others use bf16 weights and cache with fp32 accumulation. In every table an output
 * depends on its own row and column only: neither the number of rows, their places, nor the split
 * over threads changes a bit. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/policy.h"

/* y[m][n] = sum_k x[m][k] w[n][k]. Outputs are packed in panels of CPU_PANEL columns; a panel is
 * one thread's work at least. */
enum { CPU_PANEL = 32 };

struct cpu_matrix {
    int n, k;    /* outputs, inputs (any sizes; padding is the kernel's own) */
    void *data;  /* owned by whoever called pack_bytes; 64-byte aligned */
    float *bias; /* [n] or NULL; borrowed */
};

struct cpu_attention { /* one KV head of one sequence at one position */
    int group, head_size, n_pages;
    float scale;
    const float *q;           /* [group][head_size], rotated */
    const void *const *pages; /* n_pages pages, as append wrote them */
    const uint16_t *live; /* n_pages masks: bit s = slot s takes part; at least one bit in all */
    float *prob;          /* [group][n_pages * 16] out: softmax probabilities, 0 in dead slots */
    float *out;           /* [group][head_size] */
};

struct cpu_kernels {
    const char *isa;
    size_t cache_size; /* bytes of one K or V element: 4 (fp32) or 2 (bf16) */
    size_t act_size;   /* bytes of one activation as matmul takes it: 4 or 2 */

    size_t (*pack_bytes)(int n, int k);
    /* Packs rows [n0, n0 + n_rows) of fp32 weights rows[n_rows][k]; n0 is a multiple of CPU_PANEL.
     */
    void (*pack)(const struct cpu_matrix *w, int n0, int n_rows, const float *rows);
    /* Converts x[count] to the activation type. */
    void (*convert)(const float *x, size_t count, void *out);
    /* Panels [p0, p1) of y (row stride ldy floats) from m rows of x (row stride k elements); adds
     * to y if `add`, else stores bias + product. */
    void (*matmul)(const struct cpu_matrix *w, const void *x, int m, int p0, int p1, float *y,
                   size_t ldy, bool add);
    void (*attend)(const struct cpu_attention *a);
    /* Writes a key and a value into slot s of a page; with bounds (lo[head_size], hi[head_size] in
     * the cache type) widens them, or sets them when `first`. Bounds may be NULL. */
    void (*append)(void *page, int s, int head_size, const float *k, const float *v, void *bounds,
                   bool first);
    /* bound[g * n + i] = sum_d max(q[g][d] lo_i[d], q[g][d] hi_i[d]) for n bounds records. */
    void (*bounds)(const float *q, int group, int head_size, const void *const *bounds, int n,
                   float *bound);
    /* Reads slot s of a page back as fp32 (key and value; either may be NULL). */
    void (*read)(const void *page, int s, int head_size, float *k, float *v);
    /* out = x / rms(x) * gain, one row of dim; out may be x. */
    void (*rmsnorm)(const float *x, const float *gain, int dim, float eps, float *out);
    /* out[i] = silu(gate[i]) * up[i] */
    void (*swiglu)(const float *gate, const float *up, int count, float *out);

    /* Yardsticks for benchmarks: `rounds` rounds of round_flops operations of matmul's kind with
     * all data in registers; a read of all bytes (a multiple of 512), in order. */
    void (*peak)(int64_t rounds);
    double round_flops;
    void (*sweep)(const void *data, size_t bytes);
};

static inline size_t cpu_page_bytes(const struct cpu_kernels *kernels, int head_size) {
    return 2 * (size_t)PAGE * (size_t)head_size * kernels->cache_size;
}
static inline size_t cpu_bounds_bytes(const struct cpu_kernels *kernels, int head_size) {
    return 2 * (size_t)head_size * kernels->cache_size;
}

/* isa NULL = the best this machine runs; "fp32" = the reference. NULL with an error when unknown or
 * not supported here. */
const struct cpu_kernels *cpu_kernels_find(const char *isa, struct err *e);
/* All tables that this machine can run, reference first; NULL-ended. */
const struct cpu_kernels *const *cpu_kernels_all(void);
