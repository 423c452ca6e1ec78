/* streaming: attention sinks and a sliding window (StreamingLLM, arXiv 2309.17453).
 * Keeps the first `sinks` tokens and the newest L - sinks, the current one included. It scores
 * nothing: of equal candidates the oldest goes. pos=abs keeps the keys' absolute rotation; pos=rank
 * rotates by rank in the cache, as published. */
#include "engine/policy.h"

#ifndef __CUDACC__
struct streaming_param {
    struct budget_param budget;
    int64_t sinks;
    int pos;
    bool pin_prompt;
};

static const struct option streaming_options[] = {
    // clang-format off
    BUDGET_OPTIONS,
    {"sinks", OPTION_INT, offsetof(struct streaming_param, sinks), 4, 0, 1024, NULL,
     "first tokens that are always kept"},
    {"pos", OPTION_CHOICE, offsetof(struct streaming_param, pos), 0, 0, 0, "abs|rank",
     "rotation of keys: absolute position, or rank in the cache as published"},
    {"pin_prompt", OPTION_BOOL, offsetof(struct streaming_param, pin_prompt), 0, 0, 1, NULL,
     "never evict the prompt"},
    OPTION_END,
    // clang-format on
};

static bool streaming_plan(const void *param, struct plan *plan, struct err *e) {
    const struct streaming_param *p = (const struct streaming_param *)param;
    (void)e;
    plan->evict = UNIT_TOKEN;
    plan->sinks = (int32_t)p->sinks;
    plan->keys = p->pos ? KEYS_RANK : KEYS_ABSOLUTE;
    plan->pin_prompt = p->pin_prompt;
    return true;
}

const struct policy policy_streaming = {
    .name = "streaming",
    .summary = "4 sinks and a sliding window: O(L) time, O(L) memory",
    .source = "StreamingLLM, arXiv 2309.17453",
    .version = 1,
    .options = streaming_options,
    .param_size = sizeof(struct streaming_param),
    .has_budget = true,
    .plan = streaming_plan,
};
#endif
