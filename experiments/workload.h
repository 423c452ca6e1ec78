/* The work of one run: the problems of its datasets as token ids, and the jobs still to do.
 * A job is one (cell, sample, repeat). */
#pragma once

#include "engine/chat.h"
#include "experiments/identity.h"
#include "store/db.h"

struct sample {
    struct problem problem;
    struct id_list prompt; /* token ids */
    int64_t id;            /* in the database; 0: not yet there */
};

struct sample_set { /* of one dataset of the experiment */
    struct sample *samples;
    int n;
    char sha256[HASH_HEX];
    int64_t id; /* in the database */
};

struct job {
    int cell, sample, repeat;
    char key[HASH_HEX];
};

struct workload {
    const struct experiment *experiment; /* borrowed, as the model */
    const struct model *model;
    bool isolated;
    struct chat chat;        /* around every prompt */
    const char *isa;         /* set before workload_plan */
    struct sample_set *sets; /* [experiment->n_datasets] */
    char **configs;          /* [n_cells] cell_config, NULL until workload_plan */
    int *planned, *done;     /* [n_cells] jobs of this shard, and those stored before */
    struct job *jobs;        /* to do: samples expected to be long first, all cells of each */
    int n_jobs;
    int max_total; /* longest prompt + max_new */
};

/* Reads and tokenizes the first `limit` problems (0: as many as the experiment says) of each
 * dataset. A prompt that cannot fit the model beside max_new is an error (EXIT_CONTENT). On failure
 * nothing has to be closed. */
bool workload_open(const struct experiment *experiment, const struct model *model, int64_t limit,
                   bool isolated, struct workload *out, struct err *e);
void workload_close(struct workload *workload);

/* Lists the jobs of the shard that `db` does not hold yet (db NULL: all). Samples whose answers are
 * expected to be long come first, so that the batch is full until near the end: long is what took
 * long in the database, under any cell, and otherwise what has a long prompt. */
bool workload_plan(struct workload *workload, struct db *db, int shard, int n_shards,
                   struct err *e);

/* Puts model, datasets and cells into the database; cell_ids[n_cells] are filled. */
bool workload_register(struct workload *workload, struct db *db, int64_t *cell_ids, struct err *e);

/* Answers that the experiment asks of a cell, over all shards. */
int64_t workload_answers(const struct workload *workload, int cell);

struct sample *workload_sample(const struct workload *workload, const struct job *job);

/* Bytes of K and V that one sequence of the cell keeps at most, for its longest prompt. */
uint64_t workload_kv_bytes(const struct workload *workload, const struct experiment_cell *cell);
