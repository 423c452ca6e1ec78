/* The parser: what has its own beginning and end, as numbers, names and groups. */
#include <ctype.h>
#include <string.h>

#include "datasets/grade_parse.h"

static struct node *number(struct parser *p, const char *string, int repeat) {
    struct node *node = parse_new(p, NODE_NUMBER, 0);
    if (node) {
        node->string = string;
        node->repeat = repeat;
    }
    return node;
}

/* --- groups ----------------------------------------------------------------------------------- */

/* Up to a closing sign, one of the two given; what was read: items of a list, or the only one. */
static struct node *inside(struct parser *p, const char *closing, char *close) {
    struct node *node = parse_list(p);
    const struct token *token = parse_token(p);
    if (!node || token->kind != TOKEN_SIGN || !strchr(closing, token->sign))
        return NULL;
    *close = token->sign;
    p->at++;
    return node;
}

static struct node *as_group(struct node *list, enum node_kind kind, char open, char close) {
    list->kind = kind;
    list->op = open;
    list->close = close;
    return list;
}

struct node *parse_group(struct parser *p, char open) {
    char close;
    int in_set = p->in_set;
    p->in_set = 0;
    struct node *node = inside(p, ")]", &close);
    p->in_set = in_set;
    if (!node)
        return NULL;
    if (node->kind == NODE_LIST)
        return as_group(node, NODE_GROUP, open, close);
    return (open == '(') == (close == ')') ? node : NULL;
}

/* \{ ... \}: a set; one with a condition is that condition. */
static struct node *set(struct parser *p, const char *closing) {
    char close;
    if (parse_token(p)->kind == TOKEN_SIGN && strchr(closing, parse_token(p)->sign)) {
        p->at++;
        return parse_new(p, NODE_EMPTY, 0);
    }
    p->in_set++;
    struct node *node = parse_list(p);
    bool condition = node && (parse_take(p, '|') || parse_take(p, ':'));
    if (condition)
        node = p->how & READ_LIBRARY ? NULL : parse_list(p);
    p->in_set--;
    const struct token *token = parse_token(p);
    if (!node || token->kind != TOKEN_SIGN || !strchr(closing, token->sign))
        return NULL;
    close = token->sign;
    p->at++;
    if (condition)
        return node;
    if (node->kind != NODE_LIST)
        node = parse_add(parse_new(p, NODE_LIST, ','), node);
    return node ? as_group(node, NODE_SET, 'S', close) : NULL;
}

/* {...}: braces of LaTeX, or, with commas inside, of a set. */
struct node *parse_braces(struct parser *p) {
    char close;
    struct node *node = inside(p, "}", &close);
    return node && node->kind == NODE_LIST ? as_group(node, NODE_SET, 'S', 's') : node;
}

static struct node *absolute(struct parser *p) {
    int in_set = p->in_set;
    p->in_set = 1; /* the next | closes */
    struct node *node = parse_add(parse_new(p, NODE_CALL, CALL_ABS), parse_sum(p));
    p->in_set = in_set;
    return node && parse_take(p, '|') ? node : NULL;
}

/* --- arguments -------------------------------------------------------------------------------- */

/* TeX takes one digit where no brace stands: \frac12. */
static struct node *digit(struct parser *p) {
    struct token *token = parse_token(p);
    const char *one = tree_string(p->t, token->string, 1);
    if (!one || *one == '.')
        return NULL;
    if (token->string[1])
        token->string++;
    else
        p->at++;
    return number(p, one, 0);
}

struct node *parse_argument(struct parser *p) {
    if (++p->depth > TREE_DEPTH)
        return NULL;
    struct node *node;
    if (parse_take(p, '{'))
        node = parse_braces(p);
    else if (parse_take(p, '-'))
        node = parse_add(parse_new(p, NODE_MINUS, 0), parse_argument(p));
    else
        node = parse_primary(p);
    p->depth--;
    return node;
}

/* And one letter: \frac xy. */
static struct node *letter(struct parser *p) {
    struct token *token = parse_token(p);
    const char *rest = token->string + 1, *one = tree_string(p->t, token->string, 1);
    if (!one)
        return NULL;
    int from = p->at;
    token->kind = TOKEN_NAME;
    token->string = one;
    struct node *node = parse_primary(p);
    if (!node || p->at != from + 1)
        return NULL;
    p->at = from;
    token->kind = rest[1] ? TOKEN_WORD : TOKEN_NAME;
    token->string = rest;
    return node;
}

struct node *parse_short_argument(struct parser *p) {
    const struct token *token = parse_token(p);
    return token->kind == TOKEN_NUMBER                 ? digit(p)
           : token->kind == TOKEN_WORD && !token->text ? letter(p)
                                                       : parse_argument(p);
}

/* --- one of all ------------------------------------------------------------------------------- */

/* 52_8, or the number alone. */
static struct node *numeral(struct parser *p) {
    const struct token *token = parse_token(p);
    struct node *node = number(p, token->string, token->repeat);
    p->at++;
    if (!parse_take(p, '_'))
        return node;
    struct node *base = parse_argument(p);
    if (p->how & READ_LIBRARY)
        return base ? node : NULL;
    return parse_pair(p, NODE_BASED, node, base);
}

/* x, x', x_1, x_{max}. */
static struct node *name(struct parser *p) {
    char text[TREE_NAME];
    size_t n = 0;
    char letter = *parse_token(p)->string;
    p->at++;
    bool subscript = parse_sign(p, '_') || parse_sign(p, '\'');
    if (letter == 'e' && !subscript)
        return parse_new(p, NODE_E, 0);
    if (letter == 'i' && !subscript && !(p->how & READ_LIBRARY))
        return parse_new(p, NODE_I, 0);
    text[n++] = p->how & READ_LIBRARY ? (char)tolower((unsigned char)letter) : letter;
    while (parse_take(p, '\'') && n < TREE_NAME - 2)
        text[n++] = '\'';
    if (parse_take(p, '_')) {
        bool brace = parse_take(p, '{');
        text[n++] = '_';
        do {
            const struct token *token = parse_token(p);
            size_t size = strlen(token->string);
            if (!size || n + size >= sizeof text)
                return NULL;
            memcpy(text + n, token->string, size);
            n += size;
            p->at++;
        } while (brace && !parse_take(p, '}'));
    }
    return parse_name(p, tree_string(p->t, text, n));
}

struct node *parse_primary(struct parser *p) {
    if (++p->depth > TREE_DEPTH)
        return NULL;
    struct node *node = NULL;
    switch (parse_token(p)->kind) {
    case TOKEN_NUMBER:
        node = numeral(p);
        break;
    case TOKEN_NAME:
        node = name(p);
        break;
    case TOKEN_WORD:
        node = parse_word(p);
        break;
    case TOKEN_COMMAND:
        node = parse_command(p);
        break;
    case TOKEN_SIGN:
        if (parse_take(p, '('))
            node = parse_group(p, '(');
        else if (parse_take(p, '['))
            node = parse_group(p, '[');
        else if (parse_take(p, '{'))
            node = parse_braces(p);
        else if (parse_take(p, 'S'))
            node = set(p, "s");
        else if (parse_take(p, '|'))
            node = absolute(p);
        break;
    default:
        break;
    }
    p->depth--;
    return node;
}
