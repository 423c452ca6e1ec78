/* Thread pool: every task runs exactly once, whatever the numbers of tasks and threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <time.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/pool.h"

enum { MAX_TASKS = 1000, MAX_THREADS = 5 };

struct tally {
    int runs[MAX_TASKS]; /* plain ints: a task run twice at once is a race that the sanitizer sees
                          */
    int by_thread[MAX_THREADS];
    int n_threads;
};

static void count_task(void *context, int task, int thread) {
    struct tally *tally = context;
    if (thread >= 0 && thread < tally->n_threads) {
        tally->runs[task]++;
        tally->by_thread[thread]++;
    }
}

static void run_and_check(struct pool *pool, int n_tasks) {
    struct tally tally = {.n_threads = pool_threads(pool)};
    pool_run(pool, n_tasks, count_task, &tally);
    int by_thread = 0;
    for (int i = 0; i < tally.n_threads; i++)
        by_thread += tally.by_thread[i];
    assert_int_equal(by_thread, n_tasks);
    for (int i = 0; i < MAX_TASKS; i++)
        assert_int_equal(tally.runs[i], i < n_tasks);
}

static void test_pool_runs_each_task_once(void **state) {
    (void)state;
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
        struct pool *pool = pool_open(n_threads);
        assert_int_equal(pool_threads(pool), n_threads);
        static const int sizes[] = {0, 1, 2, 3, 4, 5, 17, 64, MAX_TASKS};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            run_and_check(pool, sizes[i]);
        pool_close(pool);
    }
}

static void test_pool_survives_many_tiny_loops(void **state) {
    (void)state;
    struct pool *pool = pool_open(3);
    for (int i = 0; i < 5000; i++) {
        struct tally tally = {.n_threads = 3};
        int n_tasks = i % 7;
        pool_run(pool, n_tasks, count_task, &tally);
        for (int t = 0; t < 8; t++)
            assert_int_equal(tally.runs[t], t < n_tasks);
    }
    pool_close(pool);
}

static void nap(double seconds) {
    struct timespec t = {.tv_nsec = (long)(seconds * 1e9)};
    nanosleep(&t, NULL);
}

static void slow_last_task(void *context, int task, int thread) {
    (void)thread;
    if (task == 0 || task == 3)
        nap(2e-3);
    ((int *)context)[task]++;
}

/* Both ends fall asleep: the workers between loops, the caller while a task takes long. */
static void test_pool_wakes_sleepers(void **state) {
    (void)state;
    struct pool *pool = pool_open(2);
    for (int i = 0; i < 20; i++) {
        int runs[4] = {0};
        pool_run(pool, 4, slow_last_task, runs);
        for (int t = 0; t < 4; t++)
            assert_int_equal(runs[t], 1);
        nap(1e-3);
    }
    pool_close(pool);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void test_pool_idles_without_burning(void **state) {
    (void)state;
    struct pool *pool = pool_open(4);
    run_and_check(pool, 100);
    nap(0.02);
    double before = cpu_seconds();
    nap(0.2);
    assert_true(cpu_seconds() - before < 0.01);
    run_and_check(pool, 100);
    pool_close(pool);
}

static void test_pool_close_accepts_null_and_unused(void **state) {
    (void)state;
    pool_close(NULL);
    pool_close(pool_open(4));
}

static void empty_task(void *context, int task, int thread) {
    (void)context, (void)task, (void)thread;
}

static void test_pool_loop_cost_is_printed(void **state) {
    (void)state;
    struct pool *pool = pool_open(2);
    double best = 1;
    for (int round = 0; round < 20; round++) {
        double start = clock_seconds();
        for (int i = 0; i < 500; i++)
            pool_run(pool, 2, empty_task, NULL);
        double each = (clock_seconds() - start) / 500;
        best = each < best ? each : best;
    }
    print_message("measured: an empty loop on two threads costs %.2f us\n", best * 1e6);
    assert_true(best < 1e-3);
    pool_close(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_runs_each_task_once),
        cmocka_unit_test(test_pool_survives_many_tiny_loops),
        cmocka_unit_test(test_pool_wakes_sleepers),
        cmocka_unit_test(test_pool_idles_without_burning),
        cmocka_unit_test(test_pool_close_accepts_null_and_unused),
        cmocka_unit_test(test_pool_loop_cost_is_printed),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
