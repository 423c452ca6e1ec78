/* What attention gave, told to who watches. Most pages are full, and go as they are. */
#include <string.h>

#include "engine/rules.h"

enum { ALL_LIVE = 0xffff };

/* Positions of the live slots of a page; returns how many. */
static inline int32_t put_positions(const int32_t *position, unsigned live, int32_t *out) {
    int32_t n = 0;
    if (live == ALL_LIVE) {
        memcpy(out, position, PAGE * sizeof *out);
        return PAGE;
    }
    for (unsigned bits = live; bits; bits &= bits - 1)
        out[n++] = position[__builtin_ctz(bits)];
    return n;
}

/* Positions of what the head holds and the query may see. */
static int32_t list_resident(const struct head_step *s, int32_t visible, int32_t *out) {
    int32_t n = 0;
    for (int i = 0; i < s->head->n_pages && n < visible; i++) {
        const int32_t *position = s->pool->position + s->head->table[i] * PAGE;
        for (unsigned bits = s->head->live[i]; bits && n < visible; bits &= bits - 1)
            out[n++] = position[__builtin_ctz(bits)];
    }
    return n;
}

/* Positions of the view, and its probabilities one behind the other; [group][pages * 16] becomes
 * [group][n] in place. */
static int32_t pack_view(const struct head_step *s, struct rules_scratch *w, int32_t *out) {
    int32_t n = 0;
    for (int i = 0; i < w->n_view; i++) {
        const int32_t *position = s->pool->position + s->head->table[w->index[i]] * PAGE;
        n += put_positions(position, w->live[i], out + n);
    }
    float *to = w->prob;
    for (int g = 0; g < s->group; g++)
        for (int i = 0; i < w->n_view; i++) {
            const float *from = w->prob + ((size_t)g * (size_t)w->n_view + (size_t)i) * PAGE;
            if (w->live[i] == ALL_LIVE) {
                if (to != from)
                    memmove(to, from, PAGE * sizeof *to);
                to += PAGE;
                continue;
            }
            for (unsigned bits = w->live[i]; bits; bits &= bits - 1)
                *to++ = from[__builtin_ctz(bits)];
        }
    return n;
}

void rules_tell(const struct head_step *s, struct rules_scratch *w, int32_t visible,
                attention_watch *watch, void *user) {
    int32_t *attended = w->position, *resident = attended + w->room;
    struct attention_row row = {.layer = s->layer,
                                .kv_head = s->kv_head,
                                .group = s->group,
                                .query = s->now,
                                .prompt = s->now < s->n_prompt,
                                .position = attended,
                                .resident = attended,
                                .prob = w->prob};
    row.n = row.n_resident = pack_view(s, w, attended);
    if (s->plan->select != UNIT_NONE && !row.prompt) {
        row.n_resident = list_resident(s, visible, resident);
        row.resident = resident;
    }
    watch(user, &row);
}
