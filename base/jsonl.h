/* JSON lines: one value a line, a bad line does not stop the ones behind it. */
#pragma once

#include <stdio.h>

#include "base/json.h"

enum { JSONL_LINE = 16 << 20 }; /* bytes of a line at most */

struct jsonl {
    FILE *file;          /* owned unless it is stdin */
    const char *path;    /* borrowed */
    char *line;          /* owned, [room] */
    size_t room, number; /* number of the line last read, from 1 */
};

/* path "-" is stdin. false: no such path (EXIT_USAGE), not readable (EXIT_ENV). */
bool jsonl_open(struct jsonl *lines, const char *path, struct err *e);
void jsonl_close(struct jsonl *lines);

/* true: a line was read, *doc is its value (json_free) or NULL, then `e` says what is wrong with
 * it. false: the end; e->code is EXIT_ENV when reading failed. `e` must be clear. */
bool jsonl_next(struct jsonl *lines, struct json_doc **doc, struct err *e);
