/* What host and device of the CUDA backend share: structs passed to kernels by value, and the
 * launchers. C11 and CUDA C++. Every launcher only enqueues work on the stream; failures show in
 * cudaGetLastError and later calls (CUDA_CHECK in cuda_check.h). All pointers are device pointers
 * unless a comment says otherwise. How what they point to lies in memory: cuda_layout.h. */
#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "engine/cuda_layout.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CUDA_NARROW = 64,                      /* a wider session computes rows in blocks of */
    CUDA_BLOCK_ROWS = 128,                 /* so many */
    CUDA_GROUP = 16,                       /* q heads per KV head at most */
    CUDA_PARTS = 64,                       /* chunks of a head's attention at most */
    CUDA_IDS = 1 << 20,                    /* of a vocabulary at most */
    CUDA_TOKENS = CUDA_PARTS * 128 * PAGE, /* of a sequence at most */
    CUDA_ABSENT = -2,                      /* cuda_report.id: the row was not in flight */
    CUDA_MANY = 4,                         /* words a slot, to evict many tokens at once in */
};

/* --- a sequence ----------------------------------------------------------------------------- */

/* What the device reads of a plan (struct plan of policy.h has the words). */
struct cuda_plan {
    int32_t policy; /* index into all_policies: which scorers */
    int32_t evict, select, observe, by, mark, keys;
    int32_t sinks, recent, dense_layers;
    int32_t pin_prompt, draws, observe_prompt, share_scaled;
    int32_t every, window, pool, keep_by;
    float weight;
    int32_t has_keep, has_observe, has_pick;
    int32_t bounds, slot_columns, page_column; /* struct page_needs */
    int32_t mass; /* observe or token selection needs softmax probabilities */
    double recent_share, mark_at;
    int64_t seed;
};

/* A row of the batch. Written at join, then by the device alone. All heads of a row hold equally
 * many tokens and pages: plans evict as many units of every head at a time. */
struct cuda_row {
    int32_t active;                            /* 0: free or ended */
    int32_t plan;                              /* index into the plans on the device */
    int32_t n_prompt, capacity, budget, worst; /* budget: effective, of selection; worst: pages */
    int32_t position;        /* of the token of the pass under way (k_begin raises it) */
    int32_t next;            /* id to feed */
    int32_t n_live, n_pages; /* with the token of the pass under way */
    int32_t opens;           /* this pass: the token takes a new page */
    int32_t evict;           /* this pass: so many units of every head go before the append */
    int32_t evictions;       /* units of one head so far */
    int32_t n_new, max_new, min_new, ignore_eos;
    int32_t n_forced, n_fed, forced; /* forced ids at [row * max_total + n_fed]; forced: there are
                                        some */
    float temperature, top_p;
    uint64_t key;
};

/* Whether the pass under way is observed, and *first: as the first of a window. */
CUDA_FN int32_t row_observes(const struct cuda_row *r, const struct cuda_plan *p, int32_t *first) {
    int32_t left = r->capacity - r->n_live; /* queries before the next eviction */
    *first = p->window && left == p->window - 1;
    return p->has_observe && (!p->window || left < p->window);
}

/* One chunk of a row's attention, the same for all layers and heads; 16 bytes, read at once. */
struct cuda_work {
    int32_t row;
    uint16_t chunk, n_chunks, pages; /* pages: that the row attends to in all its chunks; 0: the row
                                        has no such chunk where selections are in force */
    uint16_t last;                   /* tokens in the last page; only where pages stand still */
    uint16_t flags;                  /* CUDA_WORK_... */
    uint16_t dense_layers; /* where flags name a selection: layers below it attend to all */
};
enum {
    CUDA_WORK_VIEW = 1,   /* selected pages: p->view */
    CUDA_WORK_CHOSEN = 2, /* selected tokens: p->chosen */
    CUDA_WORK_MASS = 4,   /* scores and softmax are wanted */
    CUDA_WORK_RANK = 8,
    CUDA_WORK_STILL = 16, /* all pages, table and all, are full and as the pass before left them,
                             but for the last */
};

/* What a pass says of a row; the host reads it late. */
struct cuda_report {
    int32_t id, finish, n_live, n_pages, evictions;
};

/* --- a pass ------------------------------------------------------------------------------- */

