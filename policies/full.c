/* full: everything is kept and attended. The reference of every comparison. */
#include "engine/policy.h"

#ifndef __CUDACC__
static const struct option full_options[] = {OPTION_END};

static bool full_plan(const void *param, struct plan *plan, struct err *e) {
    (void)param, (void)plan, (void)e;
    return true;
}

const struct policy policy_full = {
    .name = "full",
    .summary = "keeps and attends everything: O(N) time, O(N) memory",
    .source = "the reference",
    .version = 1,
    .options = full_options,
    .plan = full_plan,
};
#endif
