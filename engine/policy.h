/* The contract of a cache policy: a declaration (struct plan) plus at most three small scorers.
 * The engine owns every byte and every loop: pages, slots, trigger, ties, group reduction, top-k.
 * One policy = one file in policies/ that ends in `const struct policy policy_NAME`; the file name
 * registers it.
 *
 * Order of a decode step, per layer and KV head: evict, append, (select,) attend, observe. live <=
 * capacity always. Ties: of equal candidates the older one is taken: evicted first, selected first,
 * marked first.
 *
 * Policy files are in the common subset of C11 and C++17. Scorers are POLICY_FN: only + * max and
 * comparisons, compiled with contraction off, so that host and device agree bit for bit. */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/option.h"

#ifdef __CUDACC__
#define POLICY_FN static __host__ __device__
#else
#define POLICY_FN static
#endif

enum { PAGE = 16 }; /* slots of a page */

/* What a scorer sees of one candidate: a token slot, or a page. */
struct candidate {
    int32_t position; /* of the token; of the page's first token */
    int32_t now;      /* position of the current query (evict: of the token about to be appended) */
    float column;     /* the number observe stored for it; 0 when fresh */
    float signal;     /* this step's signal: observe's, select's; evict: plan.keep_by's */
    float uniform;    /* in [0, 1), fresh for every (sample, layer, head, position, now); 0 unless
                         plan.draws */
    int32_t marked;   /* observe: 1 if the plan's mark rule chose it, or it is the open page */
    float weight;     /* plan.weight */
};

enum unit { UNIT_NONE, UNIT_TOKEN, UNIT_PAGE };
enum signal {
    SIGNAL_NONE,
    SIGNAL_MASS, /* softmax probability, summed over the query group; pages: sum of their tokens */
    SIGNAL_MASS_MAX, /* pages: max of their tokens' mass */
    SIGNAL_BOUND,    /* pages: max over the group of sum_i max(q_i min_i, q_i max_i) (Quest) */
    SIGNAL_SHARE,    /* pages: softmax of the bounds over resident pages, then max over the group */
    SIGNAL_LIKENESS, /* tokens, of their keys: softmax over resident tokens of the mean cosine with
                        the others; of those that are like a token (LIKENESS_LEAST) the newest is
                        not charged with it (redundancy of R-KV, arXiv 2505.24133) */
};
#define LIKENESS_LEAST 0.5f /* keys with a larger cosine are like each other */
POLICY_FN inline bool signal_is_mass(int signal) {
    return signal == SIGNAL_MASS || signal == SIGNAL_MASS_MAX;
}
POLICY_FN inline bool signal_is_bound(int signal) {
    return signal == SIGNAL_BOUND || signal == SIGNAL_SHARE;
}
enum mark { MARK_NONE, MARK_TOP, MARK_ABOVE };
enum keys { KEYS_ABSOLUTE, KEYS_RANK };

