#include "datasets/grade_text.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <utf8proc.h>

#include "base/utf8.h"

bool text_is(const char *s, size_t n, const char *word) {
    return strlen(word) == n && !strncasecmp(s, word, n);
}

/* --- plain form ------------------------------------------------------------------------------- */

static bool is_alnum(char c) { return isalnum((unsigned char)c) || c & 0x80; }

/* Commands that say how something looks, and nothing else. */
static bool is_format(const char *s, size_t n) {
    static const char *const names[] = {
        "left",       "right",      "displaystyle", "textstyle", "limits",
        "big",        "Big",        "bigl",         "bigr",      "Bigl",
        "Bigr",       "bigg",       "Bigg",         "boxed",     "fbox",
        "rm",         "bf",         "quad",         "qquad",     "thinspace",
        "bm",         "mathbf",     "mathit",       "mathrm",    "mathsf",
        "text",       "textbf",     "textrm",       "textit",    "textsf",
        "texttt",     "textnormal", "mbox",         "hbox",      "operatorname",
        "boldsymbol", "it",         "em",           "emph",      "underline",
        "vec",        "mathop",     "mathstrut",    "ldotp",     NULL};
    for (int i = 0; names[i]; i++)
        if (strlen(names[i]) == n && !memcmp(names[i], s, n))
            return true;
    return false;
}

/* Commands of several names. */
static const char *one_name(const char *s, size_t *n) {
    static const char *const names[][2] = {
        {"dfrac", "frac"},  {"tfrac", "frac"},  {"cfrac", "frac"}, {"leq", "le"}, {"geq", "ge"},
        {"leqslant", "le"}, {"geqslant", "ge"}, {"neq", "ne"},     {NULL, NULL}};
    for (int i = 0; names[i][0]; i++)
        if (strlen(names[i][0]) == *n && !memcmp(names[i][0], s, *n)) {
            *n = strlen(names[i][1]);
            return names[i][1];
        }
    return s;
}

struct fold {
    const char *s;
    size_t n, i;
    char *out;
    size_t used, room;
    bool gap;      /* something was left out: "4 5" is not 45 */
    bool formal;   /* holds signs, between which parentheses say what belongs together */
    bool format;   /* what comes next is a format's argument */
    uint64_t drop; /* bit d: the braces of depth d are a format's */
    int depth;
};

static bool fold_put(struct fold *f, char c) {
    if (f->used + 3 >= f->room)
        return false;
    char last = f->used ? f->out[f->used - 1] : 0;
    if (f->gap && isdigit((unsigned char)c) && isdigit((unsigned char)last))
        f->out[f->used++] = ' ';
    f->gap = false;
    f->out[f->used++] = c;
    return true;
}

static bool fold_command(struct fold *f) {
    size_t n = 0;
    const char *name = f->s + f->i + 1;
    while (f->i + 1 + n < f->n && isalpha((unsigned char)name[n]))
        n++;
    if (!n) { /* \{, \}, \|, \% and the end of a row mean something */
        char c = f->i + 1 < f->n ? *name : 0;
        f->i += c ? 2 : 1;
        f->gap |= !c || !strchr("{}|%\\", c);
        return !c || !strchr("{}|%\\", c) || fold_put(f, c);
    }
    f->i += 1 + n;
    f->gap = true;
    f->format = is_format(name, n);
    if (f->format)
        return true;
    name = one_name(name, &n);
    if (!fold_put(f, '\\'))
        return false;
    for (size_t k = 0; k < n; k++)
        if (!fold_put(f, name[k]))
            return false;
    return fold_put(f, ' ');
}

/* Braces are kept, but for a format's, and those around all of it. */
static bool fold_brace(struct fold *f, char c) {
    bool drop = f->format || (c == '{' && !f->used);
    f->gap = true;
    if (c == '{') {
        int d = f->depth++ & 63;
        f->drop = drop ? f->drop | (uint64_t)1 << d : f->drop & ~((uint64_t)1 << d);
    } else if (f->depth) {
        drop = f->drop >> (--f->depth & 63) & 1;
    }
    f->format = false;
    return drop || fold_put(f, c);
}

static bool is_letter(const struct fold *f, size_t i) {
    return i < f->n && isalpha((unsigned char)f->s[i]);
}

/* A hyphen of words; a - b and a-b are none. */
static bool is_hyphen(const struct fold *f) {
    size_t i = f->i;
    bool before = i > 0 && is_letter(f, i - 1) && is_letter(f, i + 1);
    return before && ((i > 2 && is_letter(f, i - 2) && is_letter(f, i - 3)) ||
                      (is_letter(f, i + 2) && is_letter(f, i + 3)));
}

