/* What goes when there is no room: one unit whenever a token comes, or many tokens at once. */
#include <math.h>

#include "base/rng.h"
#include "engine/config.h"
#include "engine/rules.h"

static float draw(const struct head_step *s, int32_t position) {
    uint64_t place = (uint64_t)s->layer << 32 | (uint64_t)s->kv_head;
    uint64_t key = rng_key(rng_key(s->key, (uint64_t)s->plan->seed), place);
    return rng_uniform(rng_key(key, (uint64_t)position << 32 | (uint64_t)(uint32_t)s->now));
}

/* signal: of plan->keep_by. */
static float keep_score(const struct head_step *s, int32_t position, float column, float signal) {
    const struct plan *plan = s->plan;
    if (!plan->policy->keep)
        return 0;
    float mean = plan->window ? 1 / (float)(plan->window * s->group) : 1;
    struct candidate c = {.position = position,
                          .now = s->now,
                          .column = column * mean,
                          .signal = signal,
                          .weight = (float)plan->weight};
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

/* --- one unit --------------------------------------------------------------------------------- */

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
            float score =
                keep_score(s, position[slot], s->needs.slot_columns ? column[slot] : 0, 0);
            if (best_page < 0 || score < best || (score == best && position[slot] < oldest)) {
                best = score, oldest = position[slot];
                best_page = i, best_slot = slot;
            }
        }
    }
    CHECK(best_page >= 0);
    head_drop_slot(s->head, best_page, best_slot);
}

/* keep_last: the newest page must stay (it is still filling). */
static void evict_page(const struct head_step *s, bool keep_last) {
    int32_t loose = first_loose(s), recent = first_recent(s);
    int victim = -1;
    float best = 0;
    for (int i = 0; i < s->head->n_pages - (keep_last ? 1 : 0); i++) {
        int32_t start = rules_page_start(s, i);
        if (start < loose || start + PAGE - 1 >= recent)
            continue;
        float column = s->needs.page_column ? s->pool->page_column[s->head->table[i]] : 0;
        float score = keep_score(s, start, column, 0);
        if (victim < 0 || score < best) /* ascending table: the older one wins a tie */
            best = score, victim = i;
    }
    CHECK(victim >= 0);
    head_drop_page(s->pool, s->head, s->needs, victim);
}

/* --- how alike keys are ----------------------------------------------------------------------- */

/* Keys of a page as vectors of length 1, [head_size][16]; 0 in dead slots. */
static void unit_keys(const struct head_step *s, int i, float *out) {
    int d = s->pool->head_size;
    const void *page = pool_page(s->pool, s->head->table[i]);
    for (int slot = 0; slot < PAGE; slot++) {
        float k[MAX_HEAD_SIZE] = {0}, square = 0;
        if (s->head->live[i] >> slot & 1)
            s->pool->kernels->read(page, slot, d, k, NULL);
        for (int e = 0; e < d; e++)
            square += k[e] * k[e];
        float factor = square > 0 ? 1 / sqrtf(square) : 0;
        for (int e = 0; e < d; e++)
            out[e * PAGE + slot] = k[e] * factor;
    }
}

/* Sums the cosines of one token with all others. The newest of those that are like it is relieved
 * of its own, which is the same both ways. */
static void compare_token(const struct head_step *s, struct rules_scratch *w, int i, int slot) {
    const struct head *head = s->head;
    const float *keys = (const float *)w->copies;
    int d = s->pool->head_size, spared = -1;
    int32_t newest = -1;
    float sum = 0, relief = 0;
    for (int j = 0; j < head->n_pages; j++) {
        const float *a = keys + (size_t)i * PAGE * (size_t)d + slot;
        const float *b = keys + (size_t)j * PAGE * (size_t)d;
        const int32_t *position = s->pool->position + head->table[j] * PAGE;
        float cosine[PAGE] = {0};
        for (int e = 0; e < d; e++)
            for (int t = 0; t < PAGE; t++)
                cosine[t] += a[e * PAGE] * b[e * PAGE + t];
        for (int t = 0; t < PAGE; t++) {
            if (!(head->live[j] >> t & 1) || (j == i && t == slot))
                continue;
            sum += cosine[t];
            if (cosine[t] > LIKENESS_LEAST && position[t] > newest)
                newest = position[t], spared = j * PAGE + t, relief = cosine[t];
        }
    }
    w->likeness[i * PAGE + slot] += sum;
    if (spared >= 0)
        w->likeness[spared] -= relief;
}

