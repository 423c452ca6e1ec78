/* UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Length (1..4) of the valid character at text, 0 if there is none (also for size 0). */
size_t utf8_width(const char *text, size_t size);

/* After utf8_width gave 0 with size > 0: bytes that one U+FFFD stands for (the longest start of a
 * valid character, at least 1; Unicode's "maximal subpart" rule). */
size_t utf8_bad(const char *text, size_t size);

/* Offset of the first byte that is not UTF-8; size if there is none. */
size_t utf8_check(const char *text, size_t size);

/* Code point of a valid character of the given width. */
uint32_t utf8_code(const char *text, size_t width);

/* Writes a code point (<= U+10FFFF); returns its width. */
size_t utf8_put(uint32_t code, char out[4]);

/* Copies bytes as UTF-8, with U+FFFD for each stretch that is none; returns the size, at most 3
 * times that of the input. out NULL: only that. */
size_t utf8_mend(const char *text, size_t size, char *out);
