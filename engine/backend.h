/* What a backend does for a session: memory of its own, prefill, decode steps. Twins behind one
 * table of functions: the same stages in the same order. The session (host) decides who joins and
 * who has ended; the backend owns weights and cache. */
#pragma once

#include "engine/session.h"

/* A sequence in flight, owned by the session; the backend reads it. */
struct sequence {
    const struct plan *plan;
    int32_t n_prompt, capacity;
    int32_t position; /* tokens fed so far = position of the next one */
    int32_t next;     /* id to feed in the next step */
    uint64_t key;
    /* after every position of the prompt, where not NULL */
    void (*on_logits)(void *user, int position, const float *logits);
    void *user;
};

struct backend {
    const char *name;
    /* Reads and packs the weights, reserves the cache. NULL on error. */
    void *(*open)(const struct model *model, const struct session_params *params, struct err *e);
    void (*close)(void *backend);
    /* Feeds the prompt of a new sequence in `row`; logits [vocab] of the last position. */
    const float *(*prefill)(void *backend, int row, const struct sequence *sequence,
                            const int32_t *ids);
    /* Feeds `next` of the sequences in rows[0..n); logits [n][vocab]. Allocates nothing. */
    const float *(*step)(void *backend, const int *rows, const struct sequence *const *sequences,
                         int n);
    /* Frees what the row's cache holds. */
    void (*leave)(void *backend, int row);
    /* kept, kv_bytes and evictions of a row, now. */
    void (*measure)(const void *backend, int row, struct sequence_stats *out);
    int (*positions)(const void *backend, int row, int layer, int kv_head, int32_t *out, int room);
    /* Pages that a sequence may come to hold, and pages there are: the unit of admission. */
    int64_t (*worst_pages)(const void *backend, int32_t tokens);
    int64_t (*total_pages)(const void *backend);
    struct session_memory (*memory)(const void *backend);
    const char *(*isa)(const void *backend);
};
extern const struct backend cpu_backend;