/* SIGNAL_LIKENESS of the n tokens of w->units, by index into the table and slot. */
static void compare_keys(const struct head_step *s, struct rules_scratch *w, int n) {
    float *of = w->likeness, most = -INFINITY, sum = 0;
    size_t page = (size_t)s->pool->head_size * PAGE;
    for (int i = 0; i < s->head->n_pages; i++)
        unit_keys(s, i, (float *)w->copies + (size_t)i * page);
    for (int i = 0; i < s->head->n_pages * PAGE; i++)
        of[i] = 0;
    for (int i = 0; i < n; i++)
        compare_token(s, w, w->units[i].page, w->units[i].slot);
    for (int i = 0; i < n; i++)
        most = fmaxf(most, of[w->units[i].page * PAGE + w->units[i].slot]);
    for (int i = 0; i < n; i++) {
        float *own = &of[w->units[i].page * PAGE + w->units[i].slot];
        sum += *own = expf((*own - most) / (float)n);
    }
    for (int i = 0; i < n; i++)
        of[w->units[i].page * PAGE + w->units[i].slot] /= sum;
}

/* --- many tokens ------------------------------------------------------------------------------ */

/* All tokens of the head in order of position, with their columns as signals. */
static int list_by_age(const struct head_step *s, struct rules_scratch *w) {
    int32_t *place = w->position; /* of the token at a position, or -1 */
    int n = 0;
    for (int32_t p = 0; p <= s->now; p++)
        place[p] = -1;
    for (int i = 0; i < s->head->n_pages; i++)
        for (unsigned bits = s->head->live[i]; bits; bits &= bits - 1) {
            int slot = __builtin_ctz(bits);
            place[s->pool->position[s->head->table[i] * PAGE + slot]] = i * PAGE + slot;
        }
    for (int32_t p = 0; p <= s->now; p++) {
        if (place[p] < 0)
            continue;
        int page = place[p] / PAGE, slot = place[p] % PAGE;
        float column =
            s->needs.slot_columns ? s->pool->slot_column[s->head->table[page] * PAGE + slot] : 0;
        w->units[n++] = (struct unit_score){column, p, page, slot};
    }
    return n;
}

/* Each of n signals becomes the largest of `pool` around it. */
static void pool_signals(struct rules_scratch *w, int n, int pool) {
    float *own = w->prob; /* free between steps */
    for (int i = 0; i < n; i++)
        own[i] = w->units[i].signal;
    for (int i = 0; i < n; i++)
        for (int j = i - pool / 2; j <= i + pool / 2; j++)
            if (j >= 0 && j < n && own[j] > w->units[i].signal)
                w->units[i].signal = own[j];
}

static void evict_tokens(const struct head_step *s, struct rules_scratch *w, int count) {
    int32_t loose = first_loose(s), recent = first_recent(s);
    int n = list_by_age(s, w), from = 0, to = 0;
    while (to < n && w->units[to].position < recent)
        to++;
    while (from < to && w->units[from].position < loose)
        from++;
    CHECK(count <= to - from);
    if (s->plan->pool)
        pool_signals(w, to, s->plan->pool);
    if (s->plan->keep_by && !s->raw)
        compare_keys(s, w, n);
    for (int i = from; i < to; i++) {
        struct unit_score *u = &w->units[i];
        float likeness = !s->plan->keep_by ? 0
                         : s->raw          ? s->raw[u->position]
                                           : w->likeness[u->page * PAGE + u->slot];
        u->signal = -keep_score(s, u->position, u->signal, likeness);
    }
    rules_best(w->units + from, to - from, count);
    for (int i = from; i < from + count; i++)
        head_drop_slot(s->head, w->units[i].page, w->units[i].slot);
}

/* --- when ------------------------------------------------------------------------------------- */

void rules_make_room(const struct head_step *s, struct rules_scratch *w) {
    struct head *head = s->head;
    if (s->plan->every) {
        if (head->n_live >= s->capacity)
            evict_tokens(s, w, s->plan->every);
    } else if (s->plan->evict == UNIT_TOKEN)
        while (head->n_live >= s->capacity)
            evict_token(s);
    else if (s->plan->evict == UNIT_PAGE && s->now % PAGE == 0)
        while (head->n_pages >= s->capacity / PAGE)
            evict_page(s, false);
}

void rules_shrink(const struct head_step *s, struct rules_scratch *w) {
    struct head *head = s->head;
    int over = head->n_live - (s->capacity - s->plan->every);
    if (s->plan->every) {
        if (over > 0)
            evict_tokens(s, w, over);
    } else if (s->plan->evict == UNIT_TOKEN)
        while (head->n_live > s->capacity)
            evict_token(s);
    else if (s->plan->evict == UNIT_PAGE)
        while (head->n_pages > s->capacity / PAGE)
            evict_page(s, true);
}
