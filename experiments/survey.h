/* Lives of lemmas as every head shows them, under many thresholds at once: problems are decoded
 * teacher-forced on their gold solutions, and what the miner finds is kept beside what is known. */
#pragma once

#include "experiments/units.h"

struct survey_setting {
    double theta;
    int64_t window;
};

struct survey {
    int n_layers, n_heads;                 /* q heads of a layer */
    const struct survey_setting *settings; /* [n_settings], borrowed */
    int n_settings;
    struct proof_units units; /* its arrays are owned, as all below */
    struct proof_life *known;
    int *start;
    struct proof_life *found;    /* [n_settings][UNIT_SCORINGS][heads][room]; survey_found */
    double *mass;                /* [heads][room] all attention that a lemma's digits got */
    int room;                    /* units */
    int64_t digits, digits_used; /* digit tokens of solutions; those of lemmas used again */
};

/* Classes of keys under other thresholds of silence than the pass's: counted at the end of each
 * problem. */
struct survey_classes {
    const struct lifecycle_params *params; /* [n] gap, budget and settle count, borrowed */
    int n, setting, head;
    int64_t (*all)[KEY_CLASSES];    /* [n] keys of all heads */
    int64_t (*lemmas)[KEY_CLASSES]; /* [n] digits of lemmas under `head` */
};

/* Mines all problems of `mine` (gold); The lowest theta of all comes first, and
 * settings of one window in ascending order. `classes` may
 * be NULL. On failure nothing has to be closed. */
bool survey_run(struct survey *survey, struct mine *mine, struct session *session,
                const struct plan *plan, const struct survey_setting *settings, int n_settings,
                struct survey_classes *classes, struct err *e);
void survey_close(struct survey *survey);

/* [units.n] lives that head `head` of all (layer * n_heads + head) shows. */
const struct proof_life *survey_found(const struct survey *survey, int setting,
                                      enum unit_scoring scoring, int head);
