#include "engine/advance.h"

#include "base/rng.h"

int advance_vocab(const struct model *model) {
    int vocab = model->config.vocab;
    if (model->tokenizer && tokenizer_vocab(model->tokenizer) < vocab)
        vocab = tokenizer_vocab(model->tokenizer);
    return vocab;
}

static int32_t pick(const struct standing *s, const struct config *c, struct sampler *sampler,
                    float *logits) {
    const struct sequence *q = s->sequence;
    bool ban = q->ignore_eos || s->n_new + 1 <= q->min_new;
    uint64_t key = rng_key(rng_key(q->key, 0x73616d706c65u), (uint64_t)s->position);
    return sampler_pick(sampler, logits, c->vocab, &q->sampling, c->eos, ban ? c->n_eos : 0, key);
}

static bool is_eos(const struct config *c, int32_t id) {
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos[i] == id)
            return true;
    return false;
}

enum finish advance(struct standing *s, const struct config *c, struct sampler *sampler,
                    float *logits) {
    const struct sequence *q = s->sequence;
    s->next = pick(s, c, sampler, logits);
    s->n_new++;
    if (q->forced) { /* the id behind the last forced one is the model's own, and the last */
        if (s->n_forced == q->n_forced)
            return FINISH_CAP;
        s->next = q->forced[s->n_forced++];
        return FINISH_NOT;
    }
    if (s->next < 0)
        return FINISH_NUMERIC;
    if (is_eos(c, s->next))
        return FINISH_ANSWER;
    return s->n_new >= q->max_new ? FINISH_CAP : FINISH_NOT;
}
