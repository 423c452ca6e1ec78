/* raas record: samples of one dataset through one policy, their attention to files. */
#pragma once

#include "experiments/recording.h"

struct record_params {
    const struct model *model; /* borrowed */
    const char *template;      /* as in chat_open */
    const struct dataset_choice *dataset;
    const struct plan *plan;
    const struct recording_choice *choice; /* NULL: nothing is recorded (benchmarks) */
    const char *out;                       /* folder: OUT/SAMPLE.h5 */
    int64_t first, n;                      /* samples first .. first + n - 1 */
    bool gold;                             /* teacher-forced on the solution */
    int64_t max_new, seed;                 /* max_new 0: the model's limit */
    double temperature, top_p;
    enum precision precision;
    /* opens the session, for `width` sequences of `max_total` tokens */
    struct session *(*open)(void *context, int width, int max_total, struct err *e);
    void *context;
    int width;
    void (*done)(void *user, const char *path, uint64_t bytes); /* by another thread */
    bool (*stopped)(void); /* leave what is in flight; may be NULL */
};

struct record_outcome {
    struct attn_stats stats;
    int samples;           /* that were asked for and are there */
    int64_t tokens;        /* decoded or forced */
    double decode_seconds; /* of steps alone */
    double wall_seconds;   /* from the first prompt to the last file's name */
    bool stopped;
};

bool record_samples(const struct record_params *params, struct record_outcome *outcome,
                    struct err *e);
