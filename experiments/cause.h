/* Why a token came out wrong under a policy: what it needed, what of that the cache still held when
 * it was told, and whether the heads that are known to read did read it. */
#pragma once

#include "engine/attention.h"

enum cause {
    CAUSE_SOURCE,     /* a value that was needed was evicted, and every restatement of it */
    CAUSE_STATEMENT,  /* what the prompt says was evicted */
    CAUSE_WORKING,    /* what the step itself had written so far was evicted */
    CAUSE_UNREAD,     /* all was held, but no validated head attended to it */
    CAUSE_ARITHMETIC, /* it was held, and read where reading is known; what was written is wrong */
    CAUSE_CUT,        /* nothing wrong: the answer was cut */
    CAUSES
};
extern const char *const cause_names[CAUSES];

struct need_copy {      /* one place where it stands: all of its tokens, or it is gone */
    int32_t *positions; /* [n], owned */
    int n;
    int step; /* of the solution; -1: the prompt */
};
enum need_kind {
    NEED_VALUE,
    NEED_STATEMENT, /* of the prompt; for the final answer the question */
    NEED_WORKING    /* of the step itself */
};
struct need {
    enum need_kind kind;
    int step;                 /* whose; the number of steps for the question */
    struct need_copy *copies; /* [n], owned */
    int n;
};
/* What one token needed, the main one first. */
struct needs {
    struct need *items; /* [n], owned */
    int n;
    bool near; /* stands within the window of the validated heads' proof: reading isn't judged */
};
struct need *needs_add(struct needs *needs, enum need_kind kind, int step);
/* An empty copy is none. Positions are copied. */
void need_add(struct need *need, const int32_t *positions, int n, int step);
void needs_free(struct needs *needs);

struct validated_head {
    int layer, head; /* q head */
    double theta;    /* it reads what it gives at least this much */
    double f1;
};

/* Rows of one sequence, up to the query that told the token. */
struct trace {
    const struct validated_head *heads; /* [n_heads], borrowed */
    int n_heads, n_layers, n_kv_heads, group;
    const struct needs *needs;
    int32_t query, since; /* reading counts in queries [since, query] */
    int32_t n_positions;
    int32_t
        *last; /* [n_layers * n_kv_heads][n_positions] query that held it last, -1 none; owned */
    uint8_t *main; /* [n_positions] 1: of the main need; owned */
    double *given; /* [n_heads] the most that a query gave to it; owned */
};
void trace_open(struct trace *trace, const struct needs *needs, const struct validated_head *heads,
                int n_heads, int n_layers, int n_q_heads, int n_kv_heads, int32_t since,
                int32_t query);
void trace_close(struct trace *trace);
/* An attention_watch; `trace` is its user. */
void trace_row(void *trace, const struct attention_row *row);

/* The query that held the need last under a KV head (layer * n_kv_heads + kv_head): a copy with all
 * its tokens; -1: none ever. It is held while that is the trace's query. */
int32_t trace_held(const struct trace *trace, const struct need *need, int kv_head);
/* KV heads that are asked for a need: those that serve validated heads, of the working all, since
 * the proof is about what stands farther away. `asked`: [n_layers * n_kv_heads], filled. */
int trace_asked(const struct trace *trace, enum need_kind kind, bool *asked);
/* How many of these hold it. */
int trace_holders(const struct trace *trace, const struct need *need);
/* Never CAUSE_CUT. *which: the need that decided. A need is gone where at least half of the KV
 * heads that are asked don't hold it. */
enum cause trace_cause(const struct trace *trace, int *which);
