/* Byte-pair merging: of all neighbours the pair with the lowest rank merges first, of equal ones
 * the leftmost. */
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/tokenizer_parts.h"

#define FREE UINT64_MAX
#define SHORT_PIECE 24 /* up to here a scan for the best pair beats the heap */

struct bpe_symbol {
    int32_t id, prev, next; /* neighbours by place, -1 = none */
    bool gone;
};

struct bpe_candidate {
    int32_t rank, place, id; /* place of the left symbol; id of the merged token */
};

static uint64_t pair_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

void bpe_open(struct bpe *b, const struct vocab *v, size_t n_merges) {
    size_t slots = 16;
    while (slots < 2 * n_merges)
        slots *= 2;
    b->mask = slots - 1;
    b->merges = must_alloc(slots * sizeof *b->merges);
    for (size_t i = 0; i < slots; i++)
        b->merges[i].pair = FREE;
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        b->byte_id[byte] = vocab_find_bytes(v, &c, 1);
    }
}

void bpe_free(struct bpe *b) { free(b->merges); }

static struct merge *slot_of(const struct bpe *b, uint64_t pair) {
    size_t slot = rng_mix(pair) & b->mask;
    while (b->merges[slot].pair != pair && b->merges[slot].pair != FREE)
        slot = (slot + 1) & b->mask;
    return &b->merges[slot];
}

void bpe_add(struct bpe *b, int32_t left, int32_t right, int32_t rank, int32_t id) {
    uint64_t pair = pair_of(left, right);
    *slot_of(b, pair) = (struct merge){.pair = pair, .rank = rank, .id = id};
}

static const struct merge *find(const struct bpe *b, int32_t left, int32_t right) {
    const struct merge *m = slot_of(b, pair_of(left, right));
    return m->pair == FREE ? NULL : m;
}

void bpe_scratch_free(struct bpe_scratch *scratch) {
    free(scratch->symbols);
    free(scratch->heap);
}

/* --- short pieces -------------------------------------------------------------- */

static void merge_short(const struct bpe *b, struct bpe_symbol *s, size_t n, struct id_list *out) {
    int32_t ids[SHORT_PIECE], ranks[SHORT_PIECE], merged[SHORT_PIECE];
    for (size_t i = 0; i < n; i++)
        ids[i] = s[i].id;
    for (size_t i = 0; i + 1 < n; i++) {
        const struct merge *m = find(b, ids[i], ids[i + 1]);
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
            const struct merge *m = find(b, ids[i], ids[i + 1]);
            ranks[i] = m ? m->rank : INT32_MAX;
            merged[i] = m ? m->id : -1;
        }
    }
    for (size_t i = 0; i < n; i++)
        id_list_add(out, ids[i]);
}

/* --- long pieces: a heap ----------------------------------------------------------- */

static bool before(const struct bpe_candidate *x, const struct bpe_candidate *y) {
    return x->rank != y->rank ? x->rank < y->rank : x->place < y->place;
}

static void push(struct bpe_scratch *h, struct bpe_candidate c) {
    if (h->heap_size == h->heap_room) {
        h->heap_room = h->heap_room ? 2 * h->heap_room : 256;
        h->heap = must_realloc(h->heap, h->heap_room * sizeof *h->heap);
    }
    size_t i = h->heap_size++;
    for (; i && before(&c, &h->heap[(i - 1) / 2]); i = (i - 1) / 2)
        h->heap[i] = h->heap[(i - 1) / 2];
    h->heap[i] = c;
}

static struct bpe_candidate pop(struct bpe_scratch *h) {
    struct bpe_candidate top = h->heap[0], last = h->heap[--h->heap_size];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->heap_size; i = child) {
        if (child + 1 < h->heap_size && before(&h->heap[child + 1], &h->heap[child]))
            child++;
        if (!before(&h->heap[child], &last))
            break;
        h->heap[i] = h->heap[child];
    }
    h->heap[i] = last;
    return top;
}

static void propose(const struct bpe *b, struct bpe_scratch *h, int32_t left) {
    int32_t right = left < 0 ? -1 : h->symbols[left].next;
    if (right < 0)
        return;
    const struct merge *m = find(b, h->symbols[left].id, h->symbols[right].id);
    if (m)
        push(h, (struct bpe_candidate){m->rank, left, m->id});
}

static void merge_long(const struct bpe *b, struct bpe_scratch *h, size_t n, struct id_list *out) {
    struct bpe_symbol *s = h->symbols;
    h->heap_size = 0;
    for (size_t i = 0; i + 1 < n; i++)
        propose(b, h, (int32_t)i);
    while (h->heap_size) {
        struct bpe_candidate c = pop(h);
        int32_t right = s[c.place].next;
        if (s[c.place].gone || right < 0)
            continue;
        /* one of the two may have merged with someone else since this was proposed */
        const struct merge *m = find(b, s[c.place].id, s[right].id);
        if (!m || m->id != c.id)
            continue;
        s[c.place].id = c.id;
        s[c.place].next = s[right].next;
        s[right].gone = true;
        if (s[c.place].next >= 0)
            s[s[c.place].next].prev = c.place;
        propose(b, h, s[c.place].prev);
        propose(b, h, c.place);
    }
    for (int32_t i = 0; i >= 0; i = s[i].next)
        id_list_add(out, s[i].id);
}

/* --- both --------------------------------------------------------------------------- */

/* One symbol a byte, fewer where unknown bytes fuse. Returns their number, 0 on error. */
static size_t start_symbols(const struct bpe *b, struct bpe_symbol *s, const char *piece,
                            size_t size, struct err *e) {
    size_t n = 0;
    bool unknown = false;
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)piece[i];
        bool fuse = unknown && b->fuse_unknown;
        unknown = b->byte_id[byte] < 0;
        if (unknown && b->unknown < 0) {
            err_set(e, EXIT_CONTENT, "the vocabulary has no token for byte 0x%02x", byte);
            return 0;
        }
        if (unknown && fuse)
            continue;
        s[n] = (struct bpe_symbol){.id = unknown ? b->unknown : b->byte_id[byte],
                                   .prev = (int32_t)n - 1,
                                   .next = (int32_t)n + 1};
        n++;
    }
    s[n - 1].next = -1;
    return n;
}

bool bpe_encode(const struct bpe *b, const struct vocab *v, struct bpe_scratch *scratch,
                const char *piece, size_t size, struct id_list *out, struct err *e) {
    if (!size)
        return true;
    int32_t whole = b->whole_first ? vocab_find_bytes(v, piece, size) : -1;
    if (whole >= 0) {
        id_list_add(out, whole);
        return true;
    }
    if (size > scratch->symbol_room) {
        scratch->symbol_room = size < 128 ? 256 : 2 * size;
        free(scratch->symbols);
        scratch->symbols = must_alloc(scratch->symbol_room * sizeof *scratch->symbols);
    }
    size_t n = start_symbols(b, scratch->symbols, piece, size, e);
    if (!n)
        return false;
    if (n <= SHORT_PIECE)
        merge_short(b, scratch->symbols, n, out);
    else
        merge_long(b, scratch, n, out);
    return true;
}
