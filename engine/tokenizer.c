#include "engine/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "engine/tokenizer_parts.h"
#include "engine/tokenizer_unicode.h"

/* --- text to ids ------------------------------------------------------------------- */

#define CACHE_SLOTS 4096
#define CACHE_PIECE 64  /* longer pieces seldom come back */
#define CACHE_TEXT 1024 /* below this size a text repeats too little to pay for the table */

/* A piece met before in this text, and where its ids stand in the output: nothing is copied to
 * remember it. */
struct seen {
    const char *piece;
    size_t size, first, count;
};

struct encoder {
    const struct tokenizer *tokenizer;
    const char *text; /* the whole input */
    struct splitter splitter;
    struct bpe_scratch scratch;
    struct seen *cache; /* NULL for short texts */
    struct id_list *out;
    struct err *e;
};

static struct seen *cache_slot(struct encoder *c, const char *piece, size_t size) {
    if (!c->cache || size > CACHE_PIECE)
        return NULL;
    uint64_t h = size, word;
    for (size_t i = 0; i < size; i += 8) {
        word = 0;
        memcpy(&word, piece + i, size - i < 8 ? size - i : 8);
        h = rng_mix(h ^ word);
    }
    return &c->cache[h % CACHE_SLOTS];
}

static bool encode_piece(void *context, const char *piece, size_t size) {
    struct encoder *c = context;
    struct seen *slot = cache_slot(c, piece, size);
    if (slot && slot->size == size && !memcmp(slot->piece, piece, size)) {
        for (size_t i = 0; i < slot->count; i++)
            id_list_add(c->out, c->out->ids[slot->first + i]);
        return true;
    }
    size_t first = c->out->count;
    if (!bpe_encode(&c->tokenizer->bpe, &c->tokenizer->vocab, &c->scratch, piece, size, c->out,
                    c->e))
        return false;
    if (slot)
        *slot = (struct seen){piece, size, first, c->out->count - first};
    return true;
}

typedef bool rest_fn(struct encoder *c, const char *text, size_t size);

/* Ids for the added tokens in text; rest() takes what lies between them. */
static bool cut_added(struct encoder *c, const struct added_set *set, rest_fn *rest,
                      const char *text, size_t size) {
    size_t done = 0, at = 0, start, stop;
    int32_t id;
    while (added_next(set, text, size, done, &at, &start, &stop, &id)) {
        if (start > done && !rest(c, text + done, start - done))
            return false;
        id_list_add(c->out, id);
        done = stop;
    }
    return done >= size || rest(c, text + done, size - done);
}

static bool encode_pieces(struct encoder *c, const char *text, size_t size) {
    return splitter_run(&c->splitter, text, size);
}

static bool encode_normal(struct encoder *c, const char *text, size_t size) {
    size_t n;
    bool first = text == c->text;
    char *normal;
    if (!normal_text(c->tokenizer, text, size, &normal, &n, c->e))
        return false;
    if (normal) {
        char *kept = splitter_buffer(&c->splitter, n);
        memcpy(kept, normal, n);
        free(normal);
        text = kept;
        size = n;
    }
    c->splitter.origin = first ? text : NULL;
    return cut_added(c, &c->tokenizer->normalized, encode_pieces, text, size);
}

bool tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t size,
                      bool special, struct id_list *out, struct err *e) {
    if (size > TOKENIZER_TEXT)
        return err_set(e, EXIT_CONTENT, "text of %zu bytes, at most %zu are taken at once", size,
                       TOKENIZER_TEXT);
    size_t bad = utf8_check(text, size);
    if (bad < size)
        return err_set(e, EXIT_CONTENT, "offset %zu: invalid UTF-8 (byte 0x%02x)", bad,
                       (unsigned char)text[bad]);
    size_t before = out->count;
    struct encoder c = {.tokenizer = tokenizer, .text = text, .out = out, .e = e};
    c.splitter = (struct splitter){.steps = tokenizer->steps,
                                   .n_steps = tokenizer->n_steps,
                                   .piece = encode_piece,
                                   .context = &c,
                                   .young = unicode_first(text, size) < size,
                                   .e = e};
    splitter_open(&c.splitter, size);
    if (size > CACHE_TEXT)
        c.cache = must_zalloc(CACHE_SLOTS, sizeof *c.cache);
    if (special)
        id_list_append(out, &tokenizer->prefix);
    bool ok = cut_added(&c, &tokenizer->exact, encode_normal, text, size);
    if (special)
        id_list_append(out, &tokenizer->suffix);
    if (!ok)
        out->count = before;
    free(c.cache);
    splitter_close(&c.splitter);
    bpe_scratch_free(&c.scratch);
    return ok;
}

/* --- ids to text ------------------------------------------------------------------- */

int tokenizer_vocab(const struct tokenizer *tokenizer) { return tokenizer->vocab.count; }

int32_t tokenizer_id(const struct tokenizer *tokenizer, const char *token) {
    return vocab_find(&tokenizer->vocab, token);
}

const char *tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, size_t *size,
                            bool *special) {
    const struct vocab *v = &tokenizer->vocab;
    if (id < 0 || id >= v->count || !v->pieces[id].known)
        return NULL;
    *size = v->pieces[id].text_size;
    *special = v->pieces[id].special;
    return v->bytes + v->pieces[id].text_offset;
}
