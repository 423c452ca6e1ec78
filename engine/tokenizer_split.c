#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/tokenizer_parts.h"
#include "engine/tokenizer_unicode.h"

/* --- patterns ---------------------------------------------------------------------- */

/* White space as Unicode (and Oniguruma) has it; PCRE2's \s also takes U+180E. */
#define SPACES "\\t-\\r\\x{85}\\p{Z}"

#define LONGEST 256 /* bytes of output for one of the pattern, at most: "\p{L}" becomes most */

struct translation {
    const char *in;
    char *out;
    size_t n;
    const char *refused; /* what stands in the way */
    bool young;          /* classes have the characters of tokenizer_unicode.h too */
};

static void emit(struct translation *t, const char *text, size_t size) {
    memcpy(t->out + t->n, text, size);
    t->n += size;
}

/* Appends the characters of a class that PCRE2 may be too old to know. */
static void emit_young(struct translation *t, char class) {
    for (const struct unicode_range *r = unicode_ranges; r->last; r++) {
        char text[32];
        int n =
            snprintf(text, sizeof text, "\\x{%x}-\\x{%x}", (unsigned)r->first, (unsigned)r->last);
        if (r->class == class)
            emit(t, text, (size_t)n);
    }
}

/* "\p{L}" and the like; false for any other property, which is copied. */
static bool translate_property(struct translation *t, bool in_class) {
    const char *in = t->in;
    bool negative = in[1] == 'P';
    if (in[2] != '{' || !in[3] || !strchr("LMNPS", in[3]) || in[4] != '}' || (negative && in_class))
        return false;
    if (!in_class)
        emit(t, negative ? "[^" : "[", negative ? 2 : 1);
    emit(t, "\\p", 2);
    emit(t, in + 2, 3);
    emit_young(t, in[3]);
    if (!in_class)
        emit(t, "]", 1);
    t->in += 5;
    return true;
}

/* At a backslash. */
static void translate_escape(struct translation *t, bool in_class) {
    char c = t->in[1];
    if (t->young && (c == 'p' || c == 'P') && translate_property(t, in_class))
        return;
    if (c == 's' || (c == 'S' && !in_class)) {
        const char *text = c == 'S' ? "[^" SPACES "]" : in_class ? SPACES : "[" SPACES "]";
        emit(t, text, strlen(text));
    } else if (c && strchr("pPdDxnrtfv", c)) {
        emit(t, t->in, 2);
        size_t braces = t->in[2] == '{' ? strcspn(t->in, "}") + 1 : 0;
        if (braces && braces <= strlen(t->in)) {
            emit(t, t->in + 2, braces - 2);
            t->in += braces - 2;
        }
    } else if (((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) || !c) {
        t->refused = c ? "a backslash with a letter or digit other than sSpPdDxnrtfv"
                       : "a backslash at the end";
    } else {
        emit(t, t->in, 2);
    }
    t->in += c ? 2 : 1;
}

/* "(?i:", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>" mean the same to both; verbs, names, other
 * flags do not. */
static void check_group(struct translation *t) {
    if (t->in[1] == '*')
        t->refused = "(*";
    if (t->in[1] != '?')
        return;
    const char *p = t->in + 2;
    if (!strncmp(p, "i:", 2) || !strncmp(p, "<=", 2) || !strncmp(p, "<!", 2) ||
        (*p && strchr(":=!>", *p)))
        return;
    t->refused = "a group other than (?: (?i: (?= (?! (?<= (?<! (?>";
}

/* Copies a pattern into one that means the same to PCRE2. */
static void translate(struct translation *t) {
    bool in_class = false, opened = false; /* opened: a ']' here would be an ordinary character */
    while (*t->in && !t->refused) {
        char c = *t->in;
        bool first = opened;
        opened = false;
        if (c == '\\') {
            translate_escape(t, in_class);
            continue;
        }
        if (in_class) {
            if (c == '[' || (c == '&' && t->in[1] == '&'))
                t->refused = "a set inside a character class";
            if (c == ']' && first)
                t->refused = "an empty character class";
            opened = first && c == '^';
            in_class = c != ']';
        } else if (c == '[') {
            in_class = opened = true;
        } else if (c == '(') {
            check_group(t);
        } else if (c == '}' && t->in[1] == '+') {
            t->refused = "'+' behind {n,m}";
        }
        emit(t, t->in++, 1);
    }
    t->out[t->n] = 0;
}

static pcre2_code *compile(const char *place, const char *pattern, uint32_t options,
                           struct err *e) {
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    CHECK(context);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int error;
    PCRE2_SIZE offset;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &error,
                                     &offset, context);
    pcre2_compile_context_free(context);
    if (!code) {
        unsigned char text[200];
        pcre2_get_error_message(error, text, sizeof text);
        err_set(e, EXIT_CONTENT, "%s: bad regular expression '%.80s': %s", place, pattern,
                (char *)text);
        return NULL;
    }
    /* without JIT (refused by the machine, or a pattern too large for it) matching is slower, not
     * different */
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    return code;
}

