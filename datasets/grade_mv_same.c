/* The library's order of comparisons. What its algebra system decides symbolically, values decide
 * here. */
#include <string.h>

#include "datasets/grade_mv_parts.h"

static bool same(struct part gold, struct part answer, int64_t *left);

/* --- single values ---------------------------------------------------------------------------- */

struct scalar {
    struct part part;
    bool percent, decimal, whole; /* 28%; a literal with a point; a literal without */
};

static struct scalar scalar_of(struct part part) {
    struct scalar s = {.part = part};
    if (part.node->kind == NODE_UNIT && part.node->op == '%') {
        s.percent = true;
        s.part.node = part.node->first;
    }
    const struct node *node = s.part.node;
    while (node->kind == NODE_MINUS)
        node = node->first;
    s.decimal = node->kind == NODE_NUMBER && (strchr(node->string, '.') || node->repeat);
    s.whole = node->kind == NODE_NUMBER && !s.decimal;
    return s;
}

static bool scalar_value(const struct scalar *s, int64_t *left, struct ball *out) {
    struct place place = {0, s->part.sign, s->part.cell, left, false};
    if (has_kind(s->part.node, NODE_NAME) || !ball_value(s->part.node, &place, out))
        return false;
    if (s->percent) {
        struct ball hundred;
        ball_init(&hundred);
        ball_set_long(&hundred, 100);
        ball_div(out, &hundred, out);
        ball_clear(&hundred);
    }
    return true;
}

/* Both rounded to six decimals. */
static bool same_rounded(const struct scalar *a, const struct scalar *b, int64_t *left) {
    struct ball x, y;
    ball_init(&x);
    ball_init(&y);
    bool equal = scalar_value(a, left, &x) && scalar_value(b, left, &y) && x.real && y.real;
    if (equal) {
        mpfr_mul_ui(x.re, x.re, 1000000, MPFR_RNDN);
        mpfr_mul_ui(y.re, y.re, 1000000, MPFR_RNDN);
        mpfr_rint(x.re, x.re, MPFR_RNDN);
        mpfr_rint(y.re, y.re, MPFR_RNDN);
        equal = mpfr_equal_p(x.re, y.re);
    }
    ball_clear(&x);
    ball_clear(&y);
    return equal;
}

static bool same_proven(const struct scalar *a, const struct scalar *b, int64_t *left) {
    if (a->percent == b->percent)
        return same_values(a->part, b->part, left);
    struct ball x, y;
    ball_init(&x);
    ball_init(&y);
    bool equal =
        scalar_value(a, left, &x) && scalar_value(b, left, &y) && ball_order(&x, &y) == ORDER_EQUAL;
    ball_clear(&x);
    ball_clear(&y);
    return equal;
}

/* Of two values that are no literals, a difference below 15 digits is none to the library. */
static bool same_chopped(const struct scalar *a, const struct scalar *b, int64_t *left) {
    struct ball x, y;
    ball_init(&x);
    ball_init(&y);
    bool equal = scalar_value(a, left, &x) && scalar_value(b, left, &y) && x.real && y.real;
    if (equal) {
        ball_add(&x, &y, true, &x);
        mpfr_abs(x.re, x.re, MPFR_RNDN);
        equal = mpfr_cmp_d(x.re, 1e-15) < 0;
    }
    ball_clear(&x);
    ball_clear(&y);
    return equal;
}

static bool same_scalars(struct part gold, struct part answer, int64_t *left) {
    struct scalar a = scalar_of(gold), b = scalar_of(answer);
    bool e = a.part.node->kind == NODE_E || b.part.node->kind == NODE_E;
    const struct node *name = a.part.node->kind == NODE_NAME ? a.part.node : b.part.node;
    if (e && name->kind == NODE_NAME && !strcmp(name->string, "e"))
        return true;
    if (a.decimal || b.decimal) /* a whole number is never a rounded one */
        return a.whole || b.whole ? same_proven(&a, &b, left) : same_rounded(&a, &b, left);
    if (a.whole && b.whole) /* 9% is 9 */
        return same_values(a.part, b.part, left);
    if (!a.whole && !b.whole && same_chopped(&a, &b, left))
        return true;
    return same_proven(&a, &b, left);
}

/* --- sets and tuples -------------------------------------------------------------------------- */

static bool in_order(const struct shape *a, const struct shape *b, int64_t *left) {
    for (int i = 0; i < a->n && i < b->n; i++)
        if (!same(a->part[i], b->part[i], left))
            return false;
    return a->n == b->n;
}

static bool covers(const struct shape *a, const struct shape *b, bool turned, int64_t *left) {
    for (int i = 0; i < b->n; i++) {
        int k = 0;
        while (k < a->n &&
               !(turned ? same(b->part[i], a->part[k], left) : same(a->part[k], b->part[i], left)))
            k++;
        if (k == a->n)
            return false;
    }
    return true;
}

static bool as_sets(const struct shape *a, const struct shape *b, int64_t *left) {
    return covers(a, b, false, left) && covers(b, a, true, left);
}

