/* Errors: bad input is reported once, with file, place and expectation. true = ok everywhere.
 * A function that can fail takes a `struct err *` last and returns false (or NULL) after filling
 * it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Exit codes of the program; every error carries the one it leads to. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_ENV = 1,     /* environment: disk, memory, GPU, permission, locked database */
    EXIT_USAGE = 2,   /* command line: unknown or out-of-range values, paths that do not exist */
    EXIT_CONTENT = 3, /* content of any file or folder */
    EXIT_PARTIAL = 4, /* ended but incomplete: skipped or failed rows, conflicts */
    EXIT_SIGNAL = 75, /* stopped by a signal, resumable */
};

struct err {
    int code;        /* enum exit_code; 0 = no error yet */
    char text[1000]; /* one line, no newline, control characters replaced */
};

/* Fills `e` (the first error wins; e may be NULL) and returns false, so that callers can
 * `return err_set(e, EXIT_CONTENT, "%s: offset %zu: expected ...", path, offset)`. */
bool err_set(struct err *e, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, with ": " and the text of errno appended. */
bool err_errno(struct err *e, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of an error already set; returns false. */
bool err_in(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends `item` to a list in words, "a, b, c", for messages; what does not fit is cut. `list` is
 * "" or what an earlier call made. */
void err_list(char *list, size_t size, const char *item);

/* A broken invariant: prints where and what, then aborts. Active in every build. */
#define CHECK(condition) ((condition) ? (void)0 : err_broken(__FILE__, __LINE__, #condition))
void err_broken(const char *file, int line, const char *condition) __attribute__((noreturn));

/* malloc, calloc, realloc that end the program with one clear line (exit 1) when memory is out.
 * For sizes that a file or a user chose, check them before the call. */
void *must_alloc(size_t bytes);
void *must_zalloc(size_t count, size_t size);
void *must_realloc(void *old, size_t bytes);
void *must_aligned(size_t bytes); /* at a multiple of 64, for vectors; free() it */
char *must_strdup(const char *text);
