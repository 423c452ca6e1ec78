#include "base/utf8.h"

#include <string.h>

/* How many bytes the lead byte asks for, and the range that it leaves to the second byte. */
static size_t lead(unsigned char c, unsigned char *lo, unsigned char *hi) {
    *lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    *hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

/* Bytes that agree with the character that starts here; *want is its full length. */
static size_t agree(const char *text, size_t size, size_t *want) {
    const unsigned char *p = (const unsigned char *)text;
    unsigned char lo, hi;
    *want = size ? lead(p[0], &lo, &hi) : 0;
    size_t n = *want ? 1 : 0;
    for (; n < *want && n < size; n++) {
        if (p[n] < lo || p[n] > hi)
            break;
        lo = 0x80;
        hi = 0xbf;
    }
    return n;
}

size_t utf8_width(const char *text, size_t size) {
    size_t want;
    return agree(text, size, &want) == want ? want : 0;
}

size_t utf8_bad(const char *text, size_t size) {
    size_t want, n = agree(text, size, &want);
    return n ? n : 1;
}

size_t utf8_check(const char *text, size_t size) {
    size_t i = 0;
    while (i < size) {
        uint64_t word;
        if (size - i >= sizeof word) {
            memcpy(&word, text + i, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                i += sizeof word;
                continue;
            }
        }
        size_t width = utf8_width(text + i, size - i);
        if (!width)
            return i;
        i += width;
    }
    return size;
}

uint32_t utf8_code(const char *text, size_t width) {
    const unsigned char *p = (const unsigned char *)text;
    if (width == 1)
        return p[0];
    uint32_t code = p[0] & (0xffu >> (width + 1));
    for (size_t i = 1; i < width; i++)
        code = code << 6 | (p[i] & 0x3fu);
    return code;
}

size_t utf8_put(uint32_t code, char out[4]) {
    size_t width = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (width == 1) {
        out[0] = (char)code;
        return 1;
    }
    for (size_t i = width - 1; i; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(0xff00u >> width | code);
    return width;
}

size_t utf8_mend(const char *text, size_t size, char *out) {
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    size_t n = 0;
    for (size_t i = 0; i < size;) {
        size_t width = utf8_width(text + i, size - i);
        size_t wrote = width ? width : sizeof replacement - 1;
        if (out)
            memcpy(out + n, width ? text + i : replacement, wrote);
        n += wrote;
        i += width ? width : utf8_bad(text + i, size - i);
    }
    return n;
}
