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

/* Cut where it is too long, but not within a character; what no C string holds is U+FFFD. */
static void keep_extracted(struct slice found, struct grade *out) {
    size_t used = 0;
    for (size_t i = 0, n; i < found.size; i += n) {
        const char *s = found.text + i;
        n = utf8_width(s, found.size - i);
        n = n ? n : 1;
        size_t size = *s ? n : 3;
        if (used + size >= sizeof out->extracted)
            break;
        memcpy(out->extracted + used, *s ? s : "\xef\xbf\xbd", size);
        used += size;
    }
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
