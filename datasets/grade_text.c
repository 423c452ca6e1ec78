#include "datasets/grade_text.h"

#include <ctype.h>
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

/* Bytes of markup at s[i]: commands, braces, blanks. */
static size_t markup(const char *s, size_t n, size_t i) {
    if (s[i] == '\\') {
        size_t size = 1;
        while (i + size < n && isalpha((unsigned char)s[i + size]))
            size++;
        return size > 1 ? size : i + 1 < n ? 2 : 1;
    }
    return isspace((unsigned char)s[i]) || strchr("{}$~*_", s[i]) ? 1 : 0;
}

static bool fold(const char *s, size_t n, char *out, size_t room) {
    size_t used = 0;
    bool gap = false; /* something was left out: "4 5" is not 45 */
    for (size_t i = 0; i < n;) {
        size_t skip = s[i] ? markup(s, n, i) : 1;
        if (skip) {
            i += skip;
            gap = true;
            continue;
        }
        char c = s[i];
        bool between = used && isdigit((unsigned char)out[used - 1]) && i + 1 < n &&
                       isdigit((unsigned char)s[i + 1]);
        bool sign = c == '-' && !(used && isalpha((unsigned char)out[used - 1]));
        if (is_alnum(c) || strchr("+=<>^%", c) || (between && strchr(".:/", c)) || sign) {
            if (used + 2 >= room)
                return false;
            if (gap && used && isdigit((unsigned char)c) && isdigit((unsigned char)out[used - 1]))
                out[used++] = ' ';
            gap = false;
            out[used++] = (char)tolower((unsigned char)c);
        }
        i++;
    }
    out[used] = 0;
    return true;
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

int text_unit(const char *plain) {
    static const char *const units[][8] = {
        {"percent", "percentage", "pct", NULL},
        {"cm", "centimeter", "centimeters", "centimetres", "centimetre", NULL},
        {"mm", "millimeter", "millimeters", NULL},
        {"km", "kilometer", "kilometers", "kilometres", NULL},
        {"m", "meter", "meters", "metre", "metres", NULL},
        {"ft", "foot", "feet", NULL},
        {"in", "inch", "inches", NULL},
        {"yd", "yard", "yards", NULL},
        {"mi", "mile", "miles", NULL},
        {"g", "gram", "grams", NULL},
        {"kg", "kilogram", "kilograms", NULL},
        {"lb", "lbs", "pound", "pounds", NULL},
        {"oz", "ounce", "ounces", NULL},
        {"s", "sec", "second", "seconds", NULL},
        {"min", "minute", "minutes", "mins", NULL},
        {"h", "hr", "hrs", "hour", "hours", NULL},
        {"day", "days", NULL},
        {"week", "weeks", NULL},
        {"month", "months", NULL},
        {"yr", "year", "years", NULL},
        {"dollar", "dollars", NULL},
        {"cent", "cents", NULL},
        {"degree", "degrees", "deg", NULL},
        {"mph", NULL},
        {"liter", "liters", "litre", "litres", NULL},
        {"unit", "units", NULL}, /* the last: of whatever kind */
    };
    int n = (int)(sizeof units / sizeof *units);
    for (int i = 0; i < n; i++)
        for (int k = 0; units[i][k]; k++)
            if (!strcasecmp(units[i][k], plain))
                return i + 1;
    return 0;
}
