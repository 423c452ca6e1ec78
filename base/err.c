#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages may quote hostile files: a terminal must never see their control characters. */
static void make_printable(char *text) {
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

static void write_text(struct err *e, const char *format, va_list args, const char *behind) {
    vsnprintf(e->text, sizeof e->text, format, args);
    size_t n = strlen(e->text);
    if (behind)
        snprintf(e->text + n, sizeof e->text - n, ": %s", behind);
    make_printable(e->text);
}

bool err_set(struct err *e, int code, const char *format, ...) {
    if (!e || e->code)
        return false;
    va_list args;
    va_start(args, format);
    write_text(e, format, args, NULL);
    va_end(args);
    e->code = code;
    return false;
}

bool err_errno(struct err *e, int code, const char *format, ...) {
    int number = errno;
    if (!e || e->code)
        return false;
    va_list args;
    va_start(args, format);
    write_text(e, format, args, strerror(number));
    va_end(args);
    e->code = code;
    return false;
}

bool err_in(struct err *e, const char *format, ...) {
    if (!e || !e->code)
        return false;
    char old[sizeof e->text];
    memcpy(old, e->text, sizeof old);
    va_list args;
    va_start(args, format);
    write_text(e, format, args, old);
    va_end(args);
    return false;
}

void err_list(char *list, size_t size, const char *item) {
    size_t n = strlen(list);
    snprintf(list + n, size - n, "%s%s", n ? ", " : "", item);
}

void err_broken(const char *file, int line, const char *condition) {
    fprintf(stderr, "raas: broken invariant at %s:%d: %s\n", file, line, condition);
    abort();
}

static void *need(void *p) {
    if (!p) {
        fputs("raas: out of memory\n", stderr);
        exit(EXIT_ENV);
    }
    return p;
}

void *must_alloc(size_t bytes) { return need(malloc(bytes ? bytes : 1)); }
void *must_zalloc(size_t count, size_t size) {
    return need(calloc(count ? count : 1, size ? size : 1));
}
void *must_realloc(void *old, size_t bytes) { return need(realloc(old, bytes ? bytes : 1)); }
void *must_aligned(size_t bytes) { return need(aligned_alloc(64, (bytes + 64) / 64 * 64)); }
char *must_strdup(const char *text) { return need(strdup(text)); }
