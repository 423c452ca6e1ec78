/* The script of `raas sweep slurm`, run by bash with sbatch and scontrol that only note how they
 * were called. A real Slurm runs it in tests/slurm-check (make test-slurm). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "tests/runs.h"

static void write_tool(const char *name, const char *text) {
    char path[80];
    snprintf(path, sizeof path, "%s/%s", runs.folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

/* What `raas sweep slurm` printed, as a script of this name. */
static void keep_script(const char *name) {
    char *script = runs_read("stdout");
    assert_memory_equal(script, "#!/bin/bash\n", 12);
    write_tool(name, script);
    free(script);
}

/* bash on a script in the folder, with the fake tools first on the PATH. */
static pid_t start_script(const char *name, const char *task) {
    char script[64], path[400];
    runs_path(script, name);
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", runs.folder);
    pid_t child = runs_fork();
    if (child == 0) {
        setenv("PATH", path, 1);
        setenv("NOTES", runs.folder, 1);
        if (task) {
            setenv("SLURM_ARRAY_TASK_ID", task, 1);
            setenv("SLURM_ARRAY_JOB_ID", "7", 1);
            setenv("SLURM_JOB_ID", "7", 1); /* as for the last task of an array */
            setenv("SLURM_CPUS_PER_TASK", "1", 1);
        }
        execl("/bin/bash", "bash", script, "--partition=x y", NULL);
        _exit(127);
    }
    return child;
}

#define SWEEP(...) RAAS("sweep", "slurm", runs.experiment, "--model", RUNS_MODEL, __VA_ARGS__)

static int setup(void **state) {
    int code = runs_setup(state);
    if (code)
        return code;
    /* a job's number, its arguments one a line, and a script on stdin */
    write_tool("sbatch", "#!/bin/bash\nn=$(($(cat \"$NOTES/jobs\" 2>/dev/null || echo 6) + 1))\n"
                         "echo $n >\"$NOTES/jobs\"\nprintf '%s\\n' \"$@\" >\"$NOTES/job$n\"\n"
                         "[ $n = 7 ] || cat >\"$NOTES/stdin$n\"\necho \"$n;cluster\"\n");
    write_tool("scontrol", "#!/bin/bash\nprintf '%s\\n' \"$@\" >\"$NOTES/scontrol\"\n");
    return 0;
}

static void expect_lines(const char *name, const char *lines) {
    char *text = runs_read(name);
    if (!strstr(text, lines))
        fail_msg("%s '%s' does not hold '%s'", name, text, lines);
    free(text);
}

static void test_sweep_submits_an_array_and_a_merge_behind_it(void **state) {
    (void)state;
    char out[64];
    runs_path(out, "a b");
    runs_expect(SWEEP("--shards", "3", "--at-once", "2", "--time", "5", "--sbatch", "--account=me",
                      "--out", out),
                EXIT_OK);
    keep_script("sweep.sh");
    expect_lines("sweep.sh", "#SBATCH --array=0-2%2\n#SBATCH --time=5\n#SBATCH --requeue\n"
                             "#SBATCH --open-mode=append\n#SBATCH --signal=B:USR1@120\n"
                             "#SBATCH --account=me\n");
    runs_expect(runs_end(start_script("sweep.sh", NULL)), EXIT_OK);
    expect_lines("stdout", "array 7, merge 8: results go to ");
    expect_lines("job7", "/a b/shards/%a.log\n--partition=x y\n/");
    expect_lines("job8", "--parsable\n--dependency=afterany:7\n");
    expect_lines("stdin8", " merge --db \"$out/raas.db\" \"$out\"/shards/*.db\n");
    expect_lines("stdin8", "#SBATCH --account=me\n");
}

/* The tasks, then the merge as Slurm would run it. */
static void test_sweep_tasks_and_merge_make_one_run(void **state) {
    (void)state;
    char db[64];
    static const char *const tasks[] = {"2", "0", "1"};
    for (int i = 0; i < 3; i++)
        runs_expect(runs_end(start_script("sweep.sh", tasks[i])), EXIT_OK);
    runs_expect(runs_end(start_script("stdin8", NULL)), EXIT_OK);
    runs_path(db, "a b/raas.db");
    runs_expect_same(db, runs.rows);
}

