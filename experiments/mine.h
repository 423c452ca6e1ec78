/* Attention of fresh decodes, problem by problem, to whoever watches: the wiring from dataset and
 * engine to the miner. Answers run freely, or are teacher-forced on the gold solution. */
#pragma once

#include "analysis/miner.h"
#include "datasets/dataset.h"
#include "engine/chat.h"
#include "engine/session.h"

struct mined { /* one problem on its way */
    struct problem problem;
    struct id_list ids; /* prompt, then what was forced or generated (end token included) */
    int n_prompt;
};

struct mine {
    const struct model *model; /* borrowed */
    struct dataset_choice dataset;
    struct chat chat;
    struct mined *problems; /* [n], owned */
    int n;
    bool gold;       /* forced on the solution */
    int max_new;     /* else */
    int32_t longest; /* positions of any sequence: the session's max_total */
};
/* Reads and tokenizes the first n problems of a dataset ("lemmas:steps=16,seed=3"). max_new 0:
 * gold, which takes solutions (EXIT_USAGE where there is none). On failure nothing has to be
 * closed. */
bool mine_open(struct mine *mine, const struct model *model, const char *dataset,
               const char *template, int64_t n, int max_new, struct err *e);
void mine_close(struct mine *mine);

struct mine_sink { /* who takes what is decoded; begin and end may be NULL */
    void *context;
    bool prompts; /* queries of the prompt too */
    void (*begin)(void *context, const struct mined *mined);
    attention_watch *row; /* with `context`; by several threads, see engine/attention.h */
    bool (*end)(void *context, const struct mined *mined, struct err *e);
};
/* Decodes all problems, greedily, one after the other: the session has a width of 1 or more and
 * nothing else in flight. Interrupted: EXIT_SIGNAL. */
bool mine_run(struct mine *mine, struct session *session, const struct plan *plan,
              const struct mine_sink *sink, struct err *e);

/* The sink of a miner. */
struct mine_sink mine_into(struct miner *miner);
/* What a q head of the row's group gave; borrowed from the row. */
struct attended mine_head(const struct attention_row *row, int g);

/* Model and dataset as rows of the database. */
bool mine_register(const struct mine *mine, struct db *db, struct miner_source *source,
                   struct err *e);
