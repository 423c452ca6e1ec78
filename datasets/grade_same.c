#include "datasets/grade_same.h"

#include <string.h>

#include "datasets/grade_text.h"

struct part part_of(const struct node *node) {
    return (struct part){node, 0, -1};
}

bool has_kind(const struct node *node, enum node_kind kind) {
    if (node->kind == kind)
        return true;
    for (const struct node *c = node->first; c; c = c->next)
        if (has_kind(c, kind))
            return true;
    return false;
}

int infinity_sign(const struct node *node) {
    if (node->kind == NODE_INFINITY)
        return 1;
    return node->kind == NODE_MINUS ? -infinity_sign(node->first) : 0;
}

/* --- shapes ----------------------------------------------------------------------------------- */

static bool shape_add(struct shape *s, const struct node *node, int sign, int cell) {
    if (s->n == PARTS)
        return false;
    s->part[s->n++] = (struct part){node, sign, cell};
    return true;
}

/* One part, or two where +- is still open. */
static bool shape_both(struct shape *s, const struct node *node, int sign) {
    if (sign || node->kind == NODE_LIST || !has_kind(node, NODE_PLUS_MINUS))
        return shape_add(s, node, sign, -1);
    return shape_add(s, node, 1, -1) && shape_add(s, node, -1, -1);
}

static bool shape_children(struct shape *s, const struct node *node, int sign) {
    for (const struct node *c = node->first; c; c = c->next)
        if (!shape_both(s, c, sign))
            return false;
    return true;
}

/* The only matrix that an expression multiplies by numbers; NULL: none, or several. */
static const struct node *scaled_matrix(const struct node *node) {
    const struct node *found = NULL;
    switch (node->kind) {
    case NODE_MATRIX:
        return node;
    case NODE_MINUS:
    case NODE_PRODUCT:
    case NODE_QUOTIENT:
        for (const struct node *c = node->first; c; c = c->next) {
            const struct node *matrix = scaled_matrix(c);
            if ((matrix && found) || (matrix && node->kind == NODE_QUOTIENT && c != node->first))
                return NULL;
            found = matrix ? matrix : found;
        }
        return found;
    default:
        return NULL;
    }
}

static bool shape_matrix(struct shape *s, const struct node *node, const struct node *matrix,
                         int sign) {
    s->kind = SHAPE_MATRIX;
    s->columns = matrix->columns;
    s->open = matrix->op;
    for (int i = 0; i < matrix->n; i++)
        if (!shape_add(s, node, sign, i))
            return false;
    return true;
}

/* Units stand around the value they belong to. */
static const struct node *measured(const struct node *node, struct shape *s) {
    while (node->kind == NODE_UNIT || node->kind == NODE_DEGREES) {
        const char *unit = node->kind == NODE_DEGREES ? "degree" : node->string;
        s->unit = *s->unit ? s->unit : unit;
        node = node->first;
    }
    return node;
}

/* -(5 cm) is measured too. */
static const struct node *measured_below(const struct node *node, struct shape *s) {
    const struct node *value = measured(node, s);
    if (value->kind == NODE_MINUS)
        measured(value->first, s);
    return value;
}

bool shape_of(struct part part, struct shape *out) {
    *out = (struct shape){.kind = SHAPE_ONE, .unit = ""};
    const struct node *node = measured_below(part.node, out), *matrix;
    switch (node->kind) {
    case NODE_LIST:
        out->kind = SHAPE_LIST;
        return shape_children(out, node, part.sign);
    case NODE_SET:
        out->kind = SHAPE_SET;
        return shape_children(out, node, part.sign);
    case NODE_GROUP:
        out->kind = SHAPE_GROUP;
        out->open = node->op, out->close = node->close;
        return shape_children(out, node, part.sign);
    case NODE_RELATION:
        out->kind = SHAPE_RELATION;
        return shape_add(out, node, part.sign, -1);
    case NODE_UNION:
    case NODE_INTERSECTION:
    case NODE_DIFFERENCE:
    case NODE_EMPTY:
    case NODE_REALS:
        out->kind = SHAPE_REALS;
        return shape_add(out, node, 0, -1);
    default:
        break;
    }
    if (part.cell < 0 && (matrix = scaled_matrix(node)))
        return shape_matrix(out, node, matrix, part.sign);
    if (!part.sign && has_kind(node, NODE_PLUS_MINUS)) {
        out->kind = SHAPE_LIST;
        return shape_both(out, node, 0);
    }
    return shape_add(out, node, part.sign, part.cell);
}

/* --- several parts ---------------------------------------------------------------------------- */

static bool same_in_order(const struct shape *a, const struct shape *b, int64_t *left) {
    bool same = a->n == b->n;
    for (int i = 0; same && i < a->n; i++)
        same = same_answers(a->part[i], b->part[i], left);
    return same;
}

/* Each part of a has one of its own in b. */
static bool same_in_any_order(const struct shape *a, const struct shape *b, int64_t *left) {
    bool taken[PARTS] = {false};
    if (a->n != b->n)
        return false;
    for (int i = 0; i < a->n; i++) {
        int k = 0;
        while (k < b->n && (taken[k] || !same_answers(a->part[i], b->part[k], left)))
            k++;
        if (k == b->n)
            return false;
        taken[k] = true;
    }
    return true;
}

