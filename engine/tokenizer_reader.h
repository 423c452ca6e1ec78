/* What the two files that read tokenizer.json share. */
#pragma once

#include <string.h>

#include "engine/tokenizer_parts.h"

struct reader {
    struct tokenizer *t;
    const char *name; /* of the file */
    struct err *e;
    bool byte_level; /* the pre-tokenizer has had its ByteLevel step */
};

#define FAIL(r, ...) err_set((r)->e, EXIT_CONTENT, __VA_ARGS__)

static inline bool absent(const struct json *value) {
    return !value || json_type(value) == JSON_NULL;
}

/* A member that must be true or false. `place` names the object in errors. */
bool read_flag(struct reader *r, const struct json *object, const char *key, const char *place,
               bool *out);
/* As read_flag, false where the key is absent. */
bool read_option(struct reader *r, const struct json *object, const char *key, const char *place,
                 bool *out);
/* An id from 0 to TOKENIZER_IDS - 1; `token` names it in errors. */
bool read_id(struct reader *r, const struct json *value, const char *place, const char *token,
             int64_t *id);

/* normalizer, pre_tokenizer (tokenizer_flow.c): before the vocabulary is known. */
bool read_flow(struct reader *r, const struct json *root);
/* post_processor, decoder: once it is. */
bool read_ends(struct reader *r, const struct json *root);
