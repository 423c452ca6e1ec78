#include "engine/cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct page_needs plan_page_needs(const struct plan *plan) {
    bool by_bounds = signal_is_bound(plan->observe) || signal_is_bound(plan->by);
    bool observes = plan->policy->observe != NULL;
    return (struct page_needs){.bounds = by_bounds,
                               .slot_columns = observes && plan->evict == UNIT_TOKEN,
                               .page_column = observes && plan->evict == UNIT_PAGE};
}

size_t pool_page_cost(const struct page_pool *pool, struct page_needs needs) {
    return pool->page_bytes + (needs.bounds ? pool->bounds_bytes : 0) +
           (needs.slot_columns ? PAGE * sizeof(float) : 0) +
           (needs.page_column ? sizeof(float) : 0);
}

/* Address space only: the system backs a page with memory when it is first written. */
static void *reserve(size_t bytes, struct err *e) {
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED)
        return p;
    err_errno(e, EXIT_ENV, "KV cache: %zu MiB of address space", bytes >> 20);
    return NULL;
}

static size_t bytes_of(const struct page_pool *pool, size_t each) {
    return (size_t)pool->n_pages * each;
}

bool pool_init(struct page_pool *pool, const struct cpu_kernels *kernels, int head_size,
               int64_t n_pages, struct err *e) {
    memset(pool, 0, sizeof *pool);
    if (n_pages < 1 || n_pages > INT32_MAX / PAGE)
        return err_set(e, EXIT_USAGE, "KV cache: %lld pages, expected 1 to %d", (long long)n_pages,
                       INT32_MAX / PAGE);
    pool->kernels = kernels;
    pool->head_size = head_size;
    pool->n_pages = (int32_t)n_pages;
    pool->page_bytes = cpu_page_bytes(kernels, head_size);
    pool->bounds_bytes = cpu_bounds_bytes(kernels, head_size);
    pthread_mutex_init(&pool->lock, NULL);
    pool->kv = reserve(bytes_of(pool, pool->page_bytes), e);
    pool->bounds = reserve(bytes_of(pool, pool->bounds_bytes), e);
    pool->position = reserve(bytes_of(pool, PAGE * sizeof(int32_t)), e);
    pool->slot_column = reserve(bytes_of(pool, PAGE * sizeof(float)), e);
    pool->page_column = reserve(bytes_of(pool, sizeof(float)), e);
    pool->free = reserve(bytes_of(pool, sizeof(int32_t)), e);
    if (!pool->kv || !pool->bounds || !pool->position || !pool->slot_column || !pool->page_column ||
        !pool->free) {
        pool_destroy(pool);
        return false;
    }
    return true;
}

static void release(void *p, size_t bytes) {
    if (p)
        munmap(p, bytes ? bytes : 1);
}

void pool_destroy(struct page_pool *pool) {
    if (!pool->kernels)
        return;
    release(pool->kv, bytes_of(pool, pool->page_bytes));
    release(pool->bounds, bytes_of(pool, pool->bounds_bytes));
    release(pool->position, bytes_of(pool, PAGE * sizeof(int32_t)));
    release(pool->slot_column, bytes_of(pool, PAGE * sizeof(float)));
    release(pool->page_column, bytes_of(pool, sizeof(float)));
    release(pool->free, bytes_of(pool, sizeof(int32_t)));
    pthread_mutex_destroy(&pool->lock);
    memset(pool, 0, sizeof *pool);
}

int32_t pool_take(struct page_pool *pool, size_t cost) {
    pthread_mutex_lock(&pool->lock);
    /* Pages never used yet come last, so that memory is only touched when it is needed. */
    int32_t page = pool->n_free ? pool->free[--pool->n_free] : pool->n_used++;
    CHECK(page < pool->n_pages);
    pool->used += cost;
    if (pool->used > pool->peak)
        pool->peak = pool->used;
    pthread_mutex_unlock(&pool->lock);
    memset(pool_page(pool, page) + pool->page_bytes / 2, 0, pool->page_bytes / 2);
    return page;
}

void pool_give(struct page_pool *pool, int32_t page, size_t cost) {
    pthread_mutex_lock(&pool->lock);
    pool->free[pool->n_free++] = page;
    pool->used -= cost;
    pthread_mutex_unlock(&pool->lock);
}

/* The newest page with a free slot, or a new page. */
static int open_page(struct page_pool *pool, struct head *head, struct page_needs needs) {
    if (head->n_live < head->n_pages * PAGE)
        for (int i = head->n_pages - 1; i >= 0; i--)
            if (head->live[i] != 0xffff)
                return i;
    int i = head->n_pages++;
    int32_t page = head->table[i] = pool_take(pool, pool_page_cost(pool, needs));
    head->live[i] = 0;
    if (needs.page_column)
        pool->page_column[page] = 0;
    return i;
}

void head_append(struct page_pool *pool, struct head *head, struct page_needs needs,
                 int32_t position, float column, const float *k, const float *v) {
    int i = open_page(pool, head, needs);
    int s = __builtin_ctz(~(unsigned)head->live[i]);
    int32_t page = head->table[i];
    pool->kernels->append(pool_page(pool, page), s, pool->head_size, k, v,
                          needs.bounds ? pool_bounds(pool, page) : NULL, head->live[i] == 0);
    pool->position[page * PAGE + s] = position;
    if (needs.slot_columns)
        pool->slot_column[page * PAGE + s] = column;
    head->live[i] |= (uint16_t)(1u << s);
    head->n_live++;
}

void head_drop_page(struct page_pool *pool, struct head *head, struct page_needs needs, int i) {
    pool_give(pool, head->table[i], pool_page_cost(pool, needs));
    head->n_live -= __builtin_popcount(head->live[i]);
    head->n_pages--;
    head->evictions++;
    size_t rest = (size_t)(head->n_pages - i);
    memmove(head->table + i, head->table + i + 1, rest * sizeof *head->table);
    memmove(head->live + i, head->live + i + 1, rest * sizeof *head->live);
}

void head_clear(struct page_pool *pool, struct head *head, struct page_needs needs) {
    for (int i = 0; i < head->n_pages; i++)
        pool_give(pool, head->table[i], pool_page_cost(pool, needs));
    head->n_pages = head->n_live = 0;
    head->evictions = 0;
}
