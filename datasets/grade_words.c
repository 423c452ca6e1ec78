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
    return !(p->how & READ_LIBRARY) && token->kind == TOKEN_WORD &&
           (parse_is_word(token) || text_unit(token->string) || text_is(token->string, 2, "th"));
}

/* "5 cm", "864 inches^2", "3 dollars per pound": words, names and powers up to the item's end. */
struct node *parse_unit(struct parser *p, struct node *value) {
    const char *name = parse_token(p)->string;
    for (;; p->at++) {
        const struct token *token = parse_token(p);
        if (token->kind == TOKEN_WORD ||
            (token->kind == TOKEN_SIGN && strchr("^/{}*'", token->sign)) ||
            ((token->kind == TOKEN_NUMBER || token->kind == TOKEN_NAME) && p->at > 0))
            continue;
        break;
    }
    struct node *node = parse_add(parse_new(p, NODE_UNIT, 0), value);
    if (node)
        node->string = name;
    return node;
}

struct node *parse_word(struct parser *p) {
    return parse_is_word(parse_token(p)) ? words(p) : letters(p);
}
