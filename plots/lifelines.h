/* Lifelines of the lemmas of one recorded file: when each is stated, used and last used, by the
 * gold labels and as one head shows it. */
#pragma once

#include "analysis/lifecycle.h"

struct plot_lifelines {
    const char *path; /* of the file: mode full, with gold labels */
    int layer, head;  /* -1: the head whose F1 of `used again` is best in this file */
    const struct lifecycle_params *life;
};
/* Writes lifelines.svg and .png into `out`, and what they are drawn from. EXIT_CONTENT where no
 * lemma is labelled; other errors as of plot_attention. */
bool plot_lifelines(const struct plot_lifelines *what, const char *out, struct err *e);
