/* .npy files (NumPy format 1.0, little-endian, C order): reading golden data, writing logits. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct npy {
    char type[4]; /* "f4", "f8", "i4", "i8" */
    int rank;     /* 0..4 */
    size_t shape[4];
    void *data; /* owned; free with npy_free */
    size_t bytes;
};

bool npy_read(const char *path, struct npy *out, struct err *e);
void npy_free(struct npy *npy);
/* Writes to PATH.part, syncs, renames. */
bool npy_write_f32(const char *path, int rank, const size_t *shape, const float *data,
                   struct err *e);
