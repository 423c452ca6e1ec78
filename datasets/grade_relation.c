/* Equations and inequalities. */
#include "datasets/grade_same.h"

bool is_equation(const struct node *relation) {
    for (const struct node *c = relation->first->next; c; c = c->next)
        if (c->before != '=')
            return false;
    return true;
}

bool is_assignable(const struct node *node) {
    switch (node->kind) {
    case NODE_NAME:
    case NODE_E:
    case NODE_I:
        return true;
    case NODE_PRODUCT:
    case NODE_QUOTIENT:
    case NODE_GROUP:
    case NODE_CALL:
        for (const struct node *c = node->first; c; c = c->next)
            if (!is_assignable(c))
                return false;
        return node->n > 0;
    default:
        return false;
    }
}

/* x = 2 + 3 = 5 says 5, x \in S says S; NULL: it says no value. */
static const struct node *said(const struct node *relation) {
    if (relation->last->before == 'i')
        return relation->n == 2 ? relation->last : NULL;
    if (!is_equation(relation))
        return NULL;
    return is_assignable(relation->first)  ? relation->last
           : is_assignable(relation->last) ? relation->first
                                           : NULL;
}

/* --- ratio of both sides' differences --------------------------------------------------------- */

static bool difference(const struct node *relation, int point, int64_t *left, struct ball *out) {
    struct place place = {point, 1, -1, left, false};
    struct ball other;
    ball_init(&other);
    bool ok =
        ball_value(relation->first, &place, out) && ball_value(relation->last, &place, &other);
    if (ok)
        ball_add(out, &other, true, out);
    ball_clear(&other);
    return ok && ball_fits(out);
}

static char turned(char sign) {
    switch (sign) {
    case '<':
        return '>';
    case '>':
        return '<';
    case 'l':
        return 'g';
    case 'g':
        return 'l';
    default:
        return sign;
    }
}

/* a[0] b[i] = a[i] b[0] wherever both are defined, and nothing is 0 everywhere. */
static bool proportional(struct ball *a, struct ball *b, const bool *known) {
    struct ball x, y;
    bool same = known[0] && known[1] && !ball_may_be_zero(&a[0]) && !ball_may_be_zero(&b[0]);
    ball_init(&x);
    ball_init(&y);
    for (int i = 1; same && i < VALUE_POINTS; i++) {
        if (!known[i])
            continue;
        ball_mul(&a[0], &b[i], &x);
        ball_mul(&a[i], &b[0], &y);
        same = ball_order(&x, &y) == ORDER_EQUAL;
    }
    ball_clear(&x);
    ball_clear(&y);
    return same;
}

/* |a| = |b| */
static bool as_large(const struct ball *a, const struct ball *b) {
    struct ball zero, minus;
    ball_init(&zero);
    ball_init(&minus);
    ball_add(&zero, b, true, &minus);
    bool same = ball_order(a, b) == ORDER_EQUAL || ball_order(a, &minus) == ORDER_EQUAL;
    ball_clear(&zero);
    ball_clear(&minus);
    return same;
}

bool same_equations(const struct node *a, const struct node *b, bool scaled, int64_t *left) {
    if (a->n != 2 || b->n != 2)
        return false;
    struct ball x[VALUE_POINTS], y[VALUE_POINTS];
    bool known[VALUE_POINTS];
    for (int i = 0; i < VALUE_POINTS; i++) {
        ball_init(&x[i]);
        ball_init(&y[i]);
        known[i] = difference(a, i, left, &x[i]) && difference(b, i, left, &y[i]);
    }
    bool same = proportional(x, y, known) && (scaled || as_large(&x[0], &y[0]));
    if (same) {
        bool opposite =
            x[0].real && y[0].real && (mpfr_sgn(x[0].re) < 0) != (mpfr_sgn(y[0].re) < 0);
        char sign = b->last->before;
        same = a->last->before == (opposite ? turned(sign) : sign);
    }
    for (int i = 0; i < VALUE_POINTS; i++) {
        ball_clear(&x[i]);
        ball_clear(&y[i]);
    }
    return same;
}

/* --- two answers ------------------------------------------------------------------------------ */

static bool same_both(struct part a, struct part b, int64_t *left) {
    const struct node *x = said(a.node), *y = said(b.node);
    if (x && y && a.node->last->before == b.node->last->before) {
        const struct node *left_x = x == a.node->last ? a.node->first : a.node->last;
        const struct node *left_y = y == b.node->last ? b.node->first : b.node->last;
        struct part p = {x, a.sign, -1}, q = {y, b.sign, -1};
        if (same_answers(part_of(left_x), part_of(left_y), left) && same_answers(p, q, left))
            return true;
    }
    return same_equations(a.node, b.node, true, left);
}

bool same_relations(struct part a, struct part b, int64_t *left) {
    bool first = a.node->kind == NODE_RELATION, second = b.node->kind == NODE_RELATION;
    if (first && second)
        return same_both(a, b, left);
    const struct node *value = first ? said(a.node) : second ? said(b.node) : NULL;
    if (!value)
        return false;
    struct part inner = {value, first ? a.sign : b.sign, -1};
    return same_answers(inner, first ? b : a, left);
}
