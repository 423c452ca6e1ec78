/* raas: milestones are kept as long as they are used (RaaS, arXiv 2502.11147). The prompt's pages
 * are pinned. Each step the pages with the best bounds (the share r of those resident, or all whose
 * softmax share exceeds alpha) get the current step as stamp, the open page always; when the open
 * page is full and capacity is reached, the page with the oldest stamp goes. */
#include "engine/policy.h"

POLICY_FN float raas_keep(struct candidate c) { return c.column; }
/* The stamp is exact in float: positions stay below 2^24. */
POLICY_FN float raas_observe(struct candidate c) { return c.marked ? (float)c.now : c.column; }

#ifndef __CUDACC__
struct raas_param {
    struct budget_param budget;
    double r, alpha;
    bool pin_prompt, scale;
    int score, page;
};

static const struct option raas_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    {"r", OPTION_REAL, offsetof(struct raas_param, r), 0.5, 0, 1, NULL,
     "share of the resident pages that is stamped each step"},
    {"alpha", OPTION_REAL, offsetof(struct raas_param, alpha), -1, -1, 64, NULL,
     "stamp pages whose share exceeds alpha instead; -1 = use r"},
    {"scale", OPTION_BOOL, offsetof(struct raas_param, scale), 1, 0, 1, NULL,
     "alpha: divide bounds by sqrt(head size); 0 as in the authors' code"},
    {"score", OPTION_CHOICE, offsetof(struct raas_param, score), 0, 0, 0, "bound|prob",
     "page score: upper bound of q.k, or the page's true attention mass"},
    {"page", OPTION_CHOICE, offsetof(struct raas_param, page), 0, 0, 0, "sum|max",
     "score=prob: mass of a page from its tokens"},
    {"pin_prompt", OPTION_BOOL, offsetof(struct raas_param, pin_prompt), 1, 0, 1, NULL,
     "never evict the prompt"},
    OPTION_END,
    // clang-format on
};

static bool raas_plan(const void *param, struct plan *plan, struct err *e) {
    const struct raas_param *p = (const struct raas_param *)param;
    bool by_alpha = p->alpha >= 0;
    if (p->alpha < 0 && p->alpha != -1)
        return err_set(e, EXIT_USAGE, "policy raas: alpha=%g, expected 0 or more", p->alpha);
    plan->evict = UNIT_PAGE;
    plan->pin_prompt = p->pin_prompt;
    plan->mark = by_alpha ? MARK_ABOVE : MARK_TOP;
    plan->mark_at = by_alpha ? p->alpha : p->r;
    plan->share_scaled = p->scale;
    if (p->score)
        plan->observe = p->page ? SIGNAL_MASS_MAX : SIGNAL_MASS;
    else
        plan->observe = by_alpha ? SIGNAL_SHARE : SIGNAL_BOUND;
    return true;
}

const struct policy policy_raas = {
    .name = "raas",
    .summary =
        "stamps used pages, evicts the longest unused, prompt pinned: O(L) time, O(L) memory",
    .source = "RaaS, arXiv 2502.11147",
    .version = 1,
    .options = raas_options,
    .param_size = sizeof(struct raas_param),
    .has_budget = true,
    .plan = raas_plan,
    .keep = raas_keep,
    .observe = raas_observe,
};
#endif
