/* JSON reading with the strictness that hostile files need, on top of cJSON (its only user), and a
 * small writer. Closed here: duplicate keys, case-blind look-up, clamped or fractional integers,
 * NaN/Infinity, invalid UTF-8, unpaired surrogates, U+0000 (no C string holds it: only json_bytes
 * gives such a value), trailing text, a byte-order mark, nesting deeper than 64, more than 2^22
 * values (the tree takes some 80 bytes for each). Errors (EXIT_CONTENT) name file, line and byte
 * offset. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct json;     /* a value inside a document; borrowed from it */
struct json_doc; /* owns all values */

/* `name` is the file name (or "line 12 of x.jsonl") used in errors. size bytes, need not end in 0.
 */
struct json_doc *json_parse(const char *text, size_t size, const char *name, struct err *e);
/* For a format that nests no deeper than `depth`: what does is refused before memory is taken. */
struct json_doc *json_parse_within(const char *text, size_t size, const char *name, int depth,
                                   struct err *e);
struct json_doc *json_read(const char *path, size_t max_bytes, struct err *e);
void json_free(struct json_doc *doc); /* NULL is fine */
const struct json *json_root(const struct json_doc *doc);

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
enum json_type json_type(const struct json *value);

/* Look-up: NULL when `object` is no object or lacks the key (exact bytes). Linear: walk big objects
 * with json_first / json_next instead. */
const struct json *json_get(const struct json *object, const char *key);
const struct json *json_first(const struct json *array_or_object);
const struct json *json_next(const struct json *value);
const char *json_key(const struct json *member);
size_t json_count(const struct json *array_or_object);

const char *json_text(const struct json *string); /* NULL if no string, or one that holds U+0000 */
/* Any string, also with U+0000; *size without the ending 0. NULL if no string. */
const char *json_bytes(const struct json *string, size_t *size);
bool json_is_true(const struct json *value);
bool json_number(const struct json *value, double *out);
/* Only whole numbers within [min, max] and below 2^53, where a double still tells neighbours apart.
 */
bool json_integer(const struct json *value, int64_t min, int64_t max, int64_t *out);

/* Writer: appends to a growing buffer. Strings are escaped; bytes that are not UTF-8 become U+FFFD.
 */
struct json_out {
    char *text; /* owned; free(text). Always 0-ended after the first call */
    size_t size, room;
    bool comma;
};
void json_open(struct json_out *o, char bracket);  /* '{' or '[' */
void json_close(struct json_out *o, char bracket); /* '}' or ']' */
void json_name(struct json_out *o, const char *key);
void json_put_text(struct json_out *o, const char *text); /* NULL: null */
void json_put_bytes(struct json_out *o, const char *text, size_t size);
void json_put_int(struct json_out *o, int64_t value);
void json_put_real(struct json_out *o, double value); /* shortest exact; null when not finite */
void json_put_ids(struct json_out *o, const int32_t *ids, size_t n); /* [1,2,3] */
void json_put_bool(struct json_out *o, bool value);
void json_put_null(struct json_out *o);
void json_put_raw(struct json_out *o, const char *json); /* an already encoded value */

/* A member: json_name and the value behind it. */
void json_add_text(struct json_out *o, const char *key, const char *text);
void json_add_int(struct json_out *o, const char *key, int64_t value);
void json_add_real(struct json_out *o, const char *key, double value);
void json_add_bool(struct json_out *o, const char *key, bool value);
void json_add_raw(struct json_out *o, const char *key, const char *json);