/* Whether a sign means something where it stands. */
static bool fold_keeps(const struct fold *f, char c) {
    char last = f->used ? f->out[f->used - 1] : 0, next = f->i + 1 < f->n ? f->s[f->i + 1] : 0;
    bool between = isalnum((unsigned char)last) && isalnum((unsigned char)next);
    switch (c) {
    case '-':
        return !is_hyphen(f);
    case '.':
        return isdigit((unsigned char)next) && !isalpha((unsigned char)last);
    case ':':
    case ',':
        return isdigit((unsigned char)last) && isdigit((unsigned char)next);
    case '*':
    case '_':
        return between;
    case '!':
        return isdigit((unsigned char)last) || (f->used == 1 && last) || strchr(")}|!", last);
    case '(':
    case ')':
        return f->formal;
    default:
        return strchr("+=<>^%/|&[]", c);
    }
}

static bool fold(const char *s, size_t n, char *out, size_t room) {
    struct fold f = {.s = s, .n = n, .out = out, .room = room};
    for (size_t i = 0; i < n; i++)
        f.formal |= isdigit((unsigned char)s[i]) || (s[i] && strchr("+*/^=<>", s[i]));
    bool ok = true;
    while (ok && f.i < n) {
        char c = s[f.i];
        if (c == '\\') {
            ok = fold_command(&f);
            continue;
        }
        if (c == '{' || c == '}') {
            ok = fold_brace(&f, c);
        } else if (!c || isspace((unsigned char)c) || c == '$' || c == '~') {
            f.gap = true;
        } else if (is_alnum(c) || fold_keeps(&f, c)) {
            ok = fold_put(&f, (char)tolower((unsigned char)c));
            f.format = false;
        } else {
            f.gap = true;
        }
        f.i++;
    }
    out[f.used] = 0;
    return ok;
}

bool text_plain(const char *s, size_t n, char *out, size_t room) {
    bool ascii = true;
    for (size_t i = 0; i < n; i++)
        ascii &= !(s[i] & 0x80);
    if (ascii)
        return fold(s, n, out, room);
    if (utf8_check(s, n) != n)
        return false;
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t size =
        utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &mapped,
                     UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD);
    bool ok = size >= 0 && fold((const char *)mapped, (size_t)size, out, room);
    free(mapped);
    return ok;
}

/* --- multiple choice -------------------------------------------------------------------------- */

char text_choice(const char *s, size_t n, bool *marked) {
    size_t i = 0;
    *marked = false;
    bool open = false, text = false;
    for (; i < n; i++) {
        if (s[i] == '\\' && i + 1 < n && isalpha((unsigned char)s[i + 1])) {
            text |= !strncmp(s + i + 1, "text", n - i - 1 < 4 ? n - i - 1 : 4) || s[i + 1] == 'm';
            while (i + 1 < n && isalpha((unsigned char)s[i + 1]))
                i++;
        } else if (s[i] == '(') {
            open = true;
        } else if (!isspace((unsigned char)s[i]) && !strchr("{$*\\", s[i])) {
            break;
        }
    }
    if (i >= n || !isalpha((unsigned char)s[i]) || (!text && !isupper((unsigned char)s[i])) ||
        toupper((unsigned char)s[i]) > 'J')
        return 0;
    char letter = (char)toupper((unsigned char)s[i++]);
    bool closed = i < n && (s[i] == ')' || s[i] == '.' || s[i] == ':');
    if (open && !(i < n && s[i] == ')'))
        return 0;
    *marked = text || (i < n && s[i] == ')');
    while (i < n && (isspace((unsigned char)s[i]) || strchr(").:}$*", s[i])))
        i++;
    return i >= n || closed ? letter : 0;
}

/* --- meanings --------------------------------------------------------------------------------- */

static bool among(const char *const *list, const char *plain) {
    for (; *list; list++)
        if (!strcmp(*list, plain))
            return true;
    return false;
}

enum text_meaning text_meaning(const char *plain) {
    static const char *const empty[] = {
        "nosolution", "nosolutions", "norealsolution", "norealsolutions",
        "emptyset",   "theemptyset", "none",           "norealroots",
        "noroots",    "norealroot",  "nosuchnumbers",  NULL};
    static const char *const reals[] = {"allrealnumbers", "allreals",    "allrealnumber",
                                        "allrealx",       "realnumbers", NULL};
    static const char *const undefined[] = {"dne", "doesnotexist", "undefined", NULL};
    return among(empty, plain)       ? TEXT_EMPTY_SET
           : among(reals, plain)     ? TEXT_ALL_REALS
           : among(undefined, plain) ? TEXT_UNDEFINED
                                     : TEXT_WORDS;
}
