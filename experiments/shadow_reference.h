/* What full attention makes of a text, kept small: of every step the likely next ids, and of every
 * layer and KV head the tokens that got attention. */
#pragma once

#include "engine/session.h"

struct shadow_step {
    size_t from; /* its ids: [from, from + n) */
    int n;
    int32_t best;
    double others; /* probability of all other ids */
};
/* Attention of one layer and KV head: entry i of step s is in [start[s], start[s + 1]). */
struct shadow_head {
    size_t *start; /* [n_steps + 1] */
    int32_t *position;
    float *mass; /* mean over the group */
    size_t n, room;
};
struct shadow_reference {
    int n_prompt, n_steps, n_heads;
    struct shadow_step *steps; /* [n_steps] */
    int32_t *ids;
    double *p;
    size_t n, room;
    struct shadow_head *heads; /* [n_heads] (layer, KV head); NULL: attention isn't kept */
};

/* heads: n_layers * n_kv_heads, 0 to keep no attention. Freed by reference_free, which also takes a
 * zeroed one. */
void reference_init(struct shadow_reference *r, int n_prompt, int n_steps, int heads);
void reference_free(struct shadow_reference *r);

/* Keeps the distribution after step `step`. logits: [vocab]. */
void reference_keep(struct shadow_reference *r, int step, const float *logits, int vocab);
/* KL(reference || logits) of that step, in nats; *best: the best id of logits. */
double reference_kl(const struct shadow_reference *r, int step, const float *logits, int vocab,
                    int32_t *best);

/* Keeps a row of attention, and what share of a kept one a policy's row leaves out. `seen`: zeroed
 * scratch of one byte a position, zeroed again afterwards. head: layer * n_kv_heads + kv_head. */
void reference_keep_row(struct shadow_reference *r, int head, const struct attention_row *row);
double reference_lost(const struct shadow_reference *r, int head, const struct attention_row *row,
                      uint8_t *seen);
