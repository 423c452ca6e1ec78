/* A loaded model: immutable, shared by any number of sessions. */
#pragma once

#include "base/hash.h"
#include "engine/config.h"
#include "engine/tokenizer.h"
#include "engine/weights.h"

enum tensor_role {
    TENSOR_EMBED,      /* [vocab, dim] */
    TENSOR_HEAD,       /* [vocab, dim]; the embedding when tied */
    TENSOR_FINAL_NORM, /* [dim] */
    TENSOR_ATTN_NORM,  /* [dim], and below: per layer */
    TENSOR_Q,          /* [n_heads * head_size, dim] */
    TENSOR_K,          /* [n_kv_heads * head_size, dim] */
    TENSOR_V,          /* as K */
    TENSOR_Q_BIAS,     /* biases only with config.qkv_bias */
    TENSOR_K_BIAS,
    TENSOR_V_BIAS,
    TENSOR_Q_NORM, /* [head_size], only with config.qk_norm */
    TENSOR_K_NORM,
    TENSOR_O,        /* [dim, n_heads * head_size] */
    TENSOR_FFN_NORM, /* [dim] */
    TENSOR_GATE,
    TENSOR_UP,   /* [ffn, dim] */
    TENSOR_DOWN, /* [dim, ffn] */
    TENSOR_ROLES
};

struct model {
    struct config config;
    struct weights *weights;       /* owned */
    struct tokenizer *tokenizer;   /* owned; NULL where the model brings none (ids still work) */
    char *path;                    /* owned: as given */
    char hash[HASH_HEX];           /* of config.json, generation_config.json, all weight files */
    char tokenizer_hash[HASH_HEX]; /* "" without one; of a GGUF file's metadata */
};

/* Opens a folder, or a GGUF file, in which all that a folder has lies in one: config, tensor list
 * checked against the config (all missing tensors and wrong shapes are listed in one error; extra
 * tensors warn), tokenizer. Weights themselves are read by the backend. NULL on error. */
struct model *model_open(const char *path, struct err *e);
void model_close(struct model *model);

/* The tensor that plays a role (layer ignored for the first three); NULL for a role this config
 * lacks. */
const struct tensor *model_tensor(const struct model *model, enum tensor_role role, int layer);
