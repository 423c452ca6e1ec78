#include "tests/spellings.h"

#include <stdio.h>
#include <string.h>

char spellings[256][96];
int n_spellings;

static void add(const char *policy, int budget, const char *option) {
    char *out = spellings[n_spellings];
    size_t size = sizeof spellings[0];
    if (policy_find(policy)->has_budget)
        snprintf(out, size, "%s:budget=%d%s%s", policy, budget, *option ? "," : "", option);
    else
        snprintf(out, size, "%s%s%s", policy, *option ? ":" : "", option);
    struct plan plan;
    struct err e = {0};
    if (policy_parse(out, &plan, &e))
        n_spellings++;
}

static void add_option(const char *policy, int budget, const struct option *o) {
    char text[64];
    if (!strcmp(o->name, "budget"))
        return;
    if (o->type == OPTION_BOOL) {
        snprintf(text, sizeof text, "%s=%d", o->name, !o->standard);
        add(policy, budget, text);
    } else if (o->type == OPTION_CHOICE) {
        const char *second = strchr(o->choices, '|') + 1;
        snprintf(text, sizeof text, "%s=%.*s", o->name, (int)strcspn(second, "|"), second);
        add(policy, budget, text);
    } else if (o->type == OPTION_INT) {
        snprintf(text, sizeof text, "%s=%d", o->name, o->standard ? (int)o->standard / 2 : 1);
        add(policy, budget, text);
    } else if (o->type == OPTION_REAL) {
        snprintf(text, sizeof text, "%s=%g", o->name, o->standard > 0 ? o->standard / 2 : 0.1);
        add(policy, budget, text);
    }
}

int list_spellings(void **state) {
    (void)state;
    for (const struct policy *const *p = all_policies; *p; p++) {
        add((*p)->name, 48, "");
        for (const struct option *o = (*p)->options; o->name; o++)
            add_option((*p)->name, 48, o);
    }
    return n_spellings > 8 ? 0 : -1;
}
