/* The CUDA backend's state on the host: shared by its parts (cuda.c: what passes made of whom;
 * cuda_pass.c: what a pass enqueues; cuda_prompts.c: who joins, prefill; cuda_open.c,
 * cuda_memory.c: opening; cuda_extents.c: pieces of the pool; cuda_times.c: kernels alone), by
 * nobody else. C only.
 */
#pragma once

#include "engine/backend.h"
#include "engine/cache.h"
#include "engine/cuda_check.h"
#include "engine/cuda_device.h"
#include "engine/cuda_glue.h"
#include "engine/cuda_weights.h"

enum {
    CUDA_AHEAD = 3, /* decode passes that are enqueued beyond the one the session asks for */
    CUDA_PLANS = 16384,
    CUDA_BUCKETS = 14, /* 1, 4, 8, 16, 32, 64; 128, 256, ... */
};

struct cuda;

/* Kernels that only some plans need: a pass brings them where one in flight does. A row that is
 * alone and needs none of CUDA_PREPARES is prepared by attention itself. */
enum { CUDA_LOOKS = 1, CUDA_MASS = 2, CUDA_RANKS = 4, CUDA_PREPARES = 8, CUDA_FLAVOURS = 16 };

/* Runs of free pages: a sequence gets its worst case in one piece. */
struct extent {
    int64_t first, count;
};
struct extents {
    struct extent *items; /* ascending, never adjacent */
    int n, room;
};
void extents_init(struct extents *x, int64_t count);
void extents_free(struct extents *x);
int64_t extents_take(struct extents *x, int64_t count); /* -1: no piece is large enough */
void extents_give(struct extents *x, int64_t first, int64_t count);

/* What the host knows of a row. */
struct cuda_member {
    bool taken, ended; /* ended: its last outcome has been told */
    const struct sequence *sequence;
    int32_t *ids; /* of the prompt, until it is fed; owned */
    int32_t plan, flavour, worst;
    int64_t first_page, n_pages; /* its piece of the pool */
    uint64_t first_pass;         /* reports of earlier passes are not its own */
    uint64_t page_cost, bytes;   /* bytes: of the pages it holds now */
    int32_t position;            /* fed, as far as outcomes tell */
};

/* Kernels of a pass, as benchmarks name them. */
enum cuda_kernel {
    KERNEL_BEGIN,
    KERNEL_QKV,
    KERNEL_PREPARE,
    KERNEL_LOOK,
    KERNEL_ATTEND,
    KERNEL_OBSERVE,
    KERNEL_O,
    KERNEL_GATE_UP,
    KERNEL_DOWN,
    KERNEL_HEAD,
    KERNEL_SAMPLE,
    KERNELS
};
/* An event behind every kernel, while kernels are timed. */
struct cuda_marks {
    cudaEvent_t *events; /* [room]; the first stands before the first kernel */
    enum cuda_kernel *kernels;
    int n, room;
};

/* A pass in flight. */
struct cuda_flight {
    cudaEvent_t done;
    uint64_t number;
    int32_t n_rows;
};

/* Pinned memory that copies of a pass read; one set a place in the ring. */
struct cuda_staging {
    int32_t *ids, *block_prompt, *gather, *rows;
    struct cuda_prompt *prompts;
    struct cuda_join *joins;
};

struct cuda {
    const struct model *model;
    struct session_params params;
    struct cuda_weights weights;
    cudaStream_t stream;
    char isa[32];
    int32_t width, padded; /* padded: rows of every buffer */
    bool lockstep;

    struct cuda_member *members;           /* [width] */
    int32_t *waiting;                      /* [width] rows that wait for their prefill, in order */
    int32_t n_waiting, n_active, patience; /* active: not ended, waiting ones too */
    struct extents free_pages;
    int64_t n_pages;
    uint64_t used, peak; /* bytes of pages */

    struct cuda_plan *plans; /* [CUDA_PLANS] as on the device */
    int32_t n_plans;

    struct cuda_flight flights[CUDA_RING];
    uint64_t launched, collected; /* passes; the next report is flights[collected % CUDA_RING] */
    struct cuda_report *reports;  /* pinned [CUDA_RING][width] */
    struct cuda_staging staging[CUDA_RING];
    cudaGraphExec_t graphs[CUDA_BUCKETS][CUDA_FLAVOURS];
    float *host_logits; /* pinned [padded][vocab]; made when first asked for */
    struct session_counters counters;
    struct cuda_marks *marks; /* NULL but while kernels are timed */

