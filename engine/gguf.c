#include "engine/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { MAX_KEY = 65535, MAX_NAME = 64, MAX_COUNT = 1 << 16, MAX_RANK = 4 };
enum { ALIGNMENT = 32, MAX_ALIGNMENT = 1 << 20 };
enum { PAIR_BYTES = 8 + 1 + 4 + 1, TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 }; /* at least */

static const uint8_t type_bytes[GGUF_TYPES] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2,  [GGUF_I16] = 2,    [GGUF_U32] = 4,
    [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_STRING] = 8, /* at least: its length */
    [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

/* ggml's numbers of the formats that we read; those of others are refused by number. */
static const struct {
    uint32_t number;
    enum dtype type;
} type_table[] = {
    {0, DTYPE_F32},   {1, DTYPE_F16},   {30, DTYPE_BF16}, {2, DTYPE_Q4_0},  {3, DTYPE_Q4_1},
    {6, DTYPE_Q5_0},  {7, DTYPE_Q5_1},  {8, DTYPE_Q8_0},  {10, DTYPE_Q2_K}, {11, DTYPE_Q3_K},
    {12, DTYPE_Q4_K}, {13, DTYPE_Q5_K}, {14, DTYPE_Q6_K},
};

struct reader { /* where we are in the image, for the error lines too */
    const char *path;
    const uint8_t *image;
    uint64_t at, size, file_bytes;
    bool more; /* the image, not the file, is at its end */
    struct err *e;
};

#define FAIL(r, ...) err_set((r)->e, EXIT_CONTENT, __VA_ARGS__)

/* --- bytes ---------------------------------------------------------------------- */

static uint64_t number_at(const uint8_t *data, int bytes) {
    uint64_t n = 0;
    for (int i = bytes - 1; i >= 0; i--)
        n = n << 8 | data[i];
    return n;
}

/* The next n bytes; NULL where there are not as many. */
static const uint8_t *take(struct reader *r, uint64_t n, const char *what) {
    if (n > r->file_bytes - r->at) {
        FAIL(r, "%s: offset %" PRIu64 ": %s: expected %" PRIu64 " bytes, the file has %" PRIu64,
             r->path, r->at, what, n, r->file_bytes - r->at);
        return NULL;
    }
    if (n > r->size - r->at) {
        r->more = true;
        FAIL(r, "%s: offset %" PRIu64 ": %s: the head is longer than %" PRIu64 " bytes", r->path,
             r->at, what, r->size);
        return NULL;
    }
    r->at += n;
    return r->image + r->at - n;
}

static bool take_number(struct reader *r, int bytes, const char *what, uint64_t *out) {
    const uint8_t *data = take(r, (uint64_t)bytes, what);
    *out = data ? number_at(data, bytes) : 0;
    return data != NULL;
}

static bool take_text(struct reader *r, uint64_t max, const char *what, struct gguf_text *out) {
    uint64_t from = r->at, size;
    if (!take_number(r, 8, what, &size))
        return false;
    if (size > max)
        return FAIL(r, "%s: offset %" PRIu64 ": %s of %" PRIu64 " bytes: expected at most %" PRIu64,
                    r->path, from, what, size, max);
    const char *bytes = (const char *)take(r, size, what);
    if (!bytes)
        return false;
    if (utf8_check(bytes, size) < size || memchr(bytes, 0, size))
        return FAIL(r, "%s: offset %" PRIu64 ": %s: expected UTF-8 without U+0000", r->path, from,
                    what);
    *out = (struct gguf_text){bytes, size};
    return true;
}

/* A count that what is left of the file can hold. */
static bool check_count(struct reader *r, uint64_t count, uint64_t least_bytes, uint64_t max,
                        const char *what) {
    uint64_t room = (r->file_bytes - r->at) / least_bytes;
    max = max < room ? max : room;
    return count <= max || FAIL(r,
                                "%s: offset %" PRIu64 ": %" PRIu64 " %s: expected at most %" PRIu64
                                " in a file of %" PRIu64 " bytes",
                                r->path, r->at, count, what, max, r->file_bytes);
}

/* --- metadata --------------------------------------------------------------------- */

static bool skip_values(struct reader *r, const struct gguf_pair *pair) {
    struct gguf_text text;
    if (pair->type == GGUF_STRING) {
        for (uint64_t i = 0; i < pair->count; i++)
            if (!take_text(r, GGUF_HEAD_MAX, "a text", &text))
                return false;
        return true;
    }
    const uint8_t *data = take(r, pair->count * type_bytes[pair->type], "a value");
    for (uint64_t i = 0; data && pair->type == GGUF_BOOL && i < pair->count; i++)
        if (data[i] > 1)
            return FAIL(r, "%s: offset %" PRIu64 ": truth value %d: expected 0 or 1", r->path,
                        r->at - pair->count + i, data[i]);
    return data != NULL;
}

static bool read_type(struct reader *r, enum gguf_type *out) {
    uint64_t from = r->at, type;
    if (!take_number(r, 4, "a type", &type))
        return false;
    *out = (enum gguf_type)type;
    return type < GGUF_TYPES ||
           FAIL(r, "%s: offset %" PRIu64 ": value type %" PRIu64 ": expected 0 to %d", r->path,
                from, type, GGUF_TYPES - 1);
}

static bool read_pair(struct reader *r, struct gguf_pair *pair) {
    if (!take_text(r, MAX_KEY, "a key", &pair->key) || !read_type(r, &pair->type))
        return false;
    pair->count = 1;
    pair->array = pair->type == GGUF_ARRAY;
    if (pair->array) {
        if (!read_type(r, &pair->type))
            return false;
        if (pair->type == GGUF_ARRAY)
            return FAIL(r, "%s: offset %" PRIu64 ": arrays of arrays are not supported", r->path,
                        r->at - 4);
        if (!take_number(r, 8, "an array's length", &pair->count) ||
            !check_count(r, pair->count, type_bytes[pair->type], UINT64_MAX, "items"))
            return false;
    }
    pair->offset = r->at;
    pair->data = r->image + r->at;
    return skip_values(r, pair);
}

static int by_key(const void *a, const void *b) {
    return gguf_compare(((const struct gguf_pair *)a)->key, ((const struct gguf_pair *)b)->key);
}

static bool read_pairs(struct reader *r, struct gguf *g, uint64_t count) {
    g->pairs = must_zalloc(count, sizeof *g->pairs);
    for (; g->n_pairs < count; g->n_pairs++)
        if (!read_pair(r, &g->pairs[g->n_pairs]))
            return false;
    g->metadata = r->at;
    if (count)
        qsort(g->pairs, count, sizeof *g->pairs, by_key);
    for (uint64_t i = 1; i < count; i++)
        if (by_key(&g->pairs[i - 1], &g->pairs[i]) == 0)
            return FAIL(r, "%s: offset %" PRIu64 ": key '%.*s' occurs twice", r->path,
                        g->pairs[i].offset, gguf_shown(g->pairs[i].key), g->pairs[i].key.bytes);
    return true;
}

/* --- tensors ------------------------------------------------------------------------- */

static bool wrong_tensor(struct reader *r, const struct tensor *t, uint64_t at, const char *what) {
    return FAIL(r, "%s: offset %" PRIu64 ": tensor '%s': %s", r->path, at, t->name, what);
}

static bool read_dimensions(struct reader *r, struct tensor *t) {
    uint64_t from = r->at, rank, size = 1;
    if (!take_number(r, 4, "a number of dimensions", &rank))
        return false;
    if (rank < 1 || rank > MAX_RANK)
        return wrong_tensor(r, t, from, "expected 1 to 4 dimensions");
    t->rank = (int)rank;
    for (int i = t->rank - 1; i >= 0; i--) { /* the innermost comes first */
        uint64_t n;
        from = r->at;
        if (!take_number(r, 8, "a dimension", &n))
            return false;
        if (n < 1 || n > INT64_MAX)
            return wrong_tensor(r, t, from, "expected dimensions of at least 1");
        if (__builtin_mul_overflow(size, n, &size) || size > INT64_MAX / sizeof(float))
            return wrong_tensor(r, t, from, "product of the dimensions overflows");
        t->shape[i] = (int64_t)n;
    }
    t->bytes = size; /* numbers, until the type is known */
    return true;
}

static bool read_format(struct reader *r, struct tensor *t) {
    uint64_t from = r->at, number;
    if (!take_number(r, 4, "a tensor's type", &number))
        return false;
    t->type = DTYPE_OTHER;
    for (size_t i = 0; i < sizeof type_table / sizeof *type_table; i++)
        if (type_table[i].number == number)
            t->type = type_table[i].type;
    if (t->type == DTYPE_OTHER) {
        char known[200] = "";
        for (size_t i = 0; i < sizeof type_table / sizeof *type_table; i++)
            err_list(known, sizeof known, dtype_formats[type_table[i].type].name);
        return FAIL(r,
                    "%s: offset %" PRIu64 ": tensor '%s': type %" PRIu64
                    " is not supported: expected one of %s",
                    r->path, from, t->name, number, known);
    }
    const struct dtype_format *f = &dtype_formats[t->type];
    t->type_name = f->name;
    if (t->shape[t->rank - 1] % f->block)
        return FAIL(r,
                    "%s: offset %" PRIu64 ": tensor '%s': rows of %" PRId64
                    " numbers: expected a multiple of %d for %s",
                    r->path, from, t->name, t->shape[t->rank - 1], f->block, f->name);
    t->bytes = t->bytes / (uint64_t)f->block * (uint64_t)f->bytes;
    return true;
}

/* Tensors lie one behind the other, each from a multiple of the alignment on. `end` is where the
 * last one ended, counted as offsets are: from the start of the data. */
static bool read_place(struct reader *r, struct tensor *t, uint64_t alignment, uint64_t *end) {
    uint64_t from = r->at;
    if (!take_number(r, 8, "a tensor's offset", &t->offset))
        return false;
    uint64_t expected = (*end + alignment - 1) & ~(alignment - 1);
    if (t->offset != expected)
        return FAIL(r,
                    "%s: offset %" PRIu64 ": tensor '%s' begins at %" PRIu64
                    " of the data: expected %" PRIu64 ", behind the one before",
                    r->path, from, t->name, t->offset, expected);
    if (t->bytes > r->file_bytes || t->offset > r->file_bytes - t->bytes)
        return FAIL(r,
                    "%s: offset %" PRIu64 ": tensor '%s' of %" PRIu64 " bytes at %" PRIu64
                    " of the data: the file has %" PRIu64 " bytes",
                    r->path, from, t->name, t->bytes, t->offset, r->file_bytes);
    *end = t->offset + t->bytes;
    return true;
}

static int by_name(const void *a, const void *b) {
    const struct tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static bool check_names(struct reader *r, const struct tensor_list *list) {
    const struct tensor **order = must_alloc(list->count * sizeof *order);
    for (size_t i = 0; i < list->count; i++)
        order[i] = &list->items[i];
    if (list->count)
        qsort(order, list->count, sizeof *order, by_name);
    bool ok = true;
    for (size_t i = 1; ok && i < list->count; i++)
        if (by_name(&order[i - 1], &order[i]) == 0)
            ok = FAIL(r, "%s: tensor '%s' occurs twice", r->path, order[i]->name);
    free(order);
    return ok;
}

static bool read_tensors(struct reader *r, uint64_t count, uint64_t alignment,
                         struct tensor_list *list) {
    list->items = must_zalloc(count, sizeof *list->items);
    char *name = list->arena = must_alloc(count * (MAX_NAME + 1));
    uint64_t end = 0;
    for (; list->count < count; list->count++, name += MAX_NAME + 1) {
        struct tensor *t = &list->items[list->count];
        struct gguf_text text;
        if (!take_text(r, MAX_NAME, "a tensor's name", &text))
            return false;
        memcpy(name, text.bytes, text.size);
        name[text.size] = 0;
        t->name = name;
        if (!read_dimensions(r, t) || !read_format(r, t) || !read_place(r, t, alignment, &end))
            return false;
    }
    uint64_t data = (r->at + alignment - 1) & ~(alignment - 1);
    if (count && (data > r->file_bytes || end > r->file_bytes - data))
        return FAIL(r,
                    "%s: tensor '%s' ends at %" PRIu64 " of the data, which begins at %" PRIu64
                    ": the file has %" PRIu64 " bytes",
                    r->path, list->items[count - 1].name, end, data, r->file_bytes);
    if (count && r->file_bytes - data - end >= alignment)
        return FAIL(r,
                    "%s: offset %" PRIu64 ": expected the end of the file behind its last tensor",
                    r->path, data + end);
    for (size_t i = 0; i < list->count; i++)
        list->items[i].offset += data;
    return check_names(r, list);
}

/* Converters write the rows of q and k of the family "llama" in the order that rotates neighbours:
 * of each head's two halves, one row of each in turn. */
static void mark_interleaved(const struct gguf *g, struct tensor_list *list) {
    int64_t heads = 0, kv = 0;
    if (!gguf_is(gguf_string(gguf_find(g, "general.architecture")), "llama") ||
        !gguf_integer(gguf_find(g, "llama.attention.head_count"), 1, INT32_MAX, &heads))
        return;
    if (!gguf_integer(gguf_find(g, "llama.attention.head_count_kv"), 1, INT32_MAX, &kv))
        kv = heads;
    for (size_t i = 0; i < list->count; i++) {
        struct tensor *t = &list->items[i];
        bool q = strstr(t->name, ".attn_q.weight") != NULL,
             k = strstr(t->name, ".attn_k.weight") != NULL;
        int64_t n = q ? heads : kv;
        if ((q || k) && t->rank == 2 && t->shape[0] % (2 * n) == 0)
            t->heads = (int)n;
    }
}

/* --- the whole -------------------------------------------------------------------------- */

static bool read_alignment(struct reader *r, const struct gguf *g, uint64_t *alignment) {
    const struct gguf_pair *pair = gguf_find(g, "general.alignment");
    int64_t n = 0;
    if (!pair)
        return true;
    if (!gguf_integer(pair, 1, MAX_ALIGNMENT, &n) || (n & (n - 1)))
        return gguf_wrong(g, "general.alignment", "a power of two up to 1048576", r->e);
    *alignment = (uint64_t)n;
    return true;
}

static bool read_version(struct reader *r) {
    const uint8_t *magic = take(r, 4, "the magic " GGUF_MAGIC "");
    uint64_t version;
    if (!magic)
        return false;
    if (memcmp(magic, GGUF_MAGIC, 4) != 0)
        return FAIL(r, "%s: offset 0: expected the magic " GGUF_MAGIC ", or a model folder",
                    r->path);
    if (!take_number(r, 4, "the version", &version))
        return false;
    if (version && !(version & 0xffff))
        return FAIL(r, "%s: offset 4: a big-endian file: expected a little-endian one", r->path);
    return version == 2 || version == 3 ||
           FAIL(r, "%s: offset 4: version %" PRIu64 ": expected 2 or 3", r->path, version);
}

static bool read_all(struct reader *r, struct gguf *g, struct tensor_list *tensors) {
    uint64_t n_tensors, n_pairs, alignment = ALIGNMENT;
    if (!read_version(r) || !take_number(r, 8, "the number of tensors", &n_tensors) ||
        !take_number(r, 8, "the number of keys", &n_pairs) ||
        !check_count(r, n_tensors, TENSOR_BYTES, MAX_COUNT, "tensors") ||
        !check_count(r, n_pairs, PAIR_BYTES, MAX_COUNT, "keys") || !read_pairs(r, g, n_pairs) ||
        !read_alignment(r, g, &alignment))
        return false;
    const struct gguf_pair *parts = gguf_find(g, "split.count");
    int64_t n;
    if (parts && !gguf_integer(parts, 0, 1, &n))
        return gguf_wrong(g, "split.count", "the model in one file", r->e);
    if (!read_tensors(r, n_tensors, alignment, tensors))
        return false;
    mark_interleaved(g, tensors);
    return true;
}

struct gguf *gguf_parse(uint8_t *image, size_t size, uint64_t file_bytes, const char *path,
                        struct tensor_list *tensors, bool *more, struct err *e) {
    struct gguf *g = must_zalloc(1, sizeof *g);
    struct reader r = {
        .path = path, .image = image, .size = size, .file_bytes = file_bytes, .e = e};
    *g = (struct gguf){.path = path, .image = image};
    *tensors = (struct tensor_list){0};
    CHECK(size <= file_bytes);
    bool ok = read_all(&r, g, tensors);
    *more = r.more;
    if (ok)
        return g;
    tensor_list_free(tensors);
    gguf_free(g);
    return NULL;
}

void gguf_free(struct gguf *g) {
    if (!g)
        return;
    free(g->pairs);
    free(g->image);
    free(g);
}
