#include "analysis/scores.h"

#include <stdlib.h>
#include <string.h>

void scores_open(struct scores *s, int32_t room) {
    *s = (struct scores){.scratch = must_alloc((size_t)room * sizeof(float))};
}

void scores_close(struct scores *s) { free(s->scratch); }

void scores_begin(struct scores *s) { *s = (struct scores){.scratch = s->scratch}; }

/* k with 2^k <= n < 2^(k+1), n >= 1; what is beyond the bins goes to the last. */
static int doubling(int64_t n) {
    int k = 63 - __builtin_clzll((unsigned long long)n);
    return k < SCORES_DOUBLINGS ? k : SCORES_DOUBLINGS - 1;
}

/* k with 2^-k-1 <= a < 2^-k, 0 < a <= 1; exactly 1 goes to the first. */
static int halving(float a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    int k = 126 - (int)(bits >> 23);
    return k < 0 ? 0 : k < SCORES_HALVINGS ? k : SCORES_HALVINGS - 1;
}

/* Moves values above the pivot to the front and those equal to it behind them. */
static void part(float *v, int32_t n, float pivot, int32_t *above, int32_t *equal) {
    int32_t a = 0, b = 0, end = n;
    while (b < end) {
        float x = v[b];
        if (x > pivot)
            v[b++] = v[a], v[a++] = x;
        else if (x < pivot)
            v[b] = v[--end], v[end] = x;
        else
            b++;
    }
    *above = a, *equal = b - a;
}

static float middle(float a, float b, float c) {
    float low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

int32_t scores_fewest(float *v, int32_t n, double share) {
    double wanted = 0;
    for (int32_t i = 0; i < n; i++)
        wanted += (double)v[i];
    wanted *= share;
    int32_t taken = 0;
    while (n > 0) {
        float pivot = middle(v[0], v[n / 2], v[n - 1]);
        int32_t above, equal;
        part(v, n, pivot, &above, &equal);
        double sum = 0;
        for (int32_t i = 0; i < above; i++)
            sum += (double)v[i];
        if (above && sum >= wanted) {
            n = above;
            continue;
        }
        wanted -= sum, taken += above;
        for (int32_t i = 0; i < equal; i++, taken++, wanted -= (double)pivot)
            if (wanted <= 0)
                return taken;
        if (wanted <= 0)
            return taken;
        v += above + equal, n -= above + equal;
    }
    return taken;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void add_box(struct scores *s, const struct attended *row, int k) {
    memcpy(s->scratch, row->prob, (size_t)row->n * sizeof(float));
    qsort(s->scratch, (size_t)row->n, sizeof(float), by_value);
    for (int q = 0; q < SCORES_BOX; q++) {
        double place = (double)q / (SCORES_BOX - 1) * (row->n - 1);
        int32_t below = (int32_t)place, above = below + 1 < row->n ? below + 1 : below;
        double low = (double)s->scratch[below], high = (double)s->scratch[above];
        s->box[k][q] += low + (place - below) * (high - low);
    }
    s->boxes[k]++;
}

void scores_row(struct scores *s, const struct attended *row, int32_t n_prompt) {
    if (!row->n)
        return;
    double scale = (double)SCORES_SHARES / (row->query + 1);
    for (int32_t i = 0; i < row->n; i++) {
        float a = row->prob[i];
        int32_t j = row->position[i];
        if (!(a < 2)) /* NaN: who decodes refuses the sequence, once its logits are seen */
            return;
        int age = doubling(row->query - j + 1), origin = j >= n_prompt;
        s->cumulative[(int)(j * scale)] += (double)a;
        s->age_mass[origin][age] += (double)a;
        s->age_count[origin][age]++;
        if (a <= 0)
            continue;
        int bin = (int)(a * SCORES_LINEAR);
        s->linear[bin < SCORES_LINEAR ? bin : SCORES_LINEAR - 1]++;
        s->halvings[halving(a)]++;
    }
    s->rows++;
    memcpy(s->scratch, row->prob, (size_t)row->n * sizeof(float));
    int32_t enough = scores_fewest(s->scratch, row->n, SCORES_ENOUGH);
    s->enough[doubling(2 * (int64_t)(enough > 0 ? enough : 1) - 1)]++;
    s->enough_sum += enough;
    if (s->rows % SCORES_BOX_EVERY == 1)
        add_box(s, row, doubling(s->rows));
}