static bool contains(const struct shape *a, const struct shape *b, int64_t *left) {
    for (int i = 0; i < b->n; i++) {
        int k = 0;
        while (k < a->n && !same_answers(a->part[k], b->part[i], left))
            k++;
        if (k == a->n)
            return false;
    }
    return true;
}

static bool is_round(const struct shape *s) { return s->open == '(' && s->close == ')'; }

/* Of two elements, brackets say whether an interval's ends belong to it; of more they say nothing.
 */
static bool same_groups(const struct shape *a, const struct shape *b, int64_t *left) {
    bool ratio = (a->open == ':') == (b->open == ':');
    bool kinds = a->n != 2 || (a->open == b->open && a->close == b->close);
    return ratio && kinds && same_in_order(a, b, left);
}

static bool same_matrices(const struct shape *a, const struct shape *b, int64_t *left) {
    return a->open == b->open && a->columns == b->columns && same_in_order(a, b, left);
}

/* a's kind is not after b's. */
static bool same_shapes(const struct shape *a, const struct shape *b, int64_t *left) {
    switch (a->kind) {
    case SHAPE_ONE: /* beside a set or list of one */
        return b->kind == SHAPE_ONE ? same_values(a->part[0], b->part[0], left)
                                    : b->kind <= SHAPE_SET && b->n == 1 &&
                                          same_answers(a->part[0], b->part[0], left);
    case SHAPE_LIST:
        return b->kind == SHAPE_GROUP ? is_round(b) && same_in_order(a, b, left)
                                      : b->kind <= SHAPE_SET && same_in_any_order(a, b, left);
    case SHAPE_SET:
        return b->kind == SHAPE_SET && contains(a, b, left) && contains(b, a, left);
    case SHAPE_GROUP:
        if (b->kind == SHAPE_MATRIX) /* a vector */
            return (b->columns == 1 || b->columns == b->n) && a->open != ':' && !b->open &&
                   same_in_order(a, b, left);
        return b->kind == SHAPE_GROUP && same_groups(a, b, left);
    case SHAPE_MATRIX:
        return b->kind == SHAPE_MATRIX && same_matrices(a, b, left);
    default:
        return false;
    }
}

/* 5 dollars are 500 cents. */
static bool same_measures(const struct shape *a, const struct shape *b, int64_t *left) {
    long of_a, of_b;
    int power;
    if (!unit_ratio(a->unit, b->unit, &of_a, &of_b, &power))
        return false;
    struct place place = {0, 1, -1, left, false};
    mpq_t x, y, ratio;
    mpq_inits(x, y, ratio, NULL);
    bool same = !has_kind(a->part[0].node, NODE_NAME) && !has_kind(b->part[0].node, NODE_NAME) &&
                exact_value(a->part[0].node, &place, x) && exact_value(b->part[0].node, &place, y);
    mpq_set_si(ratio, of_a, (unsigned long)of_b);
    mpq_canonicalize(ratio);
    for (int i = 0; same && i < power; i++)
        mpq_mul(x, x, ratio);
    same = same && mpq_equal(x, y);
    mpq_clears(x, y, ratio, NULL);
    return same;
}

bool same_answers(struct part a, struct part b, int64_t *left) {
    struct shape x, y;
    if (--*left <= 0 || !shape_of(a, &x) || !shape_of(b, &y))
        return false;
    if (!unit_same(x.unit, y.unit))
        return x.kind == SHAPE_ONE && y.kind == SHAPE_ONE && same_measures(&x, &y, left);
    bool reals = is_real_set(a.node) && is_real_set(b.node);
    bool both_plain = x.kind <= SHAPE_GROUP && y.kind <= SHAPE_GROUP && x.kind != SHAPE_LIST &&
                      y.kind != SHAPE_LIST;
    if (reals && !both_plain && same_real_sets(a.node, b.node, left))
        return true;
    if (x.kind == SHAPE_RELATION || y.kind == SHAPE_RELATION)
        return same_relations(a, b, left);
    return x.kind <= y.kind ? same_shapes(&x, &y, left) : same_shapes(&y, &x, left);
}

/* --- single values ---------------------------------------------------------------------------- */

static const struct node *magnitude(const struct node *node, bool *negative) {
    for (; node->kind == NODE_MINUS; node = node->first)
        *negative = !*negative;
    return node;
}

/* 52_8 is 52_8, and 52 where the question said the base; never 42. */
static bool same_numerals(const struct node *a, const struct node *b, int64_t *left) {
    bool minus_a = false, minus_b = false;
    a = magnitude(a, &minus_a), b = magnitude(b, &minus_b);
    const struct node *x = a->kind == NODE_BASED ? a->first : a,
                      *y = b->kind == NODE_BASED ? b->first : b;
    if (minus_a != minus_b || x->kind != NODE_NUMBER || y->kind != NODE_NUMBER ||
        strcmp(x->string, y->string))
        return false;
    return a->kind != b->kind || same_values(part_of(a->last), part_of(b->last), left);
}

