/* What follows from the logits of a row: its next id, and whether it ends there. For backends that
 * sample on the host; the CUDA backend's sampling kernel decides the same on the device. */
#pragma once

#include "engine/backend.h"

/* Where a sequence stands. */
struct standing {
    const struct sequence *sequence; /* borrowed */
    int32_t position;                /* of the token fed last */
    int32_t next;                    /* the id to feed; -1 after FINISH_NUMERIC */
    int32_t n_new, n_forced;         /* ids chosen so far; forced ones among them */
};

/* Ids that may be sampled: the tokenizer's, where the model has more rows. */
int advance_vocab(const struct model *model);

/* Chooses `next` from logits[config->vocab] (changed in place) of the position just fed. */
enum finish advance(struct standing *standing, const struct config *config, struct sampler *sampler,
                    float *logits);
