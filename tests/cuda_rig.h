/* What tests of the rules on the device share: a decode pass with memory of its own, in which every
 * head has pages scattered over the pool, and what a head holds as a host sees it. Everything the
 * device must not read is poisoned. */
#pragma once

#ifdef RAAS_CUDA
#include "engine/cuda_device.h"
#include "engine/rules.h"
#include "tests/gpu.h"

struct rig {
    struct cuda_shape shape;
    int32_t n_rows, room, worst; /* worst: pages of every head */
    struct cuda_pass pass;       /* device */
    struct cuda_row *rows;       /* host copies, written by rig_put_rows, read by rig_get */
    struct plan *plans;          /* borrowed: of row i */
    float *rope;                 /* host [room * 16][head_size] */
    int64_t n_pages;             /* of the pool; below, host copies of it, made by rig_get */
    uint16_t *kv, *bounds;
    int32_t *position, *table;
    float *slot_column, *page_column;
    uint32_t *live;
};

/* plans[n_rows]. identity_rope: no rotation at all. */
void rig_open(struct rig *rig, struct cuda_shape shape, int32_t n_rows, int32_t room,
              struct plan *plans, bool identity_rope);
void rig_close(struct rig *rig);    /* device memory goes with gpu_teardown */
void rig_put_rows(struct rig *rig); /* rows to the device */
void rig_get(struct rig *rig);      /* rows and the cache from the device */
/* A row that has been joined with a prompt of so many tokens. */
struct cuda_row rig_row(const struct rig *rig, int row, int32_t n_prompt, int32_t total,
                        uint64_t key);
/* The table of a head in the host's copy. */
const int32_t *rig_table(const struct rig *rig, int row, int layer, int kv);

/* The same head on the CPU. */
struct host_head {
    struct page_pool pool;
    struct head head;
    int32_t *table;
    uint16_t *live;
};
void host_head_open(struct host_head *t, const struct cpu_kernels *kernels, int head_size,
                    int32_t room);
void host_head_close(struct host_head *t);
/* A step of row `row` for it: layer, kv_head and now are the caller's. */
struct head_step rig_step(const struct rig *rig, struct host_head *t, int row);
/* Moves what is left of a prompt to a head of its own, as settle_head_task of cpu.c does. */
void host_head_settle(const struct rig *rig, const struct head_step *from, struct host_head *to);
/* The device's head gets the positions, slots and columns of the CPU's. */
void rig_put_head(struct rig *rig, int row, int layer, int kv, const struct host_head *t);
/* Fails where slots, positions, columns or (bounds) bounds of a head differ from the CPU's.
 * content: keys and values too. */
void rig_check_head(const struct rig *rig, int row, int layer, int kv, const struct host_head *t,
                    bool content, const char *what);
#endif
