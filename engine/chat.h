/* Chat templates: what stands around a prompt before it is tokenized. Models bring theirs as a
 * Jinja program; a known text is recognised by its hash, and a row of a table says what it makes of
 * one user message. No Jinja is run. */
#pragma once

#include "base/hash.h"
#include "engine/model.h"

#define CHAT_TEXTS 3

struct chat_template {
    const char *name, *summary;
    const char *before, *after;     /* what stands around the prompt; BOS tokens included */
    bool trim;                      /* the prompt loses the white space around it */
    const char *sha256[CHAT_TEXTS]; /* of the texts that are known to do this; none: by name only */
};

extern const struct chat_template chat_table[]; /* ended by a NULL name */

struct chat {
    const struct chat_template *template; /* NULL: prompts go in as they are */
    char sha256[HASH_HEX]; /* of what it puts around a prompt, however it was chosen; "": none */
};

/* The text of the template that the model brings (Jinja), in any of the places that the formats
 * know: *text is malloc'd, NULL where there is none. Of several named ones it is "default". false
 * on a file that can't be read. */
bool chat_text(const struct model *model, char **text, struct err *e);

/* The template whose text has this SHA-256; NULL: not known. */
const struct chat_template *chat_find(const char *sha256);

/* Whether `wanted` is auto, none or a template's name; else EXIT_USAGE, naming all of them. */
bool chat_check(const char *wanted, struct err *e);

/* auto: the model's own template; one that is not known is said on stderr, and prompts go
 * in as they are, as they do without any. none: they do so always. NAME: that template. */
bool chat_open(const struct model *model, const char *wanted, struct chat *out, struct err *e);

/* For keys and tables: the template's name, or "none". */
const char *chat_name(const struct chat *chat);

/* The text that a prompt becomes, malloc'd; *size is in and out. */
char *chat_render(const struct chat_template *template, const char *text, size_t *size);

/* Appends the ids of a prompt. With a template these are of the rendered text alone, as
 * transformers has it: the template puts the special tokens, so the tokenizer's post-processor
 * doesn't, and no BOS comes twice. */
bool chat_encode(const struct model *model, const struct chat *chat, const char *text, size_t size,
                 struct id_list *ids, struct err *e);
