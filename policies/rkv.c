/* rkv: importance less redundancy (R-KV, arXiv 2505.24133). Importance is snapkv's: the mean that
 * the last W queries gave, pooled over neighbours. Redundancy is how alike a token's key is to the
 * other keys kept (SIGNAL_LIKENESS). Of L + N tokens the N with the least
 * lambda importance - (1 - lambda) redundancy go at once; the newest W are exempt. R-KV's code
 * takes the largest logit of a group before the softmax, and lambda = 0.07. */
#include "engine/policy.h"

POLICY_FN float rkv_keep(struct candidate c) {
    return c.weight * c.column - (1 - c.weight) * c.signal;
}
POLICY_FN float rkv_observe(struct candidate c) { return c.column + c.signal; }

#ifndef __CUDACC__
struct rkv_param {
    struct budget_param budget;
    int64_t every, window, pool;
    double lambda;
    bool pin_prompt;
};

static const struct option rkv_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    {"every", OPTION_INT, offsetof(struct rkv_param, every), 128, 1, POLICY_MAX_BUDGET, NULL,
     "tokens that go at once; until then they wait beside the budget"},
    {"window", OPTION_INT, offsetof(struct rkv_param, window), 8, 1, 2 * PAGE, NULL,
     "last queries that decide, and newest tokens that are never evicted"},
    {"pool", OPTION_INT, offsetof(struct rkv_param, pool), 7, 1, 255, NULL,
     "neighbours whose largest importance counts, an odd number"},
    {"lambda", OPTION_REAL, offsetof(struct rkv_param, lambda), 0.1, 0, 1, NULL,
     "weight of importance; the rest weighs redundancy"},
    {"pin_prompt", OPTION_BOOL, offsetof(struct rkv_param, pin_prompt), 0, 0, 1, NULL,
     "never evict the prompt"},
    OPTION_END,
    // clang-format on
};

static bool rkv_plan(const void *param, struct plan *plan, struct err *e) {
    const struct rkv_param *p = (const struct rkv_param *)param;
    if (p->window > p->every)
        return err_set(e, EXIT_USAGE, "policy rkv: window=%d, expected at most every=%d",
                       (int)p->window, (int)p->every);
    if (p->pool % 2 == 0)
        return err_set(e, EXIT_USAGE, "policy rkv: pool=%d, expected an odd number", (int)p->pool);
    plan->evict = UNIT_TOKEN;
    plan->every = (int32_t)p->every;
    plan->window = plan->recent = (int32_t)p->window;
    plan->pool = (int32_t)p->pool;
    plan->keep_by = SIGNAL_LIKENESS;
    plan->weight = p->lambda;
    plan->pin_prompt = p->pin_prompt;
    plan->observe = SIGNAL_MASS;
    plan->observe_prompt = true;
    return true;
}

const struct policy policy_rkv = {
    .name = "rkv",
    .summary = "what the last queries look at and other keys don't repeat: O(L) time, O(L) memory",
    .source = "R-KV, arXiv 2505.24133",
    .version = 1,
    .options = rkv_options,
    .param_size = sizeof(struct rkv_param),
    .has_budget = true,
    .plan = rkv_plan,
    .keep = rkv_keep,
    .observe = rkv_observe,
};
#endif