/* One decode pass over rows [0, n_rows) of the batch; everything a kernel needs, by value. */
struct cuda_pass {
    struct cuda_shape shape;
    struct cuda_cache cache;
    const struct cuda_plan *plans;
    struct cuda_row *rows;
    int32_t n_rows; /* rows that take part, active or not */
    int32_t early;  /* what earlier passes and begin wrote may be read before a kernel's turn, from
                       layer 1 on; past the L1 cache, which may hold what was there before */
    int32_t wide;   /* a session of more than CUDA_NARROW rows: attention in long chunks */
    float scale;    /* 1 / sqrt(head_size) */
    const float *rope; /* [max_total][head_size]: cos, then sin */

    float *x;       /* [rows][dim] the residual stream */
    float *qkv;     /* [rows][(n_heads + 2 n_kv_heads) * head_size] */
    float *squares; /* [square_tiles(dim)][rows] sums of x^2 over 16 dims */
    uint16_t *q;    /* [rows][n_kv_heads][tiles of 8 q heads][cache_head / 16][32 lanes][4] bf16:
                       rotated queries as B fragments: lane n * 4 + j holds inputs 2j, 2j + 1,
                       2j + 8, 2j + 9 of head n */

    struct cuda_work *work; /* [2][max_work] what attention has to do, with all selections in force;
                               and chunks enough for any layer */
    int32_t *n_work;        /* [2], then the largest dense_layers of a row in flight */
    int32_t max_work, max_chunks;
    int32_t *done;    /* [n_kv_heads] chunks of the heads of a row alone, zero between launches */
    int32_t *view;    /* [rows][n_kv_heads][room] pages chosen by selection, ascending */
    uint32_t *chosen; /* [rows][n_kv_heads][room] slots chosen by token selection, by index into
                         the table; NULL where no plan selects tokens */
    int32_t *rank;    /* [rows][n_kv_heads][room * 16] by index into the table (KEYS_RANK) */
    float *score;     /* [rows][n_kv_heads][group][room * 16]: scale * q k of what was attended,
                         by place in the view; only for plans with `mass` */
    float *softmax;   /* [rows][n_kv_heads][CUDA_GROUP][2]: largest score, sum of exp */
    float *many;      /* [rows][n_kv_heads][CUDA_MANY][room * 16] scratch (plans with `every`) */
    float *part; /* [rows][n_kv_heads][max_chunks][attend_part_floats], each [group][cache_head]
                    of O, then [group][2] of the softmax */
};

/* Pages of an attention chunk when `pages` are attended: a function of the sequence alone. Few
 * pages are not worth many merges; up to 128 every warp of a chunk has one page, read before its
 * turn. At most CUDA_PARTS chunks, of at most 128 pages. */
CUDA_FN int32_t chunk_pages(int32_t wide, int32_t pages) {
    int32_t each = wide ? 64 : pages <= 64 ? 32 : pages <= 128 ? 8 : pages <= 256 ? 16 : 64;
    while (each * CUDA_PARTS < pages)
        each *= 2;
    return each;
}
/* Pages that a row attends to in a layer where its selection is in force. */
CUDA_FN int32_t attended_pages(const struct cuda_row *r, const struct cuda_plan *p) {
    int32_t most = r->budget / PAGE;
    return p->select == UNIT_PAGE && r->n_pages > most ? most : r->n_pages;
}

/* Of a part of cuda_pass.part: a multiple of 4. */
CUDA_FN int32_t attend_part_floats(int32_t group, int32_t head) {
    return (group * (head + 2) + 3) / 4 * 4;
}
/* Shared memory that a block is launched with: of attend with so many warps, of prepare where a
 * table has `room` pages; and what the kernels declare beside it, at most. head: cache_head. */
CUDA_FN int32_t attend_bytes(int32_t warps, int32_t group, int32_t head) {
    const int32_t queries = 2 * ((group + 7) / 8) * head * 16;
    return queries + warps * attend_part_floats(group, head) * (int32_t)sizeof(float);
}
CUDA_FN int32_t prepare_bytes(int32_t group, int32_t head, int32_t room) {
    return (group + 2) * head * (int32_t)sizeof(float) + (group + 7) / 8 * head * 96 + room * 8;
}
enum { CUDA_ATTEND_WARPS = 8, CUDA_ATTEND_DECLARES = 4400, CUDA_PREPARE_DECLARES = 288 + 2 * 4096 };

/* Begins a decode pass: raises positions, decides who evicts, counts tokens and pages, lists the
 * work of attention, and puts the embeddings of `next` into x and, times gain, into acts. */
void cuda_begin(const struct cuda_pass *p, const struct cuda_matrix *embedding, const float *gain,
                const struct cuda_acts *acts, cudaStream_t stream);

/* Per (row, KV head) after q, k, v: head norms (gains NULL: none), rotation, evict, append, then
 * what follows from bounds: page selection (view), observe. */
