#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* O_NONBLOCK: opening a pipe without a writer must not hang before fstat can refuse it. */
static int open_regular(const char *path, size_t max_bytes, size_t *size, struct err *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        bool absent = errno == ENOENT || errno == ENOTDIR;
        err_errno(e, absent ? EXIT_USAGE : EXIT_ENV, "%s", path);
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) != 0)
        err_errno(e, EXIT_ENV, "%s", path);
    else if (!S_ISREG(st.st_mode))
        err_set(e, EXIT_CONTENT, "%s: expected a regular file", path);
    else if ((uintmax_t)st.st_size > max_bytes)
        err_set(e, EXIT_CONTENT, "%s: %jd bytes, at most %zu are accepted", path,
                (intmax_t)st.st_size, max_bytes);
    else {
        *size = (size_t)st.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

char *file_read(const char *path, size_t max_bytes, size_t *size, struct err *e) {
    size_t want;
    int fd = open_regular(path, max_bytes, &want, e);
    if (fd < 0)
        return NULL;
    char *text = must_alloc(want + 1);
    size_t got = 0;
    ssize_t n = 1;
    while (got < want && n > 0) {
        n = read(fd, text + got, want - got);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            got += (size_t)n;
    }
    if (n < 0)
        err_errno(e, EXIT_ENV, "%s", path);
    else if (got < want)
        err_set(e, EXIT_CONTENT, "%s: shrank while it was read", path);
    close(fd);
    if (got < want) {
        free(text);
        return NULL;
    }
    text[got] = 0;
    *size = got;
    return text;
}

static bool write_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

/* What no file can be renamed onto: /dev/null and the like, a pipe. */
static bool is_device(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

static bool device_write(const char *path, const void *head, size_t head_size, const void *body,
                         size_t body_size, struct err *e) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write_all(fd, head, head_size) && write_all(fd, body, body_size);
    if (!ok)
        err_errno(e, EXIT_ENV, "%s", path);
    if (fd >= 0)
        close(fd);
    return ok;
}

bool file_write(const char *path, const void *head, size_t head_size, const void *body,
                size_t body_size, struct err *e) {
    if (is_device(path))
        return device_write(path, head, head_size, body, body_size, e);
    char *part;
    if (asprintf(&part, "%s.part", path) < 0)
        return err_set(e, EXIT_ENV, "%s: out of memory", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool ok = fd >= 0 && write_all(fd, head, head_size) && write_all(fd, body, body_size) &&
              fsync(fd) == 0;
    if (!ok)
        err_errno(e, EXIT_ENV, "%s", part);
    if (fd >= 0 && close(fd) != 0 && ok)
        ok = err_errno(e, EXIT_ENV, "%s", part);
    if (ok && rename(part, path) != 0)
        ok = err_errno(e, EXIT_ENV, "%s", path);
    if (!ok && fd >= 0)
        unlink(part);
    free(part);
    return ok;
}

char *file_join(const char *folder, const char *name) {
    char *path;
    CHECK(asprintf(&path, "%s/%s", folder, name) >= 0);
    return path;
}

bool file_folders(const char *path, struct err *e) {
    char *part = must_strdup(path);
    bool ok = true;
    for (char *slash = strchr(part + (*part != 0), '/'); ok && slash;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            ok = err_errno(e, EXIT_ENV, "%s: cannot make the folder %s", path, part);
        *slash = '/';
    }
    free(part);
    return ok;
}
