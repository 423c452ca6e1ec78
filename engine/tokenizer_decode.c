/* Ids back to text: the tokens' spellings, as a list of words, go through the decoder's steps. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/tokenizer_parts.h"

bool decode_add(struct tokenizer *t, enum decode_kind kind, const char *from, const char *to,
                int start, int stop) {
    if (t->n_decode == DECODE_STEPS)
        return false;
    t->decode[t->n_decode++] = (struct decode_step){.kind = kind,
                                                    .from = from ? must_strdup(from) : NULL,
                                                    .to = to ? must_strdup(to) : NULL,
                                                    .start = start,
                                                    .stop = stop};
    return true;
}

void decode_free(struct tokenizer *t) {
    for (int i = 0; i < t->n_decode; i++) {
        free(t->decode[i].from);
        free(t->decode[i].to);
    }
}

/* --- words ----------------------------------------------------------------------------- */

struct words {
    char *bytes;   /* owned */
    size_t *stops; /* where each word ends in bytes, owned */
    size_t size, room, count, stop_room;
};

static void add_bytes(struct words *w, const char *bytes, size_t size) {
    if (w->room - w->size < size || !w->bytes) {
        w->room = 2 * (w->size + size + 64);
        w->bytes = must_realloc(w->bytes, w->room);
    }
    if (size)
        memcpy(w->bytes + w->size, bytes, size);
    w->size += size;
}

static void end_word(struct words *w) {
    if (w->count == w->stop_room) {
        w->stop_room = w->count ? 2 * w->count : 64;
        w->stops = must_realloc(w->stops, w->stop_room * sizeof *w->stops);
    }
    w->stops[w->count++] = w->size;
}

static void add_word(struct words *w, const char *bytes, size_t size) {
    add_bytes(w, bytes, size);
    end_word(w);
}

static const char *word_at(const struct words *w, size_t i, size_t *size) {
    size_t start = i ? w->stops[i - 1] : 0;
    *size = w->stops[i] - start;
    return w->bytes + start;
}

static void words_free(struct words *w) {
    free(w->bytes);
    free(w->stops);
}

/* --- steps ----------------------------------------------------------------------------- */

/* The byte of "<0x0A>"; -1 for any other spelling. */
static int byte_of(const char *text, size_t size) {
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    char digits[3] = {text[3], text[4]}, *end;
    bool plain = strspn(digits, "0123456789abcdefABCDEF") == 2;
    return plain ? (int)strtol(digits, &end, 16) : -1;
}

static void replace(const struct decode_step *step, const char *text, size_t size,
                    struct words *out) {
    size_t n;
    char *other = normal_replace(step->from, step->to, text, size, &n);
    add_word(out, other ? other : text, other ? n : size);
    free(other);
}

/* A run of bytes is text, or as many U+FFFD: so the library has it. */
static void put_bytes(struct words *run, struct words *out) {
    if (utf8_check(run->bytes, run->size) == run->size)
        add_word(out, run->bytes, run->size);
    else
        for (size_t i = 0; i < run->size; i++)
            add_word(out, "\xef\xbf\xbd", 3);
    run->size = 0;
}

static void join_bytes(const struct words *in, struct words *out) {
    struct words run = {0};
    for (size_t i = 0; i < in->count; i++) {
        size_t size;
        const char *text = word_at(in, i, &size);
        int byte = byte_of(text, size);
        char c = (char)byte;
        if (byte < 0 && run.size)
            put_bytes(&run, out);
        if (byte < 0)
            add_word(out, text, size);
        else
            add_bytes(&run, &c, 1);
    }
    if (run.size)
        put_bytes(&run, out);
    words_free(&run);
}

/* How many characters equal to `mark` the text begins with, at most `most`, in bytes. */
static size_t strip_start(const char *text, size_t size, const char *mark, int most) {
    size_t n = strlen(mark), at = 0;
    for (int i = 0; i < most && size - at >= n && !memcmp(text + at, mark, n); i++)
        at += n;
    return at;
}

static size_t strip_stop(const char *text, size_t size, const char *mark, int most) {
    size_t n = strlen(mark);
    for (int i = 0; i < most && size >= n && !memcmp(text + size - n, mark, n); i++)
        size -= n;
    return size;
}

