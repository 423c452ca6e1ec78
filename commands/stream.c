#include "commands/stream.h"

#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

/* C0, DEL and C1 move cursors and set titles; marks of direction make text look like other text. */
static bool is_trouble(uint32_t code) {
    if (code == '\n' || code == '\t')
        return false;
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e ||
           code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

static void put_character(struct stream *s, const char *text, size_t width) {
    uint32_t code = utf8_code(text, width);
    if (s->terminal && is_trouble(code))
        fprintf(s->out, "\\u{%x}", (unsigned)code);
    else
        fwrite(text, 1, width, s->out);
    s->mid_line = code != '\n';
}

static void put_replacement(struct stream *s) { put_character(s, "\xef\xbf\xbd", 3); }

/* Writes from buf[0..n) what is decided; moves the undecided start of a character to `held`. */
static void put_decided(struct stream *s, const char *buf, size_t n) {
    size_t at = 0;
    s->n_held = 0;
    while (at < n) {
        size_t width = utf8_width(buf + at, n - at);
        if (width) {
            put_character(s, buf + at, width);
            at += width;
            continue;
        }
        size_t bad = utf8_bad(buf + at, n - at);
        unsigned char lead = (unsigned char)buf[at];
        if (at + bad == n && lead >= 0xc2 && lead <= 0xf4) {
            memcpy(s->held, buf + at, bad);
            s->n_held = bad;
            return;
        }
        put_replacement(s);
        at += bad;
    }
}

void stream_put(struct stream *s, const char *bytes, size_t size) {
    char buf[sizeof s->held + 256];
    while (size) {
        size_t held = s->n_held, n = size < 256 ? size : 256;
        memcpy(buf, s->held, held);
        memcpy(buf + held, bytes, n);
        put_decided(s, buf, held + n);
        bytes += n;
        size -= n;
    }
    fflush(s->out);
}

void stream_end(struct stream *s) {
    if (s->n_held)
        put_replacement(s);
    s->n_held = 0;
    if (s->mid_line)
        fputc('\n', s->out);
    fflush(s->out);
}
