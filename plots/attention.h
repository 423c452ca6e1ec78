/* Figures of one file of recorded attention (store/attn.h): a heatmap of one head, or a sheet of
 * all of them. Drawn as those of the database are: data and script lie beside the figure. */
#pragma once

#include "analysis/lifecycle.h"

struct plot_attention {
    const char *path;                    /* of the file */
    int layer, head;                     /* -1: the sheet */
    int from, to;                        /* positions shown, of keys and queries; to 0: all */
    const struct lifecycle_params *life; /* under which keys and heads get their classes */
};

/* Writes attention.svg and .png into `out`, for the sheet attention_heads.svg and .png, and what
 * they are drawn from. Cells of a pixel show their largest probability. What the miner finds in the
 * file is marked: classes of keys above the map of one head, classes of heads as frames of the
 * sheet. Errors as of plot_figure, attn_open and miner_read. */
bool plot_attention(const struct plot_attention *what, const char *out, struct err *e);
