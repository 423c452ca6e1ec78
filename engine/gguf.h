/* The head of a GGUF file, versions 2 and 3: metadata and tensor list, both checked.
 * Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md. Counts, lengths, types, nesting,
 * alignment, products of dimensions, extents and duplicates are checked before anything is
 * allocated; each refusal names the file and the byte offset, key or tensor. What the format allows
 * and nothing here needs is refused too: big-endian files, arrays of arrays, files in parts. */
#pragma once

#include "engine/weights.h"

#define GGUF_MAGIC "GGUF"

enum gguf_type { /* as stored */
                 GGUF_U8,
                 GGUF_I8,
                 GGUF_U16,
                 GGUF_I16,
                 GGUF_U32,
                 GGUF_I32,
                 GGUF_F32,
                 GGUF_BOOL,
                 GGUF_STRING,
                 GGUF_ARRAY,
                 GGUF_U64,
                 GGUF_I64,
                 GGUF_F64,
                 GGUF_TYPES
};

struct gguf_text { /* valid UTF-8 without U+0000, not 0-ended; borrowed from the image */
    const char *bytes;
    size_t size;
};

struct gguf_pair {
    struct gguf_text key;
    enum gguf_type type; /* of the value, or of an array's items */
    bool array;
    uint64_t count;      /* 1, or items */
    const uint8_t *data; /* the value, or the first item */
    uint64_t offset;     /* of data in the file */
};

struct gguf {
    const char *path;        /* borrowed */
    uint8_t *image;          /* the first bytes of the file; owned */
    size_t metadata;         /* bytes up to the end of the metadata */
    struct gguf_pair *pairs; /* by key */
    size_t n_pairs;
};

enum { /* tokenizer.ggml.token_type */
       GGUF_TOKEN_NORMAL = 1,
       GGUF_TOKEN_UNKNOWN,
       GGUF_TOKEN_CONTROL,
       GGUF_TOKEN_USER, /* not special, but matched as a whole */
       GGUF_TOKEN_UNUSED,
       GGUF_TOKEN_BYTE
};

/* Where reading the head of a file begins; it goes on until it fits, up to GGUF_HEAD_MAX. */
enum { GGUF_HEAD = 8 << 20, GGUF_HEAD_MAX = 256 << 20 };

/* Whether the path is a regular file that begins as GGUF does. */
bool gguf_file(const char *path);

/* Checks and lists one image: the first `size` bytes of a file of file_bytes. Takes the image
 * (malloc'd), also on error. Tensors come in file order, with offsets from the start of the file;
 * *more tells that the image, not the file, ended too early. NULL on error (EXIT_CONTENT). */
struct gguf *gguf_parse(uint8_t *image, size_t size, uint64_t file_bytes, const char *path,
                        struct tensor_list *tensors, bool *more, struct err *e);
void gguf_free(struct gguf *gguf); /* NULL is fine */

/* --- metadata ------------------------------------------------------------------ */

/* NULL if absent. */
const struct gguf_pair *gguf_find(const struct gguf *gguf, const char *key);
/* A whole number of any integer type. false, with nothing said, for anything else. */
bool gguf_integer(const struct gguf_pair *pair, int64_t min, int64_t max, int64_t *out);
/* A floating point or whole number. */
bool gguf_number(const struct gguf_pair *pair, double *out);
bool gguf_truth(const struct gguf_pair *pair, bool *out);
/* A text; {NULL, 0} for anything else, NULL too. */
struct gguf_text gguf_string(const struct gguf_pair *pair);
bool gguf_is(struct gguf_text text, const char *other);
/* Order of bytes, of equal ones the shorter text first. */
int gguf_compare(struct gguf_text a, struct gguf_text b);
/* How much of a text an error line shows: for printf's "%.*s". */
int gguf_shown(struct gguf_text text);

/* An array of items of that type; NULL if absent or of another. */
const struct gguf_pair *gguf_array(const struct gguf *gguf, const char *key, enum gguf_type type);
/* The text at *at, which moves on to the next one; walks arrays of texts from pair->data on. */
struct gguf_text gguf_next(const uint8_t **at);
/* Item i of an array of I32 and of F32. */
int32_t gguf_int_at(const struct gguf_pair *array, uint64_t i);
float gguf_real_at(const struct gguf_pair *array, uint64_t i);

/* Reports what is wrong with a key: "PATH: KEY is VALUE: expected EXPECTED". Returns false. */
bool gguf_wrong(const struct gguf *gguf, const char *key, const char *expected, struct err *e);
