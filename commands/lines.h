/* JSON lines in, JSON lines out: one answer a request, in its place. */
#pragma once

#include "base/json.h"

/* Writes the answer to one request to `out` (empty before), an object. false: `e` says what is
 * wrong with the request, and `out` may hold anything. */
typedef bool lines_fn(const void *context, const struct json *request, struct json_out *out,
                      struct err *e);

/* Answers each line of the file (-: stdin) by a line on stdout, {"error": text} in place of one
 * that fails. Returns the exit code: EXIT_PARTIAL if one did. */
int lines_answer(lines_fn *answer, const void *context, const char *path, struct err *e);

/* Prints the text as a line and frees it. */
void lines_print(struct json_out *out);
