#include "engine/rules.h"

#include <math.h>
#include <string.h>

#include "engine/config.h"
#include "engine/rope.h"

/* --- the view: what is attended --------------------------------------------------------------- */

static void view_resident(const struct head_step *s, struct rules_scratch *w, int32_t visible) {
    int n = visible == INT32_MAX ? s->head->n_pages : pages_of(visible);
    w->n_view = 0;
    for (int i = 0; i < n; i++) {
        uint16_t live = s->head->live[i];
        if (visible - i * PAGE < PAGE)
            live &= (uint16_t)((1u << (visible - i * PAGE)) - 1);
        if (!live)
            continue;
        w->pages[w->n_view] = pool_page(s->pool, s->head->table[i]);
        w->live[w->n_view] = live;
        w->index[w->n_view++] = i;
    }
}

/* Keeps what `chosen` (a mask per table index) leaves of the view, in ascending table order. */
static void view_restrict(struct rules_scratch *w, const uint16_t *chosen) {
    int n = 0;
    for (int i = 0; i < w->n_view; i++) {
        uint16_t live = w->live[i] & chosen[w->index[i]];
        if (!live)
            continue;
        w->pages[n] = w->pages[i];
        w->live[n] = live;
        w->index[n++] = w->index[i];
    }
    w->n_view = n;
}

/* Keys by rank: the view is copied to scratch pages with keys rotated by how many live tokens are
 * older. */
static void view_rank(const struct head_step *s, struct rules_scratch *w, const float *rope) {
    const struct cpu_kernels *kernels = s->pool->kernels;
    int d = s->pool->head_size, n = 0;
    for (int i = 0; i < w->n_view; i++)
        for (unsigned bits = w->live[i]; bits; bits &= bits - 1) {
            int slot = __builtin_ctz(bits);
            int32_t position = s->pool->position[s->head->table[w->index[i]] * PAGE + slot];
            w->units[n++] = (struct unit_score){.position = position, .page = i, .slot = slot};
        }
    for (int a = 0; a < n; a++) {
        int rank = 0;
        for (int b = 0; b < n; b++)
            rank += w->units[b].position < w->units[a].position;
        float k[MAX_HEAD_SIZE], v[MAX_HEAD_SIZE];
        uint8_t *copy = w->copies + (size_t)w->units[a].page * s->pool->page_bytes;
        kernels->read(w->pages[w->units[a].page], w->units[a].slot, d, k, v);
        rope_rotate(k, rope + (size_t)rank * d, d, 1, k);
        kernels->append(copy, w->units[a].slot, d, k, v, NULL, false);
    }
    for (int i = 0; i < w->n_view; i++)
        w->pages[i] = w->copies + (size_t)i * s->pool->page_bytes;
}

static void attend_view(const struct head_step *s, struct rules_scratch *w, const float *q,
                        float scale, float *out) {
    struct cpu_attention a = {.group = s->group,
                              .head_size = s->pool->head_size,
                              .n_pages = w->n_view,
                              .scale = scale,
                              .q = q,
                              .pages = w->pages,
                              .live = w->live,
                              .prob = w->prob,
                              .out = out};
    s->pool->kernels->attend(&a);
}

/* --- signals ---------------------------------------------------------------------------------- */

/* Softmax probability of slot `slot` of view page i, summed over the group. */
static float token_mass(const struct rules_scratch *w, int i, int slot) {
    float sum = 0;
    for (int g = 0; g < w->group; g++)
        sum += w->prob[((size_t)g * w->n_view + i) * PAGE + slot];
    return sum;
}

static int score_tokens(const struct head_step *s, struct rules_scratch *w) {
    int n = 0;
    for (int i = 0; i < w->n_view; i++) {
        const int32_t *position = s->pool->position + s->head->table[w->index[i]] * PAGE;
        for (unsigned bits = w->live[i]; bits; bits &= bits - 1) {
            int slot = __builtin_ctz(bits);
            w->units[n++] =
                (struct unit_score){token_mass(w, i, slot), position[slot], w->index[i], slot};
        }
    }
    return n;
}

static int score_pages_by_mass(const struct head_step *s, struct rules_scratch *w, bool by_max) {
    int n = s->head->n_pages;
    for (int i = 0; i < n; i++)
        w->units[i] = (struct unit_score){0, rules_page_start(s, i), i, 0};
    for (int i = 0; i < w->n_view; i++) {
        float *signal = &w->units[w->index[i]].signal;
        for (unsigned bits = w->live[i]; bits; bits &= bits - 1) {
            float mass = token_mass(w, i, __builtin_ctz(bits));
            *signal = !by_max ? *signal + mass : mass > *signal ? mass : *signal;
        }
    }
    return n;
}

/* Turns one query's bounds into its softmax over the pages. */
static void bounds_to_shares(float *bound, int n, float factor) {
    float most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        most = fmaxf(most, bound[i] * factor);
    for (int i = 0; i < n; i++)
        sum += bound[i] = expf(bound[i] * factor - most);
    for (int i = 0; i < n; i++)
        bound[i] /= sum;
}

static int score_pages_by_bound(const struct head_step *s, struct rules_scratch *w, const float *q,
                                bool share) {
    int n = s->head->n_pages, d = s->pool->head_size;
    const void **bounds =
        (const void **)w->units; /* the units are written after the bounds are read */
    for (int i = 0; i < n; i++)
        bounds[i] = pool_bounds(s->pool, s->head->table[i]);
    s->pool->kernels->bounds(q, s->group, d, bounds, n, w->bound);
    if (share)
        for (int g = 0; g < s->group; g++)
            bounds_to_shares(w->bound + (size_t)g * n, n,
                             s->plan->share_scaled ? 1 / sqrtf((float)d) : 1);
    for (int i = 0; i < n; i++) {
        float most = w->bound[i];
        for (int g = 1; g < s->group; g++)
            most = fmaxf(most, w->bound[(size_t)g * n + i]);
        w->units[i] = (struct unit_score){most, rules_page_start(s, i), i, 0};
    }
    return n;
}

