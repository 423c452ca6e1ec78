/* random: a control. A uniformly random victim (compare Random Attention, arXiv 2609.03430).
 * unit=page has raas's pins, so that only the choice of the victim differs. */
#include "engine/policy.h"

POLICY_FN float random_keep(struct candidate c) { return c.uniform; }

#ifndef __CUDACC__
struct random_param {
    struct budget_param budget;
    int unit;
    bool pin_prompt;
    int64_t recent;
    int64_t seed;
};

static const struct option random_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    {"unit", OPTION_CHOICE, offsetof(struct random_param, unit), 0, 0, 0, "page|token",
     "what is evicted"},
    {"pin_prompt", OPTION_BOOL, offsetof(struct random_param, pin_prompt), 1, 0, 1, NULL,
     "never evict the prompt"},
    {"recent", OPTION_INT, offsetof(struct random_param, recent), 32, 1, 4096, NULL,
     "unit=token: newest tokens that are never evicted"},
    {"seed", OPTION_INT, offsetof(struct random_param, seed), 0, 0, 1 << 30, NULL,
     "of the draws; report at least 3"},
    OPTION_END,
    // clang-format on
};

static bool random_plan(const void *param, struct plan *plan, struct err *e) {
    const struct random_param *p = (const struct random_param *)param;
    if (p->unit && p->pin_prompt && p->recent > 2 * PAGE)
        return err_set(e, EXIT_USAGE,
                       "policy random: recent=%d, expected at most %d beside a pinned prompt",
                       (int)p->recent, 2 * PAGE);
    plan->evict = p->unit ? UNIT_TOKEN : UNIT_PAGE;
    plan->recent = p->unit ? (int32_t)p->recent : 0;
    plan->pin_prompt = p->pin_prompt;
    plan->draws = true;
    plan->seed = p->seed;
    return true;
}

const struct policy policy_random = {
    .name = "random",
    .summary = "control: evicts at random, prompt pinned: O(L) time, O(L) memory",
    .source = "control",
    .version = 1,
    .options = random_options,
    .param_size = sizeof(struct random_param),
    .has_budget = true,
    .plan = random_plan,
    .keep = random_keep,
};
#endif
