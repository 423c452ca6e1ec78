#include "experiments/shadow_reference.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"
#include "experiments/shadow.h"

void reference_init(struct shadow_reference *r, int n_prompt, int n_steps, int heads) {
    *r = (struct shadow_reference){.n_prompt = n_prompt, .n_steps = n_steps, .n_heads = heads};
    r->steps = must_zalloc((size_t)n_steps, sizeof *r->steps);
    if (!heads)
        return;
    r->heads = must_zalloc((size_t)heads, sizeof *r->heads);
    for (int h = 0; h < heads; h++)
        r->heads[h].start = must_zalloc((size_t)n_steps + 1, sizeof *r->heads[h].start);
}

void reference_free(struct shadow_reference *r) {
    for (int h = 0; h < r->n_heads; h++) {
        free(r->heads[h].start);
        free(r->heads[h].position);
        free(r->heads[h].mass);
    }
    free(r->heads);
    free(r->steps);
    free(r->ids);
    free(r->p);
    *r = (struct shadow_reference){0};
}

/* --- distributions ---------------------------------------------------------------------------- */

static int32_t best_of(const float *logits, int vocab) {
    int32_t best = 0;
    for (int i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* Weights exp(logit - most) of the named ids (ascending), and the sum of all others: added up for
 * themselves, since 1 less the named ones would be rounding. Returns the sum of all. */
static double weigh(const float *logits, int vocab, float most, const int32_t *ids, int n,
                    double *named, double *others) {
    double sum = 0;
    int next = 0;
    *others = 0;
    for (int i = 0; i < vocab; i++)
        if (next < n && ids[next] == i)
            sum += named[next++] = exp((double)logits[i] - (double)most);
        else
            *others += (double)expf(logits[i] - most);
    return sum + *others;
}

static void keep_id(struct shadow_reference *r, int32_t id) {
    if (r->n == r->room) {
        r->room = r->room ? 2 * r->room : 4096;
        r->ids = must_realloc(r->ids, r->room * sizeof *r->ids);
        r->p = must_realloc(r->p, r->room * sizeof *r->p);
    }
    r->ids[r->n++] = id;
}

void reference_keep(struct shadow_reference *r, int step, const float *logits, int vocab) {
    struct shadow_step *to = &r->steps[step];
    *to = (struct shadow_step){.from = r->n, .best = best_of(logits, vocab)};
    float most = logits[to->best];
    double others, sum = weigh(logits, vocab, most, NULL, 0, NULL, &others);
    float least = most + (float)log(SHADOW_LEAST * sum);
    for (int i = 0; i < vocab; i++)
        if (logits[i] >= least)
            keep_id(r, i);
    to->n = (int)(r->n - to->from);
    double *p = r->p + to->from;
    sum = weigh(logits, vocab, most, r->ids + to->from, to->n, p, &others);
    for (int i = 0; i < to->n; i++)
        p[i] /= sum;
    to->others = others / sum;
}

/* p log (p / q); q may round to 0 where p doesn't. */
static double term(double p, double q) {
    return p <= 0 || p == q ? 0 : p * log(p / fmax(q, 1e-300));
}

double reference_kl(const struct shadow_reference *r, int step, const float *logits, int vocab,
                    int32_t *best) {
    const struct shadow_step *from = &r->steps[step];
    const double *p = r->p + from->from;
    double *q = must_alloc((size_t)from->n * sizeof *q), others, kl = 0;
    *best = best_of(logits, vocab);
    double sum = weigh(logits, vocab, logits[*best], r->ids + from->from, from->n, q, &others);
    for (int i = 0; i < from->n; i++)
        kl += term(p[i], q[i] / sum);
    kl += term(from->others, others / sum);
    free(q);
    return kl > 0 ? kl : 0;
}

/* --- attention -------------------------------------------------------------------------------- */

static void keep_token(struct shadow_head *h, int32_t position, float mass) {
    if (h->n == h->room) {
        h->room = h->room ? 2 * h->room : 1024;
        h->position = must_realloc(h->position, h->room * sizeof *h->position);
        h->mass = must_realloc(h->mass, h->room * sizeof *h->mass);
    }
    h->position[h->n] = position, h->mass[h->n++] = mass;
}

void reference_keep_row(struct shadow_reference *r, int head, const struct attention_row *row) {
    struct shadow_head *h = &r->heads[head];
    for (int32_t i = 0; i < row->n; i++) {
        float mass = 0;
        for (int g = 0; g < row->group; g++)
            mass += row->prob[(size_t)g * (size_t)row->n + (size_t)i];
        mass /= (float)row->group;
        if (mass >= (float)SHADOW_LEAST_MASS)
            keep_token(h, row->position[i], mass);
    }
    h->start[row->query - r->n_prompt + 1] = h->n;
}

double reference_lost(const struct shadow_reference *r, int head, const struct attention_row *row,
                      uint8_t *seen) {
    const struct shadow_head *h = &r->heads[head];
    int step = row->query - r->n_prompt;
    double lost = 0;
    for (int32_t i = 0; i < row->n; i++)
        seen[row->position[i]] = 1;
    for (size_t i = h->start[step]; i < h->start[step + 1]; i++)
        if (!seen[h->position[i]])
            lost += (double)h->mass[i];
    for (int32_t i = 0; i < row->n; i++)
        seen[row->position[i]] = 0;
    return lost;
}
