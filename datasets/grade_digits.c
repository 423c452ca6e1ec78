/* Numbers as they are written: groups of thousands, decimals, digits that recur for ever. */
#include "datasets/grade_lex.h"

/* Bytes between groups of three digits, 0 if nothing of that kind stands here. *unsure: a comma
 * that may as well stand between two items. */
static size_t separator(const struct lexer *l, bool *unsure) {
    bool library = l->how & READ_LIBRARY;
    if (library && (l->nesting || lex_peek(l, 0) != ','))
        return 0;
    static const char *const sure[] = {",\\!", "{,}", "\\,", "\\ ", "~", ",\\,", " ", NULL};
    size_t n = 0;
    for (int i = 0; sure[i]; i++)
        if (lex_is(l, 0, sure[i]) && strlen(sure[i]) > n)
            n = strlen(sure[i]);
    if (lex_is(l, 0, ",\\!"))
        while (lex_peek(l, n) == ' ')
            n++;
    *unsure = !n && lex_peek(l, 0) == ',';
    n += *unsure;
    bool group =
        n && lex_digit(l, n) && lex_digit(l, n + 1) && lex_digit(l, n + 2) && !lex_digit(l, n + 3);
    if (group && lex_peek(l, 0) == ' ' &&
        lex_peek(l, n + 3) == '/') /* "3 100/7" is a mixed number */
        return 0;
    return group ? n : 0;
}

struct digits {
    char text[TREE_NAME * 12];
    size_t n;
    bool full;
};

static void take(struct lexer *l, struct digits *d) {
    for (; lex_digit(l, 0); l->at++) {
        d->full |= d->n + 2 >= sizeof d->text;
        if (!d->full)
            d->text[d->n++] = l->text[l->at];
    }
}

/* \overline{36} behind a decimal point: how many digits recur. */
static int overlined(struct lexer *l, struct digits *d) {
    size_t skip = lex_is(l, 0, "\\overline{") ? 10 : lex_is(l, 0, "\\bar{") ? 5 : 0;
    size_t n = skip;
    while (lex_digit(l, n))
        n++;
    if (n == skip || lex_peek(l, n) != '}')
        return 0;
    l->at += skip;
    take(l, d);
    l->at++;
    return (int)(n - skip);
}

/* The shortest period that 0.1666... states by repeating it; 0: none. */
static int stated_period(struct lexer *l, const struct digits *d, size_t point) {
    size_t skip = lex_is(l, 0, "...")       ? 3
                  : lex_is(l, 0, "\\ldots") ? 6
                  : lex_is(l, 0, "\\dots")  ? 5
                                            : 0;
    size_t places = d->n - point;
    for (size_t p = 1; skip && p * 2 <= places; p++)
        if ((p > 1 || places > 2) && !memcmp(d->text + d->n - p, d->text + d->n - 2 * p, p)) {
            l->at += skip;
            return (int)p;
        }
    return 0;
}

bool lex_number(struct lexer *l) {
    struct digits d = {.n = 0};
    struct token *token = lex_push(l, TOKEN_NUMBER, 0);
    size_t start = l->at;
    take(l, &d);
    size_t lead = l->at - start;
    bool unsure;
    for (size_t n; lead >= 1 && lead <= 3 && d.text[0] != '0' && (n = separator(l, &unsure));) {
        bool group_only = l->text[l->at + n] == '0'; /* no item begins with 0 */
        if (unsure && !group_only && (l->how & READ_ITEMS))
            break;
        l->t->ambiguous |= unsure && !group_only;
        l->at += n;
        take(l, &d);
    }
    int repeat = 0;
    if (lex_peek(l, 0) == '.' &&
        (lex_digit(l, 1) || lex_is(l, 1, "\\overline{") || lex_is(l, 1, "\\bar{"))) {
        d.text[d.n++] = '.';
        l->at++;
        size_t point = d.n;
        take(l, &d);
        repeat = overlined(l, &d);
        if (!repeat)
            repeat = stated_period(l, &d, point);
    }
    if (!token || d.full)
        return false;
    if (repeat && (l->how & READ_LIBRARY))
        return false;
    token->repeat = repeat;
    return (token->string = tree_string(l->t, d.text, d.n));
}
