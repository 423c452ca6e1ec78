#include "base/id_list.h"

#include <stdlib.h>

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

bool id_list_read(struct id_list *list, const struct json *array, struct err *e) {
    if (!array || json_type(array) != JSON_ARRAY)
        return err_set(e, EXIT_CONTENT, "expected {\"ids\": a list of whole numbers}");
    size_t place = 0;
    for (const struct json *v = json_first(array); v; v = json_next(v), place++) {
        int64_t id;
        if (!json_integer(v, 0, INT32_MAX, &id))
            return err_set(e, EXIT_CONTENT, "ids[%zu]: expected a token id", place);
        id_list_add(list, (int32_t)id);
    }
    return true;
}