static int score_units(const struct head_step *s, struct rules_scratch *w, enum unit unit,
                       enum signal signal, const float *q) {
    bool by_bound = signal_is_bound(signal);
    int n = by_bound && !s->raw  ? score_pages_by_bound(s, w, q, signal == SIGNAL_SHARE)
            : unit == UNIT_TOKEN ? score_tokens(s, w)
                                 : score_pages_by_mass(s, w, signal == SIGNAL_MASS_MAX);
    for (int i = 0; s->raw && i < n; i++)
        w->units[i].signal = s->raw[w->units[i].position];
    return n;
}

/* --- the best `count` of the units, ties to the older ----------------------------------------- */

static bool better(const struct unit_score *a, const struct unit_score *b) {
    return a->signal != b->signal ? a->signal > b->signal : a->position < b->position;
}

/* Quickselect. The order is total, so the set is unique. */
void rules_best(struct unit_score *units, int n, int count) {
    int from = 0, to = n - 1;
    while (from < to && count > from && count <= to) {
        struct unit_score pivot = units[(from + to) / 2];
        int i = from, j = to;
        while (i <= j) {
            while (better(&units[i], &pivot))
                i++;
            while (better(&pivot, &units[j]))
                j--;
            if (i <= j) {
                struct unit_score t = units[i];
                units[i++] = units[j], units[j--] = t;
            }
        }
        if (count <= j + 1)
            to = j;
        else if (count >= i)
            from = i;
        else
            return;
    }
}

/* --- select and observe ----------------------------------------------------------------------- */

static void select_pages(const struct head_step *s, struct rules_scratch *w, const float *q,
                         int32_t budget) {
    int n = s->head->n_pages, count = budget / PAGE;
    if (n <= count)
        return;
    score_units(s, w, UNIT_PAGE, s->plan->by, q);
    uint16_t *chosen = w->chosen;
    memset(chosen, 0, (size_t)n * sizeof *chosen);
    rules_best(w->units, n - 1, count - 1); /* the last one is the newest: always in */
    for (int i = 0; i < count - 1; i++)
        chosen[w->units[i].page] = 0xffff;
    chosen[n - 1] = 0xffff;
    view_restrict(w, chosen);
}

static void select_tokens(const struct head_step *s, struct rules_scratch *w, const float *q,
                          float scale, int32_t budget, float *out) {
    if (s->head->n_live <= budget)
        return;
    attend_view(s, w, q, scale, out); /* the true attention decides */
    int n = score_units(s, w, UNIT_TOKEN, s->plan->by, q);
    uint16_t *chosen = w->chosen;
    memset(chosen, 0, (size_t)s->head->n_pages * sizeof *chosen);
    rules_best(w->units, n, budget);
    for (int i = 0; i < budget; i++)
        chosen[w->units[i].page] |= (uint16_t)(1u << w->units[i].slot);
    view_restrict(w, chosen);
}

/* Whether this query is observed; *first: as the first of a window. */
static bool is_observed(const struct head_step *s, bool prefill, bool *first) {
    const struct plan *plan = s->plan;
    int32_t behind = prefill ? s->now - plan_first_observed(plan, s->n_prompt, s->capacity)
                             : plan->window - 1 - (s->capacity - s->head->n_live);
    *first = plan->window && behind == 0;
    return plan->policy->observe && (behind >= 0 || (!prefill && !plan->window));
}

/* fresh: columns begin at 0 with this query. */
static void observe(const struct head_step *s, struct rules_scratch *w, const float *q,
                    bool fresh) {
    const struct plan *plan = s->plan;
    int n = score_units(s, w, plan->evict, plan->observe, q), n_marked = 0;
    if (plan->mark == MARK_TOP) {
        n_marked = (int)ceil(plan->mark_at * n);
        rules_best(w->units, n, n_marked);
    }
    for (int i = 0; i < n; i++) {
        const struct unit_score *u = &w->units[i];
        int32_t page = s->head->table[u->page];
        float *column = plan->evict == UNIT_TOKEN ? &s->pool->slot_column[page * PAGE + u->slot]
                                                  : &s->pool->page_column[page];
        bool open = plan->evict == UNIT_PAGE && u->page == s->head->n_pages - 1;
        bool marked = plan->mark == MARK_TOP     ? i < n_marked
                      : plan->mark == MARK_ABOVE ? u->signal > (float)plan->mark_at
                                                 : false;
        struct candidate c = {.position = u->position,
                              .now = s->now,
                              .column = fresh ? 0 : *column,
                              .signal = u->signal,
                              .marked = marked || open,
                              .weight = (float)plan->weight};
        *column = plan->policy->observe(c);
    }
}

void rules_attend(const struct head_step *s, struct rules_scratch *w, const float *q, float scale,
                  int32_t visible, const float *rope, float *out) {
    const struct plan *plan = s->plan;
    bool prefill = visible != INT32_MAX, fresh;
    view_resident(s, w, visible);
    if (!prefill && s->layer >= plan->dense_layers) {
        int32_t budget = plan_effective_budget(plan, s->n_prompt);
        if (plan->select == UNIT_PAGE)
            select_pages(s, w, q, budget);
        else if (plan->select == UNIT_TOKEN)
            select_tokens(s, w, q, scale, budget, out);
    }
    if (!prefill && plan->keys == KEYS_RANK)
        view_rank(s, w, rope);
    attend_view(s, w, q, scale, out);
    if (is_observed(s, prefill, &fresh))
        observe(s, w, q, fresh);
}
