/* The writing half of json.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/real.h"
#include "base/utf8.h"

static void append(struct json_out *o, const char *text, size_t size) {
    if (o->room - o->size <= size) {
        o->room = (o->size + size + 1) * 2;
        o->text = must_realloc(o->text, o->room);
    }
    if (size)
        memcpy(o->text + o->size, text, size);
    o->size += size;
    o->text[o->size] = 0;
}

static void before_value(struct json_out *o) {
    if (o->comma)
        append(o, ",", 1);
    o->comma = true;
}

void json_open(struct json_out *o, char bracket) {
    before_value(o);
    append(o, &bracket, 1);
    o->comma = false;
}

void json_close(struct json_out *o, char bracket) {
    append(o, &bracket, 1);
    o->comma = true;
}

static void quote(struct json_out *o, const char *text, size_t size) {
    append(o, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < size;) {
        unsigned char c = (unsigned char)text[i];
        size_t width = c < 0x80 ? 1 : utf8_width(text + i, size - i);
        if (width && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            i += width;
            continue;
        }
        append(o, text + from, i - from);
        char escape[8];
        if (!width)
            snprintf(escape, sizeof escape, "\\ufffd");
        else if (c == '"' || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", c);
        else if (c == '\n' || c == '\t' || c == '\r')
            snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        else
            snprintf(escape, sizeof escape, "\\u%04x", c);
        append(o, escape, strlen(escape));
        i += width ? width : utf8_bad(text + i, size - i);
        from = i;
    }
    append(o, text + from, size - from);
    append(o, "\"", 1);
}

void json_name(struct json_out *o, const char *key) {
    before_value(o);
    quote(o, key, strlen(key));
    append(o, ":", 1);
    o->comma = false;
}

void json_put_bytes(struct json_out *o, const char *text, size_t size) {
    before_value(o);
    quote(o, text, size);
}

void json_put_text(struct json_out *o, const char *text) {
    if (text)
        json_put_bytes(o, text, strlen(text));
    else
        json_put_null(o);
}

void json_put_int(struct json_out *o, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    json_put_raw(o, text);
}

void json_put_ids(struct json_out *o, const int32_t *ids, size_t n) {
    json_open(o, '[');
    for (size_t i = 0; i < n; i++)
        json_put_int(o, ids[i]);
    json_close(o, ']');
}

void json_put_real(struct json_out *o, double value) {
    char text[REAL_TEXT];
    real_spell(value, text);
    json_put_raw(o, isfinite(value) ? text : "null");
}

void json_put_bool(struct json_out *o, bool value) { json_put_raw(o, value ? "true" : "false"); }
void json_put_null(struct json_out *o) { json_put_raw(o, "null"); }

void json_put_raw(struct json_out *o, const char *json) {
    before_value(o);
    append(o, json, strlen(json));
}

void json_add_text(struct json_out *o, const char *key, const char *text) {
    json_name(o, key);
    json_put_text(o, text);
}
void json_add_int(struct json_out *o, const char *key, int64_t value) {
    json_name(o, key);
    json_put_int(o, value);
}
void json_add_real(struct json_out *o, const char *key, double value) {
    json_name(o, key);
    json_put_real(o, value);
}
void json_add_bool(struct json_out *o, const char *key, bool value) {
    json_name(o, key);
    json_put_bool(o, value);
}
void json_add_raw(struct json_out *o, const char *key, const char *json) {
    json_name(o, key);
    json_put_raw(o, json);
}
