/* What tokenize and detokenize share. */
#pragma once

#include "base/option.h"
#include "engine/tokenizer.h"

struct tokenizing {
    const char *tokenizer, *model, *jsonl; /* NULL where not given */
    bool json;
    struct tokenizer *loaded; /* by tokenizing_load */
};

/* Rows for a parameter struct `type` with a field `struct tokenizing common`. */
// clang-format off
#define TOKENIZING_ROWS(type)                                                                      \
    {"tokenizer", OPTION_TEXT, offsetof(type, common.tokenizer), 0, 0, 0, NULL,                    \
     "FILE: a tokenizer.json or GGUF file, used alone (default: that of the model)"},                           \
    {"model", OPTION_TEXT, offsetof(type, common.model), 0, 0, 0, NULL,                            \
     "PATH: model folder or GGUF file (default: the embedded model)"},                                          \
    {"jsonl", OPTION_TEXT, offsetof(type, common.jsonl), 0, 0, 0, NULL,                            \
     "FILE: one request a line; - is stdin"},                                                      \
    {"json", OPTION_BOOL, offsetof(type, common.json), 0, 0, 1, NULL,                              \
     "changes nothing: the output is JSON in any case"}
// clang-format on

/* Loads the tokenizer asked for; false on error. Free common->loaded with tokenizer_free. */
bool tokenizing_load(struct tokenizing *common, struct err *e);
