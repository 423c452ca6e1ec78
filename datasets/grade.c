#include "datasets/grade.h"

#include <string.h>

#include "base/utf8.h"
#include "datasets/grade_extract.h"
#include "datasets/grade_mv.h"
#include "datasets/grade_strict.h"

const char *const grade_path_names[] = {"none",   "box",         "hashes",
                                        "phrase", "last_number", "formula"};

bool grade_equal(enum grade_profile profile, const char *gold, size_t gold_size, const char *answer,
                 size_t answer_size) {
    return profile == GRADE_STRICT ? strict_equal(gold, gold_size, answer, answer_size)
                                   : mv_equal(gold, gold_size, answer, answer_size);
}

/* Where to cut a text so that it fits, without cutting a character. */
static size_t cut(struct slice s, size_t room) {
    if (s.size <= room)
        return s.size;
    size_t n = room;
    while (n > room - 4 && (s.text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static void keep_extracted(struct slice found, struct grade *out) {
    size_t n = cut(found, sizeof out->extracted - 1);
    memcpy(out->extracted, found.text, n);
}

void grade_answer(enum grade_profile profile, const char *gold, const char *text, size_t size,
                  struct grade *out) {
    struct found found;
    memset(out, 0, sizeof *out);
    if (profile == GRADE_MATH_VERIFY) {
        out->correct = mv_grade(gold, (struct slice){text, size}, &found);
    } else {
        extract_answer((struct slice){text, size}, &found);
        out->correct = found.path != PATH_NONE &&
                       strict_equal(gold, strlen(gold), found.answer.text, found.answer.size);
    }
    out->path = found.path;
    out->boxed = out->correct && out->path == PATH_BOX;
    keep_extracted(found.answer, out);
}
