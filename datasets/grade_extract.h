/* Finding the answer in a model's text. Inside the grader only. */
#pragma once

#include "datasets/grade.h"

struct slice {
    const char *text;
    size_t size;
};
struct slice slice_trim(struct slice s);

enum { FOUND_ROOM = 2048 };
struct found {
    enum grade_path path;
    struct slice answer;
    char joined[FOUND_ROOM]; /* where several boxes make one answer, it lies here */
};

/* The chain: the last box that closes > #### > "answer is" > last number, all behind </think>. A
 * box that stands open at the end was about to give the answer: then only a closed one counts.
 * Boxes joined by nothing but commas and "and" are one list. Linear in the text's size. */
void extract_answer(struct slice text, struct found *out);

/* What stands behind the last </think>. */
struct slice extract_after_thinking(struct slice text);
