/* The runner stopped by signals, by SIGKILL at random moments and by a full disk: what is committed
 * stays, and the same command goes on to the same table. RAAS_KILLS sets the number of kills. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"
#include "tests/runs.h"

enum { KILLS = SMALL_N > 1 ? 6 : 2 };

/* --- stopped, killed, resumed --------------------------------------------------------------- */

static void test_stop_by_a_signal_resumes(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "stop.db");
    int codes[3] = {0};
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
    for (int i = 0; i < 3; i++) {
        pid_t child = runs_start(
            (const char *const[]){"run", runs.experiment, "--db", db, "--model", RUNS_MODEL, NULL});
        while (access(db, F_OK) != 0) /* by then the handlers stand */
            usleep(1000);
        usleep((useconds_t)(runs.seconds * 2.5e5));
        kill(child, signals[i]);
        codes[i] = runs_end(child);
        runs_expect(codes[i], codes[i] == EXIT_OK ? EXIT_OK : EXIT_SIGNAL);
    }
    assert_int_equal(codes[0], EXIT_SIGNAL);
    runs_expect(RUN(db), EXIT_OK);
    runs_expect_same(db, runs.rows);
}

/* Whether the process has a handler of its own for SIGTERM. */
static bool catches_sigterm(pid_t child) {
    char path[64], line[200];
    unsigned long long caught = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)child);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        sscanf(line, "SigCgt: %llx", &caught);
    fclose(f);
    return caught >> (SIGTERM - 1) & 1;
}

/* The handlers stand before the model loads, which takes long and needs no database. */
static void test_stop_by_a_signal_while_the_model_loads(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "early.db");
    pid_t child = runs_start(
        (const char *const[]){"run", runs.experiment, "--db", db, "--model", RUNS_MODEL, NULL});
    double begin = clock_seconds();
    while (!catches_sigterm(child) && clock_seconds() - begin < 20)
        usleep(200);
    kill(child, SIGTERM);
    runs_expect(runs_end(child), EXIT_SIGNAL);
    runs_expect_words("stopped with 0 of");
    runs_expect(RUN(db), EXIT_OK);
    runs_expect_same(db, runs.rows);
}

/* Kills at random moments of a run's whole time, start included; each time the same command goes
 * on. A database that is complete before the kills are used up is checked and begun anew. */
static void test_stop_killed_at_random_moments_ends_with_the_same_table(void **state) {
    (void)state;
    const char *asked = getenv("RAAS_KILLS");
    int kills = 0, wanted = asked ? atoi(asked) : KILLS, databases = 0, partial = 0;
    struct rng rng = {.key = (uint64_t)getpid()};
    char db[64] = "";
    bool complete = true;
    double begin = clock_seconds();
    while (kills < wanted || !complete) {
        if (complete) {
            char name[32];
            snprintf(name, sizeof name, "kill%d.db", databases++);
            runs_path(db, name);
        }
        pid_t child = runs_start(
            (const char *const[]){"run", runs.experiment, "--db", db, "--model", RUNS_MODEL, NULL});
        if (kills < wanted) {
            usleep((useconds_t)(8e5 * runs.seconds * rng_real(&rng)));
            kill(child, SIGKILL);
        }
        int code = runs_end(child);
        complete = code == EXIT_OK;
        if (!complete) {
            runs_expect(code, 128 + SIGKILL);
            kills++;
            partial += runs_stored(db) > 0;
            continue;
        }
        char *table = runs_read("stdout");
        assert_string_equal(table, runs.table);
        free(table);
        runs_expect_same(db, runs.rows);
    }
    printf("measured: %d kills, %d of them with rows stored, over %d databases in %.1f s: every "
           "table as uninterrupted\n",
           kills, partial, databases, clock_seconds() - begin);
}

static void test_stop_a_full_disk_keeps_what_is_committed(void **state) {
    (void)state;
    char db[64];
    runs_path(db, "full.db");
    runs_expect(RUN(db, "--limit", "1", "--set", "policy=full"), EXIT_OK);
    int64_t before = runs_rows(db);
    struct stat s;
    assert_int_equal(stat(db, &s), 0);
    rlim_t room = SMALL_N > 1 ? 30000 : 0; /* for some more rows, where there are some */
    struct rlimit old, tight = {(rlim_t)s.st_size + room, 0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN); /* inherited: a write beyond the limit fails as on a full disk */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    int code = RUN(db);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    runs_expect(code, EXIT_ENV);
    runs_expect_words(db);
    int64_t after = runs_rows(db);
    assert_true(after >= before && after < SMALL_ROWS);
    runs_expect_number(db, 0, "SELECT count(*) FROM run WHERE status = 'running'");
    runs_expect(RUN(db), EXIT_OK);
    runs_expect_same(db, runs.rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_by_a_signal_resumes),
        cmocka_unit_test(test_stop_by_a_signal_while_the_model_loads),
        cmocka_unit_test(test_stop_killed_at_random_moments_ends_with_the_same_table),
        cmocka_unit_test(test_stop_a_full_disk_keeps_what_is_committed),
    };
    return cmocka_run_group_tests(tests, runs_setup, runs_teardown);
}