static pcre2_code *compile_translated(const char *place, const char *pattern, bool young,
                                      struct err *e) {
    struct translation t = {
        .in = pattern, .out = must_alloc(strlen(pattern) * LONGEST + 1), .young = young};
    translate(&t);
    pcre2_code *code = NULL;
    if (t.refused)
        err_set(e, EXIT_CONTENT, "%s: %s is not supported in '%.80s'", place, t.refused, pattern);
    else
        code = compile(place, t.out, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, e);
    free(t.out);
    return code;
}

void split_free(struct split *s) {
    pcre2_code_free(s->code);
    pcre2_code_free(s->young);
}

bool split_compile(struct split *s, const char *place, const char *pattern, bool literal,
                   struct err *e) {
    if (literal)
        return (s->code = compile(place, pattern, PCRE2_UTF | PCRE2_LITERAL, e)) != NULL;
    if (strlen(pattern) > 20000)
        return err_set(e, EXIT_CONTENT, "%s: regular expression of %zu bytes, at most 20000", place,
                       strlen(pattern));
    s->code = compile_translated(place, pattern, false, e);
    s->young = s->code ? compile_translated(place, pattern, true, e) : NULL;
    return s->young != NULL;
}

/* --- matching -------------------------------------------------------------------------- */

struct buffer {
    struct buffer *next;
    char text[];
};

/* A pattern that backtracks without bound ends in an error; the ones in use take a few steps a
 * byte. */
void splitter_open(struct splitter *s, size_t text_size) {
    s->limits = pcre2_match_context_create(NULL);
    CHECK(s->limits);
    pcre2_set_match_limit(
        s->limits, 1000000 + (uint32_t)(text_size < 100000000 ? 16 * text_size : 1600000000));
    for (int i = 0; i < s->n_steps; i++) {
        s->matches[i] = pcre2_match_data_create(1, NULL);
        CHECK(s->matches[i]);
    }
}

void splitter_close(struct splitter *s) {
    for (int i = 0; i < s->n_steps; i++)
        pcre2_match_data_free(s->matches[i]);
    pcre2_match_context_free(s->limits);
    for (struct buffer *b = s->buffers, *next; b; b = next) {
        next = b->next;
        free(b);
    }
}

char *splitter_buffer(struct splitter *s, size_t size) {
    struct buffer *b = must_alloc(sizeof *b + size);
    b->next = s->buffers;
    s->buffers = b;
    return b->text;
}

/* One step over one text. Matches and the gaps between them arrive in order; what they become is
 * pending until the next one shows that nothing joins it. */
struct cut {
    struct splitter *s;
    int step;
    const char *text;
    size_t start, stop; /* pending */
    bool pending;
    bool match; /* the last arrival was a match */
};

static bool run_step(struct splitter *s, int step, const char *text, size_t size);

static bool flush(struct cut *c) {
    bool some = c->pending && c->stop > c->start;
    c->pending = false;
    return !some || run_step(c->s, c->step + 1, c->text + c->start, c->stop - c->start);
}

