/* Weights as the CPU kernels take them: read once, widened to fp32, packed in parallel. */
#pragma once

#include "base/pool.h"
#include "engine/cpu_kernels.h"
#include "engine/model.h"

struct cpu_layer {
    float *attn_norm, *ffn_norm; /* [dim] */
    float *q_norm, *k_norm;      /* [head_size] or NULL */
    float *qkv_bias;             /* [q + 2 kv] or NULL */
    struct cpu_matrix qkv;       /* rows q, k, v: [(n_heads + 2 n_kv_heads) * head_size, dim] */
    struct cpu_matrix o;         /* [dim, n_heads * head_size] */
    struct cpu_matrix gate_up;   /* rows gate, then up: [2 ffn, dim] */
    struct cpu_matrix down;      /* [dim, ffn] */
};

struct cpu_weights {
    struct cpu_layer *layers;
    float *final_norm;
    struct cpu_matrix head; /* [vocab, dim] */
    const struct tensor *embed;
    void *embedding; /* [vocab][dim] in the activation-independent cache type: fp32 or bf16 */
    size_t bytes;    /* of everything here */
};

bool cpu_weights_load(struct cpu_weights *out, const struct model *model,
                      const struct cpu_kernels *kernels, struct pool *threads, struct err *e);
void cpu_weights_free(struct cpu_weights *weights, int n_layers);
/* Row `id` of the embedding as fp32 [dim]. */
void cpu_embed(const struct cpu_weights *weights, const struct cpu_kernels *kernels, int dim,
               int32_t id, float *out);
