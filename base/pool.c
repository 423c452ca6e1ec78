#include "base/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

/* A waiter first spins (a decode step starts a loop every few microseconds), then lets others run,
 * then sleeps. */
enum { SPINS = 200 };
static const double awake_seconds = 200e-6;

/* Each thread's share of a loop: next task in the low half, end in the high half. Whoever wins the
 * exchange owns task `next` of the loop under way, however old its view was: the word says all
 * there is to know. */
struct share {
    _Atomic uint64_t range;
    char apart[64 - sizeof(uint64_t)]; /* no two in one cache line */
};

struct worker {
    struct pool *pool;
    pthread_t thread;
    int index;
};

struct pool {
    int n_threads;
    pool_body *body; /* read only by the owner of a task, so never while pool_run writes them */
    void *context;
    struct share *shares;
    struct worker *workers; /* [n_threads - 1] */
    _Atomic uint32_t loops; /* loops started; the workers wait for it to change */
    _Atomic uint32_t sleepers;
    _Atomic bool closing;
    char apart[64];
    _Atomic uint32_t remaining; /* tasks not yet done; pool_run waits for 0 */
    _Atomic bool caller_sleeps;
};

static void sleep_while(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, (void *)word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, (void *)word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* False if the word still holds `value` after the time that is worth staying awake for. */
static bool changes_soon(_Atomic uint32_t *word, uint32_t value) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != value)
            return true;
        __builtin_ia32_pause();
    }
    for (double start = clock_seconds(); clock_seconds() - start < awake_seconds;) {
        if (atomic_load_explicit(word, memory_order_acquire) != value)
            return true;
        sched_yield();
    }
    return false;
}

static bool claim(struct share *share, int *task) {
    uint64_t range = atomic_load_explicit(&share->range, memory_order_relaxed);
    do {
        if ((uint32_t)range >= range >> 32)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&share->range, &range, range + 1,
                                                    memory_order_acquire, memory_order_relaxed));
    *task = (int)(uint32_t)range;
    return true;
}

/* Own share first: the same panels of weights stay in the same core's cache. Then what others have
 * left. */
static void work(struct pool *pool, int thread) {
    uint32_t done = 0;
    for (int i = 0; i < pool->n_threads; i++) {
        struct share *share = &pool->shares[(thread + i) % pool->n_threads];
        for (int task; claim(share, &task); done++)
            pool->body(pool->context, task, thread);
    }
    if (done && atomic_fetch_sub(&pool->remaining, done) == done &&
        atomic_load(&pool->caller_sleeps))
        wake_all(&pool->remaining);
}

static void *worker_main(void *argument) {
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    for (uint32_t seen = 0;;) {
        while (!changes_soon(&pool->loops, seen)) {
            atomic_fetch_add(&pool->sleepers, 1);
            if (atomic_load(&pool->loops) == seen)
                sleep_while(&pool->loops, seen);
            atomic_fetch_sub(&pool->sleepers, 1);
        }
        seen = atomic_load(&pool->loops);
        if (atomic_load(&pool->closing))
            return NULL;
        work(pool, worker->index);
    }
}

static void start_loop(struct pool *pool) {
    atomic_fetch_add(&pool->loops, 1);
    if (atomic_load(&pool->sleepers))
        wake_all(&pool->loops);
}

struct pool *pool_open(int n_threads) {
    CHECK(n_threads >= 1);
    struct pool *pool = must_zalloc(1, sizeof *pool);
    pool->shares = must_zalloc((size_t)n_threads, sizeof *pool->shares);
    pool->workers = must_zalloc((size_t)n_threads, sizeof *pool->workers);
    /* Workers only read n_threads inside a loop, and no loop runs before all of them exist. */
    pool->n_threads = 1;
    for (int i = 1; i < n_threads; i++) {
        struct worker *worker = &pool->workers[i - 1];
        *worker = (struct worker){.pool = pool, .index = i};
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0)
            break;
        pool->n_threads++;
    }
    return pool;
}

void pool_close(struct pool *pool) {
    if (!pool)
        return;
    atomic_store(&pool->closing, true);
    start_loop(pool);
    for (int i = 1; i < pool->n_threads; i++)
        pthread_join(pool->workers[i - 1].thread, NULL);
    free(pool->workers);
    free(pool->shares);
    free(pool);
}

int pool_threads(const struct pool *pool) { return pool->n_threads; }

void pool_run(struct pool *pool, int n_tasks, pool_body *body, void *context) {
    if (pool->n_threads == 1 || n_tasks <= 1) {
        for (int i = 0; i < n_tasks; i++)
            body(context, i, 0);
        return;
    }
    pool->body = body;
    pool->context = context;
    atomic_store(&pool->remaining, (uint32_t)n_tasks);
    for (int i = 0; i < pool->n_threads; i++) {
        uint64_t next = (uint64_t)n_tasks * (uint64_t)i / (uint64_t)pool->n_threads;
        uint64_t end = (uint64_t)n_tasks * (uint64_t)(i + 1) / (uint64_t)pool->n_threads;
        atomic_store_explicit(&pool->shares[i].range, next | end << 32, memory_order_release);
    }
    start_loop(pool);
    work(pool, 0);
    for (uint32_t left; (left = atomic_load(&pool->remaining)) != 0;) {
        if (changes_soon(&pool->remaining, left))
            continue;
        atomic_store(&pool->caller_sleeps, true);
        if (atomic_load(&pool->remaining) == left)
            sleep_while(&pool->remaining, left);
        atomic_store(&pool->caller_sleeps, false);
    }
}
