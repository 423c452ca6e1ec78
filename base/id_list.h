/* A growing list of token ids. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/json.h"

struct id_list {
    int32_t *ids; /* owned by whoever declared the list (zeroed); free with id_list_free */
    size_t count, room;
};
void id_list_add(struct id_list *list, int32_t id);
void id_list_append(struct id_list *list, const struct id_list *more);
void id_list_free(struct id_list *list);

/* Appends the ids of a JSON list. false (EXIT_CONTENT) names the first that is no id. */
bool id_list_read(struct id_list *list, const struct json *array, struct err *e);
