/* The contract of a dataset. One file in datasets/ ends in `const struct dataset dataset_NAME`. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/option.h"

struct span { /* bytes [from, to) of the solution; see design of `raas gen lemmas` */
    int32_t from, to;
    int32_t step;   /* where it stands, from 0; n_steps for the final answer */
    int32_t source; /* spans: the step whose lemma it recalls; lemmas: -1 */
};

struct problem {
    char id[64];  /* unique in the dataset, [A-Za-z0-9._-] only */
    char *prompt; /* owned, as all below; NULL where a dataset has none */
    char *solution;
    char *answer; /* gold */
    int n_steps;
    struct span *lemmas; /* one per step: value digits in "So X has V" */
    int n_lemmas;
    struct span *uses; /* value digits of every recall and of the final answer */
    int n_uses;
    /* Step i depends on the earlier steps deps[dep_start[i]] .. deps[dep_start[i + 1] - 1]. */
    int32_t *deps, *dep_start;
};
void problem_free(struct problem *problem); /* zeroes it */

struct problem_source;

struct dataset {
    const char *name, *summary;
    const struct option *options;
    size_t param_size;
    /* A generator fills problem number i (0-based), of any number of them. Deterministic: the same
     * options and i give the same bytes anywhere. NULL for a dataset that is a file. */
    bool (*get)(const void *param, int64_t i, struct problem *out, struct err *e);
    /* A dataset that is a file (problems.h): its param is a struct problem_param. Neither spelling
     * nor hash contains the option "path". NULL for a generator. */
    const struct problem_source *source;
    /* "chain": the whole extraction chain decides; "box": only a boxed answer does. */
    const char *metric;
};

/* All datasets, in name order, NULL-ended. Generated from the folder by the build. */
extern const struct dataset *const all_datasets[];
const struct dataset *dataset_find(const char *name); /* NULL if unknown */

/* A dataset with its options. */
struct dataset_choice {
    const struct dataset *dataset;
    void *param;    /* owned: free() it */
    char name[160]; /* canonical spelling: "lemmas:steps=24"; without a path */
    char json[800]; /* all options */
};

/* "lemmas:steps=24,seed=3" -> choice. Errors (EXIT_USAGE) name the dataset, the key and what was
 * expected; nothing has to be freed then. */
bool dataset_parse(const char *text, struct dataset_choice *out, struct err *e);

/* How many problems there are: INT64_MAX of a generator, -1 on error. */
int64_t dataset_count(const struct dataset_choice *choice, struct err *e);

/* Problem number i (0-based); free it with problem_free. */
bool dataset_get(const struct dataset_choice *choice, int64_t i, struct problem *out,
                 struct err *e);

/* What of an answer field of the dataset's files is gold; a text without such a part is gold as it
 * is. malloc'd. */
char *dataset_gold(const struct dataset *dataset, const char *answer);

/* SHA-256 over a dataset's options and its file, or its generator's first problems: changes when
 * any of them does. */
bool dataset_sha256(const struct dataset_choice *choice, char out[HASH_HEX], struct err *e);

/* JSON of the options for provenance, malloc'd: of a file its SHA-256 instead of its path. NULL on
 * error. */
char *dataset_provenance(const struct dataset_choice *choice, struct err *e);
