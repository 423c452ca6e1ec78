#include "base/id_list.h"

#include <stdlib.h>

#include "base/err.h"

void id_list_add(struct id_list *list, int32_t id) {
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 256;
        list->ids = must_realloc(list->ids, list->room * sizeof *list->ids);
    }
    list->ids[list->count++] = id;
}

void id_list_append(struct id_list *list, const struct id_list *more) {
    for (size_t i = 0; i < more->count; i++)
        id_list_add(list, more->ids[i]);
}

void id_list_free(struct id_list *list) {
    free(list->ids);
    *list = (struct id_list){0};
}
