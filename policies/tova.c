/* tova: the token that the last query attended least is evicted (TOVA, arXiv 2401.06104). Nothing
 * is exempt. A KV head keeps its own tokens and takes the mean of its group, where the paper keeps
 * one set a layer by the mean of all heads; so does everything here. */
#include "engine/policy.h"

POLICY_FN float tova_keep(struct candidate c) { return c.column; }
POLICY_FN float tova_observe(struct candidate c) { return c.signal; }

#ifndef __CUDACC__
struct tova_param {
    struct budget_param budget;
    bool pin_prompt;
};

static const struct option tova_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    {"pin_prompt", OPTION_BOOL, offsetof(struct tova_param, pin_prompt), 0, 0, 1, NULL,
     "never evict the prompt"},
    OPTION_END,
    // clang-format on
};

static bool tova_plan(const void *param, struct plan *plan, struct err *e) {
    const struct tova_param *p = (const struct tova_param *)param;
    (void)e;
    plan->evict = UNIT_TOKEN;
    plan->pin_prompt = p->pin_prompt;
    plan->observe = SIGNAL_MASS;
    plan->observe_prompt = true;
    plan->window = 1;
    return true;
}

const struct policy policy_tova = {
    .name = "tova",
    .summary = "evicts the token that the last query attended least: O(L) time, O(L) memory",
    .source = "TOVA, arXiv 2401.06104",
    .version = 1,
    .options = tova_options,
    .param_size = sizeof(struct tova_param),
    .has_budget = true,
    .plan = tova_plan,
    .keep = tova_keep,
    .observe = tova_observe,
};
#endif
