/* oracle: a control. The exact top-L of the true attention of each step, group sum; nothing is
 * evicted: what selection could reach at best. */
#include "engine/policy.h"

#ifndef __CUDACC__
struct oracle_param {
    struct budget_param budget;
};

static const struct option oracle_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    OPTION_END,
    // clang-format on
};

static bool oracle_plan(const void *param, struct plan *plan, struct err *e) {
    (void)param, (void)e;
    plan->select = UNIT_TOKEN;
    plan->by = SIGNAL_MASS;
    return true;
}

const struct policy policy_oracle = {
    .name = "oracle",
    .summary = "control: attends to the exact top-L tokens, keeps all: O(N) time, O(N) memory",
    .source = "control",
    .version = 1,
    .options = oracle_options,
    .param_size = sizeof(struct oracle_param),
    .has_budget = true,
    .plan = oracle_plan,
};
#endif
