/* Extraction is a chain of links, each of which either finds the answer or leaves it to the next.
 * Equality is exact: numbers by their decimal digits, anything else by its normalised text. Algebra
 * (fractions, roots, sets) has its place in same_answer(), before the comparison of texts. */
#include "datasets/grade.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

const char *const grade_path_names[] = {"none", "box", "hashes", "phrase", "last_number"};

enum { CUT = sizeof((struct grade *)0)->extracted, BOXES = 32 };

struct slice {
    const char *text;
    size_t size;
};

static bool starts(struct slice s, size_t at, const char *word) {
    size_t n = strlen(word);
    return at + n <= s.size && !strncasecmp(s.text + at, word, n);
}

static bool is_digit(struct slice s, size_t at) {
    return at < s.size && s.text[at] >= '0' && s.text[at] <= '9';
}

static struct slice trim(struct slice s) {
    while (s.size && isspace((unsigned char)*s.text))
        s.text++, s.size--;
    while (s.size && isspace((unsigned char)s.text[s.size - 1]))
        s.size--;
    return s;
}

/* Length of the unsigned number at `at` (0 = none): digits, groups of three behind commas, a
 * fraction. */
static size_t number_length(struct slice s, size_t at) {
    size_t i = at;
    while (is_digit(s, i))
        i++;
    size_t lead = i - at;
    while (lead >= 1 && lead <= 3 && i < s.size && s.text[i] == ',' && is_digit(s, i + 1) &&
           is_digit(s, i + 2) && is_digit(s, i + 3) && !is_digit(s, i + 4))
        i += 4;
    if (i < s.size && s.text[i] == '.' && is_digit(s, i + 1))
        for (i++; is_digit(s, i);)
            i++;
    return i - at;
}

/* The first (or last) number of a text with its sign; a minus between two operands is no sign. */
static bool find_number(struct slice s, bool last, struct slice *out) {
    bool found = false;
    for (size_t i = 0; i < s.size;) {
        size_t n = number_length(s, i);
        if (!n) {
            i++;
            continue;
        }
        bool sign = i > 0 && s.text[i - 1] == '-' &&
                    (i < 2 || !(isalnum((unsigned char)s.text[i - 2]) || s.text[i - 2] == ')'));
        *out = (struct slice){s.text + i - sign, n + sign};
        found = true;
        if (!last)
            break;
        i += n;
    }
    return found;
}

/* --- the links of the chain ------------------------------------------------------------------ */

/* The box that closes last. *unfinished: a box stands open behind it. One pass, so hostile text
 * costs linear time. */
static bool find_box(struct slice s, struct slice *out, bool *unfinished) {
    struct {
        size_t from;
        int64_t depth;
    } open[BOXES];
    int n_open = 0;
    int64_t depth = 0;
    bool found = false;
    for (size_t i = 0; i < s.size; i++) {
        char c = s.text[i];
        if (c == '\\') {
            size_t word = starts(s, i, "\\boxed{") ? 7 : starts(s, i, "\\fbox{") ? 6 : 0;
            if (!word) {
                i++; /* \{ and \} are no braces of the markup */
                continue;
            }
            i += word - 1;
            if (n_open < BOXES) {
                open[n_open].from = i + 1;
                open[n_open++].depth = depth;
            }
            depth++;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && depth > 0) {
            depth--;
            if (n_open && open[n_open - 1].depth == depth) {
                n_open--;
                *out = (struct slice){s.text + open[n_open].from, i - open[n_open].from};
                found = true;
            }
        }
    }
    *unfinished = n_open > 0;
    return found;
}

static bool find_hashes(struct slice s, struct slice *out) {
    bool found = false;
    for (size_t i = 0; i + 4 <= s.size; i++) {
        if (memcmp(s.text + i, "####", 4) || (i + 4 < s.size && s.text[i + 4] == '#'))
            continue;
        size_t from = i + 4, to = from;
        while (to < s.size && s.text[to] != '\n')
            to++;
        struct slice line = trim((struct slice){s.text + from, to - from});
        if (line.size) {
            *out = line;
            found = true;
        }
        i = to;
    }
    return found;
}

/* "... answer is X." or "Answer: X": the number behind the last "=" of that sentence, else its
 * first number, else all. */
static bool find_phrase(struct slice s, struct slice *out) {
    size_t from = 0;
    for (size_t i = 0; i < s.size; i++) {
        if (starts(s, i, "answer is"))
            from = i + 9;
        else if (starts(s, i, "answer:"))
            from = i + 7;
    }
    if (!from)
        return false;
    while (from < s.size && strchr(": *\t$", s.text[from]) && s.text[from])
        from++;
    size_t to = from, value = from;
    while (to < s.size && s.text[to] != '\n' && !(s.text[to] == '.' && !is_digit(s, to + 1))) {
        if (s.text[to] == '=')
            value = to + 1;
        to++;
    }
    struct slice sentence = trim((struct slice){s.text + from, to - from});
    if (find_number((struct slice){s.text + value, to - value}, false, out))
        return true;
    *out = sentence;
    return sentence.size > 0;
}

