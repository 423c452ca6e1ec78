/* Chat templates: what stands around a prompt before it is tokenized. */
#pragma once

#include "engine/model.h"

/* The model's own template where it has one, or nothing. */
enum chat { CHAT_AUTO, CHAT_NONE };
#define CHAT_CHOICES "auto|none"

/* The template that the model brings (Jinja), in any of the places that the formats know: *text is
 * malloc'd, NULL where there is none. Of several named ones it is "default". false on a file that
 * can't be read. */
bool chat_template(const struct model *model, char **text, struct err *e);

/* Appends the ids of a prompt: the template around it, then the tokenizer with the special ids of
 * its post-processor. CHAT_AUTO refuses a model that brings a template (EXIT_USAGE): none can be
 * rendered yet. */
bool chat_encode(const struct model *model, enum chat chat, const char *text, size_t size,
                 struct id_list *ids, struct err *e);
