#include "experiments/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

/* --- reading --------------------------------------------------------------------------------- */

static bool is_known(const struct settings *s, const char *key) {
    for (const char *const *k = s->keys; *k; k++)
        if (!strcmp(*k, key))
            return true;
    return false;
}

static bool unknown_key(const struct settings *s, const char *place, const char *key, int code,
                        struct err *e) {
    char list[600] = "";
    for (const char *const *k = s->keys; *k; k++)
        err_list(list, sizeof list, *k);
    return err_set(e, code, "%s: unknown key '%.80s'; expected one of %s", place, key, list);
}

static void add(struct settings *s, const char *key, const struct json *value, const char *scale,
                bool command_line) {
    s->items = must_realloc(s->items, (size_t)(s->n_items + 1) * sizeof *s->items);
    s->items[s->n_items++] = (struct setting){key, value, scale, command_line};
}

static bool add_scale(struct settings *s, const struct json *scale, struct err *e) {
    const char *name = json_key(scale);
    char place[300];
    snprintf(place, sizeof place, "%s: scale '%.40s'", s->path, name);
    if (json_type(scale) != JSON_OBJECT)
        return err_set(e, EXIT_CONTENT, "%s: expected an object of overrides", place);
    for (const struct json *v = json_first(scale); v; v = json_next(v)) {
        if (!is_known(s, json_key(v)))
            return unknown_key(s, place, json_key(v), EXIT_CONTENT, e);
        if (!strcmp(json_key(v), "name"))
            return err_set(e, EXIT_CONTENT, "%s: a scale cannot rename the experiment", place);
        add(s, json_key(v), v, name, false);
    }
    return true;
}

/* The file's own keys first, so that its scales override them wherever they stand. */
static bool add_file(struct settings *s, const struct json *root, struct err *e) {
    if (json_type(root) != JSON_OBJECT)
        return err_set(e, EXIT_CONTENT, "%s: expected one JSON object", s->path);
    const struct json *scales = json_get(root, "scale");
    for (const struct json *v = json_first(root); v; v = json_next(v)) {
        if (v == scales)
            continue;
        if (!is_known(s, json_key(v)))
            return unknown_key(s, s->path, json_key(v), EXIT_CONTENT, e);
        add(s, json_key(v), v, NULL, false);
    }
    if (scales && json_type(scales) != JSON_OBJECT)
        return err_set(e, EXIT_CONTENT, "%s: key 'scale': expected an object of scales", s->path);
    bool found = false;
    char list[300] = "";
    for (const struct json *v = scales ? json_first(scales) : NULL; v; v = json_next(v)) {
        if (!add_scale(s, v, e))
            return false;
        found = found || (s->scale && !strcmp(json_key(v), s->scale));
        err_list(list, sizeof list, json_key(v));
    }
    if (s->scale && !found)
        return err_set(e, EXIT_USAGE, "--scale '%s': %s has %s%s", s->scale, s->path,
                       *list ? "only " : "no scales", list);
    return true;
}

/* JSON if it is JSON, a bare string otherwise. */
static struct json_doc *parse_value(const char *text) {
    struct err ignored = {0};
    struct json_doc *doc = json_parse(text, strlen(text), "--set", &ignored);
    if (doc)
        return doc;
    struct json_out quoted = {0};
    json_put_text(&quoted, text);
    doc = json_parse(quoted.text, quoted.size, "--set", &ignored);
    free(quoted.text);
    return doc;
}

static bool add_set(struct settings *s, const char *text, struct err *e) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return err_set(e, EXIT_USAGE, "--set '%.80s': expected key=value", text);
    char *key = must_strdup(text), *scale = NULL;
    key[equals - text] = 0;
    s->names[s->n_docs] = key;
    s->docs[s->n_docs] = parse_value(equals + 1);
    if (!s->docs[s->n_docs++])
        return err_set(e, EXIT_USAGE, "--set %s: the value is neither JSON nor plain text", key);
    const struct json *value = json_root(s->docs[s->n_docs - 1]);
    if (!strncmp(key, "scale.", 6)) {
        scale = key + 6;
        char *dot = strchr(scale, '.');
        if (!dot || dot == scale)
            return err_set(e, EXIT_USAGE, "--set %s: expected scale.NAME.key=value", key);
        *dot = 0;
        key = dot + 1;
    }
    if (!is_known(s, key))
        return unknown_key(s, "--set", key, EXIT_USAGE, e);
    add(s, key, value, scale, true);
    return true;
}

bool settings_open(const char *path, const char *scale, const char *const *sets, int n_sets,
                   const char *const *keys, struct settings *out, struct err *e) {
    *out = (struct settings){.path = path, .scale = scale, .keys = keys};
    out->docs = must_zalloc((size_t)n_sets + 1, sizeof(struct json_doc *));
    out->names = must_zalloc((size_t)n_sets + 1, sizeof(char *));
    out->docs[0] = json_read(path, FILE_MAX, e);
    out->n_docs = 1;
    bool ok = out->docs[0] && add_file(out, json_root(out->docs[0]), e);
    for (int i = 0; ok && i < n_sets; i++)
        ok = add_set(out, sets[i], e);
    if (!ok)
        settings_close(out);
    return ok;
}

void settings_close(struct settings *s) {
    for (int i = 0; i < s->n_docs; i++) {
        json_free(s->docs[i]);
        free(s->names[i]);
    }
    free(s->docs);
    free(s->names);
    free(s->items);
    *s = (struct settings){0};
}

/* --- asking ---------------------------------------------------------------------------------- */

const struct setting *settings_find(const struct settings *s, const char *key) {
    for (int i = s->n_items - 1; i >= 0; i--) {
        const struct setting *item = &s->items[i];
        if (!strcmp(item->key, key) &&
            (!item->scale || (s->scale && !strcmp(item->scale, s->scale))))
            return item;
    }
    return NULL;
}

bool settings_blame(const struct settings *s, const struct setting *setting, struct err *e) {
    if (setting->command_line)
        err_in(e, "--set %s", setting->key);
    else
        err_in(e, "%s: key '%s'", s->path, setting->key);
    if (e)
        e->code = setting->command_line ? EXIT_USAGE : EXIT_CONTENT;
    return false;
}

static void put(struct json_out *out, const struct json *value) {
    double number = 0;
    switch (json_type(value)) {
    case JSON_NULL:
        json_put_null(out);
        break;
    case JSON_BOOL:
        json_put_bool(out, json_is_true(value));
        break;
    case JSON_STRING:
        json_put_text(out, json_text(value));
        break;
    case JSON_NUMBER:
        json_number(value, &number);
        json_put_real(out, number);
        break;
    case JSON_ARRAY:
        json_open(out, '[');
        for (const struct json *v = json_first(value); v; v = json_next(v))
            put(out, v);
        json_close(out, ']');
        break;
    case JSON_OBJECT:
        json_open(out, '{');
        for (const struct json *v = json_first(value); v; v = json_next(v)) {
            json_name(out, json_key(v));
            put(out, v);
        }
        json_close(out, '}');
        break;
    }
}

void settings_json(const struct settings *s, struct json_out *out) {
    json_open(out, '{');
    for (const char *const *key = s->keys; *key; key++) {
        const struct setting *item = settings_find(s, *key);
        if (!item)
            continue;
        json_name(out, *key);
        put(out, item->value);
    }
    json_close(out, '}');
}
