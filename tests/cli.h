/* Runs the program as a user would: a child process, its words and its exit code. */
#pragma once

#include <stddef.h>

struct cli {
    int code;        /* exit code; 128 + signal where it was killed */
    char *out, *err; /* owned; what it wrote, 0-ended */
    size_t out_size;
};

/* Runs ./build/CONFIG/raas with these arguments, ended by NULL, and `input` (NULL: nothing) on
 * stdin; ends it after 60 seconds. */
void cli_run(struct cli *cli, const char *input, ...) __attribute__((sentinel));
void cli_free(struct cli *cli);

/* Runs and checks the exit code and that stderr holds `words` in one line; stdout must then be
 * empty. */
#define CLI_FAILS(code, words, ...) cli_fails(__FILE__, __LINE__, code, words, __VA_ARGS__, NULL)
void cli_fails(const char *file, int line, int code, const char *words, ...)
    __attribute__((sentinel));

/* A fresh path under the build folder; the file, if it exists, is removed. Lives until the next
 * eight calls. */
const char *cli_path(const char *name);
void cli_write(const char *path, const char *text, size_t size);
