/* Tokens to a tree, by recursive descent: lists of relations of sets of sums of products of powers.
 * A unit is what stands in words behind a number. */
#include <stdlib.h>
#include <string.h>

#include "datasets/grade_parse.h"

struct node *parse_new(struct parser *p, enum node_kind kind, char op) {
    if (p->t->n_nodes >= TREE_NODES)
        return NULL;
    struct node *node = &p->t->node[p->t->n_nodes++];
    *node = (struct node){.kind = kind, .op = op, .string = ""};
    return node;
}

struct node *parse_add(struct node *parent, struct node *child) {
    if (!parent || !child)
        return NULL;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->n++;
    return parent;
}

struct node *parse_pair(struct parser *p, enum node_kind kind, struct node *a, struct node *b) {
    return parse_add(parse_add(parse_new(p, kind, 0), a), b);
}

struct node *parse_name(struct parser *p, const char *name) {
    struct node *node = name ? parse_new(p, NODE_NAME, 0) : NULL;
    if (node)
        node->string = name;
    return node;
}

const struct node *node_child(const struct node *node, int i) {
    const struct node *child = node->first;
    while (i-- && child)
        child = child->next;
    return child;
}

/* --- factors ---------------------------------------------------------------------------------- */

static struct node *percent(struct parser *p, struct node *value) {
    struct node *node = parse_measured(p, value, "percent");
    if (node)
        node->op = '%';
    return node;
}

static struct node *degrees(struct parser *p, struct node *value) {
    return p->how & READ_LIBRARY ? value : parse_add(parse_new(p, NODE_DEGREES, 0), value);
}

/* What stands behind ^: a degree sign, an ordinal's ending, an exponent. */
static struct node *raised(struct parser *p, struct node *base) {
    int from = p->at;
    bool brace = parse_take(p, '{');
    const struct token *token = parse_token(p);
    if (token->kind == TOKEN_DEGREE || (token->kind == TOKEN_WORD && brace)) {
        p->at++;
        if (brace && !parse_take(p, '}'))
            return NULL;
        if (token->kind == TOKEN_WORD)
            return p->how & READ_LIBRARY ? base : parse_add(parse_new(p, NODE_UNIT, 0), base);
        return degrees(p, base);
    }
    p->at = from;
    return parse_pair(p, NODE_POWER, base, parse_argument(p));
}

struct node *parse_factor(struct parser *p) {
    if (++p->depth > TREE_DEPTH)
        return NULL;
    struct node *node;
    if (parse_take(p, '-'))
        node = parse_add(parse_new(p, NODE_MINUS, 0), parse_factor(p));
    else if (parse_take(p, '+'))
        node = parse_factor(p);
    else if (parse_take(p, 'C'))
        node = parse_measured(p, parse_factor(p), "dollar");
    else
        node = parse_primary(p);
    while (node) {
        if (parse_take(p, '!')) {
            node = parse_add(parse_new(p, NODE_CALL, CALL_FACTORIAL), node);
        } else if (parse_take(p, '%')) {
            node = percent(p, node);
        } else if (parse_token(p)->kind == TOKEN_DEGREE) {
            p->at++;
            node = degrees(p, node);
        } else if (parse_take(p, '^')) {
            node = raised(p, node);
        } else {
            break;
        }
    }
    p->depth--;
    return node;
}

static bool is_whole(const struct node *node) {
    return node && node->kind == NODE_NUMBER && !strchr(node->string, '.');
}

/* Behind a whole number: \frac{2}{3}, or " 2/3". *value becomes their sum. */
static bool mixed(struct parser *p, struct node **value) {
    if (!is_whole(*value))
        return false;
    struct token *token = parse_token(p);
    int from = p->at, nodes = p->t->n_nodes;
    struct node *part = NULL;
    if (token->kind == TOKEN_COMMAND && strstr(token->string, "frac")) {
        struct token keep[4];
        memcpy(keep, token, sizeof keep); /* \frac12 splits a token */
        part = parse_primary(p);
        if (!part || part->kind != NODE_QUOTIENT || !is_whole(part->first) ||
            !is_whole(part->last)) {
            memcpy(token, keep, sizeof keep);
            part = NULL;
        }
    } else if (token->kind == TOKEN_NUMBER && token->space && token[1].sign == '/' &&
               !(p->how & READ_LIBRARY) && token[2].kind == TOKEN_NUMBER &&
               !strpbrk(token->string, ".")) {
        struct node *over = parse_primary(p);
        p->at++;
        part = parse_pair(p, NODE_QUOTIENT, over, parse_primary(p));
    }
    if (!part) {
        p->at = from;
        p->t->n_nodes = nodes;
        return false;
    }
    *value = parse_pair(p, NODE_SUM, *value, part);
    return true;
}

