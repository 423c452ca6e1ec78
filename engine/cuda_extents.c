/* Pieces of the page pool: first fit, neighbours grow together again. */
#include <stdlib.h>
#include <string.h>

#include "engine/cuda_parts.h"

void extents_init(struct extents *x, int64_t count) {
    *x = (struct extents){.n = 1, .room = 64};
    x->items = must_alloc((size_t)x->room * sizeof *x->items);
    x->items[0] = (struct extent){0, count};
}

void extents_free(struct extents *x) {
    free(x->items);
    *x = (struct extents){0};
}

static void remove_at(struct extents *x, int i) {
    x->n--;
    memmove(x->items + i, x->items + i + 1, (size_t)(x->n - i) * sizeof *x->items);
}

int64_t extents_take(struct extents *x, int64_t count) {
    for (int i = 0; i < x->n; i++) {
        struct extent *at = &x->items[i];
        if (at->count < count)
            continue;
        int64_t first = at->first;
        at->first += count, at->count -= count;
        if (!at->count)
            remove_at(x, i);
        return first;
    }
    return -1;
}

void extents_give(struct extents *x, int64_t first, int64_t count) {
    int i = 0;
    while (i < x->n && x->items[i].first < first)
        i++;
    if (i && x->items[i - 1].first + x->items[i - 1].count == first) {
        x->items[--i].count += count;
    } else {
        if (x->n == x->room) {
            x->room *= 2;
            x->items = must_realloc(x->items, (size_t)x->room * sizeof *x->items);
        }
        memmove(x->items + i + 1, x->items + i, (size_t)(x->n - i) * sizeof *x->items);
        x->items[i] = (struct extent){first, count};
        x->n++;
    }
    if (i + 1 < x->n && x->items[i].first + x->items[i].count == x->items[i + 1].first) {
        x->items[i].count += x->items[i + 1].count;
        remove_at(x, i + 1);
    }
}
