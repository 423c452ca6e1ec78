/* quest: query-aware page selection (Quest, arXiv 2406.10774). Nothing is evicted; each step
 * attends to the L/16 pages with the best upper bound of q.k, the newest page always among them.
 * O(N) memory plus the pages' bounds. */
#include "engine/policy.h"

#ifndef __CUDACC__
struct quest_param {
    struct budget_param budget;
    int64_t dense_layers;
};

static const struct option quest_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    {"dense_layers", OPTION_INT, offsetof(struct quest_param, dense_layers), 0, 0, 1024, NULL,
     "first layers that attend to everything (2 as published)"},
    OPTION_END,
    // clang-format on
};

static bool quest_plan(const void *param, struct plan *plan, struct err *e) {
    const struct quest_param *p = (const struct quest_param *)param;
    (void)e;
    plan->select = UNIT_PAGE;
    plan->by = SIGNAL_BOUND;
    plan->dense_layers = (int32_t)p->dense_layers;
    return true;
}

const struct policy policy_quest = {
    .name = "quest",
    .summary = "attends to the pages with the best bounds, keeps all: O(L) time, O(N) memory",
    .source = "Quest, arXiv 2406.10774",
    .version = 1,
    .options = quest_options,
    .param_size = sizeof(struct quest_param),
    .has_budget = true,
    .plan = quest_plan,
};
#endif