static bool arrive(struct cut *c, size_t start, size_t stop, bool match) {
    const struct split *step = &c->s->steps[c->step];
    match = match != step->invert;
    bool join = false, last = c->match;
    c->match = match;
    switch (step->keep) {
    case SPLIT_ISOLATED:
        break;
    case SPLIT_REMOVED:
        if (match)
            return true;
        break;
    case SPLIT_CONTIGUOUS:
        join = c->pending && match == last;
        break;
    case SPLIT_WITH_PREVIOUS:
        join = c->pending && match && !last;
        break;
    case SPLIT_WITH_NEXT:
        join = c->pending && !match && last;
        break;
    }
    if (!join) {
        if (!flush(c))
            return false;
        c->start = start;
        c->pending = true;
    }
    c->stop = stop;
    return true;
}

/* The next match from `at` on. 1: found, 0: none, -1: error. */
static int match_at(struct splitter *s, int step, const char *text, size_t size, size_t at,
                    size_t *start, size_t *stop) {
    const struct split *split = &s->steps[step];
    const pcre2_code *code = s->young && split->young ? split->young : split->code;
    pcre2_match_data *data = s->matches[step];
    int rc = pcre2_match(code, (PCRE2_SPTR)text, size, at, PCRE2_NO_UTF_CHECK, data, s->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, (PCRE2_SPTR)text, size, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                         s->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0) {
        unsigned char why[200];
        pcre2_get_error_message(rc, why, sizeof why);
        err_set(s->e, EXIT_CONTENT, "the pre-tokenizer's regular expression fails: %s",
                (char *)why);
        return -1;
    }
    *start = pcre2_get_ovector_pointer(data)[0];
    *stop = pcre2_get_ovector_pointer(data)[1];
    return 1;
}

static bool cut_text(struct cut *c, size_t size) {
    size_t at = 0, done = 0, last = SIZE_MAX, start, stop;
    while (at <= size) {
        int found = match_at(c->s, c->step, c->text, size, at, &start, &stop);
        if (found < 0)
            return false;
        if (!found)
            break;
        if (start == stop &&
            stop == last) { /* an empty match right behind another does not count */
            at += at < size ? utf8_width(c->text + at, size - at) : 1;
            continue;
        }
        if (start > done && !arrive(c, done, start, false))
            return false;
        if (!arrive(c, start, stop, true))
            return false;
        at = done = last = stop;
    }
    if (done < size && !arrive(c, done, size, false))
        return false;
    return flush(c);
}

/* The text as a step that rewrites spaces and puts a prefix in front wants it: itself, or made. */
static const char *prepare(struct splitter *s, const struct split *step, const char *text,
                           size_t *size) {
    const char *space = *step->space ? step->space : " ";
    size_t width = strlen(space), n = 0;
    bool replaces = *step->space && memchr(text, ' ', *size);
    bool has = *text == ' ' || (*size >= width && !memcmp(text, space, width));
    bool prefix = !has && (step->prefix == PREFIX_ALWAYS ||
                           (step->prefix == PREFIX_FIRST && text == s->origin));
    if (!prefix && !replaces)
        return text;
    char *out = splitter_buffer(s, (replaces ? width * *size : *size) + width);
    if (prefix) {
        memcpy(out, space, width);
        n = width;
    }
    for (size_t i = 0; i < *size; i++) {
        if (replaces && text[i] == ' ') {
            memcpy(out + n, space, width);
            n += width;
        } else {
            out[n++] = text[i];
        }
    }
    if (text == s->origin)
        s->origin = out;
    *size = n;
    return out;
}

static bool run_step(struct splitter *s, int step, const char *text, size_t size) {
    if (step == s->n_steps)
        return s->piece(s->context, text, size);
    if (size)
        text = prepare(s, &s->steps[step], text, &size);
    if (!s->steps[step].code)
        return run_step(s, step + 1, text, size);
    struct cut c = {.s = s, .step = step, .text = text};
    return cut_text(&c, size);
}

bool splitter_run(struct splitter *s, const char *text, size_t size) {
    return run_step(s, 0, text, size);
}
