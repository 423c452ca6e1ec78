/* Golden data of the tokenizer, for its tests. Failures end the running test. */
#pragma once

#include "engine/tokenizer.h"

#define GOLDEN "tests/golden/tokenizer/"
#define MAX_TEXTS 1000

struct text {
    char *bytes;
    size_t size;
};

/* texts.jsonl, between tokenizers_load and tokenizers_free. */
extern struct text texts[MAX_TEXTS];
extern size_t n_texts;
void tokenizers_load(void);
void tokenizers_free(void);

/* The text as a tokenizer.json, with @MODEL@ and the like filled in. */
struct tokenizer *tokenizers_parse(const char *json);

/* The variant of that name, or the tokenizer of "models/FOLDER". */
struct tokenizer *tokenizers_named(const char *name);

/* $RAAS_SHARED, or ../shared. */
const char *tokenizers_shared(void);

/* A folder of real ones, NAME/tokenizer.json, unpacked from there; skips the test without them. */
const char *tokenizers_real(void);

/* Free with id_list_free. */
struct id_list tokenizers_encode(const struct tokenizer *t, struct text text, bool special);

/* A growing buffer: starts zeroed, free(data). */
struct bytes {
    char *data;
    size_t size, room;
};
void bytes_append(struct bytes *b, const void *data, size_t size);
