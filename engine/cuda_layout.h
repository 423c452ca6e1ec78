/* How things lie in the device's memory: weights, activations, the cache. C11 and CUDA C++; all
 * pointers are device pointers.
 *
 * Layouts are those of the matrix instruction m16n8k16 (PTX ISA, "Matrix fragments for
 * mma.m16n8k16"), so that operands go from memory to registers without a shuffle:
 *
 * - A fragment is a 16 x 16 tile of bf16: 32 lanes x 16 bytes. Element (r, c) lies in lane
 *   (r % 8) * 4 + (c % 8) / 2, word (r / 8) + 2 * (c / 8) of the lane's four, half c % 2.
 * - A weight matrix [n, k] (cuda_matrix): k is cut into CUDA_SEGMENTS equal segments of `segment`
 *   inputs (a multiple of 16, the last ones padded with zeros), a segment into chunks of 64 inputs
 *   (the last may be shorter). Fragments lie as [ceil(n / 128)][segments][chunks][8][fragments of
 *   the chunk]: the chunk of a tile of 128 outputs is one piece of memory, and so is each of its
 *   rows.
 * - Activations (cuda_acts): [chunks of all segments][rows][64] bf16. A segment has
 *   ceil(segment / 64) chunks of its own. In the 128 bytes of a row the eight groups of 8 inputs
 *   stand at places group ^ (row % 8), so that eight rows of a group lie in different banks.
 * - A page of the cache: keys as cache_head / 16 fragments of (slot, dim), then values as
 *   cache_head / 16 fragments of (dim, slot). cache_head is head_size, padded to 32, 64, 128 or 256
 *   with zeros. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/policy.h"

#ifdef __CUDACC__
#define CUDA_FN static inline __host__ __device__
#else
#define CUDA_FN static inline
#endif

enum { CUDA_SEGMENTS = 8 };

struct cuda_shape {
    int32_t n_layers, dim, n_heads, n_kv_heads, group, head_size, cache_head, ffn, vocab;
    float eps;
    int32_t qk_norm;
};

/* Pieces of one allocation begin at multiples of 256 bytes. */
static inline size_t cuda_aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

/* --- weights ------------------------------------------------------------------------------ */

struct cuda_matrix { /* y[m][r] = sum_k x[m][k] w[r][k] */
    const uint16_t *data;
    int32_t n, k, segment;
};
/* Bytes of cuda_matrix.data. */
static inline size_t cuda_matrix_bytes(int32_t n, int32_t segment) {
    return (size_t)((n + 127) / 128) * CUDA_SEGMENTS * (size_t)segment * 128 * 2;
}
static inline int32_t cuda_segment(int32_t k) {
    return (k + CUDA_SEGMENTS * 16 - 1) / (CUDA_SEGMENTS * 16) * 16;
}

/* Where element (r, c) of a fragment lies, in elements from its start. */
CUDA_FN int32_t fragment_at(int32_t r, int32_t c) {
    return ((r % 8) * 4 + (c % 8) / 2) * 8 + (r / 8 + 2 * (c / 8)) * 2 + c % 2;
}
/* Fragments that a chunk of a segment has along k: 4, fewer at the segment's end. */
CUDA_FN int32_t chunk_fragments(int32_t segment, int32_t chunk) {
    int32_t left = segment / 16 - 4 * chunk;
    return left < 4 ? left : 4;
}
/* Where fragment (row of fragments, column of fragments) of a packed matrix begins. */
CUDA_FN size_t matrix_fragment(int32_t segment, int32_t row, int32_t column) {
    int32_t all = segment / 16, i = column % all, first = i / 4 * 4;
    int32_t wide = chunk_fragments(segment, i / 4);
    size_t part = (size_t)(row / 8) * CUDA_SEGMENTS + (size_t)(column / all);
    return ((part * (size_t)all + (size_t)first) * 8 + (size_t)(row % 8 * wide + i - first)) * 256;
}
/* Where element (r, k) lies. */
CUDA_FN size_t matrix_at(int32_t segment, int32_t r, int32_t k) {
    return matrix_fragment(segment, r / 16, k / 16) + (size_t)fragment_at(r % 16, k % 16);
}

