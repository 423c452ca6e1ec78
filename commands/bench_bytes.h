/* The bytes that a decode step cannot do without: what a floor divides by the read ceiling. Counted
 * from the model's shape and the policy's plan alone: bf16, true parameters, no padding.
 * Activations, logits, norms and biases are below 1 % and left out. */
#pragma once

#include "engine/config.h"
#include "engine/policy.h"

/* Weights in the products of all layers and the head (a tied head is read as any other). */
double bench_weights(const struct config *config);

/* Keys and values of one token, over all layers: elements, not bytes. */
double bench_token_elements(const struct config *config);

struct bench_bytes {
    double weights; /* of all products, once a step */
    double kv;      /* keys and values that are attended */
    double beside;  /* what the policy has to read (bounds of pages) or to read and write (columns
                       of slots) beside them */
};
static inline double bench_sum(const struct bench_bytes *b) {
    return b->weights + b->kv + b->beside;
}

/* Adds to kv and beside what one sequence costs in a step whose query is the context's last token:
 * `context` tokens, n_prompt of them prompt. */
void bench_add_sequence(struct bench_bytes *bytes, const struct config *config,
                        const struct plan *plan, int32_t n_prompt, int32_t context);
