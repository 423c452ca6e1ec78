/* Where the library's Unicode differs from Unicode 14, which PCRE2 10.42 knows, and from that of
 * utf8proc: its regular expressions know younger characters, its normal form older ones. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct unicode_range {
    uint32_t first, last;
    char class; /* L, M, N, P or S to its regular expressions, nothing to Unicode 14; 0: as there */
};

/* Ascending, ended by last = 0. Its normal form takes all of them for characters that neither move
 * nor combine. */
extern const struct unicode_range unicode_ranges[];

/* Offset of the first of them in valid UTF-8; size if there is none. */
size_t unicode_first(const char *text, size_t size);
