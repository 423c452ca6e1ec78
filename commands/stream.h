/* Text as it comes from a model, token by token: whole UTF-8 characters only, and nothing that a
 * terminal would obey. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct stream {
    FILE *out;
    bool terminal; /* escape control and bidirectional characters as \u{...} */
    bool mid_line; /* the last character written was no newline */
    char held[4];  /* start of a character whose end has not come yet */
    size_t n_held;
};

/* Writes and flushes all characters that are whole by now; bytes that can't become UTF-8 are U+FFFD
 * each (as in tokenizer_decode). Errors stay in ferror(out). */
void stream_put(struct stream *stream, const char *bytes, size_t size);

/* Writes what was held back as U+FFFD, and ends the line. */
void stream_end(struct stream *stream);
