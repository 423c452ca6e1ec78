/* Thread pool: one parallel loop at a time, tasks handed out by static ranges or from one counter.
 * Which thread runs a task never changes a result: tasks write disjoint memory. */
#pragma once

struct pool;

/* n_threads >= 1 counts the calling thread. Never fails: fewer threads are used if the system
 * refuses. */
struct pool *pool_open(int n_threads);
void pool_close(struct pool *pool);
int pool_threads(const struct pool *pool);

/* Runs body(context, task, thread) for task = 0..n_tasks-1, in any order, and returns when all are
 * done. thread is 0..pool_threads-1: an index for scratch memory. */
typedef void pool_body(void *context, int task, int thread);
void pool_run(struct pool *pool, int n_tasks, pool_body *body, void *context);
