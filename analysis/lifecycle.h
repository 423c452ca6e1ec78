/* The lives of tokens under one attention head: when each key was born, when it was used, when it
 * faded. Rows of attention are taken one by one, from the engine while it decodes or later from a
 * file, and give the same either way; memory is O(N) per head, one pass, nothing allocated in it.
 *
 * Definitions, after the milestone and phoenix tokens of RaaS (arXiv 2502.11147) and the phoenix
 * counts of its code, made exclusive. All lengths are in rows (queries):
 *
 *   used        query i uses key j where a(i,j) >= theta and i - j > window. With `relative` c,
 *               theta is c / (tokens that the head holds), a fair share's multiple
 *   silence     rows between two uses; between birth and the first use it is told apart
 *   lifetime    birth to last use; of a key that is used only nearby, to the last row in which it
 *               reached theta; 0 for one that never did
 *
 * A key that a policy evicts gets 0 from then on: it is silent. A prompt key that was born before
 * the first row counts as born with the row before it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/option.h"

enum { LIFECYCLE_SINKS = 4 };
enum lifecycle_rows { ROWS_DECODE, ROWS_ALL };

struct lifecycle_params {
    double theta;
    double relative; /* 0: theta counts */
    int64_t window, gap, budget, settle;
    int rows; /* enum lifecycle_rows: which queries count */
};
/* Rows of an option table for a parameter struct `type` with a field `struct lifecycle_params
 * member`. */
// clang-format off
#define LIFECYCLE_OPTIONS(type, member)                                                            \
    {"theta", OPTION_REAL, offsetof(type, member.theta), 0.01, 1e-6, 1, NULL,                      \
     "a key is used by a query that gives it at least this much"},                                 \
    {"relative", OPTION_REAL, offsetof(type, member.relative), 0, 0, 1e6, NULL,                    \
     "C: the threshold is C / tokens held instead; 0 is off"},                                     \
    {"window", OPTION_INT, offsetof(type, member.window), 16, 0, 1 << 24, NULL,                    \
     "queries this near don't count as use"},                                                      \
    {"gap", OPTION_INT, offsetof(type, member.gap), 128, 0, 1 << 24, NULL,                         \
     "the longest silence within one stretch of use"},                                             \
    {"budget", OPTION_INT, offsetof(type, member.budget), 256, 0, 1 << 24, NULL,                   \
     "a key that is used after a longer silence is a phoenix"},                                    \
    {"settle", OPTION_INT, offsetof(type, member.settle), 64, 0, 1 << 24, NULL,                    \
     "rows after a last use before it counts as the last"},                                        \
    {"rows", OPTION_CHOICE, offsetof(type, member.rows), ROWS_DECODE, 0, 0, "decode|all",          \
     "which queries count; the paper's figures take all"}
// clang-format on
extern const struct option lifecycle_options[]; /* of a struct lifecycle_params alone */

/* What one query gave under one head. All is borrowed for the call. */
struct attended {
    int32_t query;           /* its position */
    bool prompt;             /* a query of the prompt */
    int32_t held;            /* tokens that the head holds */
    int32_t n;               /* entries; those that are not listed count as below theta */
    const int32_t *position; /* [n] in any order, <= query */
    const float *prob;       /* [n] */
};

/* Exclusive; the first that fits, in this order. */
enum key_class {
    KEY_SINK,      /* the first 4, or used by more than half of all queries since birth */
    KEY_CENSORED,  /* fewer than `settle` rows after its last use (birth, where it has none) */
    KEY_UNUSED,    /* never reached theta */
    KEY_LOCAL,     /* reached it within the window only */
    KEY_PHOENIX,   /* used after a silence longer than `budget`, that before its first use too */
    KEY_RECURRING, /* a silence between two uses in (gap, budget] */
    KEY_MILESTONE, /* one stretch of use, then silence */
    KEY_CLASSES
};
extern const char *const key_class_names[KEY_CLASSES];

struct key_life {
    int32_t first, last; /* queries of the first and last use; -1: none */
    int32_t touched;     /* last query that gave it theta at any distance; -1: none */
    int32_t uses;
    int32_t gap; /* longest silence between two uses */
    float peak;  /* most that any use gave */
    double mass; /* received beyond the window */
};

/* One head over one sequence. */
struct lifecycle {
    struct lifecycle_params params;
    struct key_life *keys;        /* [room], owned */
    int32_t room, n_prompt;       /* positions; those of the prompt */
    int32_t first_query, n_rows;  /* rows that counted */
    int32_t n_keys;               /* positions born by the last row */
    double mass, listed, near_by; /* of all rows: total, of listed entries, within the window */
};

void lifecycle_open(struct lifecycle *life, int32_t room); /* longest sequence; ends on no memory */
void lifecycle_close(struct lifecycle *life);
/* A new sequence; what the last one left is gone. */
void lifecycle_begin(struct lifecycle *life, const struct lifecycle_params *params,
                     int32_t n_prompt);
/* Rows come in order of their query, without holes. One that the parameters leave out does
 * nothing. */
void lifecycle_row(struct lifecycle *life, const struct attended *row);

/* Drops entries below `least`, in place: for long rows on their way to a miner whose threshold is
 * no lower. Returns how many are left. */
int32_t lifecycle_prune(int32_t *position, float *prob, int32_t n, float least);

/* Row from which a key counts; the silence between it and the first use (0: none). */
int32_t lifecycle_birth(const struct lifecycle *life, int32_t key);
int32_t lifecycle_birth_silence(const struct lifecycle *life, int32_t key);
int32_t lifecycle_lifetime(const struct lifecycle *life, int32_t key);
/* By thresholds that may differ from the pass's in gap, budget and settle. */
enum key_class lifecycle_class(const struct lifecycle *life, int32_t key,
                               const struct lifecycle_params *params);

/* Heads, by where the mass of their rows goes. */
enum head_class {
    HEAD_STREAMING, /* sinks and window hold >= 0.9; else, of the remainder: */
    HEAD_WATERFALL, /* generated milestones and recurring keys hold >= 0.5 */
    HEAD_RETRIEVAL, /* phoenix and prompt keys hold >= 0.5 */
    HEAD_DIFFUSE,
    HEAD_CLASSES
};
extern const char *const head_class_names[HEAD_CLASSES];

struct head_mass { /* sums over rows, which may be of several sequences */
    double total;
    double near_by;   /* within the window */
    double sink;      /* beyond it, as all below */
    double waterfall; /* milestone and recurring keys that were generated */
    double retrieval; /* phoenix keys, and keys of the prompt that are no sinks */
};
void head_mass_add(struct head_mass *mass, const struct lifecycle *life);
enum head_class head_mass_class(const struct head_mass *mass);
