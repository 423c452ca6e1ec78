/* Byte-pair encoding: the table of merges, and pieces as symbols. A run of symbols ends early where
 * no merge joins the characters on both sides: the merges of a text without such places take longer
 * than those of its parts, and give the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "engine/tokenizer_parts.h"

#define FREE UINT64_MAX
#define MEETING_BITS \
    18 /* pairs of bytes would need 16; characters collide, which only costs time */

static uint64_t pair_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* --- merges ------------------------------------------------------------------------ */

/* The id of <0x00> to <0xFF>, however the vocabulary spells other tokens. */
static int32_t find_fallback(const struct vocab *v, int byte) {
    char spelling[8];
    snprintf(spelling, sizeof spelling, "<0x%02X>", (unsigned)byte);
    return vocab_find(v, spelling);
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
        b->fallback_id[byte] = find_fallback(v, byte);
    }
}

void bpe_free(struct bpe *b) {
    free(b->merges);
    free(b->meetings);
}

static struct merge *slot_of(const struct bpe *b, uint64_t pair) {
    size_t slot = rng_mix(pair) & b->mask;
    while (b->merges[slot].pair != pair && b->merges[slot].pair != FREE)
        slot = (slot + 1) & b->mask;
    return &b->merges[slot];
}

void bpe_add(struct bpe *b, int32_t left, int32_t right, int32_t rank, int32_t id) {
    uint64_t pair = pair_of(left, right);
    CHECK(rank >= 0);
    *slot_of(b, pair) = (struct merge){.pair = pair, .rank = rank, .id = id};
    b->n_ranks = rank < b->n_ranks ? b->n_ranks : rank + 1;
}

const struct merge *bpe_find(const struct bpe *b, int32_t left, int32_t right) {
    const struct merge *m = slot_of(b, pair_of(left, right));
    return m->pair == FREE ? NULL : m;
}

/* --- where merges can join ------------------------------------------------------------ */

/* What a token begins and ends with: bytes, or characters of a verbatim vocabulary. */
struct ends {
    uint32_t first, last;
};

static struct ends ends_of(const struct vocab *v, int32_t id) {
    const struct piece *p = &v->pieces[id];
    const char *text = v->bytes + p->offset;
    if (!p->size)
        return (struct ends){0, 0};
    if (!v->verbatim)
        return (struct ends){(unsigned char)text[0], (unsigned char)text[p->size - 1]};
    size_t last = p->size - 1;
    while (last && ((unsigned char)text[last] & 0xc0) == 0x80)
        last--;
    return (struct ends){utf8_code(text, utf8_width(text, p->size)),
                         utf8_code(text + last, p->size - last)};
}

static size_t meeting_of(uint32_t left, uint32_t right) {
    return (left * 256u ^ right * 0x9e3779b1u) & ((1u << MEETING_BITS) - 1);
}

void bpe_seal(struct bpe *b, const struct vocab *v) {
    b->meetings = must_zalloc((1u << MEETING_BITS) / 64, sizeof *b->meetings);
    for (size_t i = 0; i <= b->mask; i++) {
        if (b->merges[i].pair == FREE)
            continue;
        size_t bit = meeting_of(ends_of(v, (int32_t)(b->merges[i].pair >> 32)).last,
                                ends_of(v, (int32_t)(uint32_t)b->merges[i].pair).first);
        b->meetings[bit / 64] |= UINT64_C(1) << bit % 64;
    }
}

static bool may_join(const struct bpe *b, uint32_t left, uint32_t right) {
    size_t bit = meeting_of(left, right);
    return !b->meetings || b->meetings[bit / 64] >> bit % 64 & 1;
}

/* --- pieces ------------------------------------------------------------------------------ */

void bpe_scratch_free(struct bpe_scratch *scratch) {
    free(scratch->symbols);
    bpe_queue_free(scratch->queue);
}

struct run {
    const struct bpe *bpe;
    const struct vocab *vocab;
    struct bpe_scratch *scratch;
    struct id_list *out;
    bool unknown; /* what the vocabulary lacks has come, and its id is still to be put */
};

static void put_symbol(struct run *r, int32_t id, struct ends ends) {
    struct bpe_scratch *s = r->scratch;
    if (s->n_symbols && !may_join(r->bpe, s->last, ends.first))
        bpe_merge(r->bpe, s, r->out);
    if (s->n_symbols == s->room) {
        s->room = s->room ? 2 * s->room : 256;
        s->symbols = must_realloc(s->symbols, s->room * sizeof *s->symbols);
    }
    s->symbols[s->n_symbols++] = id;
    s->last = ends.last;
}

static void put_unknown(struct run *r) {
    if (r->unknown)
        put_symbol(r, r->bpe->unknown, ends_of(r->vocab, r->bpe->unknown));
    r->unknown = false;
}

/* Puts the tokens of the bytes, if there is one for each. */
static bool put_fallback(struct run *r, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!r->bpe->fallback || r->bpe->fallback_id[(unsigned char)bytes[i]] < 0)
            return false;
    for (size_t i = 0; i < size; i++) {
        int32_t id = r->bpe->fallback_id[(unsigned char)bytes[i]];
        put_symbol(r, id, ends_of(r->vocab, id));
    }
    return true;
}

/* As the library does it, an unknown character in front of one that falls back to bytes comes
 * behind those. */
static bool put_start(struct run *r, int32_t id, const char *bytes, size_t width, struct err *e) {
    if (id >= 0) {
        uint32_t code = width == 1 ? (unsigned char)*bytes : utf8_code(bytes, width);
        put_unknown(r);
        put_symbol(r, id, (struct ends){code, code});
        return true;
    }
    if (put_fallback(r, bytes, width))
        return true;
    if (r->bpe->unknown < 0)
        return err_set(e, EXIT_CONTENT, "the vocabulary has no token for byte 0x%02x",
                       (unsigned char)*bytes);
    if (!r->bpe->fuse_unknown)
        put_unknown(r);
    return r->unknown = true;
}

static bool put_piece(struct run *r, const char *piece, size_t size, struct err *e) {
    bool verbatim = r->vocab->verbatim;
    for (size_t at = 0, width; at < size; at += width) {
        unsigned char byte = (unsigned char)piece[at];
        width = verbatim && byte >= 0x80 ? utf8_width(piece + at, size - at) : 1;
        int32_t id =
            width == 1 ? r->bpe->byte_id[byte] : vocab_find_bytes(r->vocab, piece + at, width);
        if (!put_start(r, id, piece + at, width, e))
            return false;
    }
    put_unknown(r);
    return true;
}

bool bpe_encode(const struct bpe *b, const struct vocab *v, struct bpe_scratch *scratch,
                const char *piece, size_t size, struct id_list *out, struct err *e) {
    int32_t whole = b->whole_first ? vocab_find_bytes(v, piece, size) : -1;
    if (whole >= 0) {
        id_list_add(out, whole);
        return true;
    }
    if (size > TOKENIZER_TEXT)
        return err_set(e, EXIT_CONTENT, "a piece of %zu bytes, at most %zu are taken", size,
                       TOKENIZER_TEXT);
    struct run run = {.bpe = b, .vocab = v, .scratch = scratch, .out = out};
    bool ok = put_piece(&run, piece, size, e);
    if (ok)
        bpe_merge(b, scratch, out);
    scratch->n_symbols = 0;
    return ok;
}