static void strip(const struct decode_step *step, const char *text, size_t size,
                  struct words *out) {
    size_t start = strip_start(text, size, step->from, step->start);
    size_t stop = strip_stop(text, size, step->from, step->stop);
    add_word(out, text + start, stop > start ? stop - start : 0);
}

static void spaces(const struct decode_step *step, const char *text, size_t size, bool drop,
                   struct words *out) {
    size_t n;
    char *other = normal_replace(step->from, drop ? "" : " ", text, size, &n);
    add_word(out, other ? other : text, other ? n : size);
    free(other);
}

static void apply(const struct decode_step *step, const struct words *in, struct words *out) {
    if (step->kind == DECODE_FUSE) {
        add_word(out, in->bytes, in->size);
        return;
    }
    if (step->kind == DECODE_BYTES) {
        join_bytes(in, out);
        return;
    }
    for (size_t i = 0; i < in->count; i++) {
        size_t size;
        const char *text = word_at(in, i, &size);
        if (step->kind == DECODE_REPLACE)
            replace(step, text, size, out);
        else if (step->kind == DECODE_STRIP)
            strip(step, text, size, out);
        else
            spaces(step, text, size, i == 0 && step->start, out);
    }
}

static struct words decode(const struct tokenizer *t, struct words words) {
    for (int i = 0; i < t->n_decode; i++) {
        struct words next = {0};
        apply(&t->decode[i], &words, &next);
        words_free(&words);
        words = next;
    }
    return words;
}

/* --- the whole ------------------------------------------------------------------------- */

/* A token alone: a byte is that byte, since its neighbours may make it whole, and no space is
 * stripped, since words stand in front. */
void decode_texts(struct tokenizer *t) {
    for (int32_t id = 0; t->n_decode && id < t->vocab.count; id++) {
        const struct piece *p = &t->vocab.pieces[id];
        struct words words = {0};
        add_word(&words, t->vocab.bytes ? t->vocab.bytes + p->offset : "", p->size);
        for (int i = 0; i < t->n_decode; i++) {
            const struct decode_step *step = &t->decode[i];
            struct words next = {0};
            int byte = step->kind == DECODE_BYTES ? byte_of(words.bytes, words.size) : -1;
            char c = (char)byte;
            if (byte >= 0)
                add_word(&next, &c, 1);
            else if (step->kind == DECODE_REPLACE)
                replace(step, words.bytes, words.size, &next);
            else if (step->kind == DECODE_METASPACE)
                spaces(step, words.bytes, words.size, false, &next);
            else
                continue;
            words_free(&words);
            words = next;
        }
        if (p->known && (words.size != p->size ||
                         memcmp(words.bytes, t->vocab.bytes + p->offset, p->size) != 0))
            vocab_set_text(&t->vocab, id, words.bytes, words.size);
        words_free(&words);
    }
}

bool tokenizer_drops_space(const struct tokenizer *tokenizer) {
    for (int i = 0; i < tokenizer->n_decode; i++) {
        const struct decode_step *step = &tokenizer->decode[i];
        bool strips = step->kind == DECODE_STRIP && !strcmp(step->from, " ");
        if ((strips || step->kind == DECODE_METASPACE) && step->start)
            return true;
    }
    return false;
}

char *tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n,
                       bool skip_special, size_t *size, struct err *e) {
    const struct vocab *v = &tokenizer->vocab;
    struct words words = {0};
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= v->count || !v->pieces[ids[i]].known) {
            words_free(&words);
            err_set(e, EXIT_CONTENT, "id %d at place %zu: expected a token of the %d known ids",
                    ids[i], i, v->count);
            return NULL;
        }
        const struct piece *p = &v->pieces[ids[i]];
        if (!p->special || !skip_special)
            add_word(&words, v->bytes + p->offset, p->size);
    }
    words = decode(tokenizer, words);
    *size = utf8_mend(words.bytes, words.size, NULL);
    char *text = must_alloc(*size + 1);
    utf8_mend(words.bytes, words.size, text);
    text[*size] = 0;
    words_free(&words);
    return text;
}
