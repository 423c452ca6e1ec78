#include "plots/html.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/utf8.h"

/* --- text ------------------------------------------------------------------------------------ */

static bool turns_direction(uint32_t c) {
    return c == 0x200e || c == 0x200f || c == 0x061c || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

static const char *entity(char c) {
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

void html_text(const char *text, FILE *out) {
    size_t size = strlen(text);
    for (size_t at = 0; at < size;) {
        size_t width = utf8_width(text + at, size - at);
        if (!width) {
            fputs("\xef\xbf\xbd", out);
            at += utf8_bad(text + at, size - at);
            continue;
        }
        uint32_t code = utf8_code(text + at, width);
        const char *named = width == 1 ? entity(text[at]) : NULL;
        bool control =
            (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7f && code < 0xa0);
        if (named)
            fputs(named, out);
        else if (control)
            fputs("\xef\xbf\xbd", out);
        else if (turns_direction(code))
            fprintf(out, "[U+%04X]", (unsigned)code);
        else
            fwrite(text + at, 1, width, out);
        at += width;
    }
}

void html_json(const char *json, FILE *out) {
    for (; *json; json++)
        if (*json == '<' || *json == '>' || *json == '&')
            fprintf(out, "\\u%04x", (unsigned)*json);
        else
            putc(*json, out);
}

void html_script_hash(const char *script, char out[HTML_HASH]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char hex[HASH_HEX];
    unsigned char bytes[33] = {0};
    hash_bytes(script, strlen(script), hex);
    for (int i = 0; i < 32; i++) {
        char two[3] = {hex[2 * i], hex[2 * i + 1]};
        bytes[i] = (unsigned char)strtoul(two, NULL, 16);
    }
    char *to = out + snprintf(out, HTML_HASH, "sha256-");
    for (int i = 0; i < 33; i += 3) {
        unsigned three = (unsigned)bytes[i] << 16 | (unsigned)bytes[i + 1] << 8 | bytes[i + 2];
        for (int k = 3; k >= 0; k--)
            *to++ = digits[three >> 6 * k & 63];
    }
    to[-1] = '='; /* 32 bytes are 43 digits */
    *to = '\0';
}

/* --- figures --------------------------------------------------------------------------------- */

static bool is_one_of(const char *word, size_t size, const char *const *words) {
    for (; *words; words++)
        if (strlen(*words) == size && !strncmp(*words, word, size))
            return true;
    return false;
}

static bool element_passes(const char *name, size_t size) {
    static const char *const known[] = {
        "svg",      "title",   "desc",    "g",           "defs",           "circle",
        "ellipse",  "path",    "rect",    "polygon",     "text",           "use",
        "polyline", "tspan",   "line",    "filter",      "clipPath",       "stop",
        "mask",     "pattern", "feFlood", "feComposite", "linearGradient", NULL};
    return is_one_of(name, size, known);
}

/* References stay in the figure, and nothing is an event. */
static bool attribute_passes(const char *name, size_t size, const char *value, size_t value_size) {
    static const char *const links[] = {"href", "xlink:href", "src", NULL};
    if (size >= 2 && tolower((unsigned char)name[0]) == 'o' &&
        tolower((unsigned char)name[1]) == 'n')
        return false;
    if (is_one_of(name, size, links) && (value_size == 0 || *value != '#'))
        return false;
    for (size_t i = 0; i + 4 < value_size; i++)
        if (!strncmp(value + i, "url(", 4) && value[i + 4] != '#')
            return false;
    return true;
}

static void put_value(const char *name, size_t size, const char *value, size_t value_size,
                      const char *prefix, FILE *out) {
    static const char *const links[] = {"href", "xlink:href", NULL};
    bool is_id = size == 2 && !strncmp(name, "id", 2);
    bool link = is_one_of(name, size, links);
    fprintf(out, " %.*s=\"%s", (int)size, name, is_id ? prefix : "");
    for (size_t i = 0; i < value_size; i++) {
        bool points = value[i] == '#' && (link || (i >= 4 && !strncmp(value + i - 4, "url(", 4)));
        if (value[i] == '"')
            fputs("&quot;", out);
        else
            putc(value[i], out);
        if (points)
            fputs(prefix, out);
    }
    putc('"', out);
}

/* One tag from '<' on; returns what stands behind its '>', NULL where it doesn't pass. */
static const char *put_tag(const char *at, const char *prefix, FILE *out) {
    bool ends = at[1] == '/';
    const char *name = at + 1 + ends;
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (!element_passes(name, size))
        return NULL;
    fprintf(out, "<%s%.*s", ends ? "/" : "", (int)size, name);
    at = name + size;
    for (;;) {
        at += strspn(at, " \t\r\n");
        bool closes = at[0] == '/' && at[1] == '>';
        if (*at == '>' || closes) {
            fputs(closes ? "/>" : ">", out);
            return at + 1 + closes;
        }
        size_t word =
            strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:-");
        const char *sign = at + word + strspn(at + word, " "); /* gnuplot writes fill = '...' */
        const char *value = sign + (*sign == '=');
        value += strspn(value, " ");
        char quote = word && *sign == '=' ? *value++ : 0;
        const char *end = quote == '"' || quote == '\'' ? strchr(value, quote) : NULL;
        if (!end || memchr(value, '<', (size_t)(end - value)) ||
            !attribute_passes(at, word, value, (size_t)(end - value)))
            return NULL;
        put_value(at, word, value, (size_t)(end - value), prefix, out);
        at = end + 1;
    }
}

/* Everything up to the end of the outermost element. */
static bool put_svg(const char *at, const char *prefix, const char *watermark, FILE *out) {
    while (*at) {
        if (*at != '<') {
            size_t n = strcspn(at, "<");
            fwrite(at, 1, n, out);
            at += n;
            continue;
        }
        if (!strncmp(at, "<![CDATA[", 9)) {
            const char *end = strstr(at, "]]>");
            char *plain = end ? strndup(at + 9, (size_t)(end - at - 9)) : NULL;
            if (!plain)
                return false;
            html_text(plain, out);
            free(plain);
            at = end + 3;
            continue;
        }
        if (!strncmp(at, "<!--", 4)) {
            at = strstr(at + 4, "-->");
            if (!at)
                return false;
            at += 3;
            continue;
        }
        bool last = !strncmp(at, "</svg>", 6);
        if (last && watermark) {
            fputs("<text x=\"50%\" y=\"50%\" text-anchor=\"middle\" font-size=\"40\" "
                  "fill=\"#c00\" fill-opacity=\"0.35\">",
                  out);
            html_text(watermark, out);
            fputs("</text>", out);
        }
        at = put_tag(at, prefix, out);
        if (!at)
            return false;
        if (last)
            return true;
    }
    return false;
}

bool html_svg(const char *svg, const char *name, const char *prefix, const char *watermark,
              FILE *out, struct err *e) {
    const char *start = strstr(svg, "<svg");
    char *text = NULL;
    size_t size;
    FILE *held = open_memstream(&text, &size);
    CHECK(held);
    bool ok = start && put_svg(start, prefix, watermark, held);
    CHECK(fclose(held) == 0);
    if (ok)
        fwrite(text, 1, size, out);
    free(text);
    return ok || err_set(e, EXIT_CONTENT, "%s: holds more than shapes and text", name);
}
