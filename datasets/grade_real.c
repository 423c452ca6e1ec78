/* Values of trees as balls. */
#include "datasets/grade_value.h"

static bool exactly(const struct node *node, struct place *place, struct ball *out) {
    mpq_t q;
    mpq_init(q);
    bool ok = exact_value(node, place, q);
    if (ok)
        ball_set_exact(out, q);
    mpq_clear(q);
    return ok;
}

/* --- powers ----------------------------------------------------------------------------------- */

static bool whole_power(const struct ball *base, unsigned long e, bool negative, struct ball *out) {
    struct ball square, one;
    ball_init(&square);
    ball_init(&one);
    ball_set(&square, base);
    ball_set_long(&one, 1);
    ball_set_long(out, 1);
    for (; e; e >>= 1) {
        if (e & 1)
            ball_mul(out, &square, out);
        if (e > 1)
            ball_mul(&square, &square, &square);
    }
    bool ok = !negative || ball_div(&one, out, out);
    ball_clear(&square);
    ball_clear(&one);
    return ok && ball_fits(out);
}

static bool any_power(const struct ball *base, const struct ball *exponent, struct place *place,
                      struct ball *out) {
    struct ball log;
    ball_init(&log);
    bool ok = ball_log(base, place, &log);
    if (ok) {
        ball_mul(&log, exponent, &log);
        ok = ball_exp(&log, out);
    }
    ball_clear(&log);
    return ok;
}

/* (p/q)-th powers as roots of whole ones, which are real where they can be. */
static bool power(const struct node *node, struct place *place, struct ball *out) {
    struct ball base, exponent;
    mpq_t e;
    ball_init(&base);
    ball_init(&exponent);
    mpq_init(e);
    *place->left -= 40;
    bool ok = ball_value(node->first, place, &base);
    if (ok && exact_value(node->last, place, e) && mpz_cmpabs_ui(mpq_numref(e), 1 << 20) <= 0 &&
        mpz_cmp_ui(mpq_denref(e), 100) <= 0) {
        unsigned long top = mpz_get_ui(mpq_numref(e)), under = mpz_get_ui(mpq_denref(e));
        ok = (under == 1 || ball_root(&base, under, place, &base)) &&
             whole_power(&base, top, mpq_sgn(e) < 0, out);
    } else {
        ok = ok && ball_value(node->last, place, &exponent) &&
             any_power(&base, &exponent, place, out);
    }
    mpq_clear(e);
    ball_clear(&base);
    ball_clear(&exponent);
    return ok;
}

/* --- calls of two arguments ------------------------------------------------------------------- */

static bool logarithm(const struct ball *a, const struct ball *base, struct place *place,
                      struct ball *out) {
    struct ball below;
    ball_init(&below);
    bool ok =
        ball_log(base, place, &below) && ball_log(a, place, out) && ball_div(out, &below, out);
    ball_clear(&below);
    return ok;
}

/* n! / (k! (n - k)!) */
static bool binomial(const struct ball *n, const struct ball *k, struct place *place,
                     struct ball *out) {
    struct ball below, rest;
    ball_init(&below);
    ball_init(&rest);
    ball_add(n, k, true, &rest);
    bool ok = n->real && k->real && ball_call(CALL_FACTORIAL, k, place, &below) &&
              ball_call(CALL_FACTORIAL, &rest, place, &rest) &&
              ball_call(CALL_FACTORIAL, n, place, out);
    if (ok) {
        ball_mul(&below, &rest, &below);
        ok = ball_div(out, &below, out);
    }
    ball_clear(&below);
    ball_clear(&rest);
    return ok;
}

/* A root of a degree that is no whole number: a ^ (1 / degree). */
static bool odd_root(const struct ball *a, const struct ball *degree, struct place *place,
                     struct ball *out) {
    struct ball exponent;
    ball_init(&exponent);
    ball_set_long(&exponent, 1);
    bool ok = ball_div(&exponent, degree, &exponent) && any_power(a, &exponent, place, out);
    ball_clear(&exponent);
    return ok;
}

