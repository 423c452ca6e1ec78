#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

#define TERMINAL_SECONDS 0.1
#define PLAIN_SECONDS 10.0

/* One stderr, many threads: everything here is behind `lock`. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool quiet_mode;
static bool drawn;         /* a status line stands on the terminal */
static char status[1000];  /* its text, to be drawn again below other lines */
static double last_status; /* seconds; 0 = none printed yet */

/* A dumb terminal cannot clear a line; it gets the plain form. */
static bool rewritable(void) {
    static int known = -1;
    if (known < 0) {
        const char *term = getenv("TERM");
        known = isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
    }
    return known;
}

static size_t terminal_width(void) {
    struct winsize w;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1)
        return w.ws_col;
    return 80;
}

static void clear(void) {
    if (drawn)
        fputs("\r\033[K", stderr);
    drawn = false;
}

/* A line that wraps could not be cleared again: it is cut to the terminal's width, in characters.
 */
static void draw(void) {
    size_t columns = terminal_width() - 1, n = 0;
    for (; status[n]; n++)
        if (((unsigned char)status[n] & 0xc0) != 0x80 && columns-- == 0)
            break;
    fwrite(status, 1, n, stderr);
    fflush(stderr);
    drawn = true;
}

void log_quiet(bool quiet) {
    pthread_mutex_lock(&lock);
    quiet_mode = quiet;
    pthread_mutex_unlock(&lock);
}

static void line(const char *prefix, const char *format, va_list args) {
    pthread_mutex_lock(&lock);
    bool again = drawn;
    clear();
    fputs(prefix, stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    if (again)
        draw();
    pthread_mutex_unlock(&lock);
}

void log_info(const char *format, ...) {
    if (quiet_mode)
        return;
    va_list args;
    va_start(args, format);
    line("", format, args);
    va_end(args);
}

void log_warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    line("warning: ", format, args);
    va_end(args);
}

void log_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    line("error: ", format, args);
    va_end(args);
}

void log_status(bool force, const char *format, ...) {
    pthread_mutex_lock(&lock);
    double now = clock_seconds();
    double pause = rewritable() ? TERMINAL_SECONDS : PLAIN_SECONDS;
    if (!quiet_mode && (force || last_status == 0 || now - last_status >= pause)) {
        va_list args;
        va_start(args, format);
        vsnprintf(status, sizeof status, format, args);
        va_end(args);
        last_status = now;
        if (rewritable()) {
            clear();
            draw();
        } else {
            fprintf(stderr, "%s\n", status);
        }
    }
    pthread_mutex_unlock(&lock);
}

void log_status_end(void) {
    pthread_mutex_lock(&lock);
    if (drawn)
        fputc('\n', stderr);
    drawn = false;
    last_status = 0;
    pthread_mutex_unlock(&lock);
}
