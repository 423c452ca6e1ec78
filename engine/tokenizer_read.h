/* What the files that read tokenizer.json share. */
#pragma once

#include <string.h>

#include "engine/tokenizer_parts.h"

struct reader {
    struct tokenizer *t;
    const char *name; /* of the file */
    struct err *e;
    bool byte_level; /* the pre-tokenizer has had its ByteLevel step */
    size_t growth; /* how many times its size the decoder's replacements can make a text; 0: none */
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

/* The "type" of a component; NULL (and an error) without one. */
const char *read_type(struct reader *r, const struct json *component, const char *place);
/* The error for a type that is not known. */
bool read_unsupported(struct reader *r, const char *place, const char *type);
/* A component of type Sequence: each member of the list under `key` through read(). */
bool read_sequence(struct reader *r, const struct json *component, const char *place,
                   const char *key, bool (*read)(struct reader *r, const struct json *member));
/* What a Metaspace component writes for spaces, and where it puts one in front. */
bool read_space(struct reader *r, const struct json *component, const char *place, char space[8],
                enum split_prefix *prefix);

/* normalizer, pre_tokenizer (tokenizer_read_front.c): before the vocabulary is known. */
bool read_front(struct reader *r, const struct json *root);
/* post_processor, decoder (tokenizer_read_back.c): once it is. */
bool read_back(struct reader *r, const struct json *root);
