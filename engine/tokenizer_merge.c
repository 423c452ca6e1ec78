/* Byte-pair merging: of all neighbours the pair with the lowest rank merges first, of equal ones
 * the leftmost. */
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer_parts.h"

#define SHORT_RUN 24 /* up to here a scan for the best pair beats the queue */

/* --- short runs -------------------------------------------------------------- */

static void merge_short(const struct bpe *b, const int32_t *symbols, size_t n,
                        struct id_list *out) {
    int32_t ids[SHORT_RUN], ranks[SHORT_RUN], merged[SHORT_RUN];
    memcpy(ids, symbols, n * sizeof *ids);
    for (size_t i = 0; i + 1 < n; i++) {
        const struct merge *m = bpe_find(b, ids[i], ids[i + 1]);
        ranks[i] = m ? m->rank : INT32_MAX;
        merged[i] = m ? m->id : -1;
    }
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (n < 2 || ranks[best] == INT32_MAX)
            break;
        ids[best] = merged[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i] = ranks[i + 1];
            merged[i] = merged[i + 1];
        }
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const struct merge *m = bpe_find(b, ids[i], ids[i + 1]);
            ranks[i] = m ? m->rank : INT32_MAX;
            merged[i] = m ? m->id : -1;
        }
    }
    for (size_t i = 0; i < n; i++)
        id_list_add(out, ids[i]);
}

/* --- long runs: a queue of ranks, with the places of each ------------------------------ */

struct symbol {
    int32_t id, prev, next; /* neighbours by place, -1 = none */
    bool gone;
};

struct place {          /* where a pair of some rank was seen; it may have merged otherwise since */
    int32_t left, next; /* place of the left symbol; index of the next one + 1, 0 = none */
};

/* Places come in ascending order, but for tokens that texts both begin with and merge to: of what
 * is unknown, or of a byte. */
struct bucket { /* the places of one rank, as indices + 1 */
    int32_t first, last;
    bool unsorted;
};

struct bpe_queue {
    struct symbol *symbols;
    struct place *places;
    struct bucket *buckets; /* by rank: zeroed memory that is touched where ranks occur */
    int32_t *ranks;         /* a heap: of every bucket that is not empty, and some that are */
    int32_t *sorted;        /* for sorting */
    size_t symbol_room, n_places, place_room, n_ranks, rank_room, sorted_room;
};

static struct bpe_queue *queue_open(int32_t n_ranks) {
    struct bpe_queue *q = must_zalloc(1, sizeof *q);
    q->buckets = must_zalloc((size_t)n_ranks + 1, sizeof *q->buckets);
    return q;
}

void bpe_queue_free(struct bpe_queue *q) {
    if (!q)
        return;
    free(q->symbols);
    free(q->places);
    free(q->buckets);
    free(q->ranks);
    free(q->sorted);
    free(q);
}

/* Room for one more. */
static void *grown(void *list, size_t count, size_t *room, size_t size) {
    if (count < *room)
        return list;
    *room = count ? 2 * count : 256;
    return must_realloc(list, *room * size);
}

static void push_rank(struct bpe_queue *q, int32_t rank) {
    q->ranks = grown(q->ranks, q->n_ranks, &q->rank_room, sizeof *q->ranks);
    size_t i = q->n_ranks++;
    for (; i && rank < q->ranks[(i - 1) / 2]; i = (i - 1) / 2)
        q->ranks[i] = q->ranks[(i - 1) / 2];
    q->ranks[i] = rank;
}

static void pop_rank(struct bpe_queue *q) {
    int32_t last = q->ranks[--q->n_ranks];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < q->n_ranks; i = child) {
        if (child + 1 < q->n_ranks && q->ranks[child + 1] < q->ranks[child])
            child++;
        if (last <= q->ranks[child])
            break;
        q->ranks[i] = q->ranks[child];
    }
    q->ranks[i] = last;
}

