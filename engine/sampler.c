#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/rng.h"

void sampler_init(struct sampler *s, int vocab) {
    s->vocab = vocab;
    s->ids = must_alloc((size_t)vocab * sizeof *s->ids);
    s->weights = must_alloc((size_t)vocab * sizeof *s->weights);
}

void sampler_free(struct sampler *s) {
    free(s->ids);
    free(s->weights);
}

static int32_t argmax(const float *x, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* Restores the heap property below i: the heaviest id on top, of equals the lowest id. */
static void sift(struct sampler *s, int n, int i) {
    for (;;) {
        int top = i;
        for (int child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++) {
            float a = s->weights[s->ids[child]], b = s->weights[s->ids[top]];
            if (a > b || (a == b && s->ids[child] < s->ids[top]))
                top = child;
        }
        if (top == i)
            return;
        int32_t t = s->ids[i];
        s->ids[i] = s->ids[top], s->ids[top] = t;
        i = top;
    }
}

/* The smallest set of the heaviest ids whose weight reaches top_p of the whole: a heap gives them
 * in order, and few are needed. They end up behind the heap, heaviest last; returns how many. */
static int nucleus(struct sampler *s, double target, double *weight) {
    int n = s->vocab, taken = 0;
    for (int i = 0; i < n; i++)
        s->ids[i] = i;
    for (int i = n / 2 - 1; i >= 0; i--)
        sift(s, n, i);
    *weight = 0;
    while (n > 0 && (*weight < target || taken == 0)) {
        int32_t id = s->ids[0];
        s->ids[0] = s->ids[--n], s->ids[n] = id;
        sift(s, n, 0);
        *weight += s->weights[id];
        taken++;
    }
    return taken;
}

int32_t sampler_pick(struct sampler *s, float *logits, int vocab_rows, const struct sampling *how,
                     const int32_t *banned, int n_banned, uint64_t key) {
    for (int i = 0; i < vocab_rows; i++)
        if (!isfinite(logits[i]))
            return -1;
    for (int i = 0; i < n_banned; i++)
        if (banned[i] >= 0 && banned[i] < s->vocab)
            logits[banned[i]] = -INFINITY;
    int best = argmax(logits, s->vocab);
    if (how->temperature <= 0)
        return best;
    double total = 0;
    for (int i = 0; i < s->vocab; i++)
        total += s->weights[i] = expf((logits[i] - logits[best]) / how->temperature);
    double point = rng_uniform(key);
    if (how->top_p >= 1) { /* by id order */
        point *= total;
        for (int i = 0; i < s->vocab; i++)
            if ((point -= s->weights[i]) < 0)
                return i;
        return best;
    }
    int n = nucleus(s, how->top_p * total, &total);
    point *= total;
    for (int i = s->vocab - 1; i >= s->vocab - n; i--)
        if ((point -= s->weights[s->ids[i]]) < 0)
            return s->ids[i];
    return best;
}
