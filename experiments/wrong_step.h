/* Where an answer to a `lemmas` problem first leaves the gold solution, and in which part of a
 * step. The solution is the only right one, so any other byte is wrong, but for two that decide
 * nothing and are passed over: which things are counted ("rings" or "nuts"), and a step's number.
 */
#pragma once

#include "datasets/dataset.h"

enum wrong_part {
    WRONG_NOTHING,   /* as far as it goes the answer is gold: right, or cut */
    WRONG_LABEL,     /* "Step 4: ", "The answer is ": whether a step comes; or how one ends */
    WRONG_STATEMENT, /* "Bea has 35 more shells than Ed.", and the names that follow from it */
    WRONG_RECALL,    /* the value in "Recall Ed has 42." */
    WRONG_COMPUTE,   /* "Compute 42+35: 2+5+0=7, 4+3+0=7," */
    WRONG_RESULT,    /* the value in "So Bea has 77 shells." */
    WRONG_ANSWER,    /* the value in "The answer is 77." */
    WRONG_PARTS
};
extern const char *const wrong_part_names[WRONG_PARTS];

struct wrong_step {
    enum wrong_part part;
    int step;         /* from 0; that of the final answer is n_steps */
    int source;       /* WRONG_RECALL, WRONG_ANSWER: the step whose value was needed; else -1 */
    size_t gold;      /* bytes of the solution, and */
    size_t text;      /* of the answer, where they part: either may be the end */
    size_t line;      /* byte of the solution where the step begins */
    size_t statement; /* of the solution: the step's statement is [statement, statement_end) */
    size_t statement_end;
};

/* at: [strlen(solution) + 1], filled with the byte of `text` for each byte of the solution before
 * the two part, and -1 behind. `text` may hold any bytes. */
struct wrong_step wrong_step(const struct problem *problem, const char *text, size_t size,
                             int32_t *at);

/* Bytes [*from, *to) of the solution that hold the statement of a step. */
void wrong_step_statement(const struct problem *problem, int step, size_t *from, size_t *to);
