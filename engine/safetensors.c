#include "engine/weights.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { LENGTH_BYTES = 8, MAX_RANK = 4, NESTING = 3 };
/* The format allows 100 MB. This holds 300,000 tensors, and keeps small what a hostile header
 * takes. */
static const uint64_t max_header = 32 << 20;
static const int64_t max_exact = (int64_t)1 << 53;

/* Every dtype of the format: tensors we cannot read still take part in the check of the offsets. */
static const struct {
    const char *name;
    int bits;
    enum dtype type;
} dtype_table[] = {
    {"F32", 32, DTYPE_F32},          {"F16", 16, DTYPE_F16},      {"BF16", 16, DTYPE_BF16},
    {"F64", 64, DTYPE_OTHER},        {"C64", 64, DTYPE_OTHER},    {"I64", 64, DTYPE_OTHER},
    {"U64", 64, DTYPE_OTHER},        {"I32", 32, DTYPE_OTHER},    {"U32", 32, DTYPE_OTHER},
    {"I16", 16, DTYPE_OTHER},        {"U16", 16, DTYPE_OTHER},    {"I8", 8, DTYPE_OTHER},
    {"U8", 8, DTYPE_OTHER},          {"BOOL", 8, DTYPE_OTHER},    {"F8_E4M3", 8, DTYPE_OTHER},
    {"F8_E5M2", 8, DTYPE_OTHER},     {"F8_E8M0", 8, DTYPE_OTHER}, {"F8_E4M3FNUZ", 8, DTYPE_OTHER},
    {"F8_E5M2FNUZ", 8, DTYPE_OTHER}, {"F6_E2M3", 6, DTYPE_OTHER}, {"F6_E3M2", 6, DTYPE_OTHER},
    {"F4", 4, DTYPE_OTHER},
};

struct reader { /* where we are, for the error lines */
    const char *path;
    uint64_t data;       /* offset of the buffer in the file */
    uint64_t data_bytes; /* size of the buffer */
    struct err *e;
};

/* The three fields of a tensor's entry, found in one walk. */
struct entry {
    const struct json *dtype, *shape, *offsets;
};

static bool wrong(const struct reader *r, const char *name, const char *what) {
    return err_set(r->e, EXIT_CONTENT, "%s: tensor '%.200s': %s", r->path, name, what);
}

static bool read_dtype(const struct reader *r, const struct json *value, struct tensor *t,
                       int *bits) {
    const char *text = value ? json_text(value) : NULL;
    if (!text)
        return wrong(r, t->name, "dtype missing or no string");
    for (size_t i = 0; i < sizeof dtype_table / sizeof *dtype_table; i++) {
        if (strcmp(text, dtype_table[i].name) != 0)
            continue;
        t->type = dtype_table[i].type;
        t->type_name = dtype_table[i].name;
        *bits = dtype_table[i].bits;
        return true;
    }
    return err_set(r->e, EXIT_CONTENT, "%s: tensor '%.200s': unknown dtype '%.40s'", r->path,
                   t->name, text);
}

static bool read_shape(const struct reader *r, const struct json *value, struct tensor *t,
                       int bits) {
    if (!value || json_type(value) != JSON_ARRAY)
        return wrong(r, t->name, "shape missing or no array");
    uint64_t size = (uint64_t)bits;
    for (const struct json *n = json_first(value); n; n = json_next(n)) {
        if (t->rank == MAX_RANK)
            return wrong(r, t->name, "more than 4 dimensions");
        int64_t *dimension = &t->shape[t->rank++];
        if (!json_integer(n, 0, max_exact, dimension))
            return wrong(r, t->name,
                         "shape holds something else than whole numbers from 0 to 2^53");
        if (__builtin_mul_overflow(size, (uint64_t)*dimension, &size))
            return wrong(r, t->name, "product of the shape overflows");
    }
    if (size % 8)
        return wrong(r, t->name, "size is no whole number of bytes");
    t->bytes = size / 8;
    return true;
}

static bool read_offsets(const struct reader *r, const struct json *value, struct tensor *t) {
    int64_t at[2];
    if (!value || json_type(value) != JSON_ARRAY)
        return wrong(r, t->name, "data_offsets missing or no array");
    int n = 0;
    for (const struct json *v = json_first(value); v; v = json_next(v), n++)
        if (n == 2 || !json_integer(v, 0, max_exact, &at[n]))
            break;
    if (n != 2 || json_count(value) != 2)
        return wrong(r, t->name, "data_offsets: expected two whole numbers from 0 to 2^53");
    uint64_t begin = (uint64_t)at[0], end = (uint64_t)at[1];
    if (begin > end || end > r->data_bytes)
        return err_set(r->e, EXIT_CONTENT,
                       "%s: tensor '%.200s': data_offsets [%" PRIu64 ", %" PRIu64
                       "]: expected begin <= end <= %" PRIu64 ", the size of the data",
                       r->path, t->name, begin, end, r->data_bytes);
    if (end - begin != t->bytes)
        return err_set(r->e, EXIT_CONTENT,
                       "%s: tensor '%.200s': data_offsets span %" PRIu64
                       " bytes, shape and dtype need %" PRIu64,
                       r->path, t->name, end - begin, t->bytes);
    t->offset = r->data + begin;
    return true;
}

