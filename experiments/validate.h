/* The proof of the miner: on `lemmas`, whose reasoning is generated, it is known which values are
 * used again, and when for the last time. Heads and thresholds are chosen on one split of problems
 * and judged on another. */
#pragma once

#include "experiments/survey.h"

enum {
    VALIDATE_THETAS = 13,
    VALIDATE_SETTINGS = 80,
    VALIDATE_BASELINES = 6,
    VALIDATE_KNOBS = 16,
    VALIDATE_VARIANTS = 20,
    VALIDATE_DRAWS = 1000,
    VALIDATE_DRAWS_HEAD = 200 /* for the interval of any head */
};
#define VALIDATE_TRAIN_SEED 500000 /* added to the seed of the test split */

struct validate_params {
    const struct model *model;
    struct session_params session; /* max_total is set here */
    int64_t steps, n, n_train, seed;
    int64_t n_knobs; /* problems for each setting of the generator's knobs */
    struct lifecycle_params life;
    bool sweep; /* thresholds and knobs too */
};

struct verdict { /* of a head and a threshold that the training split chose, on the test split */
    int head;    /* layer * n_heads + head */
    double theta;
    struct proof_score train, score;
    struct proof_intervals interval;
};

struct validate_sweep { /* the best head under other thresholds */
    double theta;
    int64_t window;
    struct proof_score score;
};

struct validate_knob { /* known and found, under one setting of the generator */
    char dataset[120];
    double used[2], steps[2], late[2]; /* share of lemmas used again; mean steps from birth to last
                                          use of those; share used after more than `budget` rows */
    double rank;
};

struct validation {
    struct validate_params params;
    int n_layers, n_heads;
    struct verdict best[UNIT_SCORINGS];     /* of all heads and thetas */
    struct verdict at_theta[UNIT_SCORINGS]; /* of all heads at params.life.theta */
    struct verdict *heads;                  /* [heads], owned: each with its own best theta, scoring
                                               UNIT_ORIGINAL */
    double *bound; /* [heads], owned: F1 on the test split under the best of all thresholds there */
    struct proof_band shuffled;          /* of best[UNIT_ORIGINAL] */
    double baseline[VALIDATE_BASELINES]; /* F1 */
    struct validate_sweep sweep[VALIDATE_SETTINGS];
    int n_sweep;
    struct lifecycle_params variant[VALIDATE_VARIANTS];
    int64_t all[VALIDATE_VARIANTS][KEY_CLASSES], lemmas[VALIDATE_VARIANTS][KEY_CLASSES];
    int n_variants;
    struct validate_knob knobs[VALIDATE_KNOBS];
    int n_knobs;
    int units, positives; /* of the test split */
};
extern const char *const validate_baseline_names[VALIDATE_BASELINES];

/* On failure nothing has to be closed. */
bool validate_run(const struct validate_params *params, struct validation *out, struct err *e);
void validate_close(struct validation *validation);

void validate_table(const struct validation *validation, FILE *out);
char *validate_json(const struct validation *validation); /* malloc'd */
/* The proof as a row of `analysis`; summary: its JSON. */
bool validate_store(const struct validation *validation, const struct model *model,
                    const char *summary, struct db *db, int64_t run, struct err *e);
