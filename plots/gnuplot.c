#include "plots/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

struct child {
    pid_t pid;
    int words; /* what it says on stderr */
};

static bool start(const char *folder, const char *script, struct child *child, struct err *e) {
    char *argv[] = {"gnuplot", "-d", (char *)script, NULL};
    char *environment[] = {"LC_ALL=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_errno(e, EXIT_ENV, "gnuplot: no pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    int rc = posix_spawnp(&child->pid, "gnuplot", &actions, NULL, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    child->words = ends[0];
    if (rc == 0)
        return true;
    close(ends[0]);
    errno = rc;
    if (rc == ENOENT)
        return err_set(e, EXIT_ENV,
                       "gnuplot is not installed (Debian: apt-get install gnuplot-nox)");
    return err_errno(e, EXIT_ENV, "gnuplot cannot be started");
}

/* Keeps the start of what the child says until it ends; false when the time is over. */
static bool listen_to(const struct child *child, double seconds, char *words, size_t size) {
    double end = clock_seconds() + seconds;
    size_t n = 0;
    words[0] = '\0';
    for (;;) {
        double left = end - clock_seconds();
        struct pollfd ready = {.fd = child->words, .events = POLLIN};
        if (left <= 0)
            return false;
        if (poll(&ready, 1, (int)(left * 1000) + 1) <= 0)
            continue;
        char more[512];
        ssize_t got = read(child->words, more, sizeof more);
        if (got <= 0)
            return true;
        size_t take = (size_t)got < size - 1 - n ? (size_t)got : size - 1 - n;
        memcpy(words + n, more, take);
        n += take;
        words[n] = '\0';
    }
}

/* gnuplot's complaint without the line of source and the marker above it. */
static const char *complaint(char *words) {
    char *best = words;
    for (char *line = strtok(words, "\n"); line; line = strtok(NULL, "\n")) {
        line += strspn(line, " \t^");
        if (*line)
            best = line;
    }
    return best;
}

bool gnuplot_run(const char *folder, const char *script, double seconds, struct err *e) {
    struct child child;
    if (!start(folder, script, &child, e))
        return false;
    char words[4096];
    bool in_time = listen_to(&child, seconds, words, sizeof words);
    if (!in_time)
        kill(child.pid, SIGKILL);
    close(child.words);
    int status;
    while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        return err_set(e, EXIT_ENV, "gnuplot: stopped after %.0f seconds", seconds);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return err_set(e, EXIT_ENV,
                       "gnuplot is not installed (Debian: apt-get install gnuplot-nox)");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(e, EXIT_ENV, "gnuplot %s/%s: %s", folder, script, complaint(words));
    return true;
}
