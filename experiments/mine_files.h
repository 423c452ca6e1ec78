/* Recorded files into the miner: what raas record and raas run --record wrote, mined as fresh
 * decodes are. All files of one call tell of one model, dataset, policy and kind of solution. */
#pragma once

#include "analysis/miner_file.h"

struct mine_files {
    struct miner miner;
    char *policy;   /* spelling, budget included */
    char *solution; /* "free" or "gold" */
    char *dataset;  /* canonical spelling */
    char *facts[9]; /* what all files share: attributes of the first */
    char **samples; /* [n_samples] what each told: sample, repeat and seed */
    int n_samples;
};
/* Mines each file, in the order given. Errors name the file: those of attn_open and miner_read, and
 * EXIT_USAGE for one that tells of something else than the first, or of a sample that an earlier
 * one told of, which would count twice. Interrupted: EXIT_SIGNAL. On failure nothing has to be
 * closed. */
bool mine_files(struct mine_files *out, char *const *paths, int n,
                const struct lifecycle_params *params, struct err *e);
void mine_files_close(struct mine_files *files);

/* Model and dataset as rows of the database; the texts of `source` are borrowed from `files`. */
bool mine_files_register(const struct mine_files *files, struct db *db, struct miner_source *source,
                         struct err *e);