/* Whether the next token begins a factor that is multiplied without a sign. */
static bool joins(const struct parser *p, const struct node *left) {
    const struct token *token = parse_token(p);
    switch (token->kind) {
    case TOKEN_NUMBER: /* "2 3" is nothing, "x2" is */
        return left->kind != NODE_NUMBER;
    case TOKEN_NAME:
    case TOKEN_WORD:
        return true;
    case TOKEN_COMMAND:
        return !strchr("ero", *token->string) ||
               (strcmp(token->string, "end") && strcmp(token->string, "over") &&
                strcmp(token->string, "rfloor") && strcmp(token->string, "rceil"));
    case TOKEN_SIGN:
        return strchr("([{C", token->sign) || (token->sign == '|' && !p->in_set);
    default:
        return false;
    }
}

/* What "/" divides by: to the library all factors that follow without a sign. */
static struct node *divisor(struct parser *p) {
    struct node *node = parse_factor(p);
    while (node && (p->how & READ_LIBRARY) && joins(p, node))
        node = parse_pair(p, NODE_PRODUCT, node, parse_factor(p));
    return node;
}

static struct node *product(struct parser *p) {
    struct node *node = parse_factor(p);
    bool plain = node && node->kind == NODE_NUMBER;
    for (bool first = true; node; first = false) {
        const struct token *token = parse_token(p);
        if (parse_take(p, '*')) {
            node = parse_pair(p, NODE_PRODUCT, node, parse_factor(p));
        } else if (parse_take(p, '/')) {
            node = parse_pair(p, NODE_QUOTIENT, node, divisor(p));
        } else if (first && plain && mixed(p, &node)) {
            continue;
        } else if (parse_take(p, 'C')) {
            node = parse_measured(p, node, "dollar");
        } else if (parse_starts_unit(p)) {
            node = parse_unit(p, node);
        } else if (token->kind == TOKEN_COMMAND && !strcmp(token->string, "choose")) {
            p->at++;
            node = parse_pair(p, NODE_CALL, node, parse_factor(p));
            if (node)
                node->op = CALL_BINOMIAL;
        } else if (token->kind == TOKEN_COMMAND && !strcmp(token->string, "over")) {
            p->at++;
            node = parse_pair(p, NODE_QUOTIENT, node, parse_sum(p));
        } else if (joins(p, node)) {
            node = parse_pair(p, NODE_PRODUCT, node, parse_factor(p));
        } else {
            break;
        }
    }
    return node;
}

/* --- sums, sets, relations, lists ------------------------------------------------------------- */

static struct node *term(struct parser *p) {
    if (parse_take(p, '+'))
        return product(p);
    if (parse_take(p, '-'))
        return parse_add(parse_new(p, NODE_MINUS, 0), product(p));
    if (parse_take(p, 'p'))
        return parse_add(parse_new(p, NODE_PLUS_MINUS, '+'), product(p));
    if (parse_take(p, 'm'))
        return parse_add(parse_new(p, NODE_PLUS_MINUS, '-'), product(p));
    return product(p);
}

static bool adds(const struct parser *p) {
    return parse_token(p)->kind == TOKEN_SIGN && strchr("+-pm", parse_token(p)->sign);
}

struct node *parse_sum(struct parser *p) {
    if (++p->depth > TREE_DEPTH)
        return NULL;
    struct node *node = NULL;
    if (parse_token(p)->kind == TOKEN_WORD && parse_is_word(parse_token(p)))
        node = parse_word(p);
    else
        node = term(p);
    if (node && adds(p)) {
        node = parse_add(parse_new(p, NODE_SUM, 0), node);
        while (node && adds(p))
            node = parse_add(node, term(p));
    }
    p->depth--;
    return node;
}

