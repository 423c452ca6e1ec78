/* What a backend does for a session: memory of its own, prefill, decode steps, the choice of the
 * next ids. Twins behind one table of functions: the same stages in the same order. The session
 * decides who joins and tells its user who has ended; the backend owns weights, cache and the
 * sequences' positions, and may run ahead of the session: it never waits for an answer. */
#pragma once

#include "engine/session.h"

/* A request that has joined, owned by the session; the backend reads it until leave. */
struct sequence {
    const struct plan *plan;
    int32_t n_prompt, capacity;
    int32_t total; /* tokens that are fed at most */
    struct sampling sampling;
    int32_t max_new, min_new;
    bool ignore_eos;
    const int32_t *forced; /* [n_forced] ids fed instead of sampled ones, or NULL */
    int32_t n_forced;
    uint64_t key;
    /* after every position, those of the prompt included, where not NULL */
    void (*on_logits)(void *user, int position, const float *logits);
    attention_watch *on_attention; /* as in struct request */
    bool watch_prompt;
    void *user;
};

/* What a pass (a prefill, or a decode step of all rows in flight) made of one row. */
struct outcome {
    int row;
    int32_t id;                   /* chosen from the pass; -1 with FINISH_NUMERIC */
    enum finish finish;           /* other than FINISH_NOT: the row's last outcome */
    int32_t kept;                 /* live tokens per layer and KV head, largest head */
    uint64_t kv_bytes, evictions; /* evictions: units, over all layers and heads */
};

struct backend {
    const char *name;
    int max_width; /* sequences in flight at most; SESSION_WIDTH at most */
    /* Reads and packs the weights, reserves the cache. NULL on error, with *params->too_large set
     * (where that is not NULL) if a narrower session might fit into memory. */
    void *(*open)(const struct model *model, const struct session_params *params, struct err *e);
    void (*close)(void *backend);
    /* Puts a sequence into a free row; its prompt is fed now or at the next step. The ids are
     * copied where they are needed later. The session has reserved worst_pages for it. false: the
     * plan cannot be followed (e says why); or, e untouched, pages are free but scattered, and the
     * sequence has to wait. */
    bool (*join)(void *backend, int row, const struct sequence *sequence, const int32_t *ids,
                 struct err *e);
    /* The next pass: fills at most width outcomes, in row order, and returns their number; 0: no
     * row is in flight. Negative: the device failed, and e says how. */
    int (*step)(void *backend, struct outcome *out, struct err *e);
    /* Takes a row out and frees what its cache holds. */
    void (*leave)(void *backend, int row);
    /* Positions that a KV head holds after the last outcome (after the last pass computed, where
     * the backend runs ahead). */
    int (*positions)(const void *backend, int row, int layer, int kv_head, int32_t *out, int room);
    /* Pages that a sequence may come to hold, and pages there are: the unit of admission. */
    int64_t (*worst_pages)(const void *backend, int32_t tokens);
    int64_t (*total_pages)(const void *backend);
    struct session_memory (*memory)(const void *backend);
    const char *(*isa)(const void *backend);
    /* For benchmarks, may be NULL: as if `tokens` random tokens had been fed to a row that has just
     * joined and whose first outcome has been taken. */
    bool (*pretend)(void *backend, int row, int32_t tokens, struct err *e);
    struct session_counters (*counters)(const void *backend); /* may be NULL, as this: */
    int (*time_kernels)(void *backend, struct kernel_time *out, int room);
};
extern const struct backend cpu_backend;
extern const struct backend cuda_backend; /* without CUDA in the build, its open only explains */
