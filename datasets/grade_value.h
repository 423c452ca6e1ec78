/* Values of an answer's expressions: exactly, as rationals, where they are; else as complex balls
 * of 256 bits, whose radius bounds every rounding on the way. So "equal" means closer than the
 * radius, and that is tiny; "different" is proven. Variables get fixed rational values that look
 * random, derived from their names: two expressions that agree at several such points are one
 * (Schwartz, Zippel). Inside the grader only. Sources: GMP (rationals), MPFR (reals). */
#pragma once

#include <gmp.h>
#include <mpfr.h>

#include "datasets/grade_tree.h"

enum { VALUE_POINTS = 3, VALUE_STEPS = 20000 };

/* Where and how an expression is evaluated. */
struct place {
    int point;     /* 0 .. VALUE_POINTS - 1; at the last one variables are negative */
    int sign;      /* what +- means: 1 or -1 */
    int cell;      /* which element a matrix stands for; -1: none */
    int64_t *left; /* steps of work, shared by all evaluations of a pair; at 0 all fail */
    bool unreal;   /* set where something on the way was not real */
};

/* false: not rational, undefined, too large, out of steps. `out` is initialised by the caller. */
bool exact_value(const struct node *node, struct place *place, mpq_t out);
/* The value of a variable at a point. */
void exact_variable(const char *name, int point, mpq_t out);

struct ball {
    mpfr_t re, im;
    bool real; /* im is 0 by construction */
    long err;  /* each part is off by at most 2^err */
};
void ball_init(struct ball *b);
void ball_clear(struct ball *b);

/* false: undefined, infinite, too large, out of steps. */
bool ball_value(const struct node *node, struct place *place, struct ball *out);

/* A function of one real or complex argument (grade_call.c); false as above. */
bool ball_call(enum call call, const struct ball *a, struct place *place, struct ball *out);
/* The k-th root: the real one of a negative number where k is odd. */
bool ball_root(const struct ball *a, unsigned long k, struct place *place, struct ball *out);
bool ball_exp(const struct ball *a, struct ball *out);
bool ball_log(const struct ball *a, struct place *place, struct ball *out);

/* Arithmetic (grade_ball.c); out may be one of the operands. */
long ball_size(const struct ball *b); /* binary exponent of the larger part */
void ball_set(struct ball *out, const struct ball *a);
void ball_set_exact(struct ball *out, mpq_srcptr value);
void ball_set_long(struct ball *out, long value);
void ball_add(const struct ball *a, const struct ball *b, bool minus, struct ball *out);
void ball_mul(const struct ball *a, const struct ball *b, struct ball *out);
bool ball_div(const struct ball *a, const struct ball *b, struct ball *out); /* false: by 0 */
/* Whether the ball is sound: finite, not absurdly large, its radius small beside it or beside 1. */
bool ball_fits(const struct ball *b);
bool ball_may_be_zero(const struct ball *b);

enum order { ORDER_UNKNOWN, ORDER_EQUAL, ORDER_LESS, ORDER_MORE, ORDER_APART };
/* LESS and MORE of real ones; APART: proven to differ, one isn't real. */
enum order ball_order(const struct ball *a, const struct ball *b);
