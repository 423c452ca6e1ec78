/* The normalizer: its steps rewrite a text one after the other. */
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "engine/tokenizer_parts.h"

bool normal_add(struct tokenizer *t, enum normal_kind kind, const char *from, const char *to) {
    if (t->n_normal == NORMAL_STEPS)
        return false;
    t->normal[t->n_normal++] = (struct normal_step){
        .kind = kind, .from = from ? must_strdup(from) : NULL, .to = to ? must_strdup(to) : NULL};
    return true;
}

void normal_free(struct tokenizer *t) {
    for (int i = 0; i < t->n_normal; i++) {
        free(t->normal[i].from);
        free(t->normal[i].to);
    }
}

/* Composition begins with U+0300 (CC 80): a text of smaller characters is NFC. */
static char *nfc(const char *text, size_t size, size_t *out_size) {
    size_t i = 0;
    while (i < size && (unsigned char)text[i] < 0xcc)
        i++;
    if (i == size)
        return NULL;
    utf8proc_uint8_t *out;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &out,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    CHECK(n >= 0); /* valid UTF-8 and at most 1 GiB: only memory can be short */
    *out_size = (size_t)n;
    return (char *)out;
}

/* An empty text stays empty. */
static char *prepend(const char *start, const char *text, size_t size, size_t *out_size) {
    size_t n = strlen(start);
    if (!n || !size)
        return NULL;
    char *out = must_alloc(n + size);
    memcpy(out, start, n);
    memcpy(out + n, text, size);
    *out_size = n + size;
    return out;
}

char *normal_replace(const char *from, const char *to, const char *text, size_t size,
                     size_t *out_size) {
    size_t n = strlen(from), m = strlen(to), count = 0, used = 0;
    const char *end = text + size;
    for (const char *at = text; n && (at = memmem(at, (size_t)(end - at), from, n)); at += n)
        count++;
    if (!count)
        return NULL;
    char *out = must_alloc(size + count * m + 1);
    for (const char *at; (at = memmem(text, (size_t)(end - text), from, n)); text = at + n) {
        memcpy(out + used, text, (size_t)(at - text));
        used += (size_t)(at - text);
        memcpy(out + used, to, m);
        used += m;
    }
    memcpy(out + used, text, (size_t)(end - text));
    *out_size = used + (size_t)(end - text);
    return out;
}

static char *apply(const struct normal_step *step, const char *text, size_t size,
                   size_t *out_size) {
    switch (step->kind) {
    case NORMAL_NFC:
        return nfc(text, size, out_size);
    case NORMAL_PREPEND:
        return prepend(step->to, text, size, out_size);
    case NORMAL_REPLACE:
        return normal_replace(step->from, step->to, text, size, out_size);
    }
    return NULL;
}

char *normal_text(const struct tokenizer *t, const char *text, size_t size, size_t *out_size) {
    char *now = NULL;
    for (int i = 0; i < t->n_normal; i++) {
        size_t n;
        char *next = apply(&t->normal[i], now ? now : text, size, &n);
        if (!next)
            continue;
        free(now);
        now = next;
        size = n;
    }
    *out_size = size;
    return now;
}
