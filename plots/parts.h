/* What figures of one recorded file share: the files that a script reads, and texts within them. */
#pragma once

#include <stdio.h>

#include "base/err.h"
#include "store/attn.h"

struct parts { /* NAME_data.gp (settings), NAME.bin (images), NAME.tsv (rows), being written */
    FILE *file[3];
    char *bytes[3];
    size_t size[3];
};
void parts_open(struct parts *parts);
/* Where `ok`, writes the parts into the folder `out` and draws (plot_draw). Frees them in any case.
 */
bool parts_draw(struct parts *parts, bool ok, const char *name, const char *out, struct err *e);

/* Single-quoted for gnuplot: nothing in it is special then but the quote. */
void parts_quote(FILE *out, const char *text);
/* "3" where token k begins the third step of a solution of lemmas, "answer" where it begins the
 * answer; false where it begins neither. */
bool parts_step(const struct attn_tokens *tokens, int32_t k, char name[16]);
/* title = 'MODEL on SAMPLE, POLICY: WHAT', from the file's attributes. */
void parts_title(const struct attn_reader *reader, FILE *out, const char *what);
