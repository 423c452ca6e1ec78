/* Lemmas as tokens: which tokens of a teacher-forced gold solution hold the value digits of which
 * lemma, in which step each token stands, and when each lemma is used again. */
#pragma once

#include "analysis/proof.h"
#include "experiments/mine.h"

enum unit_scoring {
    UNIT_ORIGINAL, /* the digits in "So X has V" alone */
    UNIT_RESTATED, /* and in any later "Recall X has V": whoever reads these reads the lemma */
    UNIT_SCORINGS
};

struct units {
    int n_ids, n_lemmas;
    int16_t *lemma[UNIT_SCORINGS]; /* [n_ids] the lemma that the token's digits state, or -1 */
    int16_t *step;                 /* [n_ids] of the solution, from 0; -1 in the prompt */
    bool *digit;                   /* [n_ids] tokens of the solution that hold a digit */
    int32_t *from, *birth;         /* [n_lemmas] positions of the first and last of its digits */
    struct proof_life *known;      /* [n_lemmas] */
};

/* All arrays are owned: units_free. EXIT_CONTENT where the tokens of the solution don't spell it
 * byte by byte. */
bool units_make(const struct tokenizer *tokenizer, const struct mined *mined, struct units *out,
                struct err *e);
void units_free(struct units *units);

/* What a head that was mined says of lemma l: the union of its tokens' lives. */
struct proof_life units_found(const struct units *units, enum unit_scoring scoring, int l,
                              const struct lifecycle *life);
