/* The parser: functions, and commands with their arguments. */
#include <string.h>

#include "datasets/grade_parse.h"

/* --- functions -------------------------------------------------------------------------------- */

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

static bool is_function(const struct token *token) {
    return token->kind == TOKEN_COMMAND && find_function(token->string) >= 0;
}

/* What a function without parentheses takes: factors side by side, up to the next function. */
static struct node *bare_operand(struct parser *p) {
    struct node *node = parse_factor(p);
    while (node) {
        const struct token *token = parse_token(p);
        bool more = token->kind == TOKEN_NAME || token->kind == TOKEN_NUMBER ||
                    (token->kind == TOKEN_COMMAND && !is_function(token) &&
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
        return parse_group(p, open);
    if (parse_take(p, '{'))
        return parse_braces(p);
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
        *where = where == &base ? parse_short_argument(p) : parse_argument(p);
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

/* --- commands --------------------------------------------------------------------------------- */

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
    node = parse_add(node, open     ? parse_group(p, open)
                           : digits ? parse_short_argument(p)
                                    : parse_argument(p));
    return degree ? parse_add(node, degree) : node;
}

static struct node *binomial(struct parser *p) {
    struct node *node = parse_add(parse_new(p, NODE_CALL, CALL_BINOMIAL), parse_short_argument(p));
    return parse_add(node, parse_short_argument(p));
}

static struct node *fraction(struct parser *p) {
    struct node *over = parse_short_argument(p);
    return over ? parse_pair(p, NODE_QUOTIENT, over, parse_short_argument(p)) : NULL;
}

static struct node *rounded(struct parser *p, enum call call, const char *end) {
    struct node *node = parse_add(parse_new(p, NODE_CALL, (char)call), parse_sum(p));
    if (parse_token(p)->kind != TOKEN_COMMAND || strcmp(parse_token(p)->string, end))
        return NULL;
    p->at++; /* only past what is there: behind the last token lie few */
    return node;
}

static bool take_environment(struct parser *p, const char *command) {
    const struct token *token = parse_token(p);
    bool is = token->kind == TOKEN_COMMAND && !strcmp(token->string, command) &&
              token[1].sign == '{' && token[2].kind == TOKEN_WORD && token[3].sign == '}';
    p->at += is ? 4 : 0;
    return is;
}

static struct node *matrix_cells(struct parser *p, char bars) {
    struct node *node = parse_new(p, NODE_MATRIX, bars);
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
    char bars = !strcmp(name, "vmatrix") || !strcmp(name, "Vmatrix") ? *name : 0;
    return matrix_cells(p, bars);
}

struct node *parse_command(struct parser *p) {
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
