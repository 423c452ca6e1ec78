#include "datasets/grade_mv.h"
#include <string.h>
bool mv_equal(const char *gold, size_t gold_size, const char *answer, size_t answer_size) {
    (void)gold, (void)gold_size, (void)answer, (void)answer_size;
    return false;
}
bool mv_grade(const char *gold, struct slice text, struct found *found) {
    (void)gold;
    *found = (struct found){.path = PATH_NONE, .answer = {text.text, 0}};
    return false;
}
