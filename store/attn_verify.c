/* Whether a file of attention is whole: all that it holds is read once. */
#include <stdlib.h>

#include "store/attn.h"

static void ignore(void *user, const struct attention_row *row) { (void)user, (void)row; }

bool attn_verify(const char *path, struct err *e) {
    struct attn_reader *r = attn_open(path, e);
    const struct attn_info *i = r ? attn_info(r) : NULL;
    bool ok = r && (!i->full || attn_replay(r, ignore, NULL, e));
    size_t pages = r ? (size_t)i->n_steps * (size_t)i->n_pages : 0;
    float *map = must_alloc(pages * sizeof *map);
    for (int l = 0; ok && i->pooled && l < i->layers.n; l++)
        for (int h = 0; ok && h < i->heads.n; h++)
            for (enum attn_what what = ATTN_PAGE_MAX; ok && what <= ATTN_PAGE_SUM; what++)
                ok = attn_map(r, what, i->layers.items[l], i->heads.items[h], map, e);
    free(map);
    attn_close(r);
    return ok;
}
