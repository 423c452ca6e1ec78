/* The runner: one session, sequences of all cells in one batch, rows graded and committed as they
 * finish. Killed at any moment it loses what was in flight and at most half a second of finished
 * rows; the same command then goes on, and ends with the same table. */
#pragma once

#include "engine/model.h"
#include "experiments/experiment.h"
#include "experiments/recording.h"

struct run_params {
    /* borrowed; width is lowered to 1 by isolated unless it was said, and where memory does not
     * hold it */
    struct experiment *experiment;
    const struct model *model; /* borrowed */
    const char *db;            /* path */
    const char *isa;           /* NULL: the best */
    int n_threads;             /* 0: all cores */
    uint64_t kv_bytes;         /* of the page pool; 0: as the memory allows */
    int n_workers;             /* 0: this process decodes; else so many, one a GPU (worker.h) */
    int64_t limit;             /* samples per cell; 0: as many as the experiment says */
    int shard, n_shards;       /* shard < n_shards; 0 of 1: everything */
    bool isolated;             /* one cell at a time, warmed up, at least 5 repeats; no workers */
    bool dry_run;              /* the plan on stdout, nothing is decoded or written */
    bool json;                 /* stdout gets JSON */
    const struct recording_choice *record; /* NULL: attention is not recorded. No workers then */
    const char *record_folder;             /* its files: flight_record.h */
    int argc;
    char *const *argv; /* stored with the run */
};

/* The caller has called stop_install(). Returns the exit code: EXIT_OK, EXIT_PARTIAL when rows
 * ended in numeric errors, did not fit into memory or went with a worker that died, EXIT_SIGNAL
 * when stopped, or that of the error (the run is stored as incomplete). The table goes to
 * stdout. */
int run_experiment(const struct run_params *params, struct err *e);
