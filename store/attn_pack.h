/* The second pass, in three files: chunks (attn_chunks.c), lives (attn_lives.c), and what stands
 * around them (attn_pack.c). */
#pragma once

#include "base/pool.h"
#include "store/attn_h5.h"
#include "store/attn_private.h"

struct axis {
    const char *name, *about;
    hid_t id;
};
enum { AXIS_LAYER, AXIS_HEAD, AXIS_KV, AXIS_STEP, AXIS_KEY, AXIS_PAGE, AXES };

struct chunk { /* steps [step, step + n_steps) of one plane, keys [key, key + n_keys) */
    int kind, layer, head;
    int32_t step, key, n_steps, n_keys;
    char *packed; /* [filter_room] as it lies in the file, `size` bytes */
    size_t size;
    bool ok;
};

struct hand { /* scratch of one thread: a chunk each */
    char *raw, *chunk, *scratch, *back;
};

struct pack {
    struct attn_file *f;
    const char *path; /* of the file in the making */
    hid_t file;
    hid_t set[KINDS];
    struct axis axes[AXES];
    int32_t n_steps, n_keys, n_pages;
    struct pool *pool;
    struct hand *hands;  /* [threads] */
    struct chunk *batch; /* [n_batch] */
    int n_batch;
};

extern const char *const attn_set_names[KINDS];

static inline bool is_paged(int kind) { return kind == KIND_MAX || kind == KIND_SUM; }
static inline int32_t keys_of(const struct pack *p, int kind) {
    return is_paged(kind) ? p->n_pages : p->n_keys;
}
static inline int32_t steps_of_chunk(const struct pack *p) {
    return p->n_steps < ATTN_STEPS ? p->n_steps : ATTN_STEPS;
}
static inline int32_t keys_of_chunk(const struct pack *p, int kind) {
    int32_t keys = keys_of(p, kind), width = p->f->kinds[kind].width;
    return keys < width ? keys : width;
}

/* n fill values of a kind: NaN, or 0 for what is resident. */
void chunks_fill(int kind, char *at, size_t n);

/* Threads and their memory. */
void chunks_open(struct pack *pack);
void chunks_close(struct pack *pack);

/* attn_lives.c */
bool lives_write(struct pack *pack);
bool lives_check(struct pack *pack); /* what lies there against what was given */

/* From the raw file to the datasets, and what lies there against the raw file. */
bool chunks_write(struct pack *pack, struct err *e);
bool chunks_check(struct pack *pack, struct err *e);
