/* Who a result is: the canonical JSON whose hash is its key in every database, and its shard. */
#pragma once

#include "base/hash.h"
#include "experiments/experiment.h"

/* What only the machine and the files know about a result. */
struct cell_identity {
    const char *model_sha256, *tokenizer_sha256, *template_sha256; /* NULL: no template */
    const char *dataset_sha256;
    const char *prompt_variant; /* "none" without a template */
    const char *isa;
    bool isolated; /* then the width is part of the identity */
};
enum { RESULT_VERSION = 1 }; /* raised when the meaning of stored rows changes */

/* Canonical JSON (keys sorted bytewise, no spaces) of everything that decides the results of a
 * cell, sample and repeat aside: what db_key hashes. NULL identity: only what the plan itself says
 * (for sharding, the same on every machine). malloc'd; the caller frees. */
char *cell_config(const struct experiment *experiment, const struct experiment_cell *cell,
                  const struct cell_identity *identity);

/* The shard, of n, that runs a job: depends on nothing but the job, so adding cells moves no
 * other. */
int job_shard(const char *plan_config, const char *sample, int repeat, int n_shards);
