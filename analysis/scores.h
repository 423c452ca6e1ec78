/* How attention of one head is spread over its rows: what the paper's exploratory figures show for
 * four picked heads of one sample (its code: plot_sparsity, plot_cumsum, plot_importance,
 * plot_box, fig-algo-alpha), gathered for every head. O(1) memory beside scratch of one row, so
 * that all heads of many samples fit; nothing allocated while rows come. */
#pragma once

#include "analysis/lifecycle.h"

enum {
    SCORES_LINEAR = 99,    /* bins of linspace(0, 1, 100), as published; no count is overwritten */
    SCORES_HALVINGS = 25,  /* bins [2^-k-1, 2^-k), the last one all that is smaller and not 0 */
    SCORES_DOUBLINGS = 18, /* numbers of keys, ages, rows: [2^k, 2^(k+1)) */
    SCORES_SHARES = 32,
    SCORES_BOX_EVERY = 10, /* rows */
    SCORES_BOX = 5         /* least, quartiles, most */
};
#define SCORES_ENOUGH 0.99 /* of a row's mass */

struct scores { /* sums of one sequence */
    int64_t rows;
    int64_t linear[SCORES_LINEAR], halvings[SCORES_HALVINGS]; /* entries > 0 */
    /* Rows by the fewest keys that hold SCORES_ENOUGH, (2^(k-1), 2^k] of them. The published count
     * is one less where it isn't 1. */
    int64_t enough[SCORES_DOUBLINGS];
    double enough_sum;
    double cumulative[SCORES_SHARES]; /* mass of keys in the k-th 32nd of positions [0, query] */
    /* Mass that keys of an age received, and how many did: prompt keys [0], generated ones [1]. */
    double age_mass[2][SCORES_DOUBLINGS];
    int64_t age_count[2][SCORES_DOUBLINGS];
    double box[SCORES_DOUBLINGS][SCORES_BOX]; /* of every tenth row's entries, by row number */
    int64_t boxes[SCORES_DOUBLINGS];
    float *scratch; /* [room], owned */
};
void scores_open(struct scores *scores, int32_t room); /* longest row */
void scores_close(struct scores *scores);
void scores_begin(struct scores *scores);
/* A whole row: pruned ones have no shape. The caller leaves out rows that don't count. */
void scores_row(struct scores *scores, const struct attended *row, int32_t n_prompt);

/* Fewest of n values >= 0 whose sum reaches `share` of all; reorders them. 0 for n = 0. */
int32_t scores_fewest(float *values, int32_t n, double share);
