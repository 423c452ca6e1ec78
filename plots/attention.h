/* Figures of one file of recorded attention (store/attn.h): a heatmap of one head, or a sheet of
 * all of them. Drawn as those of the database are: data and script lie beside the figure. */
#pragma once

#include "base/err.h"

struct plot_attention {
    const char *path; /* of the file */
    int layer, head;  /* -1: the sheet */
    int from, to;     /* positions shown, of keys and queries; to 0: all */
};

/* Writes attention.svg and .png into `out`, for the sheet attention_heads.svg and .png, and what
 * they are drawn from. Cells of a pixel show their largest probability. Errors as of plot_figure
 * and attn_open. */
bool plot_attention(const struct plot_attention *what, const char *out, struct err *e);
