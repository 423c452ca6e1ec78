/* From generated ids to the stored row: text, verdict, loop label. */
#pragma once

#include "engine/session.h"
#include "experiments/workload.h"

enum { LOOP_WINDOW = 512, LOOP_LONGEST = 128 };

/* Period of the loop that the last LOOP_WINDOW ids are (1..LOOP_LONGEST); 0 if they are none. */
int answer_loop(const int32_t *ids, int n);

/* Key of an answer's random numbers. The same for every policy: noise is shared by what is
 * compared.
 */
uint64_t answer_draws(int64_t seed, int64_t sample, int64_t repeat);

struct answer {
    const int32_t *ids; /* end token included */
    int n_ids;
    enum finish finish;
    struct sequence_stats stats;
};

/* Grades and stores one answer inside the caller's transaction. *correct: by the dataset's metric.
 */
bool answer_store(const struct workload *workload, const struct job *job,
                  const struct answer *answer, struct db *db, int64_t run, int64_t cell,
                  bool *correct, struct err *e);
