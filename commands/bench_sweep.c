#include "commands/bench_sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/home.h"

#define ALL_IN_FLIGHT "4224" /* 21 cells of 200 problems, rounded up to blocks of 128 rows */
#define SWEEP_LIMIT 240.0

extern char **environ;

/* Polls, since a wait has no limit; a millisecond is less than the times measured here vary. */
static bool wait_for(pid_t pid, double start, double limit, int *status) {
    const struct timespec nap = {.tv_nsec = 1000000};
    for (;;) {
        pid_t ended = waitpid(pid, status, WNOHANG);
        if (ended == pid)
            return true;
        if (ended < 0 && errno != EINTR)
            return false;
        if (clock_seconds() - start > limit) {
            kill(pid, SIGKILL);
            while (waitpid(pid, status, 0) < 0 && errno == EINTR)
                ;
            return false;
        }
        nanosleep(&nap, NULL);
    }
}

static bool explain(const char *name, const char *log, int status, struct err *e) {
    struct err none = {0};
    size_t size;
    char *text = file_read(log, 1 << 20, &size, &none), *last = "no word";
    for (char *line = text ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n"))
        last = line;
    err_set(e, EXIT_ENV, "%s ended with %d: %s", name,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), last);
    free(text);
    return false;
}

bool bench_child(char *const argv[], const char *folder, double limit, double *seconds,
                 struct err *e) {
    pid_t pid;
    int status = 0;
    char *out = file_join(folder, "table.txt"), *log = file_join(folder, "log.txt");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    double start = clock_seconds();
    int rc = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    bool in_time = rc == 0 && wait_for(pid, start, limit, &status), ok = false;
    *seconds = clock_seconds() - start;
    errno = rc;
    if (rc != 0)
        err_errno(e, EXIT_ENV, "%s cannot be started", argv[0]);
    else if (!in_time)
        err_set(e, EXIT_ENV, "%s: stopped after %.1f seconds", argv[0], *seconds);
    else
        ok = (WIFEXITED(status) && WEXITSTATUS(status) == 0) || explain(argv[0], log, status, e);
    free(out);
    free(log);
    return ok;
}

static void clear(const char *folder) {
    static const char *const names[] = {"table.txt",   "log.txt",     "raas.db",
                                        "raas.db-wal", "raas.db-shm", "raas.db-journal"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = file_join(folder, names[i]);
        unlink(path);
        free(path);
    }
    rmdir(folder);
}

bool bench_sweep(double *seconds, struct err *e) {
    char program[PATH_MAX], experiment[PATH_MAX], folder[PATH_MAX];
    const char *temporary = getenv("TMPDIR");
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n < 0)
        return err_errno(e, EXIT_ENV, "/proc/self/exe");
    program[n] = 0;
    if (!home_find("experiments/sweep.json", experiment, sizeof experiment))
        return err_set(e, EXIT_ENV, "experiments/sweep.json is not there");
    snprintf(folder, sizeof folder, "%s/raas-sweep-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(folder))
        return err_errno(e, EXIT_ENV, "%s", folder);
    char *argv[] = {program,       "run",   experiment, "--backend", "cuda", "--width",
                    ALL_IN_FLIGHT, "--out", folder,     "--quiet",   NULL};
    bool ok = bench_child(argv, folder, SWEEP_LIMIT, seconds, e);
    clear(folder);
    return ok;
}
