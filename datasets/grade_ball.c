/* Arithmetic of complex balls. Each operation's error: what the operands' errors become, and one
 * rounding of its own. */
#include <limits.h>

#include "datasets/grade_value.h"

enum { PRECISION = 256, ROUND = PRECISION - 4, NOTHING = -100000000, HUGE_SIZE = 1 << 20 };

void ball_init(struct ball *b) {
    mpfr_init2(b->re, PRECISION);
    mpfr_init2(b->im, PRECISION);
    ball_set_long(b, 0);
}

void ball_clear(struct ball *b) {
    mpfr_clear(b->re);
    mpfr_clear(b->im);
}

static long part_size(mpfr_srcptr x) { return mpfr_regular_p(x) ? (long)mpfr_get_exp(x) : NOTHING; }
static long larger(long a, long b) { return a > b ? a : b; }

long ball_size(const struct ball *b) { return larger(part_size(b->re), part_size(b->im)); }

void ball_set(struct ball *out, const struct ball *a) {
    mpfr_set(out->re, a->re, MPFR_RNDN);
    mpfr_set(out->im, a->im, MPFR_RNDN);
    out->real = a->real;
    out->err = a->err;
}

void ball_set_exact(struct ball *out, mpq_srcptr value) {
    bool rounded = mpfr_set_q(out->re, value, MPFR_RNDN) != 0;
    mpfr_set_zero(out->im, 1);
    out->real = true;
    out->err = rounded ? ball_size(out) - ROUND : NOTHING;
}

void ball_set_long(struct ball *out, long value) {
    mpfr_set_si(out->re, value, MPFR_RNDN);
    mpfr_set_zero(out->im, 1);
    out->real = true;
    out->err = NOTHING;
}

bool ball_fits(const struct ball *b) {
    if (!mpfr_number_p(b->re) || !mpfr_number_p(b->im))
        return false;
    long size = ball_size(b);
    return size < HUGE_SIZE && (size == NOTHING || size > -HUGE_SIZE) &&
           b->err < larger(size, 0) - 80;
}

bool ball_may_be_zero(const struct ball *b) { return ball_size(b) <= b->err + 1; }

void ball_add(const struct ball *a, const struct ball *b, bool minus, struct ball *out) {
    long err = larger(a->err, b->err);
    int (*f)(mpfr_ptr, mpfr_srcptr, mpfr_srcptr, mpfr_rnd_t) = minus ? mpfr_sub : mpfr_add;
    f(out->re, a->re, b->re, MPFR_RNDN);
    f(out->im, a->im, b->im, MPFR_RNDN);
    out->real = a->real && b->real;
    out->err = larger(err, ball_size(out) - ROUND) + 2;
}

void ball_mul(const struct ball *a, const struct ball *b, struct ball *out) {
    long x = ball_size(a), y = ball_size(b);
    long err = larger(larger(x + b->err, y + a->err), larger(a->err + b->err, x + y - ROUND)) + 3;
    if (a->real && b->real) {
        mpfr_mul(out->re, a->re, b->re, MPFR_RNDN);
        mpfr_set_zero(out->im, 1);
        out->real = true;
    } else {
        mpfr_t re;
        mpfr_init2(re, PRECISION);
        mpfr_fmms(re, a->re, b->re, a->im, b->im, MPFR_RNDN);
        mpfr_fmma(out->im, a->re, b->im, a->im, b->re, MPFR_RNDN);
        mpfr_set(out->re, re, MPFR_RNDN);
        mpfr_clear(re);
        out->real = false;
    }
    out->err = larger(err, NOTHING);
}

bool ball_div(const struct ball *a, const struct ball *b, struct ball *out) {
    long y = ball_size(b);
    if (y <= b->err + 3)
        return false;
    long from_a = a->err - y + 2, b_err = b->err;
    if (a->real && b->real) {
        mpfr_div(out->re, a->re, b->re, MPFR_RNDN);
        mpfr_set_zero(out->im, 1);
        out->real = true;
    } else {
        mpfr_t norm, re;
        mpfr_inits2(PRECISION, norm, re, (mpfr_ptr)0);
        mpfr_fmma(norm, b->re, b->re, b->im, b->im, MPFR_RNDN);
        mpfr_fmma(re, a->re, b->re, a->im, b->im, MPFR_RNDN);
        mpfr_fmms(out->im, a->im, b->re, a->re, b->im, MPFR_RNDN);
        mpfr_div(out->re, re, norm, MPFR_RNDN);
        mpfr_div(out->im, out->im, norm, MPFR_RNDN);
        mpfr_clears(norm, re, (mpfr_ptr)0);
        out->real = false;
    }
    long size = ball_size(out);
    out->err = larger(larger(from_a, size + b_err - y + 3), larger(size - ROUND, NOTHING)) + 3;
    return true;
}

enum order ball_order(const struct ball *a, const struct ball *b) {
    struct ball d;
    ball_init(&d);
    ball_add(a, b, true, &d);
    long size = ball_size(&d), scale = larger(ball_size(a), ball_size(b));
    enum order order;
    if (!mpfr_number_p(d.re) || !mpfr_number_p(d.im))
        order = ORDER_UNKNOWN;
    else if (size > d.err + 2)
        order = !a->real || !b->real ? ORDER_APART : mpfr_sgn(d.re) < 0 ? ORDER_LESS : ORDER_MORE;
    else if (d.err < (scale > 0 ? 0 : larger(scale, -40)) - 80)
        order = ORDER_EQUAL; /* not so large that 1 is lost; told apart from 0 down to 2^-120 */
    else
        order = ORDER_UNKNOWN;
    ball_clear(&d);
    return order;
}
