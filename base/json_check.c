#include "base/json_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/real.h"
#include "base/utf8.h"

/* cJSON reads numbers through a buffer of 64 bytes. */
#define NUMBER_MAX 62

bool json_complain(struct json_check *c, size_t offset, const char *format, ...) {
    size_t line = 1;
    for (size_t i = 0; i < offset && i < c->size; i++)
        line += c->text[i] == '\n';
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(c->e, EXIT_CONTENT, "%s: line %zu, offset %zu: %s", c->name, line, offset, text);
}

/* The byte at the cursor; 0 at the end (a 0 byte is nowhere allowed, so the two may look alike). */
static char peek(const struct json_check *c) { return c->at < c->size ? c->text[c->at] : 0; }

static void skip_space(struct json_check *c) {
    while (c->at < c->size &&
           (peek(c) == ' ' || peek(c) == '\n' || peek(c) == '\t' || peek(c) == '\r'))
        c->at++;
}

static bool expected(struct json_check *c, const char *what) {
    if (c->at >= c->size)
        return json_complain(c, c->size, "expected %s, found the end", what);
    char shown = peek(c);
    if (shown > ' ' && shown < 0x7f)
        return json_complain(c, c->at, "expected %s, found '%c'", what, shown);
    return json_complain(c, c->at, "expected %s, found byte 0x%02x", what, (unsigned char)shown);
}

static bool word(struct json_check *c, const char *text) {
    size_t n = strlen(text);
    if (c->size - c->at < n || memcmp(c->text + c->at, text, n) != 0)
        return expected(c, "a value");
    c->at += n;
    return true;
}

static bool digits(struct json_check *c) {
    if (peek(c) < '0' || peek(c) > '9')
        return expected(c, "a digit");
    while (peek(c) >= '0' && peek(c) <= '9')
        c->at++;
    return true;
}

static bool number(struct json_check *c) {
    size_t start = c->at;
    c->at += peek(c) == '-';
    bool zero = peek(c) == '0';
    size_t first = c->at;
    if (!digits(c))
        return false;
    if (zero && c->at > first + 1)
        return json_complain(c, start, "a number may not begin with 0");
    if (peek(c) == '.') {
        c->at++;
        if (!digits(c))
            return false;
    }
    if (peek(c) == 'e' || peek(c) == 'E') {
        c->at++;
        c->at += peek(c) == '-' || peek(c) == '+';
        if (!digits(c))
            return false;
    }
    char text[NUMBER_MAX + 1];
    if (c->at - start > NUMBER_MAX)
        return json_complain(c, start, "a number of more than %d characters", NUMBER_MAX);
    memcpy(text, c->text + start, c->at - start);
    text[c->at - start] = 0;
    double value;
    return real_parse(text, &value) || json_complain(c, start, "%s is beyond a double", text);
}

/* Four hexadecimal digits behind "\u"; -1 if they are none. */
static long hex4(const struct json_check *c, size_t at) {
    if (c->size < 4 || at > c->size - 4)
        return -1;
    long code = 0;
    for (size_t i = at; i < at + 4; i++) {
        char d = c->text[i];
        int digit = d >= '0' && d <= '9'   ? d - '0'
                    : d >= 'a' && d <= 'f' ? d - 'a' + 10
                    : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        code = code * 16 + digit;
    }
    return code;
}

static bool escape(struct json_check *c, bool key) {
    size_t start = c->at++;
    if (peek(c) != 'u') {
        if (!peek(c) || !strchr("\"\\/bfnrt", peek(c)))
            return json_complain(c, start, "unknown escape in a string");
        c->at++;
        return true;
    }
    long code = hex4(c, c->at + 1);
    if (code < 0)
        return json_complain(c, start, "expected 4 hexadecimal digits behind \\u");
    c->at += 5;
    if (code == 0) {
        if (key)
            return json_complain(c, start, "U+0000 in a key");
        c->zeros = true;
    }
    if (code < 0xd800 || code > 0xdfff)
        return true;
    bool pair = code < 0xdc00 && c->size - c->at >= 6 && !memcmp(c->text + c->at, "\\u", 2);
    long low = pair ? hex4(c, c->at + 2) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return json_complain(c, start, "half of a surrogate pair");
    c->at += 6;
    return true;
}

static bool string(struct json_check *c, bool key) {
    if (peek(c) != '"')
        return expected(c, "a key in quotes");
    size_t start = c->at++;
    while (c->at < c->size) {
        unsigned char b = (unsigned char)c->text[c->at];
        if (b == '"') {
            c->at++;
            return true;
        }
        if (b == '\\') {
            if (!escape(c, key))
                return false;
        } else if (b < 0x20) {
            return json_complain(c, c->at, "control character 0x%02x in a string", b);
        } else if (b < 0x80) {
            c->at++;
        } else {
            size_t width = utf8_width(c->text + c->at, c->size - c->at);
            if (!width)
                return json_complain(c, c->at, "invalid UTF-8 (byte 0x%02x)", b);
            c->at += width;
        }
    }
    return json_complain(c, start, "a string without its end");
}

static bool value(struct json_check *c, int depth);

static bool member(struct json_check *c, size_t object, size_t index, int depth) {
    if (c->want && object == c->want_object && index == c->want_member)
        c->found = c->at;
    if (!string(c, true))
        return false;
    skip_space(c);
    if (peek(c) != ':')
        return expected(c, "':'");
    c->at++;
    skip_space(c);
    return value(c, depth + 1);
}

static bool container(struct json_check *c, char close, int depth) {
    if (depth == c->depth)
        return json_complain(c, c->at, "nested deeper than %d", c->depth);
    size_t object = close == '}' ? c->objects++ : 0;
    c->at++;
    skip_space(c);
    if (peek(c) == close) {
        c->at++;
        return true;
    }
    for (size_t index = 0;; index++) {
        if (close == '}' ? !member(c, object, index, depth) : !value(c, depth + 1))
            return false;
        skip_space(c);
        if (peek(c) == close) {
            c->at++;
            return true;
        }
        if (peek(c) != ',')
            return expected(c, close == '}' ? "',' or '}'" : "',' or ']'");
        c->at++;
        skip_space(c);
    }
}

static bool value(struct json_check *c, int depth) {
    if (c->values++ == JSON_VALUES)
        return json_complain(c, c->at, "more than %d values", JSON_VALUES);
    switch (peek(c)) {
    case '{':
        return container(c, '}', depth);
    case '[':
        return container(c, ']', depth);
    case 't':
        return word(c, "true");
    case 'f':
        return word(c, "false");
    case 'n':
        return word(c, "null");
    case '"':
        return string(c, false);
    default:
        break;
    }
    if (peek(c) == '-' || (peek(c) >= '0' && peek(c) <= '9'))
        return number(c);
    return expected(c, "a value");
}

bool json_check(struct json_check *c) {
    if (c->size >= 3 && !memcmp(c->text, "\xef\xbb\xbf", 3))
        return json_complain(c, 0, "a byte-order mark in front of the JSON text");
    skip_space(c);
    if (!value(c, 0))
        return false;
    skip_space(c);
    return c->at == c->size || expected(c, "the end of the text");
}
