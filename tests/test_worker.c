/* A run by several workers: the table of one process, whatever happens to them. They are the CPU's
 * here; what they do does not depend on the backend. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "experiments/run.h"
#include "experiments/stop.h"
#include "tests/runs.h"

/* --- runs with workers ---------------------------------------------------------------------- */

struct settings {
    int n_workers;
    const char *sets[4];
    int n_sets;
    const char *isa;
    uint64_t kv_bytes;
};

static int run_here(const char *db, const struct settings *s) {
    struct experiment x;
    struct err e = {0};
    char *argv[] = {"test", NULL};
    stop_install();
    if (!experiment_read(runs.experiment, &(struct experiment_options){NULL, s->sets, s->n_sets},
                         &x, &e))
        return e.code;
    struct model *model = model_open(RUNS_MODEL, &e);
    struct run_params p = {.experiment = &x,
                           .model = model,
                           .db = db,
                           .isa = s->isa,
                           .n_threads = 1,
                           .kv_bytes = s->kv_bytes,
                           .n_workers = s->n_workers,
                           .n_shards = 1,
                           .argc = 1,
                           .argv = argv};
    int code = model ? run_experiment(&p, &e) : e.code;
    if (e.code)
        log_error("%s", e.text);
    model_close(model);
    experiment_free(&x);
    return code;
}

static pid_t start(const char *db, const struct settings *s) {
    pid_t child = runs_fork();
    if (child == 0) {
        int code = run_here(db, s);
        fflush(NULL);
        _exit(code);
    }
    return child;
}

/* Its children, by /proc; returns how many. Dead ones that nobody has waited for do not count. */
static int children_of(pid_t parent, pid_t *out, int room) {
    DIR *proc = opendir("/proc");
    int n = 0;
    assert_non_null(proc);
    for (struct dirent *d; (d = readdir(proc)) != NULL;) {
        char path[300], line[512];
        int pid = atoi(d->d_name), of;
        char state;
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *f = pid > 0 ? fopen(path, "r") : NULL;
        const char *end = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
        if (end && sscanf(end + 1, " %c %d", &state, &of) == 2 && of == parent && state != 'Z' &&
            n < room)
            out[n++] = pid;
        if (f)
            fclose(f);
    }
    closedir(proc);
    return n;
}

static bool is_gone(pid_t pid) {
    char path[64], line[512], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return true;
    const char *end = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    bool gone = !end || (sscanf(end + 1, " %c", &state) == 1 && (state == 'Z' || state == 'X'));
    fclose(f);
    return gone;
}

static void expect_gone(const pid_t *pids, int n) {
    double begin = clock_seconds();
    for (int i = 0; i < n; i++)
        while (!is_gone(pids[i])) {
            assert_true(clock_seconds() - begin < 20);
            usleep(1000);
        }
}

/* --- an experiment that takes a while ------------------------------------------------------- */

#ifdef __SANITIZE_ADDRESS__
#define LONG "n=3", "max_new=60", "width=1"
#else
#define LONG "n=4", "max_new=600", "width=2"
#endif
static const struct settings two = {.n_workers = 2, .sets = {LONG}, .n_sets = 3};
static char *rows; /* of one process */

static int setup(void **state) {
    char db[64];
    if (runs_setup(state) != 0)
        return -1;
    runs_path(db, "one.db");
    const char *const sets[] = {LONG};
    runs_expect(RUN(db, "--set", sets[0], "--set", sets[1], "--set", sets[2], "--threads", "1"),
                EXIT_OK);
    rows = runs_dump(db);
    return 0;
}

static int teardown(void **state) {
    free(rows);
    return runs_teardown(state);
}

/* Starts a long run with two workers; returns when it has stored something. */
static pid_t start_long(const char *db, pid_t *workers) {
    pid_t parent = start(db, &two);
    double begin = clock_seconds();
    while (access(db, F_OK) != 0 || runs_stored(db) == 0) {
        assert_true(clock_seconds() - begin < 200);
        if (is_gone(parent))
            runs_expect(runs_end(parent), -1);
        usleep(1000);
    }
    assert_int_equal(children_of(parent, workers, 8), 2);
    return parent;
}

/* --- tests ---------------------------------------------------------------------------------- */

