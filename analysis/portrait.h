/* A head in numbers: what one sequence says of it, as a fixed list of points, and their means over
 * sequences with intervals. Points belong to curves:
 *
 *   tokens.CLASS.prompt, .generated   share of keys of the class
 *   mass.CLASS.prompt, .generated     share of all mass; mass.window is that within the window of
 *                                     each query, mass.rest that of entries not listed: all of
 *                                     mass.* sum to 1, as all of tokens.* do
 *   lifetime.CLASS                    quantile x of lifetimes, in rows
 *   birth_silence                     quantile x of the silence between birth and first use
 *   phoenix.prompt, .generated        keys used after a silence longer than x (F5), and
 *   phoenix_birth.prompt, .generated  those of which only the silence after birth is so long
 *   enough_cdf                        share of rows that need <= x keys for 0.99 of their mass (F6)
 *   enough_mean                       mean number of these keys
 *   scores_linear, scores_log2        share of entries > 0 in the bin that begins at x (F4)
 *   cumulative                        mass of the oldest share x of positions (F7)
 *   importance.prompt, .generated     mean attention to a key at ages [x, 2x) (F8)
 *   box.min, .q1, .median, .q3, .max  of a row's entries, rows [x, 2x), every tenth (F9) */
#pragma once

#include "analysis/scores.h"

int portrait_size(void); /* points */

struct portrait_point {
    char curve[40];
    double x; /* NAN: the curve is one number */
};
struct portrait_point portrait_point(int index);
/* The index of a curve's first point; -1: no such curve. */
int portrait_find(const char *curve);
/* The first point that comes from scores; those before it come from lives. */
int portrait_shape(void);

/* Fills out[portrait_size()]; NAN where a sequence says nothing (no such key, no such row).
 * `scores` may be NULL: then its curves are NAN. */
void portrait_fill(const struct lifecycle *life, const struct scores *scores, double *out);

/* Means over sequences; those that say nothing of a point don't count for it. */
struct tally {
    double *sum, *squares; /* [portrait_size()], owned */
    int *n;
};
void tally_open(struct tally *tally);
void tally_close(struct tally *tally);
void tally_add(struct tally *tally, const double *points);
struct estimate {
    double mean, lo, hi; /* mean +- 1.96 standard errors over sequences; NAN without any */
    int n;
};
struct estimate tally_estimate(const struct tally *tally, int index);
