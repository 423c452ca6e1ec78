/* The paged KV cache on the host: a pool of pages, and per layer and KV head a table into it.
 * A page is 16 slots of one KV head of one layer: keys [head_size][16], then values
 * [16][head_size]. Beside it lie, touched only where a plan asks for them: bounds of its keys, one
 * column per slot, one column per page. Evictors reuse slots and pages in place, so memory is O(L)
 * by construction. */
#pragma once

#include <pthread.h>
#include <stdint.h>

#include "engine/cpu_kernels.h"

struct page_pool {
    const struct cpu_kernels *kernels;
    int head_size;
    int32_t n_pages;
    size_t page_bytes, bounds_bytes;
    uint8_t *kv;            /* [n_pages][page_bytes], untouched pages cost no memory */
    uint8_t *bounds;        /* [n_pages][bounds_bytes]: lo, then hi, in the cache type */
    int32_t *position;      /* [n_pages][16] of the token in each slot */
    float *slot_column;     /* [n_pages][16] */
    float *page_column;     /* [n_pages] */
    int32_t *free;          /* stack of free page ids */
    int32_t n_free, n_used; /* on the stack; ever taken */
    uint64_t used, peak;    /* bytes of the pages taken, with what their plans ask beside them */
    pthread_mutex_t lock;
};

/* What a sequence needs beside the keys and values of a page. */
struct page_needs {
    bool bounds, slot_columns, page_column;
};
struct page_needs plan_page_needs(const struct plan *plan);
size_t pool_page_cost(const struct page_pool *pool, struct page_needs needs); /* bytes */
/* Bytes that a pool, on either backend, sets aside for a page: keys and values, bounds, positions,
 * columns, and one word of its own. element: bytes of a key's dim; head: dims as they are kept. */
static inline size_t page_set_aside(size_t element, size_t head) {
    return element * head * (2 * PAGE + 2) + PAGE * (sizeof(int32_t) + sizeof(float)) +
           sizeof(float) + sizeof(int32_t);
}

bool pool_init(struct page_pool *pool, const struct cpu_kernels *kernels, int head_size,
               int64_t n_pages, struct err *e);
void pool_destroy(struct page_pool *pool);
/* Takes a page (values zeroed, columns 0). Reservation guarantees there is one. Thread-safe. */
int32_t pool_take(struct page_pool *pool, size_t cost);
void pool_give(struct page_pool *pool, int32_t page, size_t cost);

/* One KV head of one layer of one sequence. Owned by its sequence; table and live are sized at
 * open. */
struct head {
    int32_t *table; /* [room] page ids; ascending in position under page policies */
    uint16_t *live; /* [room] bit s = slot s of that page holds a token */
    int32_t n_pages, n_live;
    uint64_t evictions;
};

static inline uint8_t *pool_page(const struct page_pool *pool, int32_t page) {
    return pool->kv + (size_t)page * pool->page_bytes;
}
static inline uint8_t *pool_bounds(const struct page_pool *pool, int32_t page) {
    return pool->bounds + (size_t)page * pool->bounds_bytes;
}

/* Appends a token to the head: into the lowest free slot of the newest page that has one, else into
 * a new page. */
void head_append(struct page_pool *pool, struct head *head, struct page_needs needs,
                 int32_t position, float column, const float *k, const float *v);
void head_clear(struct page_pool *pool, struct head *head, struct page_needs needs);
/* Frees slot s of the page at table index i (token eviction). */
static inline void head_drop_slot(struct head *head, int i, int s) {
    head->live[i] &= (uint16_t) ~(1u << s);
    head->n_live--;
    head->evictions++;
}
/* Frees a whole page (page eviction): the table closes up, order kept. */
void head_drop_page(struct page_pool *pool, struct head *head, struct page_needs needs, int i);
