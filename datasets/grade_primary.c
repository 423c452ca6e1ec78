/* The parser's other half: numbers, names, groups, and commands with their arguments. */
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

/* --- groups
 * --------------------------------------------------------------------------------------- */

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

static struct node *group(struct parser *p, char open) {
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
static struct node *braces(struct parser *p) {
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

/* --- arguments
 * ------------------------------------------------------------------------------------ */

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
        node = braces(p);
    else if (parse_take(p, '-'))
        node = parse_add(parse_new(p, NODE_MINUS, 0), parse_argument(p));
    else
        node = parse_primary(p);
    p->depth--;
    return node;
}

static struct node *short_argument(struct parser *p) {
    return parse_token(p)->kind == TOKEN_NUMBER ? digit(p) : parse_argument(p);
}

/* --- functions
 * ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    enum call call;
} functions[] = {
    {"log", CALL_LOG},   {"ln", CALL_LN},       {"exp", CALL_EXP},     {"sin", CALL_SIN},
    {"cos", CALL_COS},   {"tan", CALL_TAN},     {"cot", CALL_COT},     {"sec", CALL_SEC},
    {"csc", CALL_CSC},   {"arcsin", CALL_ASIN}, {"arccos", CALL_ACOS}, {"arctan", CALL_ATAN},
    {"sinh", CALL_SINH}, {"cosh", CALL_COSH},   {"tanh", CALL_TANH},   {"lg", CALL_LOG},
    {"max", CALL_MAX},   {"min", CALL_MIN},
};

static int find_function(const char *name) {
    for (int i = 0; i < (int)(sizeof functions / sizeof *functions); i++)
        if (!strcmp(functions[i].name, name))
            return i;
    return -1;
}

bool parse_is_function(const struct token *token) {
    return token->kind == TOKEN_COMMAND && find_function(token->string) >= 0;
}

/* What a function without parentheses takes: factors side by side, up to the next function. */
static struct node *bare_operand(struct parser *p) {
    struct node *node = parse_factor(p);
    while (node) {
        const struct token *token = parse_token(p);
        bool more = token->kind == TOKEN_NAME || token->kind == TOKEN_NUMBER ||
                    (token->kind == TOKEN_COMMAND && !parse_is_function(token) &&
                     (!strcmp(token->string, "pi") || strstr(token->string, "frac") ||
                      !strcmp(token->string, "theta") || !strcmp(token->string, "sqrt") ||
                      !strcmp(token->string, "alpha")));
        if (!more)
            break;
        node = parse_pair(p, NODE_PRODUCT, node, parse_factor(p));
    }
    return node;
}

static struct node *operand(struct parser *p) {
    char open = parse_take(p, '(') ? '(' : parse_take(p, '[') ? '[' : 0;
    if (open)
        return group(p, open);
    if (parse_take(p, '{'))
        return braces(p);
    return bare_operand(p);
}

static enum call inverse(enum call call) {
    return call == CALL_SIN   ? CALL_ASIN
           : call == CALL_COS ? CALL_ACOS
           : call == CALL_TAN ? CALL_ATAN
                              : call;
}

static bool is_minus_one(const struct node *node) {
    return node && node->kind == NODE_MINUS && node->first->kind == NODE_NUMBER &&
           !strcmp(node->first->string, "1");
}

/* sin^2 x, log_2 8, arctan(x), max(3, 4). */
static struct node *function(struct parser *p, enum call call) {
    struct node *power = NULL, *base = NULL;
    for (;;) {
        struct node **where = !power && parse_take(p, '^')  ? &power
                              : !base && parse_take(p, '_') ? &base
                                                            : NULL;
        if (!where)
            break;
        *where = where == &base ? short_argument(p) : parse_argument(p);
        if (!*where)
            return NULL;
    }
    if (is_minus_one(power) && inverse(call) != call) {
        call = inverse(call);
        power = NULL;
    }
    struct node *argument = operand(p), *node = parse_new(p, NODE_CALL, (char)call);
    if (argument && argument->kind == NODE_GROUP && (call == CALL_MAX || call == CALL_MIN)) {
        argument->kind = NODE_CALL;
        argument->op = (char)call;
        return argument;
    }
    node = parse_add(node, argument);
    if (base)
        node = parse_add(node, base);
    return power ? parse_pair(p, NODE_POWER, node, power) : node;
}

/* --- commands
 * ------------------------------------------------------------------------------------- */

static struct node *root(struct parser *p) {
    struct node *degree = NULL;
    if (parse_take(p, '[')) {
        degree = parse_sum(p);
        if (!degree || !parse_take(p, ']'))
            return NULL;
    }
    struct node *node = parse_new(p, NODE_CALL, degree ? CALL_ROOT : CALL_SQRT);
    bool digits = p->how & READ_LIBRARY;
    char open = parse_take(p, '(') ? '(' : 0;
    node = parse_add(node, open ? group(p, open) : digits ? short_argument(p) : parse_argument(p));
    return degree ? parse_add(node, degree) : node;
}

static struct node *binomial(struct parser *p) {
    struct node *node = parse_add(parse_new(p, NODE_CALL, CALL_BINOMIAL), short_argument(p));
    return parse_add(node, short_argument(p));
}

static struct node *fraction(struct parser *p) {
    struct node *over = short_argument(p);
    return over ? parse_pair(p, NODE_QUOTIENT, over, short_argument(p)) : NULL;
}

static struct node *rounded(struct parser *p, enum call call, const char *end) {
    struct node *node = parse_add(parse_new(p, NODE_CALL, (char)call), parse_sum(p));
    bool closed = parse_token(p)->kind == TOKEN_COMMAND && !strcmp(parse_token(p)->string, end);
    p->at++;
    return closed ? node : NULL;
}

static bool take_environment(struct parser *p, const char *command) {
    const struct token *token = parse_token(p);
    bool is = token->kind == TOKEN_COMMAND && !strcmp(token->string, command) &&
              token[1].sign == '{' && token[2].kind == TOKEN_WORD && token[3].sign == '}';
    p->at += is ? 4 : 0;
    return is;
}

static struct node *matrix_cells(struct parser *p) {
    struct node *node = parse_new(p, NODE_MATRIX, 0);
    int in_row = 0;
    while (node) {
        if (parse_token(p)->kind == TOKEN_COMMAND && !strcmp(parse_token(p)->string, "hline"))
            p->at++;
        node = parse_add(node, parse_item(p));
        in_row++;
        if (parse_take(p, '&'))
            continue;
        if (node && !node->columns)
            node->columns = in_row;
        if (!node || node->columns != in_row)
            return NULL;
        in_row = 0;
        bool another = parse_take(p, 'R');
        if (take_environment(p, "end"))
            return node;
        if (!another)
            return NULL;
    }
    return NULL;
}

static struct node *matrix(struct parser *p) {
    p->at--;
    const char *name = parse_token(p)[1].sign == '{' ? parse_token(p)[2].string : "";
    if (!strstr(name, "matrix") && strcmp(name, "array"))
        return NULL;
    if (!take_environment(p, "begin"))
        return NULL;
    if (!strcmp(name, "array") && parse_take(p, '{'))
        while (!parse_take(p, '}')) {
            if (parse_token(p)->kind == TOKEN_END)
                return NULL;
            p->at++;
        }
    return matrix_cells(p);
}

static struct node *command(struct parser *p) {
    const char *name = parse_token(p)->string;
    p->at++;
    int i = find_function(name);
    if (i >= 0)
        return function(p, functions[i].call);
    if (!strcmp(name, "frac") || !strcmp(name, "dfrac") || !strcmp(name, "tfrac") ||
        !strcmp(name, "cfrac"))
        return fraction(p);
    if (!strcmp(name, "sqrt"))
        return root(p);
    if (!strcmp(name, "binom") || !strcmp(name, "dbinom") || !strcmp(name, "tbinom"))
        return binomial(p);
    if (!strcmp(name, "begin"))
        return matrix(p);
    if (!strcmp(name, "lfloor"))
        return rounded(p, CALL_FLOOR, "rfloor");
    if (!strcmp(name, "lceil"))
        return rounded(p, CALL_CEIL, "rceil");
    if (!strcmp(name, "pi"))
        return parse_new(p, NODE_PI, 0);
    if (!strcmp(name, "infty"))
        return parse_new(p, NODE_INFINITY, 0);
    bool library = p->how & READ_LIBRARY;
    if (!strcmp(name, "emptyset") || (!library && !strcmp(name, "varnothing")))
        return parse_new(p, NODE_EMPTY, 0);
    if (!strcmp(name, "reals"))
        return parse_new(p, NODE_REALS, 0);
    if (!strcmp(name, "imath"))
        return parse_new(p, NODE_I, 0);
    if (!strcmp(name, "end") || !strcmp(name, "rfloor") || !strcmp(name, "rceil"))
        return NULL;
    return parse_name(p, name); /* Greek, and marks such as \angle, which then are factors */
}

/* --- one of all
 * ------------------------------------------------------------------------------------ */

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
        node = command(p);
        break;
    case TOKEN_SIGN:
        if (parse_take(p, '('))
            node = group(p, '(');
        else if (parse_take(p, '['))
            node = group(p, '[');
        else if (parse_take(p, '{'))
            node = braces(p);
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
