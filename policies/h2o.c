/* h2o: heavy hitters (H2O, arXiv 2306.14048). mass[j] sums the softmax probability that every query
 * so far, prompt queries too, gave to token j, over the query group. Over capacity the least mass
 * goes; the newest L/2 are exempt. */
#include "engine/policy.h"

POLICY_FN float h2o_keep(struct candidate c) { return c.column; }
POLICY_FN float h2o_observe(struct candidate c) { return c.column + c.signal; }

#ifndef __CUDACC__
struct h2o_param {
    struct budget_param budget;
    bool pin_prompt;
};

static const struct option h2o_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    {"pin_prompt", OPTION_BOOL, offsetof(struct h2o_param, pin_prompt), 0, 0, 1, NULL,
     "never evict the prompt"},
    OPTION_END,
    // clang-format on
};

static bool h2o_plan(const void *param, struct plan *plan, struct err *e) {
    const struct h2o_param *p = (const struct h2o_param *)param;
    (void)e;
    plan->evict = UNIT_TOKEN;
    plan->recent_share = 0.5;
    plan->pin_prompt = p->pin_prompt;
    plan->observe = SIGNAL_MASS;
    plan->observe_prompt = true;
    return true;
}

const struct policy policy_h2o = {
    .name = "h2o",
    .summary = "heavy hitters by accumulated attention, half recent: O(L) time, O(L) memory",
    .source = "H2O, arXiv 2306.14048",
    .version = 1,
    .options = h2o_options,
    .param_size = sizeof(struct h2o_param),
    .has_budget = true,
    .plan = h2o_plan,
    .keep = h2o_keep,
    .observe = h2o_observe,
};
#endif
