/* Ranks and how well two rankings agree. */
#pragma once

/* Places of n values from 1, the least first; equal ones share the middle of theirs. */
void rank_places(const double *values, int n, double *places);

/* Kendall's tau-b (Kendall 1945: ties count in neither direction) and Spearman's correlation of
 * ranks; NAN where one side has no two different values. */
double rank_kendall(const double *x, const double *y, int n);
double rank_spearman(const double *x, const double *y, int n);
