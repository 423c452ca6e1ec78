/* Rational values. */
#include <string.h>

#include "datasets/grade_value.h"

enum { LARGEST = 16384, TALLEST = 4096, FACTORIAL = 1000 }; /* bits; exponent; n of n! */

/* Pays for one operation on a number of this size; false: too large, or nothing left. */
static bool pay(struct place *place, mpq_srcptr q) {
    size_t bits = mpz_sizeinbase(mpq_numref(q), 2) + mpz_sizeinbase(mpq_denref(q), 2);
    *place->left -= 1 + (int64_t)(bits / 256);
    return bits <= LARGEST && *place->left > 0;
}

/* --- leaves ----------------------------------------------------------------------------------- */

static bool number(const struct node *node, mpq_t out) {
    const char *point = strchr(node->string, '.');
    char digits[TREE_NAME * 12 + 1];
    size_t places = point ? strlen(point + 1) : 0,
           lead = point ? (size_t)(point - node->string) : strlen(node->string);
    memcpy(digits, node->string, lead);
    memcpy(digits + lead, point ? point + 1 : "", places + 1);
    mpz_set_str(mpq_numref(out), lead + places ? digits : "0", 10);
    mpz_ui_pow_ui(mpq_denref(out), 10, places);
    if (node->repeat) { /* 0.16 with 6 for ever = (16 - 1) / (10 * (10 - 1)) */
        mpz_t shift, head;
        mpz_inits(shift, head, NULL);
        mpz_ui_pow_ui(shift, 10, (unsigned long)node->repeat);
        mpz_tdiv_q(head, mpq_numref(out), shift);
        mpz_sub(mpq_numref(out), mpq_numref(out), head);
        mpz_divexact(mpq_denref(out), mpq_denref(out), shift);
        mpz_sub_ui(shift, shift, 1);
        mpz_mul(mpq_denref(out), mpq_denref(out), shift);
        mpz_clears(shift, head, NULL);
    }
    mpq_canonicalize(out);
    return true;
}

void exact_variable(const char *name, int point, mpq_t out) {
    uint64_t hash = 14695981039346656037u + (uint64_t)point * 0x9e3779b97f4a7c15u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    hash = (hash ^ hash >> 31) * 0xbf58476d1ce4e5b9u;
    hash ^= hash >> 29;
    long top = 16384 + (long)(hash % 32749); /* 0.5 .. 1.5 of the prime below */
    mpq_set_si(out, point == VALUE_POINTS - 1 ? -top : top, 32749);
    mpq_canonicalize(out);
}

/* --- operations ------------------------------------------------------------------------------- */

static bool power(mpq_srcptr base, mpq_srcptr exponent, struct place *place, mpq_t out) {
    if (mpz_cmp_ui(mpq_denref(exponent), 1) || !mpz_fits_slong_p(mpq_numref(exponent)))
        return false;
    long e = mpz_get_si(mpq_numref(exponent));
    unsigned long size = (unsigned long)(e < 0 ? -e : e);
    size_t bits = mpz_sizeinbase(mpq_numref(base), 2) + mpz_sizeinbase(mpq_denref(base), 2);
    if (size > TALLEST || bits * size > LARGEST || (mpq_sgn(base) == 0 && e <= 0))
        return false;
    *place->left -= (int64_t)(bits * size / 64);
    mpq_t b;
    mpq_init(b);
    mpq_set(b, base);
    if (e < 0)
        mpq_inv(b, b);
    mpz_pow_ui(mpq_numref(out), mpq_numref(b), size);
    mpz_pow_ui(mpq_denref(out), mpq_denref(b), size);
    mpq_clear(b);
    return true;
}

static bool root(mpq_srcptr a, mpq_t out) {
    if (mpq_sgn(a) < 0 || !mpz_perfect_square_p(mpq_numref(a)) ||
        !mpz_perfect_square_p(mpq_denref(a)))
        return false;
    mpz_sqrt(mpq_numref(out), mpq_numref(a));
    mpz_sqrt(mpq_denref(out), mpq_denref(a));
    return true;
}

