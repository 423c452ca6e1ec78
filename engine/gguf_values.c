/* Looking up and reading metadata that gguf_parse has checked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/gguf.h"

int gguf_compare(struct gguf_text a, struct gguf_text b) {
    int order = memcmp(a.bytes, b.bytes, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_key(const void *key, const void *pair) {
    return gguf_compare((struct gguf_text){key, strlen(key)},
                        ((const struct gguf_pair *)pair)->key);
}

const struct gguf_pair *gguf_find(const struct gguf *g, const char *key) {
    return g->n_pairs ? bsearch(key, g->pairs, g->n_pairs, sizeof *g->pairs, compare_key) : NULL;
}

/* Bytes of a whole number, negative if it has a sign; 0 for all that is none. */
static const int8_t integer_bytes[GGUF_TYPES] = {
    [GGUF_U8] = 1,  [GGUF_I8] = -1,  [GGUF_U16] = 2, [GGUF_I16] = -2,
    [GGUF_U32] = 4, [GGUF_I32] = -4, [GGUF_U64] = 8, [GGUF_I64] = -8,
};

/* false for a number that int64_t does not hold, and for all that is none. */
static bool integer(const struct gguf_pair *pair, int64_t *out) {
    int bytes = pair && !pair->array ? integer_bytes[pair->type] : 0, size = abs(bytes);
    if (!size)
        return false;
    uint64_t n = 0;
    memcpy(&n, pair->data, (size_t)size);
    uint64_t sign = (uint64_t)1 << (8 * size - 1);
    if (bytes < 0 && n & sign && size < 8)
        n |= ~(2 * sign - 1);
    *out = (int64_t)n;
    return bytes < 0 || n <= INT64_MAX;
}

bool gguf_integer(const struct gguf_pair *pair, int64_t min, int64_t max, int64_t *out) {
    int64_t n;
    if (!integer(pair, &n) || n < min || n > max)
        return false;
    *out = n;
    return true;
}

bool gguf_number(const struct gguf_pair *pair, double *out) {
    int64_t n;
    if (integer(pair, &n))
        return *out = (double)n, true;
    if (!pair || pair->array || (pair->type != GGUF_F32 && pair->type != GGUF_F64))
        return false;
    if (pair->type == GGUF_F32)
        *out = (double)gguf_real_at(pair, 0);
    else
        memcpy(out, pair->data, sizeof *out);
    return true;
}

bool gguf_truth(const struct gguf_pair *pair, bool *out) {
    if (!pair || pair->array || pair->type != GGUF_BOOL)
        return false;
    return *out = *pair->data != 0, true;
}

struct gguf_text gguf_next(const uint8_t **at) {
    uint64_t size;
    memcpy(&size, *at, sizeof size);
    struct gguf_text text = {(const char *)*at + sizeof size, (size_t)size};
    *at += sizeof size + size;
    return text;
}

struct gguf_text gguf_string(const struct gguf_pair *pair) {
    if (!pair || pair->array || pair->type != GGUF_STRING)
        return (struct gguf_text){0};
    const uint8_t *at = pair->data;
    return gguf_next(&at);
}

bool gguf_is(struct gguf_text text, const char *other) {
    return text.bytes && text.size == strlen(other) && memcmp(text.bytes, other, text.size) == 0;
}

int gguf_shown(struct gguf_text text) { return text.size < 80 ? (int)text.size : 80; }

const struct gguf_pair *gguf_array(const struct gguf *g, const char *key, enum gguf_type type) {
    const struct gguf_pair *pair = gguf_find(g, key);
    return pair && pair->array && pair->type == type ? pair : NULL;
}

int32_t gguf_int_at(const struct gguf_pair *array, uint64_t i) {
    int32_t n;
    memcpy(&n, array->data + i * sizeof n, sizeof n);
    return n;
}

float gguf_real_at(const struct gguf_pair *array, uint64_t i) {
    float x;
    memcpy(&x, array->data + i * sizeof x, sizeof x);
    return x;
}

bool gguf_file(const char *path) {
    struct stat s;
    char first[4] = "";
    if (stat(path, &s) != 0 || !S_ISREG(s.st_mode))
        return false;
    FILE *file = fopen(path, "rbe");
    bool is = file && fread(first, 1, sizeof first, file) == sizeof first &&
              memcmp(first, GGUF_MAGIC, sizeof first) == 0;
    if (file)
        fclose(file);
    return is;
}

bool gguf_wrong(const struct gguf *g, const char *key, const char *expected, struct err *e) {
    const struct gguf_pair *pair = gguf_find(g, key);
    struct gguf_text text = gguf_string(pair);
    double number;
    char shown[100] = "of another type";
    if (!pair)
        return err_set(e, EXIT_CONTENT, "%s: key '%s' is missing: expected %s", g->path, key,
                       expected);
    if (text.bytes)
        snprintf(shown, sizeof shown, "'%.*s'", gguf_shown(text), text.bytes);
    else if (gguf_number(pair, &number))
        snprintf(shown, sizeof shown, "%.9g", number);
    else if (pair->array)
        snprintf(shown, sizeof shown, "a list of %" PRIu64, pair->count);
    return err_set(e, EXIT_CONTENT, "%s: offset %" PRIu64 ": key '%s' is %s: expected %s", g->path,
                   pair->offset, key, shown, expected);
}