/* A number written with decimals: what it stands for may have been rounded. */
static bool is_decimal(const struct node *node) {
    bool negative = false;
    node = magnitude(node, &negative);
    return node->kind == NODE_NUMBER && strchr(node->string, '.') && !node->repeat;
}

/* An exact value and its decimals, rounded at the last that is written, the sixth or a later one.
 * A value that ends earlier is what it is. */
static bool same_rounded(const struct ball *exact, const struct ball *decimal,
                         const struct node *written) {
    bool negative = false;
    const char *digits = magnitude(written, &negative)->string;
    size_t places = strlen(strchr(digits, '.')) - 1;
    if (!exact->real || !decimal->real || places < 6 || strlen(digits) > 60)
        return false;
    mpfr_t x, y, whole;
    mpfr_inits2(512, x, y, whole, (mpfr_ptr)0);
    mpfr_ui_pow_ui(whole, 10, places, MPFR_RNDN);
    mpfr_mul(x, exact->re, whole, MPFR_RNDN);
    mpfr_mul(y, decimal->re, whole, MPFR_RNDN);
    mpfr_rint(whole, x, MPFR_RNDN);
    mpfr_sub(whole, whole, x, MPFR_RNDN);
    mpfr_abs(whole, whole, MPFR_RNDN);
    bool ends = mpfr_cmp_d(whole, 0x1p-24) < 0;
    mpfr_sub(y, y, x, MPFR_RNDN);
    mpfr_abs(y, y, MPFR_RNDN);
    mpfr_abs(x, x, MPFR_RNDN);
    mpfr_div_ui(x, x, 100000, MPFR_RNDN);
    bool near = !ends && mpfr_cmp_d(y, 0.5) <= 0 && mpfr_cmp(y, x) <= 0;
    mpfr_clears(x, y, whole, (mpfr_ptr)0);
    return near;
}

enum verdict { VERDICT_SAME, VERDICT_DIFFERENT, VERDICT_NONE };

static enum verdict by_rationals(struct part a, struct part b, int point, int64_t *left) {
    struct place x = {point, a.sign, a.cell, left, false}, y = {point, b.sign, b.cell, left, false};
    mpq_t p, q;
    mpq_inits(p, q, NULL);
    bool both = exact_value(a.node, &x, p) && exact_value(b.node, &y, q);
    bool equal = both && mpq_equal(p, q);
    mpq_clears(p, q, NULL);
    return !both ? VERDICT_NONE : equal ? VERDICT_SAME : VERDICT_DIFFERENT;
}

static bool has_call(const struct node *node, enum call call) {
    if (node->kind == NODE_CALL && node->op == (char)call)
        return true;
    for (const struct node *c = node->first; c; c = c->next)
        if (has_call(c, call))
            return true;
    return false;
}

static enum verdict by_balls(struct part a, struct part b, int point, int64_t *left) {
    struct place x = {point, a.sign, a.cell, left, false}, y = {point, b.sign, b.cell, left, false};
    struct ball p, q;
    ball_init(&p);
    ball_init(&q);
    bool first = ball_value(a.node, &x, &p), second = ball_value(b.node, &y, &q);
    enum verdict verdict = VERDICT_DIFFERENT;
    bool last = point == VALUE_POINTS - 1;
    /* At negative variables logarithms and roots needn't agree, but |x| says that it meant them. */
    bool meant = has_call(a.node, CALL_ABS) != has_call(b.node, CALL_ABS);
    bool unreal = meant ? x.unreal && y.unreal : x.unreal || y.unreal;
    if ((!first && !second) || (last && (!first || !second || unreal)))
        verdict = VERDICT_NONE;
    else if (first && second && ball_order(&p, &q) == ORDER_EQUAL)
        verdict = VERDICT_SAME;
    else if (first && second && is_decimal(a.node) != is_decimal(b.node) &&
             (is_decimal(a.node) ? same_rounded(&q, &p, a.node) : same_rounded(&p, &q, b.node)))
        verdict = VERDICT_SAME;
    ball_clear(&p);
    ball_clear(&q);
    return verdict;
}

bool same_values(struct part a, struct part b, int64_t *left) {
    if (has_kind(a.node, NODE_BASED) || has_kind(b.node, NODE_BASED))
        return same_numerals(a.node, b.node, left);
    if (has_kind(a.node, NODE_INFINITY) || has_kind(b.node, NODE_INFINITY))
        return infinity_sign(a.node) && infinity_sign(a.node) == infinity_sign(b.node);
    bool variables = has_kind(a.node, NODE_NAME) || has_kind(b.node, NODE_NAME);
    bool rounded = is_decimal(a.node) != is_decimal(b.node), same = false;
    for (int point = 0; point < (variables ? VALUE_POINTS : 1); point++) {
        enum verdict verdict = by_rationals(a, b, point, left);
        if (verdict == VERDICT_NONE || (verdict == VERDICT_DIFFERENT && rounded))
            verdict = by_balls(a, b, point, left);
        if (verdict == VERDICT_DIFFERENT)
            return false;
        same |= verdict == VERDICT_SAME;
    }
    return same;
}
