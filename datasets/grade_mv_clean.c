/* The library's normalisation of a formula, as far as the lexer does not do the same. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#include <pthread.h>
#include <string.h>

#include "datasets/grade_mv_parts.h"

/* Words that it takes for units, also in the plural. */
#define UNITS                                                                                     \
    "integerpoint|feet|sue|digit|pound|meal|edge|student|children "                               \
    "ticket|multiple|east|degree|mph|"                                                            \
    "kmph|ft|m square| m east|sq m|deg|mile|q \\.|monkey|prime|ratio|profit of rs|rd|o|gm|p \\. " \
    "m|"                                                                                          \
    "lb|tile|per|dm|lt|gain|ab|way|west|a \\.|b \\.|c \\.|d \\.|e \\.|f \\.|g \\.|h \\.|t|h|"     \
    "no change|men|soldier|pie|bc|excess|st|inches|noon|cent|by|gal|kmh|c|acre|rise|a \\. m|th|"  \
    "sq|mark|l|toy|coin|sq \\. m|gallon|profit|minw|yr|women|am|pm|hr|cu cm|square|are|rupee|"    \
    "rounds|cubic|cc|mtr|s|ohm|number|day|hour|minute|min|second|man|woman|sec|cube|mt|sq "       \
    "inch|mp|"                                                                                    \
    "hectare|more|unit|cu \\. m|cm 2|rs \\.|rs|kg|g|month|km|m|cm|mm|apple|liter|loss|yard|pure|" \
    "year|increase|decrease|d|less|Surface|litre|pi sq m|s \\.|metre|meter|inch"

static struct step {
    const char *pattern, *replacement;
    bool whole_is_kept; /* not where nothing would be left */
    pcre2_code *code;
} steps[] = {
    {"\\\\m?(?:left|right)(?=\\\\[{}|]|[{}|\\[\\]()])", "", false, NULL},
    {"\\\\mathrm\\{th\\}|\\\\!\\s*|\\\\text\\s*\\{\\s*\\}|\\\\\\$|\\$|(?<!\\\\)[\"']|"
     "\\\\displaystyle",
     "", false, NULL},
    {"\\\\(?:d|t|c)frac", "\\frac", false, NULL},
    {"\\s*\\{\\s*,\\s*\\}", ",", false, NULL},
    {"\\\\math(?:rm|it|bf)|\\\\text(?:normal|bf|it|rm)", "\\text", false, NULL},
    {",?\\s*\\\\text\\{\\s*(?:and|or)\\s*\\}", ",", false, NULL},
    {"(?<![a-zA-Z])(?:,?\\s*(?:and|or))(?![a-zA-Z])", ",", false, NULL},
    {"(?<!\\\\)\\\\\\s", " ", false, NULL},
    {",?\\\\ldots", " ", false, NULL},
    {"\\s*\\b(?:percentage|percent|pct)\\b|\\\\text\\{(?:percentage|percent|pct)\\}", "\\%", false,
     NULL},
    {"[\\n\\t]", " ", false, NULL},
    {"(\\\\(?:text|mbox)\\{.*?\\})(\\^\\d|\\{\\^\\d\\})?$", "", true, NULL},
    {"^\\s+|\\s+$", "", false, NULL},
    {"(\\d|\\}|\\s)\\s*(?:(?:" UNITS ")(?:s|es)?)\\s*$", "$1", true, NULL},
    {"(\\d|\\}|\\s)\\s*(?:(?:" UNITS ")(?:s|es)?)\\s*$", "$1", true, NULL},
    {"^\\s+|\\s+$", "", false, NULL},
    {"^\\.", "0.", false, NULL},
    {"^0\\.5$", "\\frac{1}{2}", false, NULL},
};
enum { STEPS = sizeof steps / sizeof *steps };

