/* config.json (and generation_config.json) of a Hugging Face folder, or the metadata of a GGUF
 * file, as one plain struct. One architecture = one row of architecture_table; what differs between
 * families is a flag or a number here. */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

enum rope_kind { ROPE_PLAIN, ROPE_LLAMA3, ROPE_DIVIDED };

/* Sizes beyond are taken for damage. */
enum {
    MAX_LAYERS = 1024,
    MAX_HEADS = 1024,
    MAX_HEAD_SIZE = 256,
    MAX_DIM = 1 << 16,
    MAX_FFN = 1 << 20,
    MAX_VOCAB = 1 << 22,
    MAX_POSITIONS = 1 << 24,
};

struct config {
    const struct architecture *arch;
    int n_layers;
    int dim;           /* width of the residual stream */
    int n_heads;       /* q heads */
    int n_kv_heads;    /* kv heads; divides n_heads; group = n_heads / n_kv_heads */
    int head_size;     /* even, at most MAX_HEAD_SIZE */
    int ffn;           /* width of gate and up */
    int vocab;         /* rows of the embedding, may exceed the tokenizer's ids */
    int max_positions; /* the model's own limit of prompt + decode; a sliding window caps it: up to
                          there windowed attention is full attention */
    float rms_eps;
    float rope_theta;
    enum rope_kind rope;
    float rope_factor, rope_low, rope_high; /* ROPE_LLAMA3 */
    int rope_original;                      /* ROPE_LLAMA3: original_max_position_embeddings */
    float rope_divisors[MAX_HEAD_SIZE / 2]; /* ROPE_DIVIDED: of each frequency */
    bool tied;                              /* lm_head shares the embedding */
    bool qkv_bias;                          /* biases on q, k, v */
    bool qk_norm;                           /* RMSNorm per head on q and k before RoPE (Qwen3) */
    int32_t bos, eos[8];                    /* bos -1 when absent */
    int n_eos;                              /* union of config.json and generation_config.json */
};

/* When `sliding_window` counts: some families carry the key without using it. */
enum window {
    WINDOW_NEVER,
    WINDOW_IF_USED, /* with use_sliding_window */
    WINDOW_ALWAYS,  /* unless null */
};

struct architecture {
    const char *name;    /* "LlamaForCausalLM" */
    const char *gguf;    /* as GGUF spells it: "llama"; NULL where a row above covers it */
    const char *summary; /* for `raas list architectures` */
    bool qkv_bias, qk_norm;
    bool head_size_explicit; /* config must carry head_dim */
    enum window window;
};
extern const struct architecture architecture_table[]; /* ends with a NULL name */

/* Checks every range before anything is allocated (EXIT_CONTENT, naming file, key, value,
 * expectation). Reads both spellings: rope_theta + rope_scaling or rope_parameters, torch_dtype or
 * dtype. */
bool config_read(const char *folder, struct config *out, struct err *e);

/* The same from a GGUF file (weights_gguf isn't NULL): its metadata, and what the tensor list says
 * (tied: no output.weight; the rows of the embedding; rope_freqs.weight). */
struct weights;
bool config_of_gguf(const struct weights *weights, struct config *out, struct err *e);

/* What both formats end in: heads that fit each other, an even head size. false (EXIT_CONTENT). */
bool config_check_heads(const struct config *config, const char *path, struct err *e);

/* Adds an end token unless it is known; false when there is no room for it. */
bool config_add_eos(struct config *config, int32_t id);

/* A sliding window of W tokens sees everything up to position W - 1: capping the length there keeps
 * attention exact. */
void config_cap(struct config *config, int window, const char *path);

/* inv_freq[head_size / 2]: theta^(-2i/d), with llama3's frequency scaling where the config asks for
 * it. */
void config_rope_frequencies(const struct config *config, float *inv_freq);
