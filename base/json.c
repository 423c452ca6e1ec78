/* The reading half of json.h: json_check.c refuses what cJSON would take wrongly, cJSON builds the
 * tree, and what only the tree shows (keys that are equal once unescaped) is refused here. */
#include "base/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json_check.h"

/* A struct json is a cJSON seen from outside; json_doc is what owns the tree. */
struct json_doc {
    cJSON *root;
};

static const cJSON *inside(const struct json *value) { return (const cJSON *)(const void *)value; }
static const struct json *outside(const cJSON *value) {
    return (const struct json *)(const void *)value;
}

/* --- duplicate keys ------------------------------------------------------------- */

struct key {
    const char *text;
    size_t member; /* place in its object */
};

static int by_text(const void *a, const void *b) {
    const struct key *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->member > y->member) - (x->member < y->member);
}

/* Sorting, not hashing: no choice of keys makes it slow. Returns the place of a second occurrence.
 */
static bool repeated_key(const cJSON *object, size_t *member) {
    size_t n = 0;
    for (const cJSON *m = object->child; m; m = m->next)
        n++;
    if (n < 2)
        return false;
    struct key *keys = must_alloc(n * sizeof *keys);
    n = 0;
    for (const cJSON *m = object->child; m; m = m->next, n++)
        keys[n] = (struct key){m->string, n};
    qsort(keys, n, sizeof *keys, by_text);
    bool found = false;
    for (size_t i = 1; i < n && !found; i++)
        if (!strcmp(keys[i - 1].text, keys[i].text)) {
            *member = keys[i].member;
            found = true;
        }
    free(keys);
    return found;
}

/* Depth is bounded by json_check. `objects` counts in the order in which they open. */
static bool find_repeated(const cJSON *value, size_t *objects, size_t *object, size_t *member) {
    if (cJSON_IsObject(value)) {
        *object = (*objects)++;
        if (repeated_key(value, member))
            return true;
    }
    if (!cJSON_IsObject(value) && !cJSON_IsArray(value))
        return false;
    for (const cJSON *m = value->child; m; m = m->next)
        if (find_repeated(m, objects, object, member))
            return true;
    return false;
}

static bool no_repeated_keys(const cJSON *root, const struct json_check *checked) {
    size_t objects = 0, object = 0, member = 0;
    if (!find_repeated(root, &objects, &object, &member))
        return true;
    struct json_check again = {.text = checked->text,
                               .size = checked->size,
                               .name = checked->name,
                               .depth = checked->depth,
                               .want = true,
                               .want_object = object,
                               .want_member = member};
    json_check(&again);
    again.e = checked->e;
    const char *key = again.text + again.found;
    size_t room = again.size - again.found - 1, shown = room < 60 ? room : 60;
    const char *end = memchr(key + 1, '"', shown);
    shown = end ? (size_t)(end - key) - 1 : shown;
    return json_complain(&again, again.found, "key \"%.*s\" is given twice", (int)shown, key + 1);
}

/* --- U+0000 ------------------------------------------------------------------------ */

/* cJSON ends a string at U+0000. It passes bytes through unread, so each \u0000 becomes C0 80 on
 * the way in (which is no UTF-8: json_check let none pass) and one 0 byte afterwards. */
static char *hide_zeros(const char *text, size_t *size) {
    char *out = must_alloc(*size + 1);
    size_t n = 0;
    for (size_t i = 0; i < *size; i++) {
        if (text[i] != '\\') {
            out[n++] = text[i];
        } else if (!strncmp(text + i, "\\u0000", 6)) {
            out[n++] = (char)0xc0;
            out[n++] = (char)0x80;
            i += 5;
        } else {
            out[n++] = text[i++];
            out[n++] = text[i];
        }
    }
    out[n] = 0;
    *size = n;
    return out;
}

/* cJSON leaves the numbers of a string node alone: valueint marks one with zeros, valuedouble is
 * its size. */