void cuda_prepare(const struct cuda_pass *p, int32_t layer, const float *q_norm,
                  const float *k_norm, cudaStream_t stream);

/* Attention over the view of every row into acts of the o product (row, head * head_size + d).
 * look: only rows that select tokens, everything resident, no output but score and softmax. */
void cuda_attend(const struct cuda_pass *p, int32_t layer, bool look, const struct cuda_acts *acts,
                 cudaStream_t stream);
/* Both of one row alone in a narrow session (n_rows 1) whose plan does nothing but append. */
void cuda_attend_row(const struct cuda_pass *p, int32_t layer, const float *q_norm,
                     const float *k_norm, const struct cuda_acts *acts, cudaStream_t stream);
/* Whether products that are not light leave no room on this device for the whole of a pass at once
 * (product_grid): then, from layer 1 on, all kernels begin after the pass's beginning has ended. */
int32_t cuda_attends_early(void);
/* Token selection from score and softmax of a look, into chosen. */
void cuda_select(const struct cuda_pass *p, int32_t layer, cudaStream_t stream);
/* What follows from softmax mass: observe of plans with SIGNAL_MASS or SIGNAL_MASS_MAX. */
void cuda_observe(const struct cuda_pass *p, int32_t layer, cudaStream_t stream);

/* --- products ----------------------------------------------------------------------------- */

enum cuda_epilogue {
    CUDA_QKV,      /* y[row][r] = rms * sum + bias[r] */
    CUDA_RESIDUAL, /* x[row][r] += sum; acts_out = x * gain; squares of x */
    CUDA_SWIGLU,   /* fragments hold 8 gate rows, then their 8 up rows; acts_out = silu(g) * u */
    CUDA_LOGITS,   /* y[row][r] = rms * sum */
};
struct cuda_product {
    struct cuda_matrix w;
    struct cuda_acts acts; /* what goes in: x * gain in bf16, not yet divided by its rms */
    enum cuda_epilogue epilogue;
    const float *squares; /* [n_squares][stride] of the input rows; QKV, SWIGLU, LOGITS */
    int32_t n_squares;    /* square_tiles(dim) */
    int32_t squares_stride;
    int32_t dim; /* inputs of the norm */
    float eps;
    const float *bias; /* QKV, or NULL */
    float *y;          /* QKV, LOGITS; RESIDUAL: x, updated in place */
    int32_t ldy;
    struct cuda_acts acts_out; /* RESIDUAL, SWIGLU */
    const float *gain;         /* RESIDUAL: of the next norm */
    float *squares_out;        /* RESIDUAL */
    int32_t rows;              /* rows computed: 1, 4, 8, 16, 32, 64 or a multiple of 128 */
    int32_t light;             /* of one row: takes little memory of a multiprocessor if there is
                                  little to load, so that the next product begins beside it */
    float *rms;                /* [rows] scratch, or NULL where rows <= 64 */
    float *part;               /* partial sums: cuda_product_part_bytes */
    int32_t *arrived;          /* cuda_product_counters of them, zero between launches */
};
/* A row's result is the same in every width, at every place. */
void cuda_product_run(const struct cuda_product *p, cudaStream_t stream);
size_t cuda_product_part_bytes(int32_t n, int32_t segment, int32_t rows);
int32_t cuda_product_counters(void); /* of any product on this device */

/* --- sampling ------------------------------------------------------------------------------- */

/* The next id of every active row among row_of[n] (NULL: rows 0..n-1) from logits[n][vocab]: forced
 * ids, end tokens, max_new, NaN; as sampler_pick and the CPU backend do. Writes rows and
 * report[row], CUDA_ABSENT for rows that are not active or not named (of all `width`). ids_limit:
 * ids that may be sampled. scratch: cuda_sample_bytes(width). */
struct cuda_sampling {
    struct cuda_row *rows;
    const int32_t *row_of;
    int32_t n, width, vocab, ids_limit;
    const float *logits;
    const int32_t *forced; /* [width][max_total] */
    int32_t max_total;
    int32_t eos[8], n_eos;
    struct cuda_report *report; /* [width] */
    void *scratch;
};
void cuda_sample(const struct cuda_sampling *s, cudaStream_t stream);
size_t cuda_sample_bytes(int32_t width);

/* --- prefill ------------------------------------------------------------------------------ */

/* Prompts packed one behind the other, each beginning at a multiple of 16 rows of the pack. Keys
 * and values of one layer of all of them lie in a workspace of their own, in pages as everywhere:
 * page kv * pages + first / 16 + i holds positions 16 i .. 16 i + 15 of the prompt. */