/* USR1 before the limit: the child stores what it has, the task queues again, itself alone. */
static void test_sweep_a_task_that_is_stopped_queues_again(void **state) {
    (void)state;
    char out[64], note[64], db[64];
    runs_path(out, "stopped");
    runs_path(note, "scontrol.0");
    runs_path(db, "stopped/shards/0-of-1.db");
    runs_expect(SWEEP("--shards", "1", "--out", out), EXIT_OK);
    keep_script("one.sh");
    pid_t child = start_script("one.sh", "0");
    double begin = clock_seconds();
    while (access(db, F_OK) != 0 && clock_seconds() - begin < 60)
        usleep(2000);
    usleep((useconds_t)(runs.seconds * 3e5));
    kill(child, SIGUSR1);
    runs_expect(runs_end(child), EXIT_SIGNAL);
    expect_lines("scontrol", "requeue\n7_0\n");
    expect_lines("stdout", "shard 0: stopped at its limit, queued again");
    runs_path(note, "scontrol");
    unlink(note);
    runs_expect(runs_end(start_script("one.sh", "0")), EXIT_OK);
    assert_int_not_equal(access(note, F_OK), 0);
    runs_expect_same(db, runs.rows);
}

/* What the user says is a word of the script, never part of it. */
static void test_sweep_words_are_quoted(void **state) {
    (void)state;
    char out[500], mark[64], set[200], plain[64];
    runs_path(plain, "plain");
    runs_path(mark, "owned");
    snprintf(out, sizeof out, "%s/$(touch %s)`touch %s`'; touch %s; '", runs.folder, mark, mark,
             mark);
    snprintf(set, sizeof set, "description=\"'$(touch %s)'\"", mark);
    runs_expect(SWEEP("--shards", "1", "--limit", "1", "--set", "policy=full", "--set", set,
                      "--out", plain),
                EXIT_OK);
    keep_script("quoted.sh");
    runs_expect(runs_end(start_script("quoted.sh", "0")), EXIT_OK);
    assert_int_not_equal(access(mark, F_OK), 0);
    runs_expect(RAAS("sweep", "slurm", runs.experiment, "--out", out), EXIT_OK);
    keep_script("out.sh");
    runs_end(start_script("out.sh", NULL));
    assert_int_not_equal(access(mark, F_OK), 0);
}

static void test_sweep_mistakes_are_told(void **state) {
    (void)state;
    static const struct {
        const char *flag, *value, *words;
        int code;
    } cases[] = {
        {"--out", "a\nb", "a control character", EXIT_USAGE},
        {"--out", "100%", "Slurm would read '%'", EXIT_USAGE},
        {"--sbatch", "x\ny", "a control character", EXIT_USAGE},
        {"--sbatch", "rm", "expected a flag of sbatch", EXIT_USAGE},
        {"--grace", "4000", "expected less than the 60 minutes", EXIT_USAGE},
        {"--shards", "0", "--shards", EXIT_USAGE},
        {"--set", "policy=none", "policy", EXIT_USAGE},
        {"--model", "/nonexistent", "/nonexistent", EXIT_USAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        runs_expect(RAAS("sweep", "slurm", runs.experiment, cases[i].flag, cases[i].value),
                    cases[i].code);
        runs_expect_words(cases[i].words);
        char *said = runs_read("stdout");
        assert_string_equal(said, "");
        free(said);
    }
    runs_expect(RAAS("sweep", "cloud", runs.experiment), EXIT_USAGE);
    runs_expect(RAAS("sweep", "slurm", "/nonexistent.json"), EXIT_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweep_submits_an_array_and_a_merge_behind_it),
        cmocka_unit_test(test_sweep_tasks_and_merge_make_one_run),
        cmocka_unit_test(test_sweep_a_task_that_is_stopped_queues_again),
        cmocka_unit_test(test_sweep_words_are_quoted),
        cmocka_unit_test(test_sweep_mistakes_are_told),
    };
    return cmocka_run_group_tests_name("sweep", tests, setup, runs_teardown);
}
