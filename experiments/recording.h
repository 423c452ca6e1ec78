/* What `raas record` and `raas run --record` share: from a command line and a sample to a file of
 * attention (store/attn.h), with all that made it among its attributes. */
#pragma once

#include "analysis/lifecycle.h"
#include "datasets/dataset.h"
#include "engine/chat.h"
#include "engine/policy.h"
#include "engine/session.h"
#include "store/attn.h"

/* As spelled on the command line; NULL: the default. */
struct recording_choice {
    const char *mode;           /* of "lifecycle", "pooled", "full" one or more, with commas */
    const char *layers, *heads; /* "0,3,5-8"; all */
    bool prompt;                /* queries of the prompt too */
    const struct lifecycle_params *life; /* thresholds of lifecycle, less `rows` */
};

/* Checks the modes before anything is loaded. */
bool recording_check(const struct recording_choice *choice, struct err *e);

struct recording;

/* `done` (may be NULL) as in attn_writer_params. Model and chat are borrowed. */
struct recording *recording_open(const struct recording_choice *choice, const struct model *model,
                                 const struct chat *chat, const struct attn_writer_params *writer,
                                 struct err *e);
/* As attn_writer_check. */
bool recording_ok(struct recording *recording, struct err *e);
/* Waits until the files of sequences that have ended are made. */
bool recording_wait(struct recording *recording, struct err *e);
/* Waits for all files; says what was written, and how often decoding waited. */
bool recording_close(struct recording *recording, struct attn_stats *stats, struct err *e);

struct recorded { /* one sequence; borrowed */
    const char *path;
    const char *dataset, *dataset_sha256; /* its canonical spelling */
    const struct problem *problem;
    int64_t number; /* of the problem in its dataset */
    const struct plan *plan;
    const struct id_list *prompt;
    int32_t max_fed; /* tokens fed at most, prompt included */
    bool gold;       /* teacher-forced on the gold solution */
    enum precision precision;
    const char *isa;
    int64_t seed;
    int repeat;
    double temperature, top_p;
};

/* Disk that recording it takes at most while it is made. */
uint64_t recording_bytes(const struct recording *recording, const struct recorded *recorded);
struct recording_file; /* of one sequence: its file in the making, and its miner */
struct recording_file *recording_begin(struct recording *recording, const struct recorded *recorded,
                                       struct err *e);
/* An attention_watch; `user` is the recording_file. Allocates nothing. */
void recording_watch(void *user, const struct attention_row *row);
/* ids [n]: what was fed behind the prompt. Nothing fed: no file, and a warning. Both calls free the
 * recording_file. */
void recording_end(struct recording_file *file, const struct recorded *recorded, const int32_t *ids,
                   int32_t n, enum finish finish);
void recording_abandon(struct recording_file *file);