static bool small(mpq_srcptr a, unsigned long most, unsigned long *out) {
    if (mpz_cmp_ui(mpq_denref(a), 1) || mpq_sgn(a) < 0 || mpz_cmp_ui(mpq_numref(a), most) > 0)
        return false;
    *out = mpz_get_ui(mpq_numref(a));
    return true;
}

static bool call_two(enum call call, mpq_srcptr a, mpq_srcptr b, mpq_t out) {
    unsigned long n, k;
    switch (call) {
    case CALL_BINOMIAL:
        if (!small(a, 1000000, &n) || !small(b, 400, &k))
            return false;
        mpz_bin_uiui(mpq_numref(out), n, k);
        mpz_set_ui(mpq_denref(out), 1);
        return true;
    case CALL_MAX:
    case CALL_MIN:
        mpq_set(out, (mpq_cmp(a, b) > 0) == (call == CALL_MAX) ? a : b);
        return true;
    default:
        return false;
    }
}

static bool call_one(enum call call, mpq_srcptr a, struct place *place, mpq_t out) {
    unsigned long n;
    switch (call) {
    case CALL_SQRT:
        return root(a, out);
    case CALL_ABS:
        mpq_abs(out, a);
        return true;
    case CALL_FLOOR:
    case CALL_CEIL:
        (call == CALL_FLOOR ? mpz_fdiv_q : mpz_cdiv_q)(mpq_numref(out), mpq_numref(a),
                                                       mpq_denref(a));
        mpz_set_ui(mpq_denref(out), 1);
        return true;
    case CALL_FACTORIAL:
        if (!small(a, FACTORIAL, &n))
            return false;
        *place->left -= (int64_t)n;
        mpz_fac_ui(mpq_numref(out), n);
        mpz_set_ui(mpq_denref(out), 1);
        return true;
    default:
        return false;
    }
}

static bool combine(const struct node *node, mpq_srcptr a, mpq_srcptr b, struct place *place,
                    mpq_t out) {
    switch (node->kind) {
    case NODE_SUM:
        mpq_add(out, a, b);
        return true;
    case NODE_PRODUCT:
        mpq_mul(out, a, b);
        return true;
    case NODE_QUOTIENT:
        if (mpq_sgn(b) == 0)
            return false;
        mpq_div(out, a, b);
        return true;
    case NODE_POWER:
        return power(a, b, place, out);
    case NODE_CALL:
        return call_two((enum call)node->op, a, b, out);
    default:
        return false;
    }
}

/* The children from the left, two by two. */
static bool fold(const struct node *node, struct place *place, mpq_t out) {
    if (!node->first || !exact_value(node->first, place, out))
        return false;
    if (node->n == 1)
        return node->kind != NODE_CALL || call_one((enum call)node->op, out, place, out);
    mpq_t next;
    mpq_init(next);
    bool ok = true;
    for (const struct node *c = node->first->next; ok && c; c = c->next)
        ok = exact_value(c, place, next) && combine(node, out, next, place, out) && pay(place, out);
    mpq_clear(next);
    return ok;
}

bool exact_value(const struct node *node, struct place *place, mpq_t out) {
    if (--*place->left <= 0)
        return false;
    switch (node->kind) {
    case NODE_NUMBER:
        return number(node, out) && pay(place, out);
    case NODE_NAME:
        exact_variable(node->string, place->point, out);
        return true;
    case NODE_MINUS:
    case NODE_PLUS_MINUS:
        if (!exact_value(node->first, place, out))
            return false;
        if (node->kind == NODE_MINUS || (node->op == '-') == (place->sign > 0))
            mpq_neg(out, out);
        return true;
    case NODE_UNIT:
        return exact_value(node->first, place, out);
    case NODE_MATRIX:
        return place->cell >= 0 && place->cell < node->n &&
               exact_value(node_child(node, place->cell), place, out);
    case NODE_SUM:
    case NODE_PRODUCT:
    case NODE_QUOTIENT:
    case NODE_POWER:
    case NODE_CALL:
        return fold(node, place, out);
    default:
        return false;
    }
}
