#include "engine/rules.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "engine/config.h"
#include "engine/rope.h"

/* --- evict ------------------------------------------------------------------------------------ */

static float draw(const struct head_step *s, int32_t position) {
    uint64_t place = (uint64_t)s->layer << 32 | (uint64_t)s->kv_head;
    uint64_t key = rng_key(rng_key(s->key, (uint64_t)s->plan->seed), place);
    return rng_uniform(rng_key(key, (uint64_t)position << 32 | (uint64_t)(uint32_t)s->now));
}

static float keep_score(const struct head_step *s, int32_t position, float column) {
    if (!s->plan->policy->keep)
        return 0;
    const struct plan *plan = s->plan;
    float mean = plan->window ? 1 / (float)(plan->window * s->group) : 1;
    struct candidate c = {.position = position, .now = s->now, .column = column * mean};
    if (plan->draws)
        c.uniform = draw(s, position);
    return plan->policy->keep(c);
}

/* Positions from here on are too recent to go. */
static int32_t first_recent(const struct head_step *s) {
    const struct plan *plan = s->plan;
    int32_t pinned = plan->pin_prompt ? s->n_prompt : 0;
    int32_t recent = plan->recent + (int32_t)(plan->recent_share * (s->capacity - pinned));
    return s->now - recent + 1;
}

/* Positions before this one are pinned: sinks, and the prompt where the plan pins it. */
static int32_t first_loose(const struct head_step *s) {
    int32_t pinned = s->plan->pin_prompt ? s->n_prompt : 0;
    return pinned > s->plan->sinks ? pinned : s->plan->sinks;
}

static void evict_token(const struct head_step *s) {
    int32_t loose = first_loose(s), recent = first_recent(s), oldest = INT32_MAX;
    int best_page = -1, best_slot = 0;
    float best = 0;
    for (int i = 0; i < s->head->n_pages; i++) {
        const int32_t *position = s->pool->position + s->head->table[i] * PAGE;
        const float *column = s->pool->slot_column + s->head->table[i] * PAGE;
        for (unsigned bits = s->head->live[i]; bits; bits &= bits - 1) {
            int slot = __builtin_ctz(bits);
            if (position[slot] < loose || position[slot] >= recent)
                continue;
            float score = keep_score(s, position[slot], s->needs.slot_columns ? column[slot] : 0);
            if (best_page < 0 || score < best || (score == best && position[slot] < oldest)) {
                best = score, oldest = position[slot];
                best_page = i, best_slot = slot;
            }
        }
    }
    CHECK(best_page >= 0);
    head_drop_slot(s->head, best_page, best_slot);
}

/* Position of the first token of the page at table index i (page policies fill pages in order). */
static int32_t page_start(const struct head_step *s, int i) {
    return s->pool->position[s->head->table[i] * PAGE];
}

/* keep_last: the newest page must stay (it is still filling). */
static void evict_page(const struct head_step *s, bool keep_last) {
    int32_t loose = first_loose(s), recent = first_recent(s);
    int victim = -1;
    float best = 0;
    for (int i = 0; i < s->head->n_pages - (keep_last ? 1 : 0); i++) {
        int32_t start = page_start(s, i);
        if (start < loose || start + PAGE - 1 >= recent)
            continue;
        float column = s->needs.page_column ? s->pool->page_column[s->head->table[i]] : 0;
        float score = keep_score(s, start, column);
        if (victim < 0 || score < best) /* ascending table: the older one wins a tie */
            best = score, victim = i;
    }
    CHECK(victim >= 0);
    head_drop_page(s->pool, s->head, s->needs, victim);
}

void rules_make_room(const struct head_step *s) {
    struct head *head = s->head;
    if (s->plan->evict == UNIT_TOKEN)
        while (head->n_live >= s->capacity)
            evict_token(s);
    else if (s->plan->evict == UNIT_PAGE && s->now % PAGE == 0)
        while (head->n_pages >= s->capacity / PAGE)
            evict_page(s, false);
}

void rules_shrink(const struct head_step *s) {
    struct head *head = s->head;
    if (s->plan->evict == UNIT_TOKEN)
        while (head->n_live > s->capacity)
            evict_token(s);
    else if (s->plan->evict == UNIT_PAGE)
        while (head->n_pages > s->capacity / PAGE)
            evict_page(s, true);
}

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
        uint8_t *copy = w->ranked + (size_t)w->units[a].page * s->pool->page_bytes;
        kernels->read(w->pages[w->units[a].page], w->units[a].slot, d, k, v);
        rope_rotate(k, rope + (size_t)rank * d, d, 1, k);
        kernels->append(copy, w->units[a].slot, d, k, v, NULL, false);
    }
    for (int i = 0; i < w->n_view; i++)
        w->pages[i] = w->ranked + (size_t)i * s->pool->page_bytes;
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
        w->units[i] = (struct unit_score){0, page_start(s, i), i, 0};
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
        w->units[i] = (struct unit_score){most, page_start(s, i), i, 0};
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

/* Quickselect: afterwards units[0..count) are the best, in any order. The order is total, so the
 * set is unique. */
static void best_first(struct unit_score *units, int n, int count) {
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
    best_first(w->units, n - 1, count - 1); /* the last one is the newest: always in */
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
    best_first(w->units, n, budget);
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
        best_first(w->units, n, n_marked);
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
                              .marked = marked || open};
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
