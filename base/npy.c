#include "base/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define NPY_MAX ((size_t)1 << 36) /* 64 GiB: larger is a mistake */
#define PREFIX 10                 /* magic, version, length of the header */

/* --- header: a Python dictionary literal, keys in any order ------------------------ */

static const char *skip_space(const char *p) { return p + strspn(p, " \n"); }

static bool take(const char **p, const char *word) {
    *p = skip_space(*p);
    size_t n = strlen(word);
    if (strncmp(*p, word, n) != 0)
        return false;
    *p += n;
    return true;
}

static bool take_size(const char **p, size_t *out) {
    *p = skip_space(*p);
    size_t value = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9'; ++*p)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (size_t)(**p - '0'), &value))
            return false;
    *out = value;
    return *p > start;
}

static bool take_type(const char **p, struct npy *out) {
    static const char *const types[] = {"f4", "f8", "i4", "i8"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char quoted[8];
        snprintf(quoted, sizeof quoted, "'<%s'", types[i]);
        if (take(p, quoted)) {
            memcpy(out->type, types[i], 3);
            return true;
        }
    }
    return false;
}

/* "(2, 3)", "(5,)" or "()" */
static bool take_shape(const char **p, struct npy *out) {
    if (!take(p, "("))
        return false;
    while (!take(p, ")")) {
        if (out->rank == 4 || !take_size(p, &out->shape[out->rank]))
            return false;
        out->rank++;
        if (!take(p, ",")) {
            /* one length needs its comma: "(5)" is a number, not a tuple */
            return out->rank > 1 && take(p, ")");
        }
    }
    return true;
}

/* NULL when the header holds what we read, else what was expected. */
static const char *parse_header(const char *p, struct npy *out) {
    bool type = false, order = false, shape = false;
    if (!take(&p, "{"))
        return "a dictionary";
    while (!take(&p, "}")) {
        if (!type && take(&p, "'descr':")) {
            if (!take_type(&p, out))
                return "descr '<f4', '<f8', '<i4' or '<i8'";
            type = true;
        } else if (!order && take(&p, "'fortran_order':")) {
            if (!take(&p, "False"))
                return "C order (fortran_order False)";
            order = true;
        } else if (!shape && take(&p, "'shape':")) {
            if (!take_shape(&p, out))
                return "a shape of at most 4 lengths";
            shape = true;
        } else {
            return "the keys descr, fortran_order and shape, once each";
        }
        if (!take(&p, ",") && *skip_space(p) != '}')
            return "a comma or the end of the dictionary";
    }
    if (!type || !order || !shape)
        return "the keys descr, fortran_order and shape, once each";
    return *skip_space(p) ? "nothing behind the dictionary" : NULL;
}

/* --- files ------------------------------------------------------------------------- */

static bool parse(const char *path, char *text, size_t size, struct npy *out, struct err *e) {
    if (size < PREFIX || memcmp(text, "\x93NUMPY\x01\x00", 8) != 0)
        return err_set(e, EXIT_CONTENT, "%s: offset 0: expected a .npy file, format 1.0", path);
    size_t length = (unsigned char)text[8] | (size_t)(unsigned char)text[9] << 8;
    if (length > size - PREFIX)
        return err_set(e, EXIT_CONTENT, "%s: offset 8: header of %zu bytes ends behind the file",
                       path, length);
    char *header = must_alloc(length + 1);
    memcpy(header, text + PREFIX, length);
    header[length] = 0;
    const char *expected = strlen(header) == length ? parse_header(header, out) : "a text";
    free(header);
    if (expected)
        return err_set(e, EXIT_CONTENT, "%s: header at offset %d: expected %s", path, PREFIX,
                       expected);
    size_t bytes = (size_t)(out->type[1] - '0');
    for (int i = 0; i < out->rank; i++)
        if (__builtin_mul_overflow(bytes, out->shape[i], &bytes))
            return err_set(e, EXIT_CONTENT, "%s: shape overflows", path);
    size_t have = size - PREFIX - length;
    if (bytes != have)
        return err_set(e, EXIT_CONTENT, "%s: offset %zu: expected %zu bytes of data, found %zu",
                       path, PREFIX + length, bytes, have);
    out->bytes = bytes;
    out->data = must_alloc(bytes);
    memcpy(out->data, text + PREFIX + length, bytes);
    return true;
}

bool npy_read(const char *path, struct npy *out, struct err *e) {
    memset(out, 0, sizeof *out);
    size_t size;
    char *text = file_read(path, NPY_MAX, &size, e);
    if (!text)
        return false;
    bool ok = parse(path, text, size, out, e);
    free(text);
    return ok;
}

void npy_free(struct npy *npy) {
    free(npy->data);
    npy->data = NULL;
}

bool npy_write_f32(const char *path, int rank, const size_t *shape, const float *data,
                   struct err *e) {
    CHECK(rank >= 0 && rank <= 4);
    char head[256] = "\x93NUMPY\x01\x00";
    size_t n = PREFIX, bytes = sizeof(float);
    n += (size_t)sprintf(head + n, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < rank; i++) {
        n += (size_t)sprintf(head + n, i ? " %zu," : "%zu,", shape[i]);
        bytes *= shape[i];
    }
    if (rank > 1)
        n--; /* only a single length keeps its comma */
    n += (size_t)sprintf(head + n, "), }");
    /* NumPy aligns the data to 64 bytes: spaces, then a newline. */
    size_t end = (n + 1 + 63) / 64 * 64;
    memset(head + n, ' ', end - n);
    head[end - 1] = '\n';
    head[8] = (char)((end - PREFIX) & 0xff);
    head[9] = (char)((end - PREFIX) >> 8);
    return file_write(path, head, end, data, bytes, e);
}
