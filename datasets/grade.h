/* Answers: extraction from model text, with the path that found it, and equality with gold. */
#pragma once

#include <stddef.h>

#include "base/err.h"

enum grade_path { PATH_NONE, PATH_BOX, PATH_HASHES, PATH_PHRASE, PATH_LAST_NUMBER };
extern const char *const grade_path_names[]; /* "none", "box", "hashes", "phrase", "last_number" */

struct grade {
    bool correct; /* by the whole chain: box > #### > "answer is" phrase > last number */
    bool boxed;   /* the verdict on the box alone (false without one) */
    enum grade_path path;
    char extracted[256]; /* cut if longer; "" with PATH_NONE */
};

/* text need not be valid UTF-8. Never fails. */
void grade_answer(const char *gold, const char *text, size_t size, struct grade *out);
