/* From the place where an answer leaves gold to the tokens that it would have needed. */
#pragma once

#include "engine/tokenizer.h"
#include "experiments/cause.h"
#include "experiments/wrong_step.h"

/* Ids as the bytes that they spell, one behind the other. */
struct spelled {
    char *text; /* [size], owned, as start */
    size_t size;
    size_t *start; /* [n + 1] byte where each token begins */
    int n, n_prompt;
};
/* EXIT_CONTENT for an id that spells nothing. */
bool spelled_make(const struct tokenizer *tokenizer, const int32_t *ids, int n, int n_prompt,
                  struct spelled *out, struct err *e);
void spelled_free(struct spelled *spelled);
/* The token that holds a byte of the answer; n where it is behind its end. */
int spelled_token(const struct spelled *spelled, size_t byte_of_answer);

/* What the token needed that stands where the answer leaves gold: `at` as wrong_step filled it.
 *   label      the step's statement in the prompt (of the final answer: the question)
 *   statement  the same, and once it is restated, the restatement
 *   recall     the value that is recalled: where it was stated first, and each restatement
 *   compute, result  the values and the statement of the step, and its working, what it has written
 *              so far; that they were read isn't judged, since they stand within the window
 *   answer     the value that is asked for, and the question
 * Of a statement the names and numbers count, and the token to be copied; of the question the name.
 * *since: the first query (a position) whose reading counts. */
void explain_needs(const struct problem *problem, const struct spelled *spelled,
                   const struct wrong_step *wrong, const int32_t *at, struct needs *needs,
                   int32_t *since);