/* What a reasoning model thinks aloud is no answer. */
static struct slice after_thinking(struct slice s) {
    static const char mark[] = "</think>";
    struct slice rest = s;
    for (const char *at; (at = memmem(rest.text, rest.size, mark, sizeof mark - 1));) {
        size_t skip = (size_t)(at - rest.text) + sizeof mark - 1;
        rest = (struct slice){rest.text + skip, rest.size - skip};
    }
    return rest;
}

/* --- equality -------------------------------------------------------------------------------- */

/* Bytes to skip at `at` that carry no meaning, or 0. */
static size_t noise(struct slice s, size_t at) {
    static const char *const words[] = {
        "\\left",    "\\right",  "\\displaystyle",
        "\\text",    "\\textbf", "\\textrm",
        "\\mbox",    "\\mathrm", "\\mathbf",
        "\\boxed",   "\\fbox",   "\\$",
        "\\,",       "\\!",      "\\;",
        "\\:",       "\\ ",      "\\(",
        "\\)",       "\\[",      "\\]",
        "\\%",       "{,}",      "\\degree",
        "^\\circ",   "**",       "$",
        "^{\\circ}",
    };
    size_t longest = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (n > longest && at + n <= s.size && !memcmp(s.text + at, words[i], n))
            longest = n;
    }
    return longest;
}

/* Text without markup, braces and spaces, in lower case; false if it does not fit. */
static bool normalise(struct slice s, char out[CUT]) {
    size_t n = 0;
    s = trim(s);
    if (s.size && s.text[s.size - 1] == '.')
        s.size--;
    for (size_t i = 0; i < s.size;) {
        size_t skip = noise(s, i);
        if (skip == 3 && s.text[i] == '{') /* {,}: a thousands separator */
            skip = 0, i++;
        char c = skip ? 0 : s.text[i];
        i += skip ? skip : 1;
        if (!c || isspace((unsigned char)c) || c == '{' || c == '}')
            continue;
        if (n + 1 >= CUT)
            return false;
        out[n++] = (char)tolower((unsigned char)c);
    }
    out[n] = 0;
    return true;
}

/* A unit behind a number: a word or a percent sign. One letter is a variable. */
static bool is_unit(const char *text) {
    size_t letters = 0, others = 0;
    for (; *text; text++) {
        letters += isalpha((unsigned char)*text) != 0;
        others += *text == '%' || (*text & 0x80);
        if (!isalpha((unsigned char)*text) && *text != '%' && !(*text & 0x80))
            return false;
    }
    return letters != 1 || others > 0;
}

/* Exact decimal: "-1,234.50 dollars" -> "-1234.5". False if the text is anything but one number
 * with a unit. */
static bool decimal(const char *text, bool unit_allowed, char out[CUT]) {
    struct slice s = {text, strlen(text)};
    size_t at = 0, n = 0;
    bool minus = s.size && *text == '-';
    if (s.size && (*text == '-' || *text == '+'))
        at++;
    bool bare = at < s.size && s.text[at] == '.'; /* ".5" */
    size_t length = bare ? 1 + number_length(s, at + 1) : number_length(s, at);
    if (length <= bare || (bare && memchr(text + at + 1, '.', length - 1)))
        return false;
    const char *unit = text + at + length;
    if (*unit && !(unit_allowed && is_unit(unit)))
        return false;
    bool fraction = false;
    if (minus)
        out[n++] = '-';
    size_t digits = n;
    for (size_t i = at; i < at + length; i++) {
        char c = s.text[i];
        if (c == ',' || (c == '0' && n == digits && !fraction))
            continue;
        if (c == '.')
            fraction = true;
        out[n++] = c;
    }
    if (fraction) {
        while (out[n - 1] == '0')
            n--;
        if (out[n - 1] == '.')
            n--;
    }
    if (n == digits) /* zero has no sign */
        out[0] = '0', n = 1;
    out[n] = 0;
    return true;
}

static bool same_answer(const char *gold, struct slice found) {
    char a[CUT], b[CUT], x[CUT], y[CUT];
    if (!normalise((struct slice){gold, strlen(gold)}, a) || !normalise(found, b) || !*a)
        return false;
    if (decimal(a, false, x) && decimal(b, true, y))
        return !strcmp(x, y);
    return !strcmp(a, b);
}

void grade_answer(const char *gold, const char *text, size_t size, struct grade *out) {
    memset(out, 0, sizeof *out);
    struct slice rest = after_thinking((struct slice){text, size}), found = {text, 0};
    bool unfinished = false;
    if (find_box(rest, &found, &unfinished)) {
        out->path = PATH_BOX;
    } else if (!unfinished) { /* the answer was about to be given: what stands before it is not the
                                 answer */
        out->path = find_hashes(rest, &found)         ? PATH_HASHES
                    : find_phrase(rest, &found)       ? PATH_PHRASE
                    : find_number(rest, true, &found) ? PATH_LAST_NUMBER
                                                      : PATH_NONE;
    }
    if (out->path == PATH_NONE)
        return;
    out->correct = same_answer(gold, found);
    out->boxed = out->correct && out->path == PATH_BOX;
    size_t keep = found.size < CUT - 1 ? found.size : CUT - 1;
    memcpy(out->extracted, found.text, keep);
}
