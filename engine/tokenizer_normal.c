/* The normalizer: its steps rewrite a text one after the other. */
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/utf8.h"
#include "engine/tokenizer_parts.h"
#include "engine/tokenizer_unicode.h"

#define NFC_GROWTH 3 /* no character takes more than three times its bytes in NFC (UAX 15) */

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

/* Appends NFC of a text whose characters it knows. */
static void add_nfc(const char *text, size_t size, char *out, size_t *n) {
    utf8proc_uint8_t *normal;
    utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size,
                                           &normal, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    CHECK(length >= 0); /* valid UTF-8 and less than 1 GiB: only memory can be short */
    memcpy(out + *n, normal, (size_t)length);
    *n += (size_t)length;
    free(normal);
}

/* Composition begins with U+0300 (CC 80): a text of smaller characters is NFC. Characters that the
 * library does not know stay where they are, between texts that it does. */
static char *nfc(const char *text, size_t size, size_t *out_size) {
    size_t i = 0, n = 0;
    while (i < size && (unsigned char)text[i] < 0xcc)
        i++;
    if (i == size)
        return NULL;
    char *out = must_alloc(NFC_GROWTH * size);
    while (size) {
        size_t known = unicode_first(text, size);
        if (known)
            add_nfc(text, known, out, &n);
        size_t width = known < size ? utf8_width(text + known, size - known) : 0;
        memcpy(out + n, text + known, width);
        n += width;
        text += known + width;
        size -= known + width;
    }
    *out_size = n;
    return out;
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

static size_t count(const char *from, const char *text, size_t size) {
    size_t n = strlen(from), times = 0;
    const char *end = text + size;
    for (const char *at = text; n && (at = memmem(at, (size_t)(end - at), from, n)); at += n)
        times++;
    return times;
}

size_t normal_replaced(const char *from, const char *to, const char *text, size_t size) {
    size_t times = count(from, text, size);
    return size + times * strlen(to) - times * strlen(from);
}

char *normal_replace(const char *from, const char *to, const char *text, size_t size,
                     size_t *out_size) {
    size_t n = strlen(from), m = strlen(to), used = 0;
    const char *end = text + size;
    if (!count(from, text, size))
        return NULL;
    char *out = must_alloc(normal_replaced(from, to, text, size) + 1);
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

/* NFC grows by NFC_GROWTH at most, so it is held to the limit behind it. */
static size_t foreseen(const struct normal_step *step, const char *text, size_t size) {
    switch (step->kind) {
    case NORMAL_NFC:
        return 0;
    case NORMAL_PREPEND:
        return size + strlen(step->to);
    case NORMAL_REPLACE:
        return normal_replaced(step->from, step->to, text, size);
    }
    return 0;
}

static bool too_long(const struct tokenizer *t, size_t size, struct err *e) {
    return err_set(
        e, EXIT_CONTENT,
        "%s: normalizer: makes more than %d times its size and %zu bytes of a text of %zu "
        "bytes",
        t->name, NORMAL_GROWTH, NORMAL_SPARE, size);
}

bool normal_text(const struct tokenizer *t, const char *text, size_t size, char **out,
                 size_t *out_size, struct err *e) {
    size_t first = size, most = NORMAL_GROWTH * size + NORMAL_SPARE;
    char *now = NULL;
    for (int i = 0; i < t->n_normal; i++) {
        size_t n = 0;
        const char *from = now ? now : text;
        bool fits = foreseen(&t->normal[i], from, size) <= most;
        char *next = fits ? apply(&t->normal[i], from, size, &n) : NULL;
        if (!fits || n > most) {
            free(next);
            free(now);
            return too_long(t, first, e);
        }
        if (!next)
            continue;
        free(now);
        now = next;
        size = n;
    }
    *out = now;
    *out_size = size;
    return true;
}
