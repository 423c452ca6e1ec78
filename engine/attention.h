/* What attention gave, as recorders and miners get it: the engine calls, they look. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One query of one KV head: what each q head of its group gave to the tokens it attended to, which
 * are those that were resident and selected. Tokens that are not listed got exactly 0. All is
 * borrowed for the call. */
struct attention_row {
    int layer, kv_head, group;
    int32_t query;           /* its position */
    bool prompt;             /* a query of the prompt (prefill) */
    int32_t n;               /* tokens attended to, the query's own among them */
    const int32_t *position; /* [n] in the order of the table: ascending for page policies */
    const float *prob;       /* [group][n] softmax; a head's sum to 1 but for rounding */
    int32_t n_resident;      /* tokens that the KV head holds, n or more */
    const int32_t *resident; /* [n_resident] their positions; `position` where nothing selects */
};

/* Called by threads of the backend after every query of every layer and KV head. Queries of one
 * (layer, KV head) come in order, never two at once; different ones may come at the same time. */
typedef void attention_watch(void *user, const struct attention_row *row);
