#include "engine/policy.h"

#include <stdio.h>
#include <string.h>

/* "budget=match" is a spelling of match=1 that asks for no more than the pinned floor. */
static const char *unfold_match(const char *options, char *copy, size_t size) {
    const char *at = strstr(options, "budget=match");
    if (!at)
        return options;
    snprintf(copy, size, "%.*smatch=1,budget=%d%s", (int)(at - options), options, PAGE,
             at + strlen("budget=match"));
    return copy;
}

static bool known_policies(const char *name, int length, struct err *e) {
    char list[256] = "";
    for (const struct policy *const *p = all_policies; *p; p++)
        err_list(list, sizeof list, (*p)->name);
    return err_set(e, EXIT_USAGE, "unknown policy '%.*s', expected one of: %s", length, name, list);
}

static bool check_budget(const struct plan *plan, const char *name, struct err *e) {
    bool pages = plan->evict == UNIT_PAGE || plan->select == UNIT_PAGE;
    if (pages && plan->budget % PAGE)
        return err_set(e, EXIT_USAGE, "policy %s: budget=%d, expected a multiple of %d", name,
                       plan->budget, PAGE);
    if (plan->evict == UNIT_TOKEN && !plan->match &&
        plan->budget <= plan->sinks + plan->recent + (int32_t)(plan->recent_share * plan->budget))
        return err_set(
            e, EXIT_USAGE,
            "policy %s: budget=%d, expected more than the %d tokens that are never evicted", name,
            plan->budget,
            plan->sinks + plan->recent + (int32_t)(plan->recent_share * plan->budget));
    return true;
}

/* What a policy file must not declare. */
static void check_declaration(const struct plan *plan) {
    bool by_token = plan->evict == UNIT_TOKEN;
    CHECK(by_token || (!plan->every && !plan->window));
    CHECK(plan->every || (!plan->pool && !plan->keep_by && plan->window <= 1));
    CHECK(!plan->every || plan->window <= plan->every);
    CHECK(!plan->pool || plan->pool % 2 == 1);
    CHECK(plan->keep_by == SIGNAL_NONE || plan->keep_by == SIGNAL_LIKENESS);
    CHECK(plan->observe != SIGNAL_LIKENESS && plan->by != SIGNAL_LIKENESS);
}

int policy_spell(const char *name, int64_t budget, char *out, size_t size) {
    if (!budget)
        return snprintf(out, size, "%s", name);
    return snprintf(out, size, "%s%cbudget=%lld", name, strchr(name, ':') ? ',' : ':',
                    (long long)budget);
}

bool policy_parse(const char *text, struct plan *plan, struct err *e) {
    int length = (int)strcspn(text, ":");
    char name[32], copy[512], what[48];
    snprintf(name, sizeof name, "%.*s", length, text);
    const struct policy *policy = length < (int)sizeof name ? policy_find(name) : NULL;
    if (!policy)
        return known_policies(text, length, e);
    _Alignas(8) char param[256] = {0};
    CHECK(policy->param_size <= sizeof param);
    const char *options = unfold_match(text[length] ? text + length + 1 : "", copy, sizeof copy);
    snprintf(what, sizeof what, "policy %s", name);
    option_defaults(policy->options, param);
    if (!option_parse(policy->options, param, what, options, e))
        return false;
    memset(plan, 0, sizeof *plan);
    plan->policy = policy;
    if (policy->has_budget) {
        const struct budget_param *budget = (const struct budget_param *)param;
        plan->budget = (int32_t)budget->budget;
        plan->match = budget->match;
    }
    if (!policy->plan(param, plan, e) || (policy->has_budget && !check_budget(plan, name, e)))
        return false;
    check_declaration(plan);
    char spelled[128], json[512];
    option_spell(policy->options, param, "budget", spelled, sizeof spelled);
    snprintf(plan->name, sizeof plan->name, "%s%s%s", name, *spelled ? ":" : "", spelled);
    option_json(policy->options, param, json, sizeof json);
    snprintf(plan->json, sizeof plan->json, "{\"name\":\"%s\",\"options\":%s,\"version\":%d}", name,
             json, policy->version);
    return true;
}

/* L, grown to what a pinned page policy needs on this prompt where the plan says so. */
static int32_t grown(const struct plan *plan, int32_t n_prompt, bool grows) {
    int32_t floor = (pages_of(n_prompt) + 2) * PAGE;
    return grows && floor > plan->budget ? floor : plan->budget;
}

int32_t plan_capacity(const struct plan *plan, int32_t n_prompt, int32_t total) {
    if (plan->evict == UNIT_NONE)
        return total;
    return grown(plan, n_prompt, plan->pin_prompt || plan->match) + plan->every;
}

int32_t plan_first_observed(const struct plan *plan, int32_t n_prompt, int32_t capacity) {
    int32_t evicts = n_prompt > capacity - plan->every ? n_prompt : capacity; /* before it, first */
    int32_t first = plan->window && evicts > plan->window ? evicts - plan->window : 0;
    return plan->observe_prompt && first < n_prompt ? first : n_prompt;
}

int32_t plan_effective_budget(const struct plan *plan, int32_t n_prompt) {
    return grown(plan, n_prompt, plan->match || (plan->evict && plan->pin_prompt)) + plan->every;
}