/* 12:30 is a time, 24:60 and 2:3 are ratios. */
static bool is_time(const struct parser *p) {
    const struct token *hour = parse_token(p), *minute = hour + 2;
    return hour->kind == TOKEN_NUMBER && hour[1].kind == TOKEN_SIGN && hour[1].sign == ':' &&
           minute->kind == TOKEN_NUMBER && minute[1].sign != ':' && strlen(minute->string) == 2 &&
           *minute->string < '6' && strlen(hour->string) <= 2 && atoi(hour->string) <= 24;
}

/* a:b is a quotient, a:b:c a tuple of its own kind. */
static struct node *ratio(struct parser *p) {
    bool time = is_time(p);
    struct node *node = parse_sum(p);
    if (!node || p->in_set || !parse_sign(p, ':'))
        return node;
    if (p->how & READ_LIBRARY) {
        while (node && parse_take(p, ':'))
            node = parse_pair(p, NODE_QUOTIENT, node, parse_sum(p));
        return node;
    }
    struct node *group = parse_add(parse_new(p, NODE_GROUP, ':'), node);
    while (group && parse_take(p, ':'))
        group = parse_add(group, parse_sum(p));
    if (!group)
        return NULL;
    group->close = ':';
    if (group->n == 2 && !time)
        group->kind = NODE_QUOTIENT;
    return group;
}

static struct node *sets(struct parser *p) {
    struct node *node = ratio(p);
    while (node) {
        enum token_kind kind = parse_token(p)->kind;
        if (kind != TOKEN_UNION && kind != TOKEN_INTERSECTION && kind != TOKEN_DIFFERENCE)
            break;
        p->at++;
        node = parse_pair(p,
                          kind == TOKEN_UNION          ? NODE_UNION
                          : kind == TOKEN_INTERSECTION ? NODE_INTERSECTION
                                                       : NODE_DIFFERENCE,
                          node, ratio(p));
    }
    return node;
}

/* "= 5", "\approx 3.14": what stands in front was said before. */
static void skip_leading_sign(struct parser *p) {
    const struct token *token = parse_token(p);
    p->at += token->kind == TOKEN_RELATION && strchr("=~", token->sign) && !(p->how & READ_LIBRARY);
}

/* Behind a value that is no name, \approx only says it once more. */
static bool restates(const struct parser *p, const struct node *node) {
    return parse_token(p)->kind == TOKEN_RELATION && parse_token(p)->sign == '~' &&
           node->kind != NODE_NAME;
}

struct node *parse_item(struct parser *p) {
    skip_leading_sign(p);
    struct node *node = sets(p);
    while (node && restates(p, node)) {
        p->at++;
        if (!sets(p))
            return NULL;
    }
    enum token_kind kind = parse_token(p)->kind;
    if (!node || (kind != TOKEN_RELATION && kind != TOKEN_MEMBER))
        return node;
    node = parse_add(parse_new(p, NODE_RELATION, 0), node);
    while (node) {
        const struct token *token = parse_token(p);
        if (token->kind != TOKEN_RELATION && token->kind != TOKEN_MEMBER)
            break;
        p->at++;
        struct node *side = sets(p);
        if (side)
            side->before = token->kind == TOKEN_MEMBER ? 'i'
                           : token->sign == '~'        ? '='
                                                       : token->sign;
        node = parse_add(node, side);
    }
    return node;
}

/* 0, or what joins two items; several in a row (", and") are one. */
static char joint(struct parser *p) {
    char found = 0;
    for (;; p->at++) {
        enum token_kind kind = parse_token(p)->kind;
        if (kind == TOKEN_AND || kind == TOKEN_OR)
            found = kind == TOKEN_AND ? 'a' : 'o';
        else if (parse_sign(p, ',') || parse_sign(p, ';'))
            found = found ? found : ',';
        else
            return found;
    }
}

struct node *parse_list(struct parser *p) {
    struct node *node = parse_item(p);
    char op = node ? joint(p) : 0;
    if (!op)
        return node;
    node = parse_add(parse_new(p, NODE_LIST, op), node);
    while (node && op) {
        node = parse_add(node, parse_item(p));
        op = node ? joint(p) : 0;
        if (op == 'a' || op == 'o')
            node->op = op;
    }
    return node;
}

struct node *tree_parse(struct tree *t, const char *text, size_t size, int how) {
    t->n_nodes = 0;
    if (!tree_lex(t, text, size, how))
        return NULL;
    struct parser p = {.t = t, .how = how};
    struct node *node = parse_list(&p);
    return node && parse_token(&p)->kind == TOKEN_END ? node : NULL;
}
