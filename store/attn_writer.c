/* The thread that puts attention on the disk. Strips come in order and go to the raw file of their
 * sequence; a sequence that has ended is packed. All calls of the HDF5 library for files in the
 * making are this thread's. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/attn_private.h"

struct attn_writer {
    struct attn_writer_params params;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, room;             /* something to do; a strip came back, or all is done */
    struct attn_strip *first, **last;      /* wait for the disk */
    struct attn_file *ended, **ended_last; /* wait for the second pass */
    bool closing, busy;                    /* busy: with the second pass of a file */
    struct err error;                      /* the first */
    struct attn_stats stats;
};

/* --- of threads that decode ------------------------------------------------------------------- */

void attn_send(struct attn_writer *w, struct attn_strip *strip) {
    pthread_mutex_lock(&w->lock);
    strip->next = NULL;
    *w->last = strip;
    w->last = &strip->next;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
}

struct attn_strip *attn_spare(struct attn_writer *w, struct attn_planes *planes) {
    pthread_mutex_lock(&w->lock);
    if (!planes->spare) {
        double from = clock_seconds();
        while (!planes->spare)
            pthread_cond_wait(&w->room, &w->lock);
        w->stats.stalls++;
        w->stats.stall_seconds += clock_seconds() - from;
    }
    struct attn_strip *strip = planes->spare;
    planes->spare = strip->next;
    pthread_mutex_unlock(&w->lock);
    strip->used = 0;
    return strip;
}

void attn_finish(struct attn_writer *w, struct attn_file *file) {
    pthread_mutex_lock(&w->lock);
    file->next = NULL;
    *w->ended_last = file;
    w->ended_last = &file->next;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
}

bool attn_writer_check(struct attn_writer *w, struct err *e) {
    pthread_mutex_lock(&w->lock);
    bool ok = !w->error.code || err_set(e, w->error.code, "%s", w->error.text);
    pthread_mutex_unlock(&w->lock);
    return ok;
}

bool attn_writer_wait(struct attn_writer *w, struct err *e) {
    pthread_mutex_lock(&w->lock);
    while (w->ended || w->busy)
        pthread_cond_wait(&w->room, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return attn_writer_check(w, e);
}

/* --- of the thread ---------------------------------------------------------------------------- */

static void fail(struct attn_writer *w, struct attn_file *f, const struct err *why) {
    atomic_store(&f->dead, true);
    pthread_mutex_lock(&w->lock);
    err_set(&w->error, why->code, "%s", why->text);
    pthread_mutex_unlock(&w->lock);
}

static bool write_at(int fd, const char *data, size_t size, uint64_t offset) {
    while (size) {
        ssize_t n = pwrite(fd, data, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n, size -= (size_t)n, offset += (uint64_t)n;
    }
    return true;
}

static void write_strip(struct attn_writer *w, const struct attn_strip *s) {
    struct attn_file *f = s->file;
    struct err e = {0};
    if (f->abandoned || atomic_load(&f->dead))
        return;
    if (f->fd < 0)
        f->fd = open(f->raw_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (f->fd >= 0 && write_at(f->fd, s->data, s->used, s->offset))
        return;
    err_errno(&e, EXIT_ENV, "%s", f->raw_path);
    fail(w, f, &e);
}

static struct attn_planes *planes_of_strip(struct attn_strip *s) {
    for (int kind = 0;; kind++) {
        struct attn_planes *k = &s->file->kinds[kind];
        if (k->present && s >= k->strips && s < k->strips + k->n_strips)
            return k;
    }
}

/* With the lock held, which it gives up meanwhile. */
static void write_first(struct attn_writer *w) {
    struct attn_strip *s = w->first;
    w->first = s->next;
    if (!w->first)
        w->last = &w->first;
    pthread_mutex_unlock(&w->lock);
    write_strip(w, s);
    struct attn_planes *k = planes_of_strip(s);
    pthread_mutex_lock(&w->lock);
    s->next = k->spare;
    k->spare = s;
    pthread_cond_broadcast(&w->room);
}

void attn_breathe(struct attn_writer *w) {
    pthread_mutex_lock(&w->lock);
    while (w->first)
        write_first(w);
    pthread_mutex_unlock(&w->lock);
}

/* With the lock held, which it gives up meanwhile. */
static void finish_first(struct attn_writer *w) {
    struct attn_file *f = w->ended;
    struct err e = {0};
    uint64_t bytes = 0;
    double from = clock_seconds();
    w->ended = f->next;
    if (!w->ended)
        w->ended_last = &w->ended;
    w->busy = true;
    pthread_mutex_unlock(&w->lock);
    bool ok = !f->abandoned && !atomic_load(&f->dead);
    if (ok && !attn_pack(f, &bytes, &e)) {
        fail(w, f, &e);
        ok = false;
    }
    if (f->fd >= 0) {
        close(f->fd);
        unlink(f->raw_path);
    }
    if (ok && w->params.done)
        w->params.done(w->params.user, f->params.path, bytes);
    attn_file_free(f);
    pthread_mutex_lock(&w->lock);
    w->stats.files += ok;
    w->stats.bytes += bytes;
    w->stats.finish_seconds += clock_seconds() - from;
    w->busy = false;
    pthread_cond_broadcast(&w->room);
}

static void *work(void *context) {
    struct attn_writer *w = context;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        if (w->first)
            write_first(w);
        else if (w->ended)
            finish_first(w);
        else if (w->closing)
            break;
        else
            pthread_cond_wait(&w->work, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct attn_writer *attn_writer_open(const struct attn_writer_params *params, struct err *e) {
    struct attn_writer *w = must_zalloc(1, sizeof *w);
    w->params = *params;
    w->last = &w->first;
    w->ended_last = &w->ended;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, NULL);
    pthread_cond_init(&w->room, NULL);
    errno = pthread_create(&w->thread, NULL, work, w);
    if (errno == 0)
        return w;
    err_errno(e, EXIT_ENV, "no thread to record with");
    free(w);
    return NULL;
}

bool attn_writer_close(struct attn_writer *w, struct attn_stats *stats, struct err *e) {
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    bool ok = attn_writer_check(w, e);
    if (stats)
        *stats = w->stats;
    pthread_cond_destroy(&w->room);
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return ok;
}