/* What a policy asks for. Filled once on the host; immutable; shared by all sequences of a cell. */
struct plan {
    const struct policy *policy;
    int32_t budget;  /* L: tokens kept (evict) or attended (select) per layer and KV head; 0: all */
    bool match;      /* capacity of a pinned page policy on the same sample: max(L, P + 2 pages) */
    enum unit evict; /* what is evicted, and what a column belongs to */
    int32_t sinks;   /* never evicted: positions < sinks */
    int32_t recent;  /* never evicted: positions > now - recent */
    double recent_share;  /* <= 0.5: adds this share of the capacity, less a pinned prompt */
    bool pin_prompt;      /* never evicted: prompt tokens (pages: every page that holds one) */
    int32_t every;        /* 0: one unit goes whenever there is no room. N (UNIT_TOKEN): N go at
                             once; they wait beside the budget: capacity is L + N */
    int32_t pool;         /* 0, or with every an odd number: keep sees the largest column of so many
                             neighbours by position, those too recent to go left out */
    enum signal keep_by;  /* with every: signal of the keep scorer, SIGNAL_LIKENESS or none */
    double weight;        /* a number of the policy's own, for its scorers */
    bool draws;           /* scorers read candidate.uniform */
    int64_t seed;         /* of the draws */
    enum signal observe;  /* signal of the observe scorer; SIGNAL_NONE = nothing is observed */
    bool observe_prompt;  /* prompt queries are observed too (SIGNAL_MASS, UNIT_TOKEN; columns are
                             sums of signals, or of one query) */
    int32_t window;       /* 0, or (UNIT_TOKEN) 1 to `every`: only the last so many queries before
                             an eviction are observed, each time from column 0 on; keep sees the
                             column divided by them and by the group: a mean */
    enum mark mark;       /* MARK_TOP: the ceil(mark_at * resident) best signals */
    double mark_at;       /* MARK_ABOVE: signals above it */
    bool share_scaled;    /* SIGNAL_SHARE: bounds are divided by sqrt(head size) */
    enum unit select;     /* attention sees only the best `budget` tokens, or budget / 16 pages */
    enum signal by;       /* signal of the select scorer; the newest page is always selected */
    int32_t dense_layers; /* layers below it attend to everything resident */
    enum keys keys;       /* KEYS_RANK: keys are kept unrotated and rotated by slot rank */
    char name[192];       /* canonical spelling without the budget: "raas", "raas:alpha=0.1" */
    char json[640];       /* canonical JSON of all options, budget included, and the version */
};

struct policy {
    const char *name;
    const char *summary;          /* one line */
    const char *source;           /* paper */
    int version;                  /* raised when results change: part of the result key */
    const struct option *options; /* of a struct that begins with budget_param if has_budget */
    size_t param_size;
    bool has_budget;
    bool (*plan)(const void *param, struct plan *plan, struct err *e); /* host, once */
    float (*keep)(struct candidate c);    /* evict: the lowest goes. NULL = 0: oldest first */
    float (*observe)(struct candidate c); /* the new column */
    float (*pick)(struct candidate c);    /* select: the highest are attended. NULL = the signal */
};

/* The first field of every parameter struct of a policy with a budget, and its rows of the option
 * table. */
struct budget_param {
    int64_t budget;
    bool match;
};
#define POLICY_MAX_BUDGET (1 << 24)
// clang-format off
#define BUDGET_OPTIONS \
    {"budget", OPTION_INT, offsetof(struct budget_param, budget), 256, 1, POLICY_MAX_BUDGET, NULL, \
     "tokens kept per layer and KV head, prompt included"}, \
    {"match", OPTION_BOOL, offsetof(struct budget_param, match), 0, 0, 1, NULL, \
     "grow to the capacity of a pinned page policy, max(budget, prompt + 2 pages)"}
// clang-format on

/* All policies, in name order, NULL-ended. Generated from the folder by the build. */
extern const struct policy *const all_policies[];
const struct policy *policy_find(const char *name); /* NULL if unknown */

/* "raas:budget=256,r=0.5" -> plan. "budget=match" means match=1 with no budget of its own.
 * Errors (EXIT_USAGE) name the policy, the key and what was expected; page policies need budget %
 * 16 == 0. */
bool policy_parse(const char *text, struct plan *plan, struct err *e);

/* What policy_parse takes, from a plan's name and its budget (0: none):
 * "raas:alpha=0.1,budget=256". snprintf's result. */
int policy_spell(const char *name, int64_t budget, char *out, size_t size);

/* Tokens (per layer and KV head) that a sequence with this prompt may keep under the plan: the
 * effective budget, with room for the `every` that go together. Evictors: fixed when the sequence
 * starts; a prompt is cut to what is left without that room. Others: total (prompt + max_new - 1).
 */
int32_t plan_capacity(const struct plan *plan, int32_t n_prompt, int32_t total);
/* What the row stores: capacity for evictors, L (or match) for selectors, 0 for full. */
int32_t plan_effective_budget(const struct plan *plan, int32_t n_prompt);
/* The first prompt query that is observed; n_prompt: none is. */
int32_t plan_first_observed(const struct plan *plan, int32_t n_prompt, int32_t capacity);
POLICY_FN inline int32_t pages_of(int32_t tokens) { return (tokens + PAGE - 1) / PAGE; }