static void compile_all(void) {
    for (int i = 0; i < STEPS; i++) {
        int error;
        PCRE2_SIZE at;
        steps[i].code = pcre2_compile((PCRE2_SPTR)steps[i].pattern, PCRE2_ZERO_TERMINATED,
                                      PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
        CHECK(steps[i].code);
        pcre2_jit_compile(steps[i].code, PCRE2_JIT_COMPLETE);
    }
}

static bool blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isspace((unsigned char)s[i]))
            return false;
    return true;
}

/* --- boxes ------------------------------------------------------------------------------------ */

/* The content of the box at `at`, and where it ends; false: it doesn't. */
static bool box_content(struct slice s, size_t at, struct slice *content, size_t *end) {
    size_t depth = 0;
    for (size_t i = at; i < s.size; i++) {
        depth += s.text[i] == '{';
        if (s.text[i] == '}' && --depth == 0) {
            *content = (struct slice){s.text + at + 1, i - at - 1};
            *end = i;
            return true;
        }
    }
    return false;
}

static bool joined(struct slice between, bool same) {
    if (between.size < 10)
        return true;
    bool separates = memchr(between.text, ',', between.size) ||
                     memchr(between.text, ';', between.size) ||
                     memmem(between.text, between.size, " and ", 5) ||
                     memmem(between.text, between.size, " or ", 4);
    return !same && between.size < 70 && separates;
}

/* From the right: all boxes, or those near the last. Parts are given back in that order. */
static int find_boxes(struct slice s, bool last, struct slice part[MV_ITEMS]) {
    size_t limit = s.size, before = 0;
    int n = 0;
    for (size_t i = s.size; i-- > 0 && n < MV_ITEMS;) {
        size_t word = s.size - i >= 6 && !memcmp(s.text + i, "\\boxed", 6)  ? 6
                      : s.size - i >= 5 && !memcmp(s.text + i, "\\fbox", 5) ? 5
                                                                            : 0;
        size_t open = i + word, end;
        while (word && open < limit && isspace((unsigned char)s.text[open]))
            open++;
        struct slice content;
        if (!word || open >= limit)
            continue;
        if (s.text[open] != '{' ||
            !box_content((struct slice){s.text, limit}, open, &content, &end)) {
            if (!n)
                part[n++] = (struct slice){s.text + open, s.size - open};
            break;
        }
        content = slice_trim(content);
        bool same = n && part[n - 1].size == content.size &&
                    !memcmp(part[n - 1].text, content.text, content.size);
        if (last && n && !joined((struct slice){s.text + end + 1, before - end - 1}, same))
            break;
        if (!same)
            part[n++] = content;
        before = limit = i;
    }
    return n;
}

static size_t open_boxes(struct slice s, bool last, char out[MV_ROOM]) {
    struct slice part[MV_ITEMS];
    int n = find_boxes(s, last, part);
    size_t size = 0;
    if (!n)
        part[n++] = s;
    while (n--) {
        size_t take = part[n].size < MV_ROOM - 1 - size ? part[n].size : MV_ROOM - 1 - size;
        memcpy(out + size, part[n].text, take);
        size += take;
        if (n && size < MV_ROOM - 1)
            out[size++] = ',';
    }
    return size;
}

size_t mv_clean(struct slice s, bool last, char out[MV_ROOM]) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, compile_all);
    char next[MV_ROOM];
    size_t size = open_boxes(s, last, out);
    for (int i = 0; i < STEPS; i++) {
        PCRE2_SIZE made = MV_ROOM;
        int count = pcre2_substitute(
            steps[i].code, (PCRE2_SPTR)out, size, 0, PCRE2_SUBSTITUTE_GLOBAL, NULL, NULL,
            (PCRE2_SPTR)steps[i].replacement, PCRE2_ZERO_TERMINATED, (PCRE2_UCHAR *)next, &made);
        if (count <= 0 || (steps[i].whole_is_kept && blank(next, made)))
            continue;
        memcpy(out, next, made);
        size = made;
    }
    out[size] = 0;
    return size;
}