static bool call_two(enum call call, const struct ball *a, const struct ball *b,
                     struct place *place, struct ball *out) {
    enum order order;
    switch (call) {
    case CALL_LOG:
        return logarithm(a, b, place, out);
    case CALL_ROOT:
        if (b->real && mpfr_integer_p(b->re) && mpfr_fits_uint_p(b->re, MPFR_RNDN))
            return ball_root(a, mpfr_get_ui(b->re, MPFR_RNDN), place, out);
        return odd_root(a, b, place, out);
    case CALL_BINOMIAL:
        return binomial(a, b, place, out);
    case CALL_MAX:
    case CALL_MIN:
        order = ball_order(a, b);
        if (order == ORDER_UNKNOWN || order == ORDER_APART)
            return false;
        ball_set(out, (order == ORDER_MORE) == (call == CALL_MAX) ? a : b);
        return true;
    default:
        return false;
    }
}

static bool call_one(const struct node *node, struct place *place, struct ball *out) {
    if (!ball_value(node->first, place, out))
        return false;
    if (node->op == CALL_LOG) { /* of base 10 */
        struct ball ten;
        ball_init(&ten);
        ball_set_long(&ten, 10);
        bool ok = logarithm(out, &ten, place, out);
        ball_clear(&ten);
        return ok;
    }
    return ball_call((enum call)node->op, out, place, out);
}

/* --- trees ------------------------------------------------------------------------------------ */

static bool two(const struct node *node, struct place *place, const struct ball *a,
                const struct ball *b, struct ball *out) {
    switch (node->kind) {
    case NODE_SUM:
        ball_add(a, b, false, out);
        return true;
    case NODE_PRODUCT:
        ball_mul(a, b, out);
        return true;
    case NODE_QUOTIENT:
        return ball_div(a, b, out);
    case NODE_CALL:
        *place->left -= 40;
        return *place->left > 0 && call_two((enum call)node->op, a, b, place, out);
    default:
        return false;
    }
}

static bool fold(const struct node *node, struct place *place, struct ball *out) {
    if (node->n == 1 && node->kind == NODE_CALL)
        return call_one(node, place, out);
    if (!node->first || !ball_value(node->first, place, out))
        return false;
    struct ball next;
    ball_init(&next);
    bool ok = true;
    for (const struct node *c = node->first->next; ok && c; c = c->next)
        ok = ball_value(c, place, &next) && two(node, place, out, &next, out) && ball_fits(out);
    ball_clear(&next);
    return ok;
}

static void pi(struct ball *out) {
    mpfr_const_pi(out->re, MPFR_RNDN);
    mpfr_set_zero(out->im, 1);
    out->real = true;
    out->err = -250;
}

static bool degrees(const struct node *node, struct place *place, struct ball *out) {
    struct ball turn, half;
    ball_init(&turn);
    ball_init(&half);
    pi(&turn);
    ball_set_long(&half, 180);
    bool ok = ball_value(node->first, place, out) && ball_div(&turn, &half, &turn);
    if (ok)
        ball_mul(out, &turn, out);
    ball_clear(&turn);
    ball_clear(&half);
    return ok;
}

static bool constant(enum node_kind kind, struct ball *out) {
    switch (kind) {
    case NODE_PI:
        pi(out);
        return true;
    case NODE_E:
        ball_set_long(out, 1);
        return ball_exp(out, out);
    case NODE_I:
        ball_set_long(out, 0);
        mpfr_set_ui(out->im, 1, MPFR_RNDN);
        out->real = false;
        return true;
    default:
        return false;
    }
}

bool ball_value(const struct node *node, struct place *place, struct ball *out) {
    *place->left -= 2;
    if (*place->left <= 0)
        return false;
    switch (node->kind) {
    case NODE_NUMBER:
    case NODE_NAME:
        return exactly(node, place, out);
    case NODE_MINUS:
    case NODE_PLUS_MINUS:
        if (!ball_value(node->first, place, out))
            return false;
        if (node->kind == NODE_MINUS || (node->op == '-') == (place->sign > 0)) {
            mpfr_neg(out->re, out->re, MPFR_RNDN);
            mpfr_neg(out->im, out->im, MPFR_RNDN);
        }
        return true;
    case NODE_UNIT:
        return ball_value(node->first, place, out);
    case NODE_DEGREES:
        return degrees(node, place, out);
    case NODE_MATRIX:
        return place->cell >= 0 && place->cell < node->n &&
               ball_value(node_child(node, place->cell), place, out);
    case NODE_POWER:
        return power(node, place, out);
    case NODE_SUM:
    case NODE_PRODUCT:
    case NODE_QUOTIENT:
    case NODE_CALL:
        return fold(node, place, out);
    default:
        return constant(node->kind, out);
    }
}