static bool is_finite(const struct shape *s) {
    return s->kind == SHAPE_LIST || s->kind == SHAPE_SET;
}

/* Two elements in brackets are an interval if the first is less, or any if they aren't round. */
static bool is_interval(const struct shape *s, int64_t *left) {
    if (s->kind != SHAPE_GROUP || s->n != 2 || s->open == ':')
        return false;
    if (s->open != '(' || s->close != ')' || infinity_sign(s->part[0].node) ||
        infinity_sign(s->part[1].node))
        return true;
    struct scalar low = scalar_of(s->part[0]), high = scalar_of(s->part[1]);
    struct ball x, y;
    ball_init(&x);
    ball_init(&y);
    bool less = scalar_value(&low, left, &x) && scalar_value(&high, left, &y) &&
                ball_order(&x, &y) == ORDER_LESS;
    ball_clear(&x);
    ball_clear(&y);
    return less;
}

static bool is_open(const struct shape *s) { return s->open == '(' && s->close == ')'; }

static bool same_collections(struct part gold, struct part answer, const struct shape *a,
                             const struct shape *b, int64_t *left) {
    bool left_interval = is_interval(a, left), right_interval = is_interval(b, left);
    if (left_interval && right_interval)
        return a->open == b->open && a->close == b->close && in_order(a, b, left);
    if (is_finite(a) && is_finite(b))
        return as_sets(a, b, left);
    bool open = (!left_interval || is_open(a)) && (!right_interval || is_open(b));
    if (is_finite(a) && b->kind == SHAPE_GROUP)
        return open && a->n == b->n && as_sets(a, b, left);
    if (a->kind == SHAPE_GROUP && (is_finite(b) || b->kind == SHAPE_GROUP))
        return open && in_order(a, b, left);
    if (a->kind == SHAPE_ONE || b->kind == SHAPE_ONE) {
        const struct shape *set = a->kind == SHAPE_ONE ? b : a;
        return is_finite(set) && as_sets(a, b, left);
    }
    bool lists = gold.node->kind == NODE_LIST || answer.node->kind == NODE_LIST;
    return !lists && is_real_set(gold.node) && is_real_set(answer.node) &&
           same_real_sets(gold.node, answer.node, left);
}

/* --- relations -------------------------------------------------------------------------------- */

/* x \in S is an equation to the library. */
static bool equates(const struct node *node) {
    return node->kind == NODE_RELATION && (is_equation(node) || node->last->before == 'i');
}

static bool assigns(const struct node *node) { return equates(node) && is_assignable(node->first); }

static bool names_several(const struct node *node) {
    const char *seen = NULL;
    const struct node *stack[TREE_NODES];
    int n = 0;
    stack[n++] = node;
    while (n) {
        const struct node *top = stack[--n];
        if (top->kind == NODE_NAME && !seen)
            seen = top->string;
        else if (top->kind == NODE_NAME && strcmp(seen, top->string))
            return true;
        for (const struct node *c = top->first; c; c = c->next)
            stack[n++] = c;
    }
    return false;
}

static bool same_relations_of(struct part gold, struct part answer, int64_t *left) {
    const struct node *a = gold.node, *b = answer.node;
    if (a->kind != NODE_RELATION || b->kind != NODE_RELATION)
        return false;
    if (assigns(a) && assigns(b) && same(part_of(a->first), part_of(b->first), left) &&
        same((struct part){a->last, gold.sign, -1}, (struct part){b->last, answer.sign, -1}, left))
        return true;
    /* it solves equations, if they have several variables, but no inequalities */
    bool scales = is_equation(a) && names_several(a);
    return same_equations(a, b, scales, left) ||
           (is_real_set(a) && is_real_set(b) && same_real_sets(a, b, left));
}

/* What the answer says counts where gold is no equation; gold's value where the answer is none. */
static bool same(struct part gold, struct part answer, int64_t *left) {
    if (--*left <= 0)
        return false;
    if (equates(answer.node) && !equates(gold.node))
        answer.node = answer.node->last;
    else if (assigns(gold.node) && !equates(answer.node))
        gold.node = gold.node->last;
    bool relation = gold.node->kind == NODE_RELATION;
    if (relation && answer.node->kind != NODE_RELATION)
        return is_real_set(gold.node) && is_real_set(answer.node) &&
               same_real_sets(gold.node, answer.node, left);
    if (relation || answer.node->kind == NODE_RELATION)
        return same_relations_of(gold, answer, left);
    struct shape a, b;
    if (!shape_of(gold, &a) || !shape_of(answer, &b))
        return false;
    if (a.kind == SHAPE_MATRIX || b.kind == SHAPE_MATRIX)
        return a.kind == b.kind && a.open == b.open && a.columns == b.columns &&
               in_order(&a, &b, left);
    if (a.kind == SHAPE_ONE && b.kind == SHAPE_ONE)
        return same_scalars(gold, answer, left);
    return same_collections(gold, answer, &a, &b, left);
}

bool mv_same(const struct node *gold, const struct node *answer, int64_t *left) {
    return same(part_of(gold), part_of(answer), left);
}
