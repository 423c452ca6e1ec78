/* Memory that the rules of one thread work in. */
#include <stdlib.h>
#include <string.h>

#include "engine/rules.h"

size_t rules_scratch_init(struct rules_scratch *w, int max_total, int group, size_t page_bytes,
                          int widest) {
    size_t n = (size_t)pages_of(max_total) + 1, g = (size_t)group;
    *w = (struct rules_scratch){.group = group, .room = n * PAGE};
    struct {
        void *field;
        size_t bytes;
    } parts[] = {
        {&w->prob, g * n * PAGE * sizeof *w->prob},
        {&w->bound, g * n * sizeof *w->bound},
        {&w->pages, n * sizeof *w->pages},
        {&w->live, n * sizeof *w->live},
        {&w->index, n * sizeof *w->index},
        {&w->chosen, n * sizeof *w->chosen},
        {&w->units, n * PAGE * sizeof *w->units},
        {&w->copies, n * page_bytes},
        {&w->likeness, n * PAGE * sizeof *w->likeness},
        {&w->row, (size_t)widest * sizeof *w->row},
        {&w->position, 2 * n * PAGE * sizeof *w->position},
    };
    size_t total = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *p = must_aligned(parts[i].bytes);
        memcpy(parts[i].field, &p, sizeof p);
        total += parts[i].bytes;
    }
    return total;
}

void rules_scratch_free(struct rules_scratch *w) {
    free(w->prob);
    free(w->bound);
    free(w->pages);
    free(w->live);
    free(w->index);
    free(w->chosen);
    free(w->units);
    free(w->copies);
    free(w->likeness);
    free(w->row);
    free(w->position);
}
