/* Extraction is a chain of links, each of which either finds the answer or leaves it to the next.
 */
#include "datasets/grade_extract.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { BOXES = 32, RUN = 12 }; /* boxes open at once; boxes of one list */

static bool starts(struct slice s, size_t at, const char *word) {
    size_t n = strlen(word);
    return at + n <= s.size && !strncasecmp(s.text + at, word, n);
}

static bool is_digit(struct slice s, size_t at) {
    return at < s.size && s.text[at] >= '0' && s.text[at] <= '9';
}

struct slice slice_trim(struct slice s) {
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

/* --- boxes ------------------------------------------------------------------------------------ */

struct open_box {
    size_t from; /* of its content */
    size_t start;
    int64_t depth;
};

struct run { /* boxes joined by nothing but commas and words that join */
    struct slice box[RUN];
    int n;
    size_t end; /* behind the last one's brace */
};

/* Length of \boxed{ or \fbox{ at `at`; 0: none. */
static size_t box_opens(struct slice s, size_t at) {
    size_t n = starts(s, at, "\\boxed") ? 6 : starts(s, at, "\\fbox") ? 5 : 0;
    size_t blank = n;
    while (n && at + blank < s.size && s.text[at + blank] == ' ')
        blank++;
    return n && at + blank < s.size && s.text[at + blank] == '{' ? blank + 1 : 0;
}

/* Whether two boxes with this between them are parts of one answer. */
static bool joins(struct slice between) {
    static const char *const words[] = {"and", "or", "\\text", "\\quad", NULL};
    bool some = false;
    if (between.size > 40)
        return false;
    for (size_t i = 0; i < between.size;) {
        size_t word = 0;
        for (int w = 0; words[w] && !word; w++)
            word = starts(between, i, words[w]) ? strlen(words[w]) : 0;
        if (!word && (!between.text[i] || !strchr(" \n,;$\\()[]{}", between.text[i])))
            return false;
        some |= word || between.text[i] == ',' || between.text[i] == ';';
        i += word ? word : 1;
    }
    return some;
}

static void run_add(struct run *run, struct slice s, struct slice box, size_t start, size_t end) {
    bool on = run->n && start >= run->end && run->n < RUN &&
              joins((struct slice){s.text + run->end, start - run->end});
    struct slice last = run->n ? run->box[run->n - 1] : (struct slice){NULL, 0};
    if (!on)
        run->n = 0;
    else if (last.size == box.size && !memcmp(last.text, box.text, box.size))
        run->n--; /* said twice */
    run->box[run->n++] = box;
    run->end = end;
}

/* The boxes that close last. *unfinished: one stands open behind them. One pass, so hostile text
 * costs linear time. */
static void find_boxes(struct slice s, struct run *run, bool *unfinished) {
    struct open_box open[BOXES];
    int n_open = 0;
    int64_t depth = 0;
    run->n = 0;
    for (size_t i = 0; i < s.size; i++) {
        char c = s.text[i];
        if (c == '\\') {
            size_t word = box_opens(s, i);
            if (!word) {
                i++; /* \{ and \} are no braces of the markup */
                continue;
            }
            if (n_open < BOXES)
                open[n_open++] = (struct open_box){i + word, i, depth};
            i += word - 1;
            depth++;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && depth > 0) {
            depth--;
            if (n_open && open[n_open - 1].depth == depth) {
                struct open_box box = open[--n_open];
                run_add(run, s, (struct slice){s.text + box.from, i - box.from}, box.start, i + 1);
            }
        }
    }
    *unfinished = n_open > 0;
}

/* The run as one text; what does not fit is left to its last box. */
static struct slice join(const struct run *run, char room[FOUND_ROOM]) {
    size_t n = 0;
    for (int i = 0; run->n > 1 && i < run->n; i++) {
        if (n + run->box[i].size + 2 >= FOUND_ROOM)
            return run->box[run->n - 1];
        if (i) {
            memcpy(room + n, ", ", 2);
            n += 2;
        }
        memcpy(room + n, run->box[i].text, run->box[i].size);
        n += run->box[i].size;
    }
    return run->n > 1 ? (struct slice){room, n} : run->box[0];
}

/* --- the other links -------------------------------------------------------------------------- */

static bool find_hashes(struct slice s, struct slice *out) {
    bool found = false;
    for (size_t i = 0; i + 4 <= s.size; i++) {
        if (memcmp(s.text + i, "####", 4) || (i + 4 < s.size && s.text[i + 4] == '#'))
            continue;
        size_t from = i + 4, to = from;
        while (to < s.size && s.text[to] != '\n')
            to++;
        struct slice line = slice_trim((struct slice){s.text + from, to - from});
        if (line.size) {
            *out = line;
            found = true;
        }
        i = to;
    }
    return found;
}

/* Up to what closes it, if the sentence begins with a formula between delimiters. */
static bool formula(struct slice s, struct slice *out) {
    static const char *const pairs[][2] = {
        {"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        size_t n = strlen(pairs[i][0]);
        if (!starts(s, 0, pairs[i][0]))
            continue;
        const char *end = memmem(s.text + n, s.size - n, pairs[i][1], n);
        if (end && end > s.text + n) {
            *out = (struct slice){s.text + n, (size_t)(end - s.text) - n};
            return true;
        }
    }
    return false;
}

static size_t sentence_end(struct slice s, size_t from) {
    size_t to = from;
    while (to < s.size && s.text[to] != '\n' && !(s.text[to] == '.' && !is_digit(s, to + 1)))
        to++;
    return to;
}

/* "5 or 6" is no 5: where the numbers end that "or" joins to the one that ends at `end`. */
static size_t alternatives_end(struct slice s, size_t end) {
    for (;;) {
        size_t at = end;
        while (at < s.size && strchr(" ,", s.text[at]))
            at++;
        if (at == end || !starts(s, at, "or "))
            return end;
        for (at += 3; at < s.size && strchr(" -$", s.text[at]);)
            at++;
        size_t n = number_length(s, at);
        if (!n)
            return end;
        end = at + n;
    }
}

/* What a sentence behind "answer is" says: a formula between delimiters, LaTeX or a bracket as it
 * stands, the number behind the last "=", else its first number, else all. */
static bool sentence_says(struct slice s, struct slice *out) {
    if (formula(s, out))
        return true;
    s = slice_trim((struct slice){s.text, sentence_end(s, 0)});
    *out = s;
    if (!s.size || memchr(s.text, '\\', s.size) || strchr("([{", *s.text))
        return s.size > 0;
    const char *equals = memrchr(s.text, '=', s.size);
    size_t value = equals ? (size_t)(equals - s.text) + 1 : 0;
    struct slice number;
    if (!find_number((struct slice){s.text + value, s.size - value}, false, &number))
        return true;
    size_t end = (size_t)(number.text - s.text) + number.size;
    if (end + 1 < s.size && strchr("/^", s.text[end])) /* 3/4, 2^10 */
        while (end < s.size && !isspace((unsigned char)s.text[end]) && s.text[end] != ',')
            end++;
    end = alternatives_end(s, end);
    *out = (struct slice){number.text, (size_t)(s.text + end - number.text)};
    return true;
}

/* "... answer is X." or "Answer: X": what the last one says. */
static bool find_phrase(struct slice s, struct slice *out) {
    size_t from = 0;
    for (size_t i = 0; i < s.size; i++) {
        if (starts(s, i, "answer is"))
            from = i + 9;
        else if (starts(s, i, "answer:"))
            from = i + 7;
    }
    while (from && from < s.size && s.text[from] && strchr(": *\t", s.text[from]))
        from++;
    return from && from < s.size &&
           sentence_says((struct slice){s.text + from, s.size - from}, out);
}

/* The last number of the text, unless that is one end of a range it did not choose from. */
static bool find_last_number(struct slice s, struct slice *out) {
    struct slice lower;
    if (!find_number(s, true, out))
        return false;
    size_t at = (size_t)(out->text - s.text), over = at ? at - 1 : 0;
    bool slash = at && s.text[over] == '/' && is_digit(s, at);
    while (slash && over > 0 && is_digit(s, over - 1))
        over--;
    if (slash && over + 1 < at && !(over > 0 && strchr("/.,", s.text[over - 1]))) {
        bool sign = over > 0 && s.text[over - 1] == '-' &&
                    (over < 2 || !isalnum((unsigned char)s.text[over - 2]));
        *out = (struct slice){s.text + over - sign, at - over + sign + out->size};
        return true; /* 3/4 */
    }
    size_t from = at > 60 ? at - 60 : 0;
    struct slice before = {s.text + from, at - from};
    const char *word = NULL;
    for (size_t i = 0; i < before.size; i++)
        if (starts(before, i, "between "))
            word = before.text + i + 8;
    if (!word || at < 5 || !starts(s, at - 5, " and "))
        return true;
    struct slice range = {word, (size_t)(s.text + at - 5 - word)};
    return !(find_number(range, true, &lower) &&
             lower.text + lower.size == range.text + range.size);
}

/* What a reasoning model thinks aloud is no answer. */
struct slice extract_after_thinking(struct slice s) {
    static const char mark[] = "</think>";
    struct slice rest = s;
    for (const char *at; (at = memmem(rest.text, rest.size, mark, sizeof mark - 1));) {
        size_t skip = (size_t)(at - rest.text) + sizeof mark - 1;
        rest = (struct slice){rest.text + skip, rest.size - skip};
    }
    return rest;
}

void extract_answer(struct slice text, struct found *out) {
    struct slice s = extract_after_thinking(text);
    struct run run;
    bool unfinished;
    *out = (struct found){.path = PATH_NONE, .answer = {text.text, 0}};
    find_boxes(s, &run, &unfinished);
    if (run.n) {
        out->path = PATH_BOX;
        out->answer = join(&run, out->joined);
    } else if (!unfinished) {
        out->path = find_hashes(s, &out->answer)        ? PATH_HASHES
                    : find_phrase(s, &out->answer)      ? PATH_PHRASE
                    : find_last_number(s, &out->answer) ? PATH_LAST_NUMBER
                                                        : PATH_NONE;
    }
    if (out->path == PATH_NONE)
        out->answer.size = 0;
}
