/* Jobs of a workload through one session: they join as it has room, all cells in one batch, and
 * their answers are handed over as they finish. */
#pragma once

#include <stdatomic.h>

#include "experiments/answer.h"
#include "experiments/recording.h"
#include "experiments/workload.h"

struct decoder_params {
    const char *isa;   /* NULL: the best */
    int n_threads;     /* 0: all cores */
    uint64_t kv_bytes; /* of the page pool; 0: what the batch takes, if memory has it to spare */
    int device;        /* GPU of the host */
    struct recording *recording; /* borrowed; NULL: attention is not recorded */
    const char *record_folder;   /* where its files go (flight_record.h) */
    bool record_prompt;
};

/* Jobs to do, in order. Several processes may take from one queue. */
struct job_queue {
    const struct job *jobs;
    int n;
    atomic_int *next; /* the first that nobody has taken */
};

/* Who takes what a decoder makes. */
struct harvest {
    void *context;
    bool (*answer)(void *context, const struct job *job, const struct answer *answer,
                   struct err *e);
    /* No sequence of this cell's job fits the pool: the cell's jobs are passed over from here on.
     * Told once a cell. */
    void (*unfit)(void *context, const struct job *job, const char *why);
    /* After every step; `tokens` are its new ones. */
    bool (*step)(void *context, int tokens, struct err *e);
    bool (*stopped)(void *context); /* asked before every step: leave what is in flight */
};

struct decoder;

/* Opens the session, narrower than the experiment says where memory does not hold it. */
struct decoder *decoder_open(const struct workload *workload, const struct decoder_params *params,
                             struct err *e);
void decoder_close(struct decoder *decoder);
const struct session *decoder_session(const struct decoder *decoder);
int decoder_width(const struct decoder *decoder);

/* Until the queue is empty and all have answered, or the harvest stops it. */
bool decoder_run(struct decoder *decoder, const struct job_queue *queue,
                 const struct harvest *harvest, struct err *e);
/* A short answer that is thrown away: caches, page tables and clocks settle. */
bool decoder_warm_up(struct decoder *decoder, const struct job *job, struct err *e);
