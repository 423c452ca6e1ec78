/* A tiny random model written to a temporary folder: any shape a test wants, without golden files.
 */
#pragma once

#include "engine/model.h"
#include "engine/session.h"

struct tiny {
    int n_layers, dim, n_heads, n_kv_heads, head_size, ffn, vocab, max_positions;
    uint64_t seed;
    bool broken; /* a NaN among the weights of the final norm */
};
#define TINY_DEFAULT                                                                         \
    (struct tiny) {                                                                          \
        .n_layers = 2, .dim = 48, .n_heads = 4, .n_kv_heads = 2, .head_size = 32, .ffn = 64, \
        .vocab = 61, .max_positions = 9000, .seed = 1                                        \
    }

/* Opens a Llama-type model with weights drawn so that attention is far from uniform. Aborts the
 * test on failure. */
struct model *tiny_open(struct tiny shape);

/* n ids below the vocabulary, a function of the seed. */
void tiny_ids(const struct tiny *shape, uint64_t seed, int32_t *ids, int n);

/* The plan of a policy spelling; aborts the test if it does not parse. */
struct plan tiny_plan(const char *text);

/* A session over it, fp32 unless bf16 is asked; threads, width as given. */
struct session *tiny_session(const struct model *model, bool bf16, int threads, int width,
                             int max_total);
