#include "experiments/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/option.h"

bool spec_scalar(const struct json *value, char *out, size_t size) {
    int64_t whole;
    double real;
    struct json_out number = {0};
    switch (json_type(value)) {
    case JSON_STRING:
        return (size_t)snprintf(out, size, "%s", json_text(value)) < size;
    case JSON_BOOL:
        return snprintf(out, size, "%d", json_is_true(value)) > 0;
    case JSON_NUMBER:
        if (json_integer(value, -(1ll << 53), 1ll << 53, &whole))
            return snprintf(out, size, "%lld", (long long)whole) > 0;
        if (!json_number(value, &real))
            return false;
        json_put_real(&number, real);
        snprintf(out, size, "%s", number.text);
        free(number.text);
        return true;
    default:
        return false;
    }
}

const struct json *spec_first(const struct json *list) {
    return json_type(list) == JSON_ARRAY ? json_first(list) : list;
}
const struct json *spec_next(const struct json *list, const struct json *at) {
    return json_type(list) == JSON_ARRAY ? json_next(at) : NULL;
}

/* Appends one member as ":key=value" or ",key=value". */
static bool add_value(char *spec, const struct json *at, const struct json *value, struct err *e) {
    char text[OPTION_STRING_ROOM], escaped[2 * OPTION_STRING_ROOM];
    const char *string = json_text(value);
    if (string && strlen(string) >= sizeof text)
        return err_set(e, EXIT_CONTENT, "option '%s': too long: expected at most %zu bytes",
                       json_key(at), sizeof text - 1);
    if (!spec_scalar(value, text, sizeof text))
        return err_set(e, EXIT_CONTENT, "option '%s': expected a number, a word or a list of them",
                       json_key(at));
    size_t used = 0, end = strlen(spec);
    for (const char *c = text; *c; c++) {
        if (*c == ',')
            escaped[used++] = '\\';
        escaped[used++] = *c;
    }
    escaped[used] = 0;
    int n = snprintf(spec + end, SPEC_MAX - end, "%c%s=%s", strchr(spec, ':') ? ',' : ':',
                     json_key(at), escaped);
    return (n >= 0 && (size_t)n < SPEC_MAX - end) ||
           err_set(e, EXIT_CONTENT, "options longer than %d characters", SPEC_MAX);
}

/* Appends the members from `at` on to `spec`, one value of each at a time, and takes every product.
 */
static bool expand_members(const struct json *at, const char *head, char *spec, spec_take *take,
                           void *context, struct err *e) {
    while (at && !strcmp(json_key(at), head))
        at = json_next(at);
    if (!at)
        return take(context, spec, e);
    size_t end = strlen(spec);
    const struct json *value = spec_first(at);
    if (!value)
        return err_set(e, EXIT_CONTENT, "option '%s': the list is empty", json_key(at));
    for (; value; value = spec_next(at, value)) {
        if (!add_value(spec, at, value, e))
            return false;
        if (!expand_members(json_next(at), head, spec, take, context, e))
            return false;
        spec[end] = 0;
    }
    return true;
}

bool spec_expand(const struct json *entry, const char *head, spec_take *take, void *context,
                 struct err *e) {
    const struct json *name = json_type(entry) == JSON_OBJECT ? json_get(entry, head) : entry;
    const char *text = name ? json_text(name) : NULL;
    char spec[SPEC_MAX];
    if (text && strlen(text) >= SPEC_MAX)
        return err_set(e, EXIT_CONTENT, "'%.40s...': too long: expected at most %d bytes", text,
                       SPEC_MAX - 1);
    if (!text || snprintf(spec, sizeof spec, "%s", text) >= SPEC_MAX)
        return err_set(e, EXIT_CONTENT, "expected \"name:key=value\" or {\"%s\": \"name\", ...}",
                       head);
    if (name == entry)
        return take(context, spec, e);
    return expand_members(json_first(entry), head, spec, take, context, e);
}
