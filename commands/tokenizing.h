/* What tokenize and detokenize share. */
#pragma once

#include "base/json.h"
#include "base/option.h"
#include "engine/tokenizer.h"

struct tokenizing {
    const char *tokenizer, *model, *jsonl; /* NULL where not given */
    bool json;
};

/* Rows for a parameter struct `type` with a field `struct tokenizing common`. */
// clang-format off
#define TOKENIZING_ROWS(type)                                                                      \
    {"tokenizer", OPTION_TEXT, offsetof(type, common.tokenizer), 0, 0, 0, NULL,                    \
     "FILE: a tokenizer.json, used alone (default: that of the model)"},                           \
    {"model", OPTION_TEXT, offsetof(type, common.model), 0, 0, 0, NULL,                            \
     "PATH: model folder (default: the embedded model)"},                                          \
    {"jsonl", OPTION_TEXT, offsetof(type, common.jsonl), 0, 0, 0, NULL,                            \
     "FILE: one request a line; - is stdin"},                                                      \
    {"json", OPTION_BOOL, offsetof(type, common.json), 0, 0, 1, NULL,                              \
     "changes nothing: the output is JSON in any case"}
// clang-format on

/* The tokenizer asked for; NULL on error. Free with tokenizer_free. */
struct tokenizer *tokenizing_load(const struct tokenizing *common, struct err *e);

/* Writes the answer to one request to `out` (empty before). false: `e` says what is wrong with the
 * request. */
typedef bool tokenizing_fn(const struct tokenizer *tokenizer, const void *options,
                           const struct json *request, struct json_out *out, struct err *e);

/* Answers each line of a JSONL file by a line on stdout, {"error": text} in place of one that
 * fails. Returns the exit code: EXIT_PARTIAL if one did. */
int tokenizing_lines(const struct tokenizer *tokenizer, const void *options, tokenizing_fn *answer,
                     const char *path, struct err *e);

/* Prints the text as a line and frees it. */
void tokenizing_print(struct json_out *out);
