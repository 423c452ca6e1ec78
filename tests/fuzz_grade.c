/* Any bytes: up to the first 0 one answer, behind it another, and both a model's text. Profile
 * strict must be symmetric and find every answer equal to itself, whatever stands around it;
 * neither may crash, and a pair may not take long. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "datasets/grade.h"

static bool is_blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\n\v\f\r", s[i]) || !s[i])
            return false;
    return true;
}

static void check_text(const char *gold, const char *text, size_t size) {
    struct grade g;
    for (int profile = GRADE_STRICT; profile <= GRADE_MATH_VERIFY; profile++) {
        grade_answer((enum grade_profile)profile, gold, text, size, &g);
        CHECK(strlen(g.extracted) < sizeof g.extracted);
        CHECK(!g.boxed || (g.correct && g.path == PATH_BOX));
        CHECK(g.path != PATH_NONE || profile == GRADE_MATH_VERIFY || !g.correct);
    }
}

/* Commands that open and never close, where the tokens end: the first bytes say which, behind how
 * many terms. */
static void check_limits(const uint8_t *data, size_t size) {
    static const char *const commands[] = {
        "\\lfloor",    "\\lceil", "\\frac", "\\sqrt[", "\\binom",          "\\sin^",
        "\\log_",      "|",       "(",      "\\{",     "\\begin{array}{",  "x_{",
        "5\\text{m}^", "2^{",     "\\$",    "1:",      "\\begin{pmatrix}", "\\text{"};
    enum { COMMANDS = sizeof commands / sizeof *commands };
    char text[2000];
    size_t n = 1;
    text[0] = '1';
    for (int terms = size > 1 ? 300 + data[0] % 20 : 0; terms > 0; terms--, n += 2)
        memcpy(text + n, "+1", 2);
    text[n++] = '+';
    for (size_t i = 1; i < size && i < 40; i++) {
        const char *command = commands[data[i] % COMMANDS];
        size_t room = strlen(command);
        memcpy(text + n, command, room);
        n += room;
    }
    for (int profile = GRADE_STRICT; profile <= GRADE_MATH_VERIFY; profile++)
        CHECK(grade_equal((enum grade_profile)profile, text, n, text, n));
    grade_equal(GRADE_STRICT, text, n, "x>1", 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *a = (const char *)data, *end = size ? memchr(a, 0, size) : NULL;
    size_t n = end ? (size_t)(end - a) : size, m = end ? size - n - 1 : 0;
    const char *b = end ? end + 1 : a;
    double start = clock_seconds();
    bool same = grade_equal(GRADE_STRICT, a, n, b, m);
    CHECK(same == grade_equal(GRADE_STRICT, b, m, a, n));
    CHECK(is_blank(a, n) || grade_equal(GRADE_STRICT, a, n, a, n));
    CHECK(is_blank(b, m) || grade_equal(GRADE_STRICT, b, m, b, m));
    /* Sanitizers and a busy machine take their time: this is no measurement. */
    CHECK(clock_seconds() - start < 5);
    grade_equal(GRADE_MATH_VERIFY, a, n, b, m);
    char gold[256];
    size_t keep = n < sizeof gold - 1 ? n : sizeof gold - 1;
    memcpy(gold, a, keep);
    gold[keep] = 0;
    check_limits(data, size);
    check_text(gold, b, m);
    check_text(gold, a, size);
    return 0;
}