/* --- activations -------------------------------------------------------------------------- */

struct cuda_acts {
    uint16_t *data;
    int32_t rows;    /* stride: padded rows, one of the counts that products take */
    int32_t segment; /* of the matrix that takes them */
    int32_t chunks;  /* of a segment: ceil(segment / 64) */
};
/* Without memory yet, for a matrix with k inputs; and the bytes that it takes. */
static inline struct cuda_acts cuda_acts_for(int32_t rows, int32_t k) {
    int32_t segment = cuda_segment(k);
    struct cuda_acts a = {NULL, rows, segment, (segment + 63) / 64};
    return a;
}
static inline size_t cuda_acts_bytes(struct cuda_acts a) {
    return (size_t)CUDA_SEGMENTS * (size_t)a.chunks * (size_t)a.rows * 64 * sizeof *a.data;
}
/* An input's place, for many rows: the division by the segment is slow. */
struct acts_place {
    size_t chunk;
    int32_t group, offset;
};
/* Of input i of segment s, and of input k of all. */
CUDA_FN struct acts_place acts_place_in(struct cuda_acts a, int32_t s, int32_t i) {
    struct acts_place p = {((size_t)s * (size_t)a.chunks + (size_t)(i / 64)) * (size_t)a.rows,
                           i % 64 / 8, i % 8};
    return p;
}
CUDA_FN struct acts_place acts_place_of(struct cuda_acts a, int32_t k) {
    int32_t s = k / a.segment;
    return acts_place_in(a, s, k - s * a.segment);
}
CUDA_FN size_t acts_in(struct acts_place p, int32_t row) {
    return (p.chunk + (size_t)row) * 64 + (size_t)((p.group ^ (row % 8)) * 8 + p.offset);
}
CUDA_FN size_t acts_at(struct cuda_acts a, int32_t row, int32_t k) {
    return acts_in(acts_place_of(a, k), row);
}
/* A row's sums of squares come in tiles of 16 dims. */
CUDA_FN int32_t square_tiles(int32_t dim) { return (dim + 15) / 16; }

/* --- the cache ---------------------------------------------------------------------------- */

struct cuda_cache {
    uint16_t *kv;       /* [pages][page_elements] bf16 */
    uint16_t *bounds;   /* [pages][2][cache_head] bf16: lo, then hi; only where the plan asks */
    int32_t *position;  /* [pages][16] of the token in each slot */
    float *slot_column; /* [pages][16] */
    float *page_column; /* [pages] */
    uint32_t *live;     /* [pages] bit s: slot s holds a token */
    int32_t *table;     /* [width][n_layers][n_kv_heads][room] pages; [0, n_pages) are in use, and
                           all `worst` of a row are its own: a page policy moves the page it frees
                           to the end */
    int32_t room;       /* of a table */
    int32_t head;       /* cache_head */
};
/* Page i of a head (layer * n_kv_heads + kv) of a row that has just joined with pages from base on:
 * the same page of all KV heads of a layer lies side by side, as attention reads it. */
CUDA_FN int32_t joined_page(struct cuda_shape s, int32_t base, int32_t worst, int32_t head,
                            int32_t i) {
    return base + (head / s.n_kv_heads * worst + i) * s.n_kv_heads + head % s.n_kv_heads;
}
CUDA_FN int32_t *table_of(struct cuda_cache c, struct cuda_shape s, int32_t row, int32_t layer,
                          int32_t kv) {
    return c.table + (((size_t)row * (size_t)s.n_layers + (size_t)layer) * (size_t)s.n_kv_heads +
                      (size_t)kv) *
                         (size_t)c.room;
}
/* Keys and values of a page; head: cache_head. */
CUDA_FN size_t page_elements(int32_t head) { return (size_t)head * (2 * PAGE); }
/* Where dim d of slot s lies in a page, in elements: key, value. */
CUDA_FN int32_t key_at(int32_t slot, int32_t d) { return d / 16 * 256 + fragment_at(slot, d % 16); }
CUDA_FN int32_t value_at(int32_t head, int32_t slot, int32_t d) {
    return head * 16 + d / 16 * 256 + fragment_at(d % 16, slot);
}
