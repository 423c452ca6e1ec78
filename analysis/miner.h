/* The miner: all heads of a model over many sequences. Whoever has rows feeds them: the engine's
 * watcher while it decodes (experiments/mine.c), a reader of attention files, a test.
 *
 *     miner_open(&miner, n_layers, n_heads, longest, &params);
 *     each sequence:   miner_begin(&miner, n_prompt);
 *                      miner_row(&miner, layer, head, &row);   each query of each head, in order
 *                      miner_end(&miner);
 *     miner_table, miner_json, miner_store; miner_close(&miner);
 *
 * Rows of different heads may come from different threads at once. */
#pragma once

#include <stdio.h>

#include "analysis/portrait.h"
#include "store/db.h"

struct miner_head {
    struct lifecycle life;
    struct scores scores;
    struct head_mass mass; /* of all sequences */
    struct tally tally;
    int votes[HEAD_CLASSES]; /* sequences by the class that the head had in them */
    bool pruned;             /* a row of this sequence left entries out: it has no shape */
    const double *shape;     /* [portrait_size()] instead of scores (miner_file.c); else NULL */
};
struct miner {
    struct lifecycle_params params;
    int n_layers, n_heads;    /* q heads of a layer */
    struct miner_head *heads; /* [n_layers * n_heads], owned, as all below */
    struct tally all;         /* of means over heads, sequence by sequence */
    double *points, *means;   /* [portrait_size()] scratch */
    int n_sequences;
    int64_t n_rows; /* of a head, in all sequences */
};

/* Memory: about 36 bytes per head and token of the longest sequence. */
void miner_open(struct miner *miner, int n_layers, int n_heads, int32_t longest,
                const struct lifecycle_params *params);
void miner_close(struct miner *miner);
/* Room for a sequence longer than miner_open was told; between sequences. */
void miner_fit(struct miner *miner, int32_t longest);
void miner_begin(struct miner *miner, int32_t n_prompt);
/* A row whose `n` is below `held` is taken as pruned, unless `selected` says that what is not
 * listed got exactly 0. */
void miner_row(struct miner *miner, int layer, int head, const struct attended *row, bool selected);
/* Heads without a row in this sequence (not recorded) say nothing of it. */
void miner_end(struct miner *miner);

/* How many sequences say something of the head; those of none are left out everywhere below. */
int miner_head_sequences(const struct miner_head *head);
/* Class of a head by the mass of all its rows, and the share of sequences that agree. */
enum head_class miner_head_class(const struct miner_head *head, double *agree);

/* Tables for people: heads, then classes of keys over all heads, lifetimes, phoenix counts, how
 * few keys are enough. */
void miner_table(const struct miner *miner, FILE *out);
/* One object: parameters, heads with their classes, every curve of every head and of all. */
char *miner_json(const struct miner *miner); /* malloc'd */

/* What was mined, for the database; texts are borrowed. */
struct miner_source {
    int64_t run, model, dataset; /* ids of rows in the database */
    const char *policy;          /* spelling, budget included */
    const char *solution;        /* "free" or "gold" */
};
/* A row of `analysis` and, below it, all heads and points, in one transaction. */
bool miner_store(const struct miner *miner, struct db *db, const struct miner_source *source,
                 struct err *e);
