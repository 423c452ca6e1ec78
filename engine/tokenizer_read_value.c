#include "engine/tokenizer_read.h"

#include "base/utf8.h"

bool read_flag(struct reader *r, const struct json *object, const char *key, const char *place,
               bool *out) {
    const struct json *value = json_get(object, key);
    if (!value || json_type(value) != JSON_BOOL)
        return FAIL(r, "%s: %s.%s: expected true or false", r->name, place, key);
    *out = json_is_true(value);
    return true;
}

bool read_option(struct reader *r, const struct json *object, const char *key, const char *place,
                 bool *out) {
    *out = false;
    return absent(json_get(object, key)) || read_flag(r, object, key, place, out);
}

bool read_id(struct reader *r, const struct json *value, const char *place, const char *token,
             int64_t *id) {
    if (value && json_integer(value, 0, TOKENIZER_IDS - 1, id))
        return true;
    return FAIL(r, "%s: %s: id of '%.60s': expected a whole number from 0 to %d", r->name, place,
                token, TOKENIZER_IDS - 1);
}

const char *read_type(struct reader *r, const struct json *component, const char *place) {
    const struct json *type = json_get(component, "type");
    const char *text = type ? json_text(type) : NULL;
    if (!text)
        FAIL(r, "%s: %s: expected an object with a \"type\"", r->name, place);
    return text;
}

bool read_unsupported(struct reader *r, const char *place, const char *type) {
    return FAIL(r, "%s: %s of type '%.60s' is not supported", r->name, place, type);
}

bool read_sequence(struct reader *r, const struct json *component, const char *place,
                   const char *key, bool (*read)(struct reader *r, const struct json *member)) {
    const struct json *list = json_get(component, key);
    if (absent(list) || json_type(list) != JSON_ARRAY)
        return FAIL(r, "%s: %s.%s: expected a list", r->name, place, key);
    for (const struct json *m = json_first(list); m; m = json_next(m))
        if (!read(r, m))
            return false;
    return true;
}

bool read_space(struct reader *r, const struct json *component, const char *place, char space[8],
                enum split_prefix *prefix) {
    const struct json *replacement = json_get(component, "replacement"),
                      *scheme = json_get(component, "prepend_scheme");
    const char *text = absent(replacement) ? NULL : json_text(replacement);
    if (!text || !*text || utf8_width(text, strlen(text)) != strlen(text))
        return FAIL(r, "%s: %s.replacement: expected one character", r->name, place);
    strcpy(space, text);
    static const char *const names[] = {"never", "always", "first"};
    text = absent(scheme) ? "always" : json_text(scheme);
    bool found = false, wanted;
    for (int i = 0; text && i < 3; i++)
        if (!strcmp(text, names[i])) {
            *prefix = (enum split_prefix)i;
            found = true;
        }
    if (!found)
        return FAIL(r, "%s: %s.prepend_scheme: expected never, always or first", r->name, place);
    /* how files of older versions say never */
    if (absent(json_get(component, "add_prefix_space")))
        return true;
    if (!read_flag(r, component, "add_prefix_space", place, &wanted))
        return false;
    if (!wanted && !absent(scheme) && *prefix != PREFIX_NEVER)
        return FAIL(r, "%s: %s.add_prefix_space: expected true, or prepend_scheme never", r->name,
                    place);
    *prefix = wanted ? *prefix : PREFIX_NEVER;
    return true;
}
