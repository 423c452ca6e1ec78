/* One KV head whose attention, bounds and keys come from a script: no model is involved, a kernel
 * table stands in. One at a time. */
#pragma once

#include "engine/rules.h"

enum { SCRIPT_HEAD_SIZE = 4, SCRIPT_GROUP = 2, SCRIPT_ROOM = 64 };

extern struct script {
    struct page_pool pool;
    struct head head;
    struct rules_scratch scratch;
    int32_t table[SCRIPT_ROOM];
    uint16_t live[SCRIPT_ROOM];
    int32_t now;
    float (*mass)(int32_t query, int32_t key); /* what the group gives the key in all */
    float (*bound)(int32_t query, int32_t page);
    void (*key)(int32_t position, float *k); /* [SCRIPT_HEAD_SIZE] */
} script;

void script_open(void);
void script_close(void);
struct head_step script_step(const struct plan *plan, int n_prompt);
/* Feeds the token at this position; of a prompt, or in a decode step. */
void script_take(struct head_step *step, int32_t position, bool prefill);
bool script_holds(int32_t position);
/* Number of the page that these bytes of the pool belong to. */
int32_t script_page_of(const void *bytes);
