#include "experiments/cause.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

const char *const cause_names[CAUSES] = {
    "source_evicted", "statement_evicted", "working_evicted", "unread", "arithmetic", "cut",
};

/* --- needs ------------------------------------------------------------------------------------ */

struct need *needs_add(struct needs *needs, enum need_kind kind, int step) {
    needs->items = must_realloc(needs->items, (size_t)(needs->n + 1) * sizeof *needs->items);
    needs->items[needs->n] = (struct need){.kind = kind, .step = step};
    return &needs->items[needs->n++];
}

void need_add(struct need *need, const int32_t *positions, int n, int step) {
    if (!n)
        return;
    need->copies = must_realloc(need->copies, (size_t)(need->n + 1) * sizeof *need->copies);
    struct need_copy *copy = &need->copies[need->n++];
    *copy = (struct need_copy){.n = n, .step = step};
    copy->positions = must_alloc((size_t)n * sizeof *positions);
    memcpy(copy->positions, positions, (size_t)n * sizeof *positions);
}

void needs_free(struct needs *needs) {
    for (int i = 0; i < needs->n; i++) {
        for (int c = 0; c < needs->items[i].n; c++)
            free(needs->items[i].copies[c].positions);
        free(needs->items[i].copies);
    }
    free(needs->items);
    *needs = (struct needs){0};
}

/* --- the trace -------------------------------------------------------------------------------- */

void trace_open(struct trace *t, const struct needs *needs, const struct validated_head *heads,
                int n_heads, int n_layers, int n_q_heads, int n_kv_heads, int32_t since,
                int32_t query) {
    *t = (struct trace){.heads = heads,
                        .n_heads = n_heads,
                        .n_layers = n_layers,
                        .n_kv_heads = n_kv_heads,
                        .group = n_q_heads / n_kv_heads,
                        .needs = needs,
                        .query = query,
                        .since = since,
                        .n_positions = query + 1};
    size_t n = (size_t)t->n_positions, kv = (size_t)(n_layers * n_kv_heads);
    t->last = must_alloc(n * kv * sizeof *t->last);
    memset(t->last, -1, n * kv * sizeof *t->last);
    t->main = must_zalloc(n, sizeof *t->main);
    t->given = must_zalloc((size_t)n_heads + 1, sizeof *t->given);
    for (int c = 0; needs->n && c < needs->items[0].n; c++)
        for (int i = 0; i < needs->items[0].copies[c].n; i++)
            t->main[needs->items[0].copies[c].positions[i]] = 1;
}

void trace_close(struct trace *t) {
    free(t->last);
    free(t->main);
    free(t->given);
    t->last = NULL, t->main = NULL, t->given = NULL;
}

static double given_by(const struct trace *t, const struct attention_row *row, int g) {
    const float *prob = row->prob + (size_t)g * (size_t)row->n;
    double sum = 0;
    for (int32_t i = 0; i < row->n; i++)
        sum += t->main[row->position[i]] ? (double)prob[i] : 0;
    return sum;
}

void trace_row(void *user, const struct attention_row *row) {
    struct trace *t = user;
    if (row->query > t->query)
        return;
    size_t kv = (size_t)(row->layer * t->n_kv_heads + row->kv_head);
    int32_t *last = t->last + kv * (size_t)t->n_positions;
    for (int32_t i = 0; i < row->n_resident; i++)
        last[row->resident[i]] = row->query;
    for (int h = 0; row->query >= t->since && h < t->n_heads; h++) {
        int g = t->heads[h].head - row->kv_head * t->group;
        if (t->heads[h].layer != row->layer || g < 0 || g >= t->group)
            continue;
        double given = given_by(t, row, g);
        t->given[h] = given > t->given[h] ? given : t->given[h];
    }
}

/* --- the verdict ------------------------------------------------------------------------------ */

int32_t trace_held(const struct trace *t, const struct need *need, int kv_head) {
    const int32_t *last = t->last + (size_t)kv_head * (size_t)t->n_positions;
    int32_t best = -1;
    for (int c = 0; c < need->n; c++) {
        int32_t whole = t->query;
        for (int i = 0; i < need->copies[c].n; i++) {
            int32_t here = last[need->copies[c].positions[i]];
            whole = here < whole ? here : whole;
        }
        best = whole > best ? whole : best;
    }
    return best;
}

int trace_asked(const struct trace *t, enum need_kind kind, bool *asked) {
    int kv = t->n_layers * t->n_kv_heads, n = 0;
    for (int h = 0; h < kv; h++)
        asked[h] = kind == NEED_WORKING;
    for (int h = 0; h < t->n_heads; h++)
        asked[t->heads[h].layer * t->n_kv_heads + t->heads[h].head / t->group] = true;
    for (int h = 0; h < kv; h++)
        n += asked[h];
    return n;
}

static int count(const struct trace *t, const struct need *need, int *holders) {
    int kv = t->n_layers * t->n_kv_heads;
    bool *asked = must_alloc((size_t)kv * sizeof *asked);
    int n = trace_asked(t, need->kind, asked);
    *holders = 0;
    for (int h = 0; h < kv; h++)
        *holders += asked[h] && trace_held(t, need, h) == t->query;
    free(asked);
    return n;
}

int trace_holders(const struct trace *t, const struct need *need) {
    int holders;
    count(t, need, &holders);
    return holders;
}

static bool is_gone(const struct trace *t, const struct need *need) {
    int holders, n = count(t, need, &holders);
    return 2 * (n - holders) >= n;
}

enum cause trace_cause(const struct trace *t, int *which) {
    static const enum cause gone[] = {CAUSE_SOURCE, CAUSE_STATEMENT, CAUSE_WORKING};
    for (int kind = NEED_VALUE; kind <= NEED_WORKING; kind++)
        for (int i = 0; i < t->needs->n; i++)
            if ((int)t->needs->items[i].kind == kind && is_gone(t, &t->needs->items[i])) {
                *which = i;
                return gone[kind];
            }
    *which = 0;
    bool read = t->needs->near || !t->needs->n;
    for (int h = 0; h < t->n_heads; h++)
        read = read || t->given[h] >= t->heads[h].theta;
    return read ? CAUSE_ARITHMETIC : CAUSE_UNREAD;
}
