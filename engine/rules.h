/* The loops behind a plan, for one KV head of one sequence at one position: make room, select,
 * attend, observe. Policies only score; what is scanned, how ties break and what memory moves is
 * decided here, once for all policies. */
#pragma once

#include "engine/attention.h"
#include "engine/cache.h"

/* One KV head at one step; borrowed pieces of a sequence. */
struct head_step {
    const struct plan *plan;
    struct page_pool *pool;
    struct head *head;
    struct page_needs needs;
    int layer, kv_head, group;
    int32_t n_prompt;
    int32_t capacity; /* tokens it may keep */
    int32_t now;      /* position of the query, or of the token about to be appended */
    uint64_t key;     /* of the sequence's random numbers */
    const float *raw; /* NULL, or signals of this step in place of attention's, the bounds' and the
                         keys': of a token by its position, of a page by that of its first token */
};

/* A unit under selection: a token slot or a page (slot 0). */
struct unit_score {
    float signal;
    int32_t position, page, slot; /* page: index into the table */
};

/* Scratch of one thread, sized for the longest sequence: max_pages are its pages and one more. */
struct rules_scratch {
    int group;
    float *prob;        /* [group][max_pages * 16] */
    float *bound;       /* [group][max_pages] */
    const void **pages; /* [max_pages] the view: pages that are attended, */
    uint16_t *live;     /* [max_pages] with these slots, */
    int32_t *index;     /* [max_pages] at these places of the table */
    int n_view;
    uint16_t *chosen;         /* [max_pages] slots chosen by selection, per table index */
    struct unit_score *units; /* [max_pages * 16] */
    float *row;               /* [widest] one row of activations */
    uint8_t *copies;          /* [max_pages][page_bytes] keys rotated by rank (KEYS_RANK), or of
                                 length 1 as [head_size][16] floats (SIGNAL_LIKENESS) */
    float *likeness;          /* [max_pages * 16] by index into the table and slot */
    int32_t *position;        /* [2][room] what rules_tell lists; places by position */
    size_t room;              /* max_pages * 16 */
};
/* widest: floats of one row of any activation. Returns the bytes it took. */
size_t rules_scratch_init(struct rules_scratch *scratch, int max_total, int group,
                          size_t page_bytes, int widest);
void rules_scratch_free(struct rules_scratch *scratch);

/* rules_evict.c. Before the token `now` is appended: evicts if it does not fit. live <= capacity
 * holds after the append. scratch: NULL will do where plan->every is 0. */
void rules_make_room(const struct head_step *step, struct rules_scratch *scratch);
/* After prefill (now = the last prompt position): evicts down to capacity, less plan->every. */
void rules_shrink(const struct head_step *step, struct rules_scratch *scratch);
/* Attention of the query group over what is resident, restricted by the plan's selection.
 * q[group][head_size] is rotated, out[group][head_size]. visible: only the first so many tokens of
 * a table in position order (prefill), or INT32_MAX. rope (KEYS_RANK only): cos/sin rows
 * [position][head_size]. Afterwards columns are updated (observe). */
void rules_attend(const struct head_step *step, struct rules_scratch *scratch, const float *q,
                  float scale, int32_t visible, const float *rope, float *out);
/* What the last rules_attend with this scratch gave, to a watcher (rules_tell.c). It packs the
 * probabilities, so it can tell but once. */
void rules_tell(const struct head_step *step, struct rules_scratch *scratch, int32_t visible,
                attention_watch *watch, void *user);

/* Among rules*.c: position of the first token of the page at table index i (page policies fill
 * pages in order); and moves the best `count` of the units to the front, ties to the older. */
static inline int32_t rules_page_start(const struct head_step *s, int i) {
    return s->pool->position[s->head->table[i] * PAGE];
}
void rules_best(struct unit_score *units, int n, int count);