static bool read_tensor(const struct reader *r, const struct json *value, struct tensor *t) {
    if (json_type(value) != JSON_OBJECT)
        return wrong(r, t->name, "expected an object");
    struct entry entry = {0};
    for (const struct json *m = json_first(value); m; m = json_next(m)) {
        const char *key = json_key(m);
        if (strcmp(key, "dtype") == 0)
            entry.dtype = m;
        else if (strcmp(key, "shape") == 0)
            entry.shape = m;
        else if (strcmp(key, "data_offsets") == 0)
            entry.offsets = m;
    }
    int bits = 0;
    return read_dtype(r, entry.dtype, t, &bits) && read_shape(r, entry.shape, t, bits) &&
           read_offsets(r, entry.offsets, t);
}

static bool check_metadata(const struct reader *r, const struct json *value) {
    bool ok = json_type(value) == JSON_OBJECT;
    for (const struct json *m = ok ? json_first(value) : NULL; m && ok; m = json_next(m))
        ok = json_text(m) != NULL;
    return ok ||
           err_set(r->e, EXIT_CONTENT, "%s: __metadata__: expected an object of strings", r->path);
}

static bool is_metadata(const struct json *member) {
    return strcmp(json_key(member), "__metadata__") == 0;
}

static int by_offset(const void *a, const void *b) {
    const struct tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) -
           (x->bytes < y->bytes); /* an empty tensor comes before its place's owner */
}

/* The tensors must tile the buffer: no hole, no overlap, nothing after the last. */
static bool check_tiling(const struct reader *r, struct tensor_list *list) {
    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, by_offset);
    uint64_t at = r->data;
    for (size_t i = 0; i < list->count; i++) {
        const struct tensor *t = &list->items[i];
        if (t->offset != at)
            return err_set(r->e, EXIT_CONTENT,
                           "%s: tensor '%.200s': begins at %" PRIu64
                           " of the data, %s; expected %" PRIu64,
                           r->path, t->name, t->offset - r->data,
                           t->offset > at ? "leaving a hole" : "overlapping another", at - r->data);
        at += t->bytes;
    }
    if (at - r->data != r->data_bytes)
        return err_set(r->e, EXIT_CONTENT,
                       "%s: tensors end at %" PRIu64 " of the data, but the file holds %" PRIu64
                       " bytes of it",
                       r->path, at - r->data, r->data_bytes);
    return true;
}

/* Names are copied into one block, so that the JSON tree can go. */
static void make_room(struct tensor_list *list, const struct json *root) {
    size_t count = 0, names = 0;
    for (const struct json *m = json_first(root); m; m = json_next(m)) {
        if (is_metadata(m))
            continue;
        count++;
        names += strlen(json_key(m)) + 1;
    }
    list->items = must_zalloc(count, sizeof *list->items);
    list->arena = must_alloc(names);
}

static bool read_all(const struct reader *r, const struct json *root, struct tensor_list *list) {
    if (json_type(root) != JSON_OBJECT)
        return err_set(r->e, EXIT_CONTENT, "%s: header: expected a JSON object", r->path);
    make_room(list, root);
    char *name = list->arena;
    for (const struct json *m = json_first(root); m; m = json_next(m)) {
        if (is_metadata(m)) {
            if (!check_metadata(r, m))
                return false;
            continue;
        }
        size_t length = strlen(json_key(m)) + 1;
        struct tensor *t = &list->items[list->count++];
        t->name = memcpy(name, json_key(m), length);
        name += length;
        if (!read_tensor(r, m, t))
            return false;
    }
    return check_tiling(r, list);
}

bool safetensors_header(const uint8_t first[8], uint64_t file_bytes, const char *path,
                        uint64_t *bytes, struct err *e) {
    uint64_t n = 0;
    if (file_bytes < LENGTH_BYTES)
        return err_set(
            e, EXIT_CONTENT,
            "%s: %" PRIu64
            " bytes: too short for safetensors, which begin with 8 bytes of header length",
            path, file_bytes);
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        n = n << 8 | first[i];
    if (n > max_header || n > file_bytes - LENGTH_BYTES)
        return err_set(e, EXIT_CONTENT,
                       "%s: header length %" PRIu64 " at offset 0: expected at most %" PRIu64
                       " (the file has %" PRIu64 " bytes)",
                       path, n,
                       max_header < file_bytes - LENGTH_BYTES ? max_header
                                                              : file_bytes - LENGTH_BYTES,
                       file_bytes);
    *bytes = n;
    return true;
}

bool safetensors_parse(const uint8_t *header, size_t size, uint64_t file_bytes, const char *path,
                       struct tensor_list *out, struct err *e) {
    *out = (struct tensor_list){0};
    uint64_t n = 0;
    if (!safetensors_header(header, size < LENGTH_BYTES ? size : file_bytes, path, &n, e))
        return false;
    if (n > size - LENGTH_BYTES)
        return err_set(e, EXIT_CONTENT, "%s: header of %" PRIu64 " bytes is cut off", path, n);
    if (n < 2 || header[LENGTH_BYTES] != '{')
        return err_set(e, EXIT_CONTENT, "%s: offset 8: expected a JSON object, '{'", path);

    struct json_doc *doc =
        json_parse_within((const char *)header + LENGTH_BYTES, (size_t)n, path, NESTING, e);
    if (!doc)
        return false;
    struct reader r = {path, LENGTH_BYTES + n, file_bytes - LENGTH_BYTES - n, e};
    bool ok = read_all(&r, json_root(doc), out);
    json_free(doc);
    if (!ok)
        tensor_list_free(out);
    return ok;
}

void tensor_list_free(struct tensor_list *list) {
    free(list->items);
    free(list->arena);
    *list = (struct tensor_list){0};
}
