/* Weights on the device, as fragments of the matrix instruction (cuda_layout.h), in one allocation.
 * They stream from the files through two pinned buffers, in which what isn't F32, F16 or BF16 comes
 * to lie as fp32: no second copy in the host's memory. C only. */
#pragma once

#include "engine/cuda_device.h"
#include "engine/model.h"

struct cuda_layer {                    /* vectors are fp32 */
    const float *attn_norm, *ffn_norm; /* [dim] */
    const float *q_norm, *k_norm;      /* [head_size] or NULL */
    const float *qkv_bias;             /* [q + 2 kv] or NULL */
    struct cuda_matrix qkv;     /* rows q, k, v: [(n_heads + 2 n_kv_heads) * head_size, dim] */
    struct cuda_matrix o;       /* [dim, n_heads * head_size] */
    struct cuda_matrix gate_up; /* fragments of 8 gate and 8 up rows: [ffn up to 8s * 2, dim] */
    struct cuda_matrix down;    /* [dim, ffn] */
};

struct cuda_weights {
    struct cuda_layer *layers;
    const float *final_norm;
    struct cuda_matrix head, embedding; /* [vocab, dim]; the same data where they are tied */
    void *arena;                        /* what all of it lies in, */
    size_t bytes;                       /* and its size */
};

/* The five kinds of matrices, by their sizes alone. */
struct cuda_matrices {
    struct cuda_matrix qkv, o, gate_up, down, head;
};
struct cuda_matrices cuda_matrices_of(const struct config *config);

/* Bytes of the allocation, before there is one. Loading takes at most 128 MiB more for a while. */
size_t cuda_weights_bytes(const struct config *config);
/* Of the current device. A model without weights (shape.h) gets random ones, with norms of 1 and
 * biases of 0. On error nothing is left to free. */
bool cuda_weights_load(struct cuda_weights *out, const struct model *model, struct err *e);
void cuda_weights_free(struct cuda_weights *weights);
