/* The parser: words, as answers, as units, or as letters that are factors. */
#include <string.h>

#include "datasets/grade_parse.h"
#include "datasets/grade_text.h"

/* Whether a bare word is a word; the letters of others are factors. */
bool parse_is_word(const struct token *token) {
    static const char *const known[] = {"yes", "no", "odd", "none", "true", "dne", "east", NULL};
    if (token->text)
        return true;
    size_t n = strlen(token->string);
    for (int i = 0; known[i]; i++)
        if (text_is(token->string, n, known[i]))
            return true;
    return n >= 4 && strpbrk(token->string, "aeiouyAEIOUY");
}

/* A run of words as one name in plain form. */
static struct node *words(struct parser *p) {
    char name[TREE_NAME * 4], plain[TREE_NAME * 4];
    size_t n = 0;
    for (; parse_token(p)->kind == TOKEN_WORD; p->at++) {
        size_t size = strlen(parse_token(p)->string);
        if (n + size >= sizeof name)
            return NULL;
        memcpy(name + n, parse_token(p)->string, size);
        n += size;
    }
    if (!text_plain(name, n, plain, sizeof plain))
        return NULL;
    p->t->wordy = true;
    switch (p->how & READ_LIBRARY ? TEXT_WORDS : text_meaning(plain)) {
    case TEXT_EMPTY_SET:
        return parse_new(p, NODE_EMPTY, 0);
    case TEXT_ALL_REALS:
        return parse_new(p, NODE_REALS, 0);
    case TEXT_UNDEFINED:
        return parse_name(p, "dne");
    default:
        return parse_name(p, tree_string(p->t, plain, strlen(plain)));
    }
}

/* "xyz" as x y z. */
static struct node *letters(struct parser *p) {
    struct node *product = parse_new(p, NODE_PRODUCT, 0);
    for (const char *s = parse_token(p)->string; product && *s; s++) {
        struct node *letter = *s == 'e'   ? parse_new(p, NODE_E, 0)
                              : *s == 'i' ? parse_new(p, NODE_I, 0)
                                          : parse_name(p, tree_string(p->t, s, 1));
        product = parse_add(product, letter);
    }
    p->at++;
    return product;
}

bool parse_starts_unit(const struct parser *p) {
    const struct token *token = parse_token(p);
    bool below;
    return !(p->how & READ_LIBRARY) && token->kind == TOKEN_WORD &&
           (parse_is_word(token) || unit_name(token->string) || unit_scale(token->string, &below) ||
            text_is(token->string, 2, "th"));
}

/* --- units ------------------------------------------------------------------------------------ */

struct unit_text {
    char text[TREE_NAME * 4];
    size_t n;
    int power; /* that "square" gives to the next */
};

static bool put(struct unit_text *u, const char *s) {
    size_t size = strlen(s);
    if (u->n + size + 2 >= sizeof u->text)
        return false;
    memcpy(u->text + u->n, s, size + 1);
    u->n += size;
    return true;
}

/* ^2, ^{2}: the power of the unit before it; 0: something else, 1: none. */
static int unit_power(struct parser *p) {
    if (!parse_take(p, '^'))
        return 1;
    bool brace = parse_take(p, '{');
    const struct token *token = parse_token(p);
    if (token->kind != TOKEN_NUMBER || !strchr("123456789", *token->string) || token->string[1])
        return 0;
    p->at++;
    return !brace || parse_take(p, '}') ? *token->string - '0' : 0;
}

static bool put_word(struct parser *p, struct unit_text *u, const char *word) {
    if (text_is(word, strlen(word), "square") || text_is(word, strlen(word), "sq"))
        u->power = 2;
    else if (text_is(word, strlen(word), "cubic") || text_is(word, strlen(word), "cu"))
        u->power = 3;
    else if (text_is(word, strlen(word), "per"))
        return put(u, u->n ? "/" : "");
    else {
        const char *known = unit_name(word);
        int power = unit_power(p);
        char raised[3] = {'^', (char)('0' + (power == 1 ? u->power : power)), 0};
        bool apart = u->n && u->text[u->n - 1] != '/';
        bool ok = power && put(u, apart ? " " : "") && put(u, known ? known : word) &&
                  (raised[1] == '1' || put(u, raised));
        u->power = 1;
        return ok;
    }
    return true;
}

/* Words, "/" between them, and a letter behind that. */
static bool unit_words(struct parser *p, struct unit_text *u) {
    char plain[TREE_NAME * 4];
    for (;;) {
        const struct token *token = parse_token(p);
        bool over = u->n && u->text[u->n - 1] == '/';
        if (u->n && !over && parse_sign(p, '/') &&
            (token[1].kind == TOKEN_WORD || token[1].kind == TOKEN_NAME)) {
            p->at++;
            if (!put(u, "/"))
                return false;
            continue;
        }
        if (token->kind != TOKEN_WORD && !(over && token->kind == TOKEN_NAME))
            return true;
        p->at++;
        if (!text_plain(token->string, strlen(token->string), plain, sizeof plain) ||
            unit_is_none(plain) || !put_word(p, u, plain))
            return false;
    }
}

/* Whether a factor begins here: behind a unit that is another value, "5 feet 3". */
static bool goes_on(const struct parser *p) {
    const struct token *token = parse_token(p);
    return token->kind == TOKEN_NUMBER || token->kind == TOKEN_NAME ||
           token->kind == TOKEN_COMMAND || token->kind == TOKEN_WORD ||
           (token->kind == TOKEN_SIGN && strchr("([{S^", token->sign));
}

/* "7 thousand": a number word multiplies what stands before it, inside its unit. */
static struct node *scaled(struct parser *p, struct node *value, const char *digits, bool below) {
    struct node *number = parse_new(p, NODE_NUMBER, 0);
    if (!number)
        return NULL;
    number->string = digits;
    p->at++;
    enum node_kind kind = below ? NODE_QUOTIENT : NODE_PRODUCT;
    if (value->kind != NODE_UNIT)
        return parse_pair(p, kind, value, number);
    struct node *inner = value->first;
    value->first = value->last = parse_pair(p, kind, inner, number);
    return value->first ? value : NULL;
}

/* "5 cm", "864 inches^2", "3 dollars per pound", "2 million dollars". */
struct node *parse_unit(struct parser *p, struct node *value) {
    bool below;
    const char *digits = unit_scale(parse_token(p)->string, &below);
    if (digits)
        return scaled(p, value, digits, below);
    struct unit_text unit = {.power = 1};
    static const char *const endings[] = {"th", "st", "nd", "rd", NULL};
    for (int i = 0; endings[i]; i++)
        if (text_is(parse_token(p)->string, strlen(parse_token(p)->string), endings[i])) {
            p->at++;
            return value;
        }
    if (!unit_words(p, &unit) || goes_on(p))
        return NULL;
    return parse_measured(p, value, tree_string(p->t, unit.text, unit.n));
}

struct node *parse_measured(struct parser *p, struct node *value, const char *unit) {
    struct node *node = unit ? parse_add(parse_new(p, NODE_UNIT, 0), value) : NULL;
    if (node)
        node->string = unit;
    return node;
}

struct node *parse_word(struct parser *p) {
    return parse_is_word(parse_token(p)) ? words(p) : letters(p);
}
