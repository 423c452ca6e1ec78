#include "engine/tokenizer_reader.h"

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