static void test_worker_runs_end_with_the_same_table(void **state) {
    (void)state;
    for (int n = 1; n <= 3; n++) {
        char db[64], name[16];
        snprintf(name, sizeof name, "%d.db", n);
        runs_path(db, name);
        runs_expect(runs_end(start(db, &(struct settings){.n_workers = n})), EXIT_OK);
        runs_expect_same(db, runs.rows);
        char *table = runs_read("stdout");
        assert_string_equal(table, runs.table);
        free(table);
    }
}

static void test_worker_killed_is_reported_and_a_rerun_completes(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "killed.db");
    pid_t workers[8], parent = start_long(db, workers);
    kill(workers[0], SIGKILL);
    runs_expect(runs_end(parent), EXIT_PARTIAL);
    runs_expect_words("was killed by signal 9; what it had begun is left for another run");
    runs_expect_words("answers are missing");
    runs_expect_number(db, 1, "SELECT count(*) FROM run WHERE status = 'incomplete'");
    expect_gone(workers, 2);
    runs_expect(runs_end(start(db, &two)), EXIT_OK);
    runs_expect_same(db, rows);
}

static void test_worker_deaths_of_all_end_the_run(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "dead.db");
    pid_t workers[8], parent = start_long(db, workers);
    kill(workers[0], SIGKILL);
    kill(workers[1], SIGKILL);
    runs_expect(runs_end(parent), EXIT_ENV);
    runs_expect_words("no worker is left");
    assert_true(runs_rows(db) > 0);
    runs_expect_number(db, 1, "SELECT count(*) FROM run WHERE status = 'incomplete'");
    runs_expect_number(db, 1, "SELECT count(*) FROM run");
    runs_expect(runs_end(start(db, &two)), EXIT_OK);
    runs_expect_number(db, 0, "SELECT count(*) FROM run WHERE status = 'running'");
    runs_expect_same(db, rows);
}

static void test_worker_run_stopped_by_a_signal_resumes(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "signal.db");
    pid_t workers[8], parent = start_long(db, workers);
    kill(workers[0], SIGINT); /* a terminal's signal reaches all, and counts once */
    kill(workers[1], SIGINT);
    kill(parent, SIGINT);
    runs_expect(runs_end(parent), EXIT_SIGNAL);
    runs_expect_words("stopped with");
    expect_gone(workers, 2);
    runs_expect(runs_end(start(db, &two)), EXIT_OK);
    runs_expect_same(db, rows);
}

static void test_worker_ends_with_the_process_that_started_it(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "orphan.db");
    pid_t workers[8], parent = start_long(db, workers);
    kill(parent, SIGKILL);
    runs_expect(runs_end(parent), 128 + SIGKILL);
    expect_gone(workers, 2);
    runs_expect(runs_end(start(db, &two)), EXIT_OK);
    runs_expect_same(db, rows);
}

static void test_worker_that_cannot_begin_ends_the_run(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "never.db");
    struct settings s = {.n_workers = 2, .isa = "mmx"};
    runs_expect(runs_end(start(db, &s)), EXIT_USAGE);
    runs_expect_words("worker 0: ");
    runs_expect_words("mmx");
}

static void test_worker_leaves_out_what_does_not_fit(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "pool.db");
    struct settings s = {.n_workers = 2, .kv_bytes = SMALL_N > 1 ? 448800 : 224400};
    runs_expect(runs_end(start(db, &s)), EXIT_PARTIAL);
    runs_expect_words("full: sample ");
    runs_expect_words("KV pages, the pool holds");
    runs_expect_number(db, 0, "SELECT count(*) FROM v_result WHERE policy = 'full'");
    assert_true(runs_rows(db) > 0);
    s.kv_bytes = 0;
    runs_expect(runs_end(start(db, &s)), EXIT_OK);
    runs_expect_same(db, runs.rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker_runs_end_with_the_same_table),
        cmocka_unit_test(test_worker_killed_is_reported_and_a_rerun_completes),
        cmocka_unit_test(test_worker_deaths_of_all_end_the_run),
        cmocka_unit_test(test_worker_run_stopped_by_a_signal_resumes),
        cmocka_unit_test(test_worker_ends_with_the_process_that_started_it),
        cmocka_unit_test(test_worker_that_cannot_begin_ends_the_run),
        cmocka_unit_test(test_worker_leaves_out_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
