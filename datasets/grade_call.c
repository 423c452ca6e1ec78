/* Functions of balls. */
#include "datasets/grade_value.h"

enum { PRECISION = 256, ROUND = PRECISION - 4, NOTHING = -100000000, WIDEST = 500, TALLEST = 20 };

static long larger(long a, long b) { return a > b ? a : b; }

/* The error of a result: what the argument's error becomes, and the rounding. */
static bool settle(struct ball *out, long err) {
    out->err = larger(err, larger(ball_size(out) - ROUND, NOTHING)) + 2;
    return ball_fits(out);
}

static void make_real(struct ball *out) {
    mpfr_set_zero(out->im, 1);
    out->real = true;
}

bool ball_exp(const struct ball *a, struct ball *out) {
    long err = a->err;
    if (ball_size(a) > TALLEST || err > -8)
        return false;
    if (a->real) {
        mpfr_exp(out->re, a->re, MPFR_RNDN);
        make_real(out);
    } else {
        mpfr_t length, sine;
        mpfr_inits2(PRECISION, length, sine, (mpfr_ptr)0);
        mpfr_exp(length, a->re, MPFR_RNDN);
        mpfr_sin_cos(sine, out->re, a->im, MPFR_RNDN);
        mpfr_mul(out->im, sine, length, MPFR_RNDN);
        mpfr_mul(out->re, out->re, length, MPFR_RNDN);
        mpfr_clears(length, sine, (mpfr_ptr)0);
        out->real = false;
    }
    return settle(out, ball_size(out) + err + 3);
}

bool ball_log(const struct ball *a, struct place *place, struct ball *out) {
    long err = a->err - ball_size(a) + 3;
    if (err > -8)
        return false; /* perhaps of 0 */
    if (a->real && mpfr_sgn(a->re) > 0) {
        mpfr_log(out->re, a->re, MPFR_RNDN);
        make_real(out);
        return settle(out, larger(err, -ROUND));
    }
    place->unreal = true;
    mpfr_t angle;
    mpfr_init2(angle, PRECISION);
    mpfr_atan2(angle, a->im, a->re, MPFR_RNDN);
    mpfr_hypot(out->re, a->re, a->im, MPFR_RNDN);
    mpfr_log(out->re, out->re, MPFR_RNDN);
    mpfr_set(out->im, angle, MPFR_RNDN);
    mpfr_clear(angle);
    out->real = false;
    return settle(out, larger(err, -ROUND));
}

/* --- roots ------------------------------------------------------------------------------------ */

static bool real_root(const struct ball *a, unsigned long k, struct ball *out) {
    long size = ball_size(a), n = (long)k, a_err = a->err;
    bool zero = ball_may_be_zero(a);
    bool negative = mpfr_sgn(a->re) < 0;
    mpfr_abs(out->re, a->re, MPFR_RNDN);
    mpfr_rootn_ui(out->re, out->re, k, MPFR_RNDN);
    if (negative)
        mpfr_neg(out->re, out->re, MPFR_RNDN);
    make_real(out);
    if (zero && a_err < -120) { /* what can't be told from 0 is 0: so are its roots */
        ball_set_long(out, 0);
        return settle(out, a_err);
    }
    if (zero) /* |root| is at most the root of the radius */
        return settle(out, larger(a_err, size) == NOTHING ? NOTHING : larger(a_err, size) / n + 2);
    return settle(out, a_err - size + ball_size(out) + 2);
}

static bool complex_root(const struct ball *a, unsigned long k, struct place *place,
                         struct ball *out) {
    place->unreal = true;
    struct ball degree;
    ball_init(&degree);
    ball_set_long(&degree, (long)k);
    bool ok = ball_log(a, place, out) && ball_div(out, &degree, out) && ball_exp(out, out);
    ball_clear(&degree);
    return ok;
}

/* i sqrt(-a): exactly imaginary, which exp(log(a) / 2) is not. */
static bool imaginary_root(const struct ball *a, struct place *place, struct ball *out) {
    place->unreal = true;
    struct ball positive;
    ball_init(&positive);
    ball_set(&positive, a);
    mpfr_neg(positive.re, positive.re, MPFR_RNDN);
    bool ok = real_root(&positive, 2, out);
    mpfr_swap(out->re, out->im);
    out->real = false;
    ball_clear(&positive);
    return ok;
}

bool ball_root(const struct ball *a, unsigned long k, struct place *place, struct ball *out) {
    if (k == 0 || k > 1000)
        return false;
    if (!a->real)
        return complex_root(a, k, place, out);
    if (mpfr_sgn(a->re) >= 0 || k % 2 || ball_may_be_zero(a))
        return real_root(a, k, out);
    return k == 2 ? imaginary_root(a, place, out) : complex_root(a, k, place, out);
}

/* --- trigonometry ----------------------------------------------------------------------------- */

static bool sine_cosine(enum call call, const struct ball *a, struct ball *out) {
    long err = a->err;
    if (ball_size(a) > WIDEST || err > -8)
        return false;
    (call == CALL_SIN ? mpfr_sin : mpfr_cos)(out->re, a->re, MPFR_RNDN);
    make_real(out);
    return settle(out, larger(err, -ROUND));
}

