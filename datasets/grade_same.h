/* When two trees are the same answer, in our sense (profile strict): symmetric, and generous about
 * form but not about value. Inside the grader only. */
#pragma once

#include "datasets/grade_value.h"

/* An expression with what it leaves open: which sign, which element of a matrix. */
struct part {
    const struct node *node;
    int sign; /* of +-; 0: still both */
    int cell; /* -1: none */
};
enum { PARTS = 64 };

/* What an answer is, seen from outside. */
enum shape_kind {
    SHAPE_ONE,
    SHAPE_LIST,
    SHAPE_SET,
    SHAPE_GROUP,
    SHAPE_MATRIX,
    SHAPE_RELATION,
    SHAPE_REALS
};
struct shape {
    enum shape_kind kind;
    int n, columns; /* parts; columns of a matrix */
    struct part part[PARTS];
    char open, close; /* of a group; open of a matrix: 'v' or 'V' where it stands between bars */
    const char *unit; /* what it is measured in, as unit_same() takes it */
};
/* false: more parts than fit. */
bool shape_of(struct part part, struct shape *out);
struct part part_of(const struct node *node);
bool has_kind(const struct node *node, enum node_kind kind); /* anywhere below */
int infinity_sign(const struct node *node);                  /* 1, -1; 0: not infinite as a whole */

/* *left: steps of work that may still be done (VALUE_STEPS for a pair). */
bool same_answers(struct part a, struct part b, int64_t *left);
/* Single values: numbers, expressions, names. */
bool same_values(struct part a, struct part b, int64_t *left);

/* grade_relation.c: one of them, at least, is a relation. */
bool same_relations(struct part a, struct part b, int64_t *left);
/* What a's sides differ by is what b's differ by, times a constant (scaled) or 1 or -1, and that
 * turns no inequality round. */
bool same_equations(const struct node *a, const struct node *b, bool scaled, int64_t *left);
/* Something that may stand alone on the left: x, f(x), AB, \angle A, (x, y). */
bool is_assignable(const struct node *node);
/* All signs of a relation are "=". */
bool is_equation(const struct node *relation);

/* grade_set.c: sets of real numbers (intervals, their unions, finite sets, inequalities in one
 * variable). */
bool is_real_set(const struct node *node);
bool same_real_sets(const struct node *a, const struct node *b, int64_t *left);
