#include "analysis/miner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void miner_open(struct miner *m, int n_layers, int n_heads, int32_t longest,
                const struct lifecycle_params *params) {
    size_t n = (size_t)n_layers * (size_t)n_heads, points = (size_t)portrait_size();
    *m = (struct miner){.params = *params, .n_layers = n_layers, .n_heads = n_heads};
    m->heads = must_zalloc(n, sizeof *m->heads);
    for (size_t h = 0; h < n; h++) {
        lifecycle_open(&m->heads[h].life, longest);
        scores_open(&m->heads[h].scores, longest);
        tally_open(&m->heads[h].tally);
    }
    tally_open(&m->all);
    m->points = must_alloc(points * sizeof *m->points);
    m->means = must_alloc(points * sizeof *m->means);
}

void miner_close(struct miner *m) {
    for (int h = 0; h < m->n_layers * m->n_heads; h++) {
        lifecycle_close(&m->heads[h].life);
        scores_close(&m->heads[h].scores);
        tally_close(&m->heads[h].tally);
    }
    free(m->heads);
    tally_close(&m->all);
    free(m->points);
    free(m->means);
    *m = (struct miner){0};
}

void miner_fit(struct miner *m, int32_t longest) {
    if (longest <= m->heads->life.room)
        return;
    for (int h = 0; h < m->n_layers * m->n_heads; h++) {
        lifecycle_close(&m->heads[h].life);
        scores_close(&m->heads[h].scores);
        lifecycle_open(&m->heads[h].life, longest);
        scores_open(&m->heads[h].scores, longest);
    }
}

void miner_begin(struct miner *m, int32_t n_prompt) {
    for (int h = 0; h < m->n_layers * m->n_heads; h++) {
        lifecycle_begin(&m->heads[h].life, &m->params, n_prompt);
        scores_begin(&m->heads[h].scores);
        m->heads[h].pruned = false;
        m->heads[h].shape = NULL;
    }
}

void miner_row(struct miner *m, int layer, int head, const struct attended *row, bool selected) {
    struct miner_head *h = &m->heads[layer * m->n_heads + head];
    if (row->prompt && m->params.rows == ROWS_DECODE)
        return;
    lifecycle_row(&h->life, row);
    h->pruned = h->pruned || (row->n < row->held && !selected);
    if (!h->pruned)
        scores_row(&h->scores, row, h->life.n_prompt);
}

/* What the sequence that ends says of a head, into m->points. */
static void portray(struct miner *m, const struct miner_head *h) {
    portrait_fill(&h->life, h->pruned || h->shape ? NULL : &h->scores, m->points);
    for (int k = portrait_shape(), n = portrait_size(); h->shape && k < n; k++)
        m->points[k] = h->shape[k];
}

void miner_end(struct miner *m) {
    int n = portrait_size(), heads = m->n_layers * m->n_heads, rows = 0;
    int *counts = must_zalloc((size_t)n, sizeof *counts);
    memset(m->means, 0, (size_t)n * sizeof *m->means);
    for (int i = 0; i < heads; i++) {
        struct miner_head *h = &m->heads[i];
        struct head_mass mass = {0};
        if (!h->life.n_rows)
            continue;
        rows = h->life.n_rows;
        portray(m, h);
        h->shape = NULL;
        tally_add(&h->tally, m->points);
        head_mass_add(&mass, &h->life);
        head_mass_add(&h->mass, &h->life);
        h->votes[head_mass_class(&mass)]++;
        for (int k = 0; k < n; k++)
            if (!isnan(m->points[k]))
                m->means[k] += m->points[k], counts[k]++;
    }
    for (int k = 0; k < n; k++)
        m->means[k] = counts[k] ? m->means[k] / counts[k] : (double)NAN;
    tally_add(&m->all, m->means);
    free(counts);
    m->n_sequences++;
    m->n_rows += rows;
}

int miner_head_sequences(const struct miner_head *h) {
    int n = 0;
    for (int c = 0; c < HEAD_CLASSES; c++)
        n += h->votes[c];
    return n;
}

enum head_class miner_head_class(const struct miner_head *h, double *agree) {
    enum head_class class = head_mass_class(&h->mass);
    int n = miner_head_sequences(h);
    *agree = n ? (double)h->votes[class] / n : (double)NAN;
    return class;
}
