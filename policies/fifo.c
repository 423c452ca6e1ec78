/* fifo: a control. The oldest goes; nothing is scored. unit=page has
 * raas's pins, so that only the choice of the victim differs. */
#include "engine/policy.h"

#ifndef __CUDACC__
struct fifo_param {
    struct budget_param budget;
    int unit;
    bool pin_prompt;
    int64_t recent;
};

static const struct option fifo_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    {"unit", OPTION_CHOICE, offsetof(struct fifo_param, unit), 0, 0, 0, "page|token",
     "what is evicted"},
    {"pin_prompt", OPTION_BOOL, offsetof(struct fifo_param, pin_prompt), 1, 0, 1, NULL,
     "never evict the prompt"},
    {"recent", OPTION_INT, offsetof(struct fifo_param, recent), 32, 1, 4096, NULL,
     "unit=token: newest tokens that are never evicted"},
    OPTION_END,
    // clang-format on
};

static bool fifo_plan(const void *param, struct plan *plan, struct err *e) {
    const struct fifo_param *p = (const struct fifo_param *)param;
    if (p->unit && p->pin_prompt && p->recent > 2 * PAGE)
        return err_set(e, EXIT_USAGE,
                       "policy fifo: recent=%d, expected at most %d beside a pinned prompt",
                       (int)p->recent, 2 * PAGE);
    plan->evict = p->unit ? UNIT_TOKEN : UNIT_PAGE;
    plan->recent = p->unit ? (int32_t)p->recent : 0;
    plan->pin_prompt = p->pin_prompt;
    return true;
}

const struct policy policy_fifo = {
    .name = "fifo",
    .summary = "control: evicts the oldest, prompt pinned: O(L) time, O(L) memory",
    .source = "control",
    .version = 1,
    .options = fifo_options,
    .param_size = sizeof(struct fifo_param),
    .has_budget = true,
    .plan = fifo_plan,
};
#endif
