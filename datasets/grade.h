/* Answers: extraction from model text, with the path that found it, and equality with gold. Two
 * profiles judge; both are stored.
 *
 * strict: ours. An answer is parsed and compared by its kind: numbers exactly, as rationals (GMP);
 *     closed forms and expressions with variables by balls of 256 bits at fixed points (MPFR);
 *     tuples, intervals, sets, matrices, relations by their parts; words by their plain form. What
 *     is written is read with human sense: units, money, percent signs and degrees may be left out
 *     (28\% is 28, not 0.28), 1/3 is 0.333333, x = 5 is 5, 52_8 is 52 but not 42. Symmetric, and
 *     every answer that is not empty equals itself.
 * math-verify: what the Python library math-verify 0.9.0 says, in its own asymmetric way, for
 *     numbers that are to be compared with others': its regular expressions find the answer, its
 *     normalisation and its order of comparisons judge it. Where it is known to differ:
 *     results/reference/grader_disagreements.md.
 *
 * Texts may hold any bytes; the cost of a pair is bounded by steps of work, not by a clock, so a
 * verdict does not depend on the machine. What exceeds a bound is compared as text only. */
#pragma once

#include <stddef.h>

#include "base/err.h"

enum grade_profile { GRADE_STRICT, GRADE_MATH_VERIFY };
#define GRADE_PROFILES "strict|math-verify"

enum grade_path { PATH_NONE, PATH_BOX, PATH_HASHES, PATH_PHRASE, PATH_LAST_NUMBER, PATH_FORMULA };
/* "none", "box", "hashes", "phrase", "last_number"; "formula": the last one between dollars and the
 * like, which only math-verify takes. */
extern const char *const grade_path_names[];

struct grade {
    bool correct; /* by the whole chain: box > #### > "answer is" phrase > last number */
    bool boxed;   /* the verdict on the box alone (false without one) */
    enum grade_path path;
    char extracted[256]; /* cut if longer, at the end of a character; "" with PATH_NONE */
};

/* text need not be valid UTF-8. Never fails. */
void grade_answer(enum grade_profile profile, const char *gold, const char *text, size_t size,
                  struct grade *out);

/* Whether two answers, as they stand in a box, are the same. */
bool grade_equal(enum grade_profile profile, const char *gold, size_t gold_size, const char *answer,
                 size_t answer_size);
