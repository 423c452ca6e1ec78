/* What json.c demands of a text before cJSON may see it. */
#pragma once

#include <stdint.h>

#include "base/err.h"

enum { JSON_DEPTH = 64, JSON_VALUES = 1 << 22 };

struct json_check {
    const char *text;
    size_t size;
    const char *name;   /* of the file, for errors */
    int depth;          /* of nesting at most */
    bool zeros;         /* out: some string holds \u0000 */
    size_t want_object; /* if want is set: where stands member `want_member` (from 0) of the */
    size_t want_member; /* object that opens as number `want_object` (from 0)? */
    bool want;
    size_t found;               /* out: its offset */
    size_t objects, values, at; /* counters of the scan: zero them */
    struct err *e;
};

/* The whole text is one value by RFC 8259 in UTF-8, numbers fit a double, nesting is at most
 * `depth`, values are at most JSON_VALUES. */
bool json_check(struct json_check *c);

/* EXIT_CONTENT "name: line l, offset o: ..."; returns false. */
bool json_complain(struct json_check *c, size_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