static void show_zeros(cJSON *value) {
    if (cJSON_IsString(value) && strstr(value->valuestring, "\xc0\x80")) {
        char *out = value->valuestring;
        for (const char *in = out; *in; in++) {
            bool zero = (unsigned char)*in == 0xc0;
            *out++ = zero ? 0 : *in;
            in += zero;
        }
        *out = 0;
        value->valueint = 1;
        value->valuedouble = (double)(out - value->valuestring);
    }
    for (cJSON *m = value->child; m; m = m->next)
        show_zeros(m);
}

/* --- documents --------------------------------------------------------------------- */

struct json_doc *json_parse(const char *text, size_t size, const char *name, struct err *e) {
    return json_parse_within(text, size, name, JSON_DEPTH, e);
}

struct json_doc *json_parse_within(const char *text, size_t size, const char *name, int depth,
                                   struct err *e) {
    struct json_check check = {.text = text, .size = size, .name = name, .depth = depth, .e = e};
    if (!json_check(&check))
        return NULL;
    char *hidden = check.zeros ? hide_zeros(text, &size) : NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(hidden ? hidden : text, size, NULL, false);
    free(hidden);
    if (!root) {
        err_set(e, EXIT_ENV, "%s: out of memory", name);
        return NULL;
    }
    if (!no_repeated_keys(root, &check)) {
        cJSON_Delete(root);
        return NULL;
    }
    if (check.zeros)
        show_zeros(root);
    struct json_doc *doc = must_alloc(sizeof *doc);
    doc->root = root;
    return doc;
}

struct json_doc *json_read(const char *path, size_t max_bytes, struct err *e) {
    size_t size;
    char *text = file_read(path, max_bytes, &size, e);
    if (!text)
        return NULL;
    struct json_doc *doc = json_parse(text, size, path, e);
    free(text);
    return doc;
}

void json_free(struct json_doc *doc) {
    if (!doc)
        return;
    cJSON_Delete(doc->root);
    free(doc);
}

const struct json *json_root(const struct json_doc *doc) { return outside(doc->root); }

/* --- values ------------------------------------------------------------------------ */

enum json_type json_type(const struct json *value) {
    switch (inside(value)->type & 0xff) {
    case cJSON_False:
    case cJSON_True:
        return JSON_BOOL;
    case cJSON_Number:
        return JSON_NUMBER;
    case cJSON_String:
        return JSON_STRING;
    case cJSON_Array:
        return JSON_ARRAY;
    case cJSON_Object:
        return JSON_OBJECT;
    default:
        return JSON_NULL;
    }
}

const struct json *json_get(const struct json *object, const char *key) {
    if (!cJSON_IsObject(inside(object)))
        return NULL;
    const cJSON *m = inside(object)->child;
    while (m && strcmp(m->string, key) != 0)
        m = m->next;
    return outside(m);
}

const struct json *json_first(const struct json *array_or_object) {
    return array_or_object ? outside(inside(array_or_object)->child) : NULL;
}

const struct json *json_next(const struct json *value) { return outside(inside(value)->next); }
const char *json_key(const struct json *member) { return inside(member)->string; }

size_t json_count(const struct json *array_or_object) {
    size_t n = 0;
    for (const struct json *m = json_first(array_or_object); m; m = json_next(m))
        n++;
    return n;
}

const char *json_bytes(const struct json *string, size_t *size) {
    const cJSON *s = inside(string);
    if (!cJSON_IsString(s))
        return NULL;
    *size = s->valueint ? (size_t)s->valuedouble : strlen(s->valuestring);
    return s->valuestring;
}

const char *json_text(const struct json *string) {
    const cJSON *s = inside(string);
    return cJSON_IsString(s) && !s->valueint ? s->valuestring : NULL;
}

bool json_is_true(const struct json *value) { return cJSON_IsTrue(inside(value)); }

bool json_number(const struct json *value, double *out) {
    if (!cJSON_IsNumber(inside(value)))
        return false;
    *out = inside(value)->valuedouble;
    return true;
}

bool json_integer(const struct json *value, int64_t min, int64_t max, int64_t *out) {
    double number;
    if (!json_number(value, &number) || number != trunc(number) || fabs(number) >= 0x1p53)
        return false;
    int64_t whole = (int64_t)number;
    if (whole < min || whole > max)
        return false;
    *out = whole;
    return true;
}
