/* snapkv: what the last queries look at, and its neighbours (SnapKV, arXiv 2404.14469), taken anew
 * every N tokens, as decoding needs it (the version that R-KV, arXiv 2505.24133, compares with).
 * Importance is the attention that the last W queries gave, their mean and the group's, pooled by
 * the largest of the neighbours' in what is kept. Of L + N tokens the N least important go at once;
 * the newest W are exempt. R-KV's code takes the largest logit of a group before the softmax. */
#include "engine/policy.h"

POLICY_FN float snapkv_keep(struct candidate c) { return c.column; }
POLICY_FN float snapkv_observe(struct candidate c) { return c.column + c.signal; }

#ifndef __CUDACC__
struct snapkv_param {
    struct budget_param budget;
    int64_t every, window, pool;
    bool pin_prompt;
};

static const struct option snapkv_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    {"every", OPTION_INT, offsetof(struct snapkv_param, every), 128, 1, POLICY_MAX_BUDGET, NULL,
     "tokens that go at once; until then they wait beside the budget"},
    {"window", OPTION_INT, offsetof(struct snapkv_param, window), 8, 1, 2 * PAGE, NULL,
     "last queries that decide, and newest tokens that are never evicted"},
    {"pool", OPTION_INT, offsetof(struct snapkv_param, pool), 7, 1, 255, NULL,
     "neighbours whose largest importance counts, an odd number"},
    {"pin_prompt", OPTION_BOOL, offsetof(struct snapkv_param, pin_prompt), 0, 0, 1, NULL,
     "never evict the prompt"},
    OPTION_END,
    // clang-format on
};

static bool snapkv_plan(const void *param, struct plan *plan, struct err *e) {
    const struct snapkv_param *p = (const struct snapkv_param *)param;
    if (p->window > p->every)
        return err_set(e, EXIT_USAGE, "policy snapkv: window=%d, expected at most every=%d",
                       (int)p->window, (int)p->every);
    if (p->pool % 2 == 0)
        return err_set(e, EXIT_USAGE, "policy snapkv: pool=%d, expected an odd number",
                       (int)p->pool);
    plan->evict = UNIT_TOKEN;
    plan->every = (int32_t)p->every;
    plan->window = plan->recent = (int32_t)p->window;
    plan->pool = (int32_t)p->pool;
    plan->pin_prompt = p->pin_prompt;
    plan->observe = SIGNAL_MASS;
    plan->observe_prompt = true;
    return true;
}

const struct policy policy_snapkv = {
    .name = "snapkv",
    .summary = "what the last queries look at, taken anew every N tokens: O(L) time, O(L) memory",
    .source = "SnapKV, arXiv 2404.14469",
    .version = 1,
    .options = snapkv_options,
    .param_size = sizeof(struct snapkv_param),
    .has_budget = true,
    .plan = snapkv_plan,
    .keep = snapkv_keep,
    .observe = snapkv_observe,
};
#endif
