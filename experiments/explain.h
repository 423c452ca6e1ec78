/* Why answers to `lemmas` problems are wrong: the ids of an answer are fed again under the policy
 * that gave them, up to the query that told the first wrong token, while attention is watched. */
#pragma once

#include "engine/session.h"
#include "experiments/explain_needs.h"
#include "store/db_explain.h"

enum {
    EXPLAIN_VERSION = 1, /* raised when the meaning of stored rows changes: part of their key */
    EXPLAIN_GROUP = 64,  /* answers that are explained, then stored, at once */
    EXPLAIN_HEADS = 256
};

struct explain_heads { /* that read lemmas, as the proof found them */
    struct validated_head items[EXPLAIN_HEADS];
    int n;
};
/* Heads whose F1 on the proof's test split is at least `least`, each with the threshold that the
 * training split chose for it, from the newest proof of this model in the database; found = false
 * where there is none. EXIT_CONTENT where no head is as good. */
bool explain_heads_load(struct explain_heads *heads, struct db *db, const struct model *model,
                        double least, bool *found, struct err *e);
/* [{"layer", "head", "theta"}], malloc'd. */
char *explain_heads_json(const struct explain_heads *heads);

struct explain_answer {                       /* a wrong answer; all pointers are owned */
    int64_t result;                           /* row of the database */
    char result_key[HASH_HEX], key[HASH_HEX]; /* key: of its explanation */
    char *dataset, *sample, *policy;          /* policy: budget included */
    char *extracted;
    struct problem problem;
    struct plan plan;
    int32_t *ids; /* [n] prompt, then what was generated, the end token excluded */
    int n, n_prompt;
    uint64_t draws; /* key of its random numbers */
    bool greedy, capped;
    enum precision precision;
    char isa[32], backend[8];
};
struct explain_choice { /* which answers; NULL, 0: any */
    int64_t run;
    const char *sample; /* name */
    const char *policy; /* as in plan.name */
    int64_t budget;
};
struct explain_answers {
    struct explain_answer *items; /* [n], ordered by precision and isa */
    int n, other; /* other: left out, since this program's policy is another version */
    int longest;  /* tokens */
};
/* The wrong answers of this model among those asked for, cells of `lemmas` alone. EXIT_CONTENT
 * where a problem or a prompt is not what it was. On failure nothing has to be freed. */
bool explain_answers_load(struct explain_answers *out, struct db *db, const struct model *model,
                          const struct explain_choice *choice, struct err *e);
void explain_answers_free(struct explain_answers *answers);

struct explanation {
    const struct explain_answer *answer;
    struct spelled spelled;
    struct wrong_step wrong;
    int32_t *at; /* as wrong_step fills it */
    struct needs needs;
    struct trace trace; /* not open where nothing was replayed */
    enum cause cause;
    int which;                  /* the need that decided */
    int32_t query;              /* that told the first wrong token; -1: there is none */
    int vocab, n_told, n_agree; /* ids that the replay was asked for, and chose too */
    int full_right;      /* the step comes out right under full attention: 0, 1, or -1: not tried */
    struct id_list full; /* what came out */
    bool failed;         /* logits that are not finite */
};

/* Explains up to EXPLAIN_GROUP answers of one precision and isa. out: [n]. `width`: of the session,
 * whose max_total is longest + EXPLAIN_STEP. Interrupted: EXIT_SIGNAL. On failure nothing has to be
 * freed. */
enum { EXPLAIN_STEP = 128 }; /* tokens that a step may take under full attention */
bool explain_run(const struct model *model, struct session *session, int width,
                 const struct explain_heads *heads, const struct explain_answer *answers, int n,
                 struct explanation *out, struct err *e);
void explanation_free(struct explanation *x);

/* For people: the problem, the step, gold and written, what was needed, where it stood, who held
 * it, when it went, what it got. malloc'd, UTF-8. */
char *explain_account(const struct explanation *x, const struct model *model);
/* Adds the row. */
bool explain_store(const struct explanation *x, const struct model *model, struct db *db,
                   int64_t run, const char *params, struct err *e);