    /* device */
    void *arena;
    size_t arena_bytes, pool_bytes;
    struct cuda_pass pass; /* of all rows and flavours; a pass takes what it needs */
    struct cuda_acts acts_dim, acts_q, acts_ffn;
    float *logits, *rms, *part;
    int32_t *arrived, *forced;
    void *sampling;
    struct cuda_report *report;
    uint64_t *published; /* passes whose reports are out */

    /* prefill: a pack of prompts goes through each layer in chunks of rows */
    int32_t pack_rows, chunk_rows;
    struct cuda_prefill prefill;
    struct cuda_acts pack_acts, chunk_q, chunk_ffn;
    float *pack_x, *pack_squares, *chunk_qkv;
    int32_t *pack_ids, *gather, *fed_rows;
    struct cuda_join *joins;
};

static inline const struct config *cuda_config(const struct cuda *b) { return &b->model->config; }
static inline int32_t cuda_round_up(int64_t n, int32_t to) {
    return (int32_t)((n + to - 1) / to * to);
}

/* cuda_open.c */
void *cuda_open(const struct model *model, const struct session_params *params, struct err *e);
void cuda_close(void *backend);
/* Whether blocks of attention fit the shared memory that the device has for one (EXIT_ENV where
 * not): they grow with the group, the head and the longest sequence. */
bool cuda_fits_block(const struct cuda *b, int32_t block_bytes, struct err *e);

/* cuda_memory.c */
struct cuda_memory_plan {
    struct {
        void *at; /* the pointer to set */
        size_t bytes;
    } parts[64];
    int n;
    size_t bytes; /* of all */
};
/* Every part of a session whose shape, width and device are set, and as many pages as it asks for
 * or as the device has room for beside the weights. EXIT_ENV where that is too few for one
 * sequence. */
bool cuda_plan_memory(struct cuda *b, struct cuda_memory_plan *plan, struct err *e);
/* Everything starts as zero: padding is never written, and stays finite. */
bool cuda_take_memory(struct cuda *b, const struct cuda_memory_plan *plan, struct err *e);
/* Bytes of a page that count as a sequence's: positions and marks of live slots do not. */
uint64_t cuda_page_cost(const struct cuda *b, struct page_needs needs);
bool cuda_host_logits(struct cuda *b, struct err *e); /* makes host_logits */

/* cuda_pass.c */
/* Rows of a pass that has to reach row `highest`; its place among the buckets. */
int32_t cuda_bucket(const struct cuda *b, int32_t highest, int32_t *index);
/* Rows of a residual stream: the o and down products add to x, and leave acts and squares. */
struct cuda_residual {
    struct cuda_acts acts; /* dim inputs */
    float *x, *squares;
    int32_t rows, stride;
};
void cuda_qkv(const struct cuda *b, int32_t layer, const struct cuda_residual *r, float *y);
/* o, gate and up, down of a layer, after attention. */
void cuda_after_attention(const struct cuda *b, int32_t layer, const struct cuda_residual *r,
                          const struct cuda_acts *acts_q, const struct cuda_acts *acts_ffn);
void cuda_head(const struct cuda *b, int32_t rows);
void cuda_sample_rows(const struct cuda *b, const int32_t *row_of, int32_t n);
/* Ends a pass: its reports go to the host's ring. */
bool cuda_end_pass(struct cuda *b, int32_t n_rows, struct err *e);
/* A decode pass of rows [0, rows), kernel by kernel; and, up to row `highest`, as a graph. */
void cuda_enqueue_pass(const struct cuda *b, int32_t rows, int flavour);
bool cuda_launch_pass(struct cuda *b, int32_t highest, int flavour, struct err *e);
void cuda_mark(const struct cuda *b, enum cuda_kernel kernel); /* behind it, if marks are set */
/* Highest row that decodes, or -1; what kernels the rows need; whether one wants logits. */
int32_t cuda_in_flight(const struct cuda *b, int *flavour, bool *logits);

/* cuda_times.c */
int cuda_time_kernels(void *backend, struct kernel_time *out, int room);

/* cuda_prompts.c */
struct cuda_plan cuda_plan_of(const struct plan *plan);
bool cuda_join_row(void *backend, int row, const struct sequence *sequence, const int32_t *ids,
                   struct err *e);
void cuda_leave(void *backend, int row);
/* Feeds the prompts of waiting rows, as many packs as the ring takes. */
bool cuda_feed_prompts(struct cuda *b, struct err *e);
