/* The rules of a plan on the device, beside what cuda_device.h has of them: what one more token
 * does to a row's counts, and for tests a replay of decisions from recorded signals. C11 and CUDA
 * C++. */
#pragma once

#include "engine/cuda_device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The token at position + 1 is fed: the counts of a row, as rules_make_room and head_append have
 * them for each of its heads. */
CUDA_FN void rules_feed_row(struct cuda_row *r, const struct cuda_plan *plan) {
    int32_t position = r->position + 1, live = r->n_live, pages = r->n_pages;
    int by_token = plan->evict == UNIT_TOKEN && live >= r->capacity;
    int by_page = plan->evict == UNIT_PAGE && position % PAGE == 0 && pages >= r->capacity / PAGE;
    int units = by_token && plan->every ? plan->every : by_token || by_page;
    live -= by_page ? PAGE : units;
    pages -= by_page;
    r->opens = live == pages * PAGE;
    pages += r->opens;
    r->position = position;
    r->evict = units;
    r->evictions += units;
    r->n_live = live + 1;
    r->n_pages = pages;
}

/* Decode steps of row 0 of a pass of one layer and one KV head: its own evict, append, select and
 * observe, with signals from a trace and without keys and values. The pass needs cache, plans,
 * rows, shape, view, chosen, and score of room * 16 floats. Outputs have rows of [room * 16] int32
 * or float each, -1 where there is nothing. */
struct rules_replay {
    struct cuda_pass pass;
    int32_t steps, stride;
    const float *signal; /* [steps][stride], not negative: of a token by its position, of a page by
                            the position of its first token */
    int32_t *held;       /* [steps][room * 16] positions by index into the table and slot */
    int32_t *attended;   /* [steps][room * 16] the same of what is attended, by place in the view */
    float *columns;      /* [steps][room * 16] of tokens by index and slot; of pages by index */
};
void cuda_rules_replay(const struct rules_replay *r, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
