#include "tests/cli.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "tests/folder.h"

const char *cli_path(const char *name) {
    static char paths[8][300];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/cli-%s", folder_of_program(), name);
    unlink(path);
    return path;
}

void cli_write(const char *path, const char *text, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static char *slurp(const char *path, size_t *size) {
    struct err e = {0};
    char *text = file_read(path, 1 << 28, size, &e);
    if (!text)
        fail_msg("%s", e.text);
    return text;
}

static void redirect(int to, const char *path, int flags) {
    int file = open(path, flags, 0600);
    if (file < 0 || dup2(file, to) < 0)
        _exit(126);
}

static void child(char *const argv[], const char *in, const char *out, const char *err) {
    redirect(STDIN_FILENO, in, O_RDONLY);
    redirect(STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC);
    redirect(STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC);
    alarm(60);
    execv(argv[0], argv);
    _exit(127);
}

static void run(struct cli *cli, const char *input, va_list args) {
    char program[200], *argv[64] = {program};
    int n = 1;
    snprintf(program, sizeof program, "%s/raas", folder_of_program());
    while (n < 63 && (argv[n] = va_arg(args, char *)))
        n++;
    assert_true(n < 63);
    const char *in = "/dev/null", *out = cli_path("stdout"), *err = cli_path("stderr");
    if (input) {
        in = cli_path("stdin");
        cli_write(in, input, strlen(input));
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(argv, in, out, err);
    int status;
    size_t size;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    cli->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    cli->out = slurp(out, &cli->out_size);
    cli->err = slurp(err, &size);
}

void cli_run(struct cli *cli, const char *input, ...) {
    va_list args;
    va_start(args, input);
    run(cli, input, args);
    va_end(args);
}

void cli_free(struct cli *cli) {
    free(cli->out);
    free(cli->err);
    *cli = (struct cli){0};
}

void cli_fails(const char *file, int line, int code, const char *words, ...) {
    struct cli cli;
    va_list args;
    va_start(args, words);
    run(&cli, NULL, args);
    va_end(args);
    char *newline = strchr(cli.err, '\n');
    if (cli.code != code || !strstr(cli.err, words) || !newline || newline[1] || cli.out_size)
        fail_msg("%s:%d: exit code %d, stderr \"%s\", %zu bytes of stdout; expected code %d, one "
                 "line with \"%s\"",
                 file, line, cli.code, cli.err, cli.out_size, code, words);
    cli_free(&cli);
}
