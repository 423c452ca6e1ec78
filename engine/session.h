/* A session: one batch of sequences in flight on one backend. Sequences join and leave while others
 * decode, and each carries its own policy plan, so a batch may mix cells. Everything is sized at
 * open; a decode step allocates nothing. Batch invariance: a sequence gives the same ids alone,
 * beside any neighbours, with any number of threads. */
#pragma once

#include <stdint.h>

#include "engine/model.h"
#include "engine/policy.h"
#include "engine/sampler.h"

enum { SESSION_WIDTH = 64 }; /* the widest session: events[SESSION_WIDTH] takes any step's */

enum precision { PRECISION_FP32, PRECISION_BF16 };
#define PRECISIONS "fp32|bf16" /* in that order, as an OPTION_CHOICE */
const char *precision_name(enum precision precision);

struct session_params {
    const char *backend;      /* "cpu" */
    enum precision precision; /* fp32 = the reference path */
    int n_threads;            /* 0 = all cores */
    int width;                /* sequences in flight at most, 1..SESSION_WIDTH */
    int max_total;            /* longest prompt + max_new of any request */
    uint64_t kv_bytes;        /* size of the page pool; 0 = width sequences of max_total tokens */
    const char *isa;          /* "avx2", "avx512", "avx512bf16"; NULL = the best this machine has */
};

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
};

enum finish { FINISH_NOT, FINISH_ANSWER, FINISH_CAP, FINISH_NUMERIC };
const char *finish_name(enum finish finish); /* "answer", "cap", "numeric": as stored */

struct sequence_stats {
    int32_t n_prompt, n_new; /* n_new counts generated ids, the end token included */
    int32_t capacity;        /* tokens it may keep per layer and KV head */
    int32_t kept, kept_peak; /* live tokens per layer and KV head (largest head), now and at most */
    uint64_t kv_bytes, kv_bytes_peak;       /* pages, columns and bounds of this sequence */
    uint64_t evictions;                     /* units evicted over all layers and heads */
    double prefill_seconds, decode_seconds; /* wall time; decode time of a shared batch is shared */
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
void session_close(struct session *session);

/* Whether the request could join now: a free row, and its worst case reserved in the pool. A
 * request that could never fit gives an error; one that only has to wait gives false with e->code
 * == 0. On true the prompt has been prefilled and the first token comes with the next session_step.
 */
bool session_add(struct session *session, const struct request *request, struct err *e);

/* One decode step of all sequences in flight; fills at most `width` events, returns their number (0
 * = idle). */
int session_step(struct session *session, struct event *events);

int session_active(const struct session *session);
/* Drops a sequence before its end (events carry its row); stats as of now. */
void session_drop(struct session *session, int row, struct sequence_stats *stats);

/* Positions that one KV head of a sequence holds right now, in table order (ascending for page
 * policies), at most `room`; returns how many it holds. */
int session_positions(const struct session *session, int row, int layer, int kv_head, int32_t *out,
                      int room);

/* Keys and values of one sequence of so many tokens, in whole pages of the session's KV type. */
uint64_t session_kv_bytes(const struct model *model, enum precision precision, int32_t tokens);

/* Pool accounting: bytes now, high-water mark, declared workspace (weights not counted). */
struct session_memory {
    uint64_t pool_bytes, pool_peak, workspace_bytes, weight_bytes;
};
struct session_memory session_memory(const struct session *session);
const char *session_isa(const struct session *session); /* "fp32", "avx2", "avx512", "avx512bf16" */