struct cuda_prompt {
    int32_t row, first, n, plan; /* row of the batch; first row in the pack; tokens; plan's index */
    int32_t observed;            /* the first query that is observed (plan_first_observed) */
};
struct cuda_prefill {
    struct cuda_shape shape;
    const struct cuda_prompt *prompts;
    int32_t n_prompts;
    const int32_t *block_prompt; /* [pages]: the prompt that 16 rows of the pack belong to */
    int32_t pages;               /* rows of the pack / 16 */
    uint16_t *kv;                /* [n_kv_heads * pages][page_elements] keys rotated */
    float *lse;  /* [pages * 16][n_heads]: ln of the sum of exp(scale * q k) of each query, and */
    float *mass; /* [n_kv_heads][pages * 16]: softmax mass of each key over the observed queries
                    and the group (plans with observe_prompt); both only where any_mass */
    int32_t any_mass;
    float *many; /* [n_kv_heads][CUDA_MANY][pages * 16] scratch (plans with `keep_by`) */
    const struct cuda_plan *plans;
    float scale;
    const float *rope;
};
/* Rows [from, from + n) of the pack (multiples of 16): q [n][n_heads * head_size] is the front of
 * qkv rows and is normed and rotated in place, k and v go to the workspace. */
void cuda_prompt_append(const struct cuda_prefill *p, float *qkv, int32_t from, int32_t n,
                        const float *q_norm, const float *k_norm, cudaStream_t stream);
/* Exact causal attention of the same rows (their keys and all before them are in the workspace),
 * into acts rows 0..n-1; lse where any_mass. */
void cuda_prompt_attend(const struct cuda_prefill *p, const float *qkv, int32_t from, int32_t n,
                        const struct cuda_acts *acts, cudaStream_t stream);
/* mass += what these queries, if they are observed, give to every key (once more over q and k,
 * with lse). */
void cuda_prompt_mass(const struct cuda_prefill *p, const float *qkv, int32_t from, int32_t n,
                      cudaStream_t stream);
/* After a layer: every head of every prompt is cut to capacity by its plan and what is left is
 * appended to the row's own pages, oldest first, with bounds and columns. KEYS_RANK: keys are
 * unrotated. The last layer also sets n_live, n_pages, evictions of the rows. */
void cuda_settle(const struct cuda_prefill *p, const struct cuda_pass *pass, int32_t layer,
                 cudaStream_t stream);
/* x, squares (a row of tiles is `stride` long) and acts of rows 0..n-1 of the pack, from their ids
 * (0 in padding rows). */
void cuda_embed(const struct cuda_shape *shape, const int32_t *ids, int32_t n, int32_t stride,
                const struct cuda_matrix *embedding, const float *gain, float *x, float *squares,
                const struct cuda_acts *acts, cudaStream_t stream);

/* --- joining and leaving, in stream order --------------------------------------------------- */

/* rows[index] = row, whose tables hold the pages from base on (joined_page). */
struct cuda_join {
    struct cuda_row row;
    int32_t index, base;
};
void cuda_enter(const struct cuda_pass *p, const struct cuda_join *joins, int32_t n,
                cudaStream_t stream);
void cuda_leave_row(const struct cuda_pass *p, int32_t row, cudaStream_t stream);
/* Benchmarks: the row holds random keys and values, as if `tokens` tokens had been fed. */
void cuda_pretend_row(const struct cuda_pass *p, int32_t row, int32_t tokens, uint64_t seed,
                      cudaStream_t stream);

/* --- weights ------------------------------------------------------------------------------ */

/* Packs rows [n0, n0 + n) of a tensor (row-major [n][k], source type 0 fp32, 1 fp16, 2 bf16) into a
 * matrix at rows that begin at `at`; interleave 0: row i goes to at + i; 1 / 2: gate / up row i
 * goes to fragment row i / 8 * 16 + (0 / 8) + i % 8. The matrix was zeroed. */
void cuda_pack(uint16_t *data, int32_t segment, int32_t at, int32_t interleave, const void *rows,
               int32_t type, int32_t n0, int32_t n, int32_t k, cudaStream_t stream);
/* Random weights for benchmarks: uniform in +-spread, a function of seed and place. */
void cuda_pack_random(uint16_t *data, size_t elements, float spread, uint64_t seed,
                      cudaStream_t stream);

/* --- yardsticks ----------------------------------------------------------------------------- */

/* Reads bytes (a multiple of 16) once; writes 4 bytes per block. */
void cuda_sweep(const void *data, size_t bytes, float *out, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
