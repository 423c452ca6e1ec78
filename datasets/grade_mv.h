/* Profile math-verify: what the Python library of that name does, version 0.9.0 with
 * latex2sympy2_extended 1.11.0 (both MIT license; https://github.com/huggingface/Math-Verify).
 * Inside the grader only. */
#pragma once

#include "datasets/grade_extract.h"

/* Both as they stand in a box: verify(parse("$gold$"), parse("$answer$")). */
bool mv_equal(const char *gold, size_t gold_size, const char *answer, size_t answer_size);

/* verify(parse("$gold$"), parse(text)); *found says what was extracted, and how. */
bool mv_grade(const char *gold, struct slice text, struct found *found);
