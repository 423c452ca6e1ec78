#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "engine/tokenizer_parts.h"

/* GPT-2's byte alphabet: printable Latin-1 bytes stand for themselves, the 68 others, in order, for
 * U+0100 on. Returns the byte of a character, -1 if it is none of the 256. */
static int byte_of(uint32_t code) {
    if ((code >= 0x21 && code <= 0x7e) || (code >= 0xa1 && code <= 0xac) ||
        (code >= 0xae && code <= 0xff))
        return (int)code;
    if (code < 0x100 || code > 0x143)
        return -1;
    int n = (int)code - 0x100;
    return n < 33 ? n : n < 67 ? 0x7f + n - 33 : 0xad;
}

/* Writes what the spelling stands for to out (room for strlen) and tells whether it had to stay
 * raw. */
static size_t unspell(const struct vocab *v, const char *spelling, char *out, bool *raw) {
    size_t size = strlen(spelling), n = 0;
    *raw = v->verbatim;
    if (*raw)
        memcpy(out, spelling, size);
    for (size_t i = 0; i < size && !*raw;) {
        size_t width = utf8_width(spelling + i, size - i);
        int byte = width ? byte_of(utf8_code(spelling + i, width)) : -1;
        if (byte < 0) {
            *raw = true;
            memcpy(out, spelling, size);
            break;
        }
        out[n++] = (char)byte;
        i += width;
    }
    return *raw ? size : n;
}

static uint64_t hash(const char *bytes, size_t size, bool raw) {
    uint64_t h = rng_mix(size * 2 + raw), word;
    for (; size >= 8; bytes += 8, size -= 8) {
        memcpy(&word, bytes, 8);
        h = rng_mix(h ^ word);
    }
    word = 0;
    if (size)
        memcpy(&word, bytes, size);
    return rng_mix(h ^ word);
}

void vocab_open(struct vocab *v, int count, size_t n_tokens) {
    *v = (struct vocab){.verbatim = v->verbatim};
    v->count = count;
    v->pieces = must_zalloc((size_t)count, sizeof *v->pieces);
    size_t slots = 16;
    while (slots < 2 * n_tokens)
        slots *= 2;
    v->mask = slots - 1;
    v->table = must_zalloc(slots, sizeof *v->table);
}

void vocab_free(struct vocab *v) {
    free(v->pieces);
    free(v->bytes);
    free(v->table);
}

/* The slot that holds the token, or the free one where it would go. */
static size_t slot_of(const struct vocab *v, const char *bytes, size_t size, bool raw) {
    size_t slot = hash(bytes, size, raw) & v->mask;
    for (; v->table[slot]; slot = (slot + 1) & v->mask) {
        const struct piece *p = &v->pieces[v->table[slot] - 1];
        if (p->size == size && p->raw == raw && !memcmp(v->bytes + p->offset, bytes, size))
            break;
    }
    return slot;
}

/* Where the next `size` bytes go. */
static char *room_for(struct vocab *v, size_t size) {
    if (v->room - v->size < size || !v->bytes) {
        v->room = (v->size + size + 64) * 2;
        v->bytes = must_realloc(v->bytes, v->room);
    }
    return v->bytes + v->size;
}

void vocab_add(struct vocab *v, int32_t id, const char *spelling) {
    char *bytes = room_for(v, strlen(spelling));
    struct piece *p = &v->pieces[id];
    CHECK(id >= 0 && id < v->count && !p->known);
    bool raw;
    size_t size = unspell(v, spelling, bytes, &raw);
    size_t slot = slot_of(v, bytes, size, raw);
    CHECK(!v->table[slot]);
    *p = (struct piece){.offset = v->size,
                        .size = (uint32_t)size,
                        .known = true,
                        .raw = raw,
                        .text_offset = v->size,
                        .text_size = (uint32_t)size};
    v->size += size;
    v->table[slot] = id + 1;
}

void vocab_set_text(struct vocab *v, int32_t id, const char *text, size_t size) {
    memcpy(room_for(v, size), text, size);
    v->pieces[id].text_offset = v->size;
    v->pieces[id].text_size = (uint32_t)size;
    v->size += size;
}

int32_t vocab_find(const struct vocab *v, const char *spelling) {
    char small[256];
    size_t longest = strlen(spelling);
    char *bytes = longest <= sizeof small ? small : must_alloc(longest);
    bool raw;
    size_t size = unspell(v, spelling, bytes, &raw);
    int32_t id = v->table[slot_of(v, bytes, size, raw)] - 1;
    if (bytes != small)
        free(bytes);
    return id;
}

int32_t vocab_find_bytes(const struct vocab *v, const char *bytes, size_t size) {
    return v->table[slot_of(v, bytes, size, v->verbatim)] - 1;
}