static void push(struct bpe_queue *q, int32_t rank, int32_t left) {
    struct bucket *b = &q->buckets[rank];
    q->places = grown(q->places, q->n_places, &q->place_room, sizeof *q->places);
    q->places[q->n_places++] = (struct place){.left = left};
    int32_t index = (int32_t)q->n_places;
    if (!b->first) {
        *b = (struct bucket){.first = index};
        push_rank(q, rank);
    } else {
        b->unsorted = b->unsorted || left < q->places[b->last - 1].left;
        q->places[b->last - 1].next = index;
    }
    b->last = index;
}

static int compare(const void *x, const void *y) {
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    return a < b ? -1 : a > b;
}

static void sort_bucket(struct bpe_queue *q, struct bucket *b) {
    size_t n = 0;
    for (int32_t i = b->first; i; i = q->places[i - 1].next) {
        q->sorted = grown(q->sorted, n, &q->sorted_room, sizeof *q->sorted);
        q->sorted[n++] = q->places[i - 1].left;
    }
    qsort(q->sorted, n, sizeof *q->sorted, compare);
    n = 0;
    for (int32_t i = b->first; i; i = q->places[i - 1].next)
        q->places[i - 1].left = q->sorted[n++];
    b->unsorted = false;
}

/* The leftmost place of the lowest rank; -1 when there is none. */
static int32_t pop(struct bpe_queue *q, int32_t *rank) {
    while (q->n_ranks) {
        struct bucket *b = &q->buckets[ *rank = q->ranks[0]];
        if (b->first) {
            if (b->unsorted)
                sort_bucket(q, b);
            const struct place *p = &q->places[b->first - 1];
            b->first = p->next;
            return p->left;
        }
        pop_rank(q);
    }
    return -1;
}

static void propose(const struct bpe *b, struct bpe_queue *q, int32_t left) {
    int32_t right = left < 0 ? -1 : q->symbols[left].next;
    if (right < 0)
        return;
    const struct merge *m = bpe_find(b, q->symbols[left].id, q->symbols[right].id);
    if (m)
        push(q, m->rank, left);
}

static void start(const struct bpe *b, struct bpe_queue *q, const int32_t *ids, size_t n) {
    if (n > q->symbol_room) {
        q->symbol_room = 2 * n;
        free(q->symbols);
        q->symbols = must_alloc(q->symbol_room * sizeof *q->symbols);
    }
    for (size_t i = 0; i < n; i++)
        q->symbols[i] = (struct symbol){
            .id = ids[i], .prev = (int32_t)i - 1, .next = i + 1 < n ? (int32_t)i + 1 : -1};
    q->n_places = 0;
    for (size_t i = 0; i + 1 < n; i++)
        propose(b, q, (int32_t)i);
}

static void merge_long(const struct bpe *b, struct bpe_queue *q, const int32_t *ids, size_t n,
                       struct id_list *out) {
    start(b, q, ids, n);
    struct symbol *s = q->symbols;
    int32_t rank;
    for (int32_t left; (left = pop(q, &rank)) >= 0;) {
        int32_t right = s[left].next;
        if (s[left].gone || right < 0)
            continue;
        const struct merge *m = bpe_find(b, s[left].id, s[right].id);
        if (!m || m->rank != rank)
            continue;
        s[left].id = m->id;
        s[left].next = s[right].next;
        s[right].gone = true;
        if (s[left].next >= 0)
            s[s[left].next].prev = left;
        propose(b, q, s[left].prev);
        propose(b, q, left);
    }
    for (int32_t i = 0; i >= 0; i = s[i].next)
        id_list_add(out, s[i].id);
}

void bpe_merge(const struct bpe *b, struct bpe_scratch *scratch, struct id_list *out) {
    size_t n = scratch->n_symbols;
    scratch->n_symbols = 0;
    if (n <= SHORT_RUN) {
        merge_short(b, scratch->symbols, n, out);
        return;
    }
    if (!scratch->queue)
        scratch->queue = queue_open(b->n_ranks);
    merge_long(b, scratch->queue, scratch->symbols, n, out);
}
