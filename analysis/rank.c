#include "analysis/rank.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"

void rank_places(const double *values, int n, double *places) {
    for (int i = 0; i < n; i++) {
        int below = 0, equal = 0;
        for (int j = 0; j < n; j++) {
            below += values[j] < values[i];
            equal += !(values[j] < values[i]) && !(values[j] > values[i]);
        }
        places[i] = below + (equal + 1) / 2.0;
    }
}

double rank_kendall(const double *x, const double *y, int n) {
    double agree = 0, in_x = 0, in_y = 0; /* pairs: concordant less discordant, untied */
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) {
            int a = (x[i] > x[j]) - (x[i] < x[j]), b = (y[i] > y[j]) - (y[i] < y[j]);
            agree += a * b, in_x += a != 0, in_y += b != 0;
        }
    return in_x > 0 && in_y > 0 ? agree / sqrt(in_x * in_y) : (double)NAN;
}

double rank_spearman(const double *x, const double *y, int n) {
    double *a = must_alloc(2 * (size_t)(n + 1) * sizeof *a), *b = a + n;
    double mean = (n + 1) / 2.0, xy = 0, xx = 0, yy = 0;
    rank_places(x, n, a);
    rank_places(y, n, b);
    for (int i = 0; i < n; i++)
        xy += (a[i] - mean) * (b[i] - mean), xx += (a[i] - mean) * (a[i] - mean),
            yy += (b[i] - mean) * (b[i] - mean);
    free(a);
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : (double)NAN;
}