static bool quotient(enum call above, enum call below, const struct ball *a, struct ball *out) {
    struct ball over, under;
    ball_init(&over);
    ball_init(&under);
    ball_set_long(&over, 1);
    bool ok = (above == below || sine_cosine(above, a, &over)) && sine_cosine(below, a, &under) &&
              ball_div(&over, &under, out);
    ball_clear(&over);
    ball_clear(&under);
    return ok;
}

/* Near 1 and -1 the derivative is large. */
static bool arc(enum call call, const struct ball *a, struct ball *out) {
    if (call == CALL_ATAN) {
        long err = a->err;
        mpfr_atan(out->re, a->re, MPFR_RNDN);
        make_real(out);
        return settle(out, larger(err, -ROUND));
    }
    mpfr_t gap;
    mpfr_init2(gap, PRECISION);
    mpfr_abs(gap, a->re, MPFR_RNDN);
    mpfr_ui_sub(gap, 1, gap, MPFR_RNDN);
    long room = mpfr_regular_p(gap) ? (long)mpfr_get_exp(gap) : NOTHING;
    bool at_end = room <= a->err + 2, outside = mpfr_sgn(gap) < 0 && !at_end;
    mpfr_clear(gap);
    if (outside)
        return false;
    long err =
        at_end ? larger(a->err, -2 * ROUND) / 2 + 2 : a->err - (room < 0 ? room / 2 - 1 : 0) + 2;
    if (at_end)
        mpfr_set_si(out->re, mpfr_sgn(a->re), MPFR_RNDN);
    else
        mpfr_set(out->re, a->re, MPFR_RNDN);
    (call == CALL_ASIN ? mpfr_asin : mpfr_acos)(out->re, out->re, MPFR_RNDN);
    make_real(out);
    return settle(out, larger(err, -ROUND));
}

/* (e^a - e^-a) / 2 and the like. */
static bool hyperbolic(enum call call, const struct ball *a, struct ball *out) {
    struct ball up, down, zero;
    ball_init(&up);
    ball_init(&down);
    ball_init(&zero);
    ball_add(&zero, a, true, &down);
    bool ok = ball_exp(a, &up) && ball_exp(&down, &down);
    if (ok) {
        ball_add(&up, &down, true, out);
        ball_add(&up, &down, false, &zero);
        ball_set_long(&up, 2);
        ok = call == CALL_SINH   ? ball_div(out, &up, out)
             : call == CALL_COSH ? ball_div(&zero, &up, out)
                                 : ball_div(out, &zero, out);
    }
    ball_clear(&up);
    ball_clear(&down);
    ball_clear(&zero);
    return ok;
}

static bool trigonometric(enum call call, const struct ball *a, struct ball *out) {
    switch (call) {
    case CALL_SIN:
    case CALL_COS:
        return sine_cosine(call, a, out);
    case CALL_TAN:
        return quotient(CALL_SIN, CALL_COS, a, out);
    case CALL_COT:
        return quotient(CALL_COS, CALL_SIN, a, out);
    case CALL_SEC:
        return quotient(CALL_COS, CALL_COS, a, out);
    case CALL_CSC:
        return quotient(CALL_SIN, CALL_SIN, a, out);
    case CALL_SINH:
    case CALL_COSH:
    case CALL_TANH:
        return hyperbolic(call, a, out);
    default:
        return arc(call, a, out);
    }
}

/* --- the others ------------------------------------------------------------------------------- */

static bool whole(enum call call, const struct ball *a, struct ball *out) {
    mpfr_t gap;
    mpfr_init2(gap, PRECISION);
    mpfr_rint(gap, a->re, MPFR_RNDN);
    mpfr_sub(gap, gap, a->re, MPFR_RNDN);
    bool sure = mpfr_regular_p(gap) && (long)mpfr_get_exp(gap) > a->err + 2;
    mpfr_clear(gap);
    (call == CALL_FLOOR ? mpfr_rint_floor : mpfr_rint_ceil)(out->re, a->re, MPFR_RNDN);
    make_real(out);
    out->err = NOTHING;
    return sure;
}

/* n! of what is no whole number, as the gamma function has it. */
static bool factorial(const struct ball *a, struct place *place, struct ball *out) {
    long err = a->err;
    *place->left -= 200;
    if (ball_size(a) > 9 || *place->left <= 0)
        return false;
    mpfr_add_ui(out->re, a->re, 1, MPFR_RNDN);
    mpfr_gamma(out->re, out->re, MPFR_RNDN);
    make_real(out);
    return mpfr_number_p(out->re) && settle(out, ball_size(out) + larger(err, -ROUND) + 12);
}

bool ball_call(enum call call, const struct ball *a, struct place *place, struct ball *out) {
    long err = a->err;
    *place->left -= 20;
    if (*place->left <= 0)
        return false;
    switch (call) {
    case CALL_SQRT:
        return ball_root(a, 2, place, out);
    case CALL_EXP:
        return ball_exp(a, out);
    case CALL_LN:
    case CALL_LOG: /* of one argument: base e or 10 is the caller's matter */
        return ball_log(a, place, out);
    case CALL_ABS:
        mpfr_hypot(out->re, a->re, a->im, MPFR_RNDN);
        make_real(out);
        return settle(out, err + 1);
    default:
        if (!a->real)
            return false;
        break;
    }
    if (call == CALL_FLOOR || call == CALL_CEIL)
        return whole(call, a, out);
    if (call == CALL_FACTORIAL)
        return factorial(a, place, out);
    return trigonometric(call, a, out);
}
