/* The CPU backend's state: shared by its forward passes (cpu.c) and its opening and closing
 * (cpu_open.c), by nobody else. */
#pragma once

#include "base/pool.h"
#include "engine/advance.h"
#include "engine/cpu_weights.h"
#include "engine/rules.h"

enum {
    CPU_CHUNK = 128, /* rows of a prefill chunk: any number gives the same bits */
    CPU_GROUP = 16,  /* q heads per KV head at most */
    CPU_WIDTH = 64,  /* sequences in flight at most */
};

struct cpu_row {
    struct head *heads; /* [n_layers][n_kv_heads] */
    struct page_needs needs;
    struct standing standing;
    bool flying;          /* has joined and not ended */
    bool pending;         /* `first` waits to be told */
    struct outcome first; /* of the prefill */
};

struct cpu {
    const struct model *model;
    const struct cpu_kernels *kernels;
    struct cpu_weights weights;
    struct pool *threads;
    struct page_pool pages;    /* of the sequences */
    struct page_pool prompt;   /* workspace: one layer's keys and values of one prompt */
    struct head *prompt_heads; /* [n_kv_heads] */
    struct cpu_row *rows;      /* [width] */
    struct sampler sampler;
    int width, max_total;
    int32_t *tables; /* of all heads */
    uint16_t *masks;
    float *rope;                   /* [max_total][head_size]: cos, then sin */
    struct rules_scratch *scratch; /* one a thread */
    /* activations, [rows][...] with rows = max(CHUNK, width) */
    float *x, *qkv, *gate_up, *logits;
    void *act;       /* [rows][max(dim, q, ffn)] in the activation type */
    float *prompt_x; /* [max_total][dim] the residual stream of one prompt */
    size_t workspace;
};

static inline const struct config *config_of(const struct cpu *b) { return &b->model->config; }
static inline int q_size(const struct config *c) { return c->n_heads * c->head_size; }
static inline int kv_size(const struct config *c) { return c->n_kv_heads * c->head_size; }
static inline struct head *head_of(const struct cpu *b, int row, int layer, int kv_head) {
    return &b->rows[row].heads[layer * config_of(b)->n_kv_heads + kv_head];
}

void *cpu_open(const struct model *model, const struct session_params *params, struct err *e);
void cpu_close(void *backend);
