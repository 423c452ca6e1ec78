/* A session: one batch of sequences in flight on one backend. Sequences join and leave while others
 * decode, and each carries its own policy plan, so a batch may mix cells. Everything is sized at
 * open; a decode step allocates nothing. Batch invariance: a sequence gives the same ids alone,
 * beside any neighbours, with any number of threads. */
#pragma once

#include <stdint.h>

#include "engine/attention.h"
#include "engine/model.h"
#include "engine/policy.h"
#include "engine/sampler.h"

enum { SESSION_WIDTH = 8192 }; /* the widest session of any backend */

enum precision { PRECISION_FP32, PRECISION_BF16 };
#define PRECISIONS "fp32|bf16" /* in that order, as an OPTION_CHOICE */
const char *precision_name(enum precision precision);

struct session_params {
    const char *backend;      /* "cpu" (NULL: that) or "cuda" */
    enum precision precision; /* fp32 = the reference path, on the CPU only */
    int n_threads;            /* cpu: 0 = all cores */
    int width;                /* sequences in flight at most, 1..session_max_width */
    int max_total;            /* longest prompt + max_new of any request */
    uint64_t kv_bytes;        /* of the page pool, all that it keeps of a page; 0: width sequences
                                 of max_total tokens (cuda: no more than the GPU has free) */
    const char *isa; /* cpu: "avx2", "avx512", "avx512bf16", "amx"; NULL = the best there is */
    int device;      /* cuda: which GPU of the host, from 0 */
    bool lockstep;   /* the backend does not run ahead of session_step: positions are those
                        of the last events (cpu: always so) */
    bool *too_large; /* may be NULL; set by an open that failed because memory does not
                        hold so wide a session: a narrower one might fit */
};

#define BACKENDS "cpu|cuda" /* as an OPTION_CHOICE, in the order of: */
const char *session_backend(int index);
/* The widest session of a backend; 0 (EXIT_USAGE) where there is none of that name. */
int session_max_width(const char *backend, struct err *e);

struct request {
    const int32_t *ids; /* the prompt, n_ids >= 1; copied */
    int n_ids;
    const struct plan *plan; /* borrowed until the sequence has left */
    int max_new;             /* >= 1 generated ids at most, the end token counted */
    int min_new;             /* end tokens cannot be sampled before this many ids */
    bool ignore_eos;
    struct sampling sampling;
    uint64_t key;          /* of all random numbers: rng_key over seed, sample, repeat */
    const int32_t *forced; /* teacher forcing: [n_forced] ids fed instead of sampled ones; copied */
    int n_forced;          /* then max_new is ignored */
    void *user;            /* comes back in the events */
    /* Called with the fp32 logits [config.vocab] after every position (prefill included when set).
     * May be NULL. */
    void (*on_logits)(void *user, int position, const float *logits);
    /* Called with what every query of a decode step gave, and with watch_prompt those of the prompt
     * too. May be NULL. Backend cuda can't yet (EXIT_USAGE). */
    attention_watch *on_attention;
    bool watch_prompt;
};

enum finish { FINISH_NOT, FINISH_ANSWER, FINISH_CAP, FINISH_NUMERIC };
const char *finish_name(enum finish finish); /* "answer", "cap", "numeric": as stored */

struct sequence_stats {
    int32_t n_prompt, n_new; /* n_new counts generated ids, the end token included */
    int32_t capacity;        /* tokens it may keep per layer and KV head */
    int32_t kept, kept_peak; /* live tokens per layer and KV head (largest head), now and at most */
    uint64_t kv_bytes, kv_bytes_peak; /* pages, columns and bounds of this sequence */
    uint64_t evictions;               /* units evicted over all layers and heads */
    double prefill_seconds;           /* wall time in the backend until the first id, */
    double decode_seconds;            /* and of the steps since then, which a batch shares */
};

struct event {
    void *user;
    int row;            /* place in the batch, 0..width-1; valid until the sequence has left */
    int32_t id;         /* the new id; -1 with FINISH_NUMERIC */
    enum finish finish; /* other than FINISH_NOT: the sequence has left after this event */
    struct sequence_stats stats; /* filled when it has left */
};

struct session;

struct session *session_open(const struct model *model, const struct session_params *params,
                             struct err *e);
/* As session_open. Where memory does not hold so wide a session, halves the width until it does,
 * down to 1, and says so; params->width is then the session's. */
struct session *session_open_fitting(const struct model *model, struct session_params *params,
                                     struct err *e);
void session_close(struct session *session);

/* Whether the request could join now: a free row, and its worst case reserved in the pool. A
 * request that could never fit is an EXIT_ENV error; one that only has to wait gives false with
 * e->code == 0. On true its first token comes with one of the next session_steps. */
bool session_add(struct session *session, const struct request *request, struct err *e);

/* The next ids of sequences in flight, at most one of each; fills at most `width` events, returns
 * their number (0 = idle). Negative: the device failed, and nothing but session_close is left. */
int session_step(struct session *session, struct event *events, struct err *e);

int session_active(const struct session *session);
/* Of a sequence in flight, as of its last event. */
struct sequence_stats session_stats(const struct session *session, int row);
/* Drops a sequence before its end (events carry its row); stats as of its last event. */
void session_drop(struct session *session, int row, struct sequence_stats *stats);

/* Positions that one KV head of a sequence holds, in table order (ascending for page policies), at
 * most `room`; returns how many it holds. As of the last event under `lockstep`, else as of what
 * the backend has computed since. */
int session_positions(const struct session *session, int row, int layer, int kv_head, int32_t *out,
                      int room);

/* For benchmarks: as if `tokens` random tokens had been fed to a sequence whose first event has
 * just come. */
bool session_pretend(struct session *session, int row, int32_t tokens, struct err *e);

/* What the page pool sets aside for one sequence of so many tokens, in pages of the session's KV
 * type (cuda keeps other head sizes than 32, 64, 128 and 256 in the next of these). */
uint64_t session_kv_bytes(const struct model *model, enum precision precision, int32_t tokens);

/* Pool accounting: bytes now, high-water mark, declared workspace (weights not counted). */
struct session_memory {
    uint64_t pool_bytes, pool_peak, workspace_bytes, weight_bytes;
};
struct session_memory session_memory(const struct session *session);

/* For benchmarks: what the backend counted since it was opened; all 0 where it does not count. */
struct session_counters {
    uint64_t passes, launches, host_syncs; /* syncs: the host waited though nothing ran ahead */
};
struct session_counters session_counters(const struct session *session);
/* A kernel of a decode step, timed alone. */
struct kernel_time {
    const char *name;      /* static */
    double seconds, bytes; /* of one launch; bytes that it must move */
    int per_pass;          /* launches of a step */
};
/* Times at most `room` kernels of the step that is in flight; returns their number, 0 where the
 * backend can't. Only session_close is left to the session afterwards. */
int session_time_kernels(struct session *session, struct kernel_time *out, int room);

/* What decides an answer's last bits: "fp32", "avx2", "avx512", "avx512bf16", "amx"; "sm_90",
 * "sm_90-wide".
 */
const char *session_isa(const struct session *session);
