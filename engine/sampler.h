/* Sampling: greedy, temperature, top-p (nucleus, arXiv 1904.09751). A draw is a pure function of
 * its key. */
#pragma once

#include <stdint.h>

struct sampling {
    float temperature; /* 0 = greedy */
    float top_p;       /* (0, 1]; 1 = off */
};

/* Scratch for one draw: [vocab] ids and weights. Owned by the session. */
struct sampler {
    int32_t *ids;
    float *weights;
    int vocab; /* ids that may be sampled: the tokenizer's, where the model has more rows */
};
void sampler_init(struct sampler *sampler, int vocab);
void sampler_free(struct sampler *sampler);

/* The next id from logits[vocab_rows] (changed in place when `banned` ids are masked); -1 if any
 * logit is not finite. Greedy takes the lowest id of the largest logit. */
int32_t sampler_pick(struct sampler *sampler, float *logits, int vocab_rows,
                     const struct sampling *how, const int32_t *banned, int n_banned, uint64_t key);
