/* Number formats that weights are stored in: what they are called, how large they are, and which
 * fp32 numbers they stand for. Blocks of the Q formats are those of ggml (ggml-common.h); their
 * numbers equal those of its Python package gguf bit for bit (gguf/quants.py): one fp32 operation
 * after another, in that order, never contracted. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q8_0,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_OTHER /* listed, but cannot be read */
};

enum { DTYPE_BLOCK = 256, DTYPE_BYTES = 210 }; /* the largest block: numbers, bytes */

struct dtype_format {
    const char *name;
    int block; /* numbers in a block; 1 for plain numbers. Rows are whole blocks */
    int bytes; /* of a block */
    /* Blocks, at any address, as fp32: out[n_blocks * block]. */
    void (*widen)(const uint8_t *data, size_t n_blocks, float *out);
};
extern const struct dtype_format dtype_formats[DTYPE_OTHER];
