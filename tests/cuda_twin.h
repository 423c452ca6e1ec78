/* For tests of device code: one head of the CPU's cache, fed under the CPU's rules without any
 * arithmetic, and the row of a batch that should hold as much. */
#pragma once

#include "engine/cuda_device.h"
#include "engine/rules.h"

enum { TWIN_PLANS = 12, TWIN_TOTAL = 700 }; /* plans of all kinds; tokens of a sequence at most */
extern struct plan twin_plans[TWIN_PLANS];
extern struct cuda_plan twin_device_plans[TWIN_PLANS];
void twin_parse_plans(void);

struct twin {
    const struct plan *plan;
    int32_t n_prompt, capacity, position;
    struct page_pool pool;
    struct head head;
    int32_t table[TWIN_TOTAL / PAGE + 2];
    uint16_t live[TWIN_TOTAL / PAGE + 2];
};

/* The prompt has been fed and cut to capacity. */
void twin_open(struct twin *twin, int plan, int32_t n_prompt);
void twin_close(struct twin *twin);
/* The next token. */
void twin_feed(struct twin *twin);
/* A row that stands where the twin does. */
struct cuda_row twin_row(const struct twin *twin, int32_t next);
/* Fails the test unless position, tokens, pages and evictions are the twin's. */
void twin_check(const struct twin *twin, const struct cuda_row *row);
