#include "engine/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "engine/gguf.h"
#include "engine/shards.h"

#define SINGLE_NAME "model.safetensors"
#define INDEX_NAME "model.safetensors.index.json"

enum { CHUNK = 32 << 10 };

struct file {
    char *path; /* owned */
    int fd;
    uint64_t bytes;
    struct gguf *gguf;       /* owned; NULL for safetensors */
    struct tensor_list list; /* owns the names; its items were moved to the common array */
};

struct weights {
    struct file *files; /* in name order */
    int n_files;
    struct tensor *tensors; /* in name order */
    size_t count;
};

/* --- files ------------------------------------------------------------------ */

static bool open_file(struct file *file, struct err *e) {
    /* O_NONBLOCK: a FIFO must not make us wait for its writer. */
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0)
        return err_errno(e, errno == ENOENT || errno == ELOOP ? EXIT_CONTENT : EXIT_ENV, "%s",
                         file->path);
    struct stat s;
    if (fstat(file->fd, &s) != 0)
        return err_errno(e, EXIT_ENV, "%s", file->path);
    if (!S_ISREG(s.st_mode))
        return err_set(e, EXIT_CONTENT, "%s: expected a regular file", file->path);
    file->bytes = (uint64_t)s.st_size;
    return true;
}

static bool read_at(const struct file *file, uint64_t offset, void *out, uint64_t bytes,
                    struct err *e) {
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pread(file->fd, (char *)out + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, EXIT_ENV, "%s: offset %" PRIu64, file->path, offset + done);
        if (n == 0)
            return err_set(e, EXIT_CONTENT,
                           "%s: ends at offset %" PRIu64 ", expected %" PRIu64
                           " bytes more: was it cut while in use?",
                           file->path, offset + done, bytes - done);
        done += (uint64_t)n;
    }
    return true;
}

static bool list_gguf(struct file *file, struct err *e) {
    for (uint64_t room = GGUF_HEAD;; room *= 2) {
        uint64_t size = file->bytes < room ? file->bytes : room;
        uint8_t *image = must_alloc(size);
        if (!read_at(file, 0, image, size, e)) {
            free(image);
            return false;
        }
        struct err why = {0};
        bool more;
        file->gguf = gguf_parse(image, size, file->bytes, file->path, &file->list, &more, &why);
        if (file->gguf)
            return true;
        if (!more || room >= GGUF_HEAD_MAX)
            return err_set(e, why.code, "%s", why.text);
    }
}

static bool list_safetensors(struct file *file, struct err *e) {
    uint8_t first[8] = {0};
    uint64_t header = 0;
    if (file->bytes >= sizeof first && !read_at(file, 0, first, sizeof first, e))
        return false;
    if (!safetensors_header(first, file->bytes, file->path, &header, e))
        return false;
    uint64_t size = sizeof first + header;
    uint8_t *image = must_alloc(size);
    bool ok = read_at(file, 0, image, size, e) &&
              safetensors_parse(image, size, file->bytes, file->path, &file->list, e);
    free(image);
    return ok;
}

/* --- shards ---------------------------------------------------------------------- */

static void name_shards(struct weights *w, const char *folder, const struct shards *shards) {
    w->files = must_zalloc((size_t)shards->n_files, sizeof *w->files);
    for (size_t i = 0; i < shards->count; i++)
        if (shards->places[i].first)
            w->files[w->n_files++] =
                (struct file){.path = file_join(folder, shards->places[i].file), .fd = -1};
}

static const char *file_name(const struct weights *w, const struct tensor *t) {
    return strrchr(w->files[t->file].path, '/') + 1;
}

/* The index and the shards must tell the same story. */
static bool check_map(const struct weights *w, const char *index, const struct shards *shards,
                      struct err *e) {
    for (size_t i = 0; i < shards->count; i++) {
        const struct placed *place = &shards->places[i];
        const struct tensor *t = weights_find(w, place->tensor);
        if (!t || strcmp(file_name(w, t), place->file) != 0)
            return err_set(e, EXIT_CONTENT,
                           "%s: tensor '%.200s' is not in '%.200s' as weight_map says", index,
                           place->tensor, place->file);
    }
    if (w->count > shards->count)
        log_warn("%s: the shards hold %zu tensors that weight_map does not list", index,
                 w->count - shards->count);
    return true;
}

/* --- open ----------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    const struct tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool merge_lists(struct weights *w, struct err *e) {
    for (int f = 0; f < w->n_files; f++)
        w->count += w->files[f].list.count;
    w->tensors = must_zalloc(w->count, sizeof *w->tensors);
    size_t at = 0;
    for (int f = 0; f < w->n_files; f++) {
        struct tensor_list *list = &w->files[f].list;
        for (size_t i = 0; i < list->count; i++, at++) {
            w->tensors[at] = list->items[i];
            w->tensors[at].file = f;
        }
        free(list->items);
        list->items = NULL;
    }
    if (w->count)
        qsort(w->tensors, w->count, sizeof *w->tensors, by_name);
    for (size_t i = 1; i < w->count; i++)
        if (by_name(&w->tensors[i - 1], &w->tensors[i]) == 0)
            return err_set(e, EXIT_CONTENT, "%s: tensor '%.200s' also occurs in '%s'",
                           w->files[w->tensors[i].file].path, w->tensors[i].name,
                           file_name(w, &w->tensors[i - 1]));
    return true;
}

typedef bool list_fn(struct file *file, struct err *e);

static bool open_all(struct weights *w, list_fn *list, struct err *e) {
    for (int f = 0; f < w->n_files; f++)
        if (!open_file(&w->files[f], e))
            return false;
    for (int f = 0; f < w->n_files; f++)
        if (!list(&w->files[f], e))
            return false;
    return merge_lists(w, e);
}

static bool open_single(struct weights *w, const char *path, list_fn *list, struct err *e) {
    w->files = must_zalloc(1, sizeof *w->files);
    w->n_files = 1;
    w->files[0] = (struct file){.path = must_strdup(path), .fd = -1};
    return open_all(w, list, e);
}

static bool open_sharded(struct weights *w, const char *folder, const char *index, struct err *e) {
    struct shards shards;
    bool ok = shards_read(&shards, folder, index, e);
    if (ok) {
        name_shards(w, folder, &shards);
        ok = open_all(w, list_safetensors, e) && check_map(w, index, &shards, e);
    }
    shards_free(&shards);
    return ok;
}

static bool open_folder(struct weights *w, const char *folder, struct err *e) {
    struct stat s;
    char *single = file_join(folder, SINGLE_NAME), *index = file_join(folder, INDEX_NAME);
    bool ok;
    if (lstat(single, &s) == 0)
        ok = open_single(w, single, list_safetensors, e);
    else if (stat(index, &s) == 0)
        ok = S_ISREG(s.st_mode) ? open_sharded(w, folder, index, e)
                                : err_set(e, EXIT_CONTENT, "%s: expected a regular file", index);
    else
        ok = err_set(e, EXIT_CONTENT, "%s: holds neither " SINGLE_NAME " nor " INDEX_NAME, folder);
    free(index);
    free(single);
    return ok;
}

static bool open_path(struct weights *w, const char *path, struct err *e) {
    struct stat s;
    if (stat(path, &s) != 0)
        return err_errno(e, errno == EACCES ? EXIT_ENV : EXIT_USAGE, "%s", path);
    if (S_ISDIR(s.st_mode))
        return open_folder(w, path, e);
    if (S_ISREG(s.st_mode))
        return open_single(w, path, list_gguf, e);
    return err_set(e, EXIT_CONTENT, "%s: expected a model folder or a GGUF file", path);
}

struct weights *weights_open(const char *path, struct err *e) {
    struct weights *w = must_zalloc(1, sizeof *w);
    if (open_path(w, path, e))
        return w;
    weights_close(w);
    return NULL;
}

void weights_close(struct weights *w) {
    if (!w)
        return;
    for (int f = 0; f < w->n_files; f++) {
        if (w->files[f].fd >= 0)
            close(w->files[f].fd);
        tensor_list_free(&w->files[f].list);
        gguf_free(w->files[f].gguf);
        free(w->files[f].path);
    }
    free(w->files);
    free(w->tensors);
    free(w);
}

size_t weights_count(const struct weights *w) { return w->count; }
const struct tensor *weights_at(const struct weights *w, size_t i) { return &w->tensors[i]; }

const struct tensor *weights_find(const struct weights *w, const char *name) {
    struct tensor key = {.name = name};
    return w->count ? bsearch(&key, w->tensors, w->count, sizeof key, by_name) : NULL;
}

const struct gguf *weights_gguf(const struct weights *w) {
    return w && w->n_files ? w->files[0].gguf : NULL;
}

/* --- reading ---------------------------------------------------------------------- */

/* `count` numbers from number `first` on, both whole blocks. */
static bool read_numbers(const struct file *file, const struct tensor *t, uint64_t first,
                         uint64_t count, float *out, struct err *e) {
    const struct dtype_format *f = &dtype_formats[t->type];
    uint64_t block = (uint64_t)f->block, bytes = (uint64_t)f->bytes;
    uint64_t offset = t->offset + first / block * bytes, n_blocks = count / block;
    if (t->type == DTYPE_F32)
        return read_at(file, offset, out, 4 * count, e);
    uint8_t chunk[CHUNK];
    for (uint64_t n; n_blocks; n_blocks -= n, offset += n * bytes, out += n * block) {
        n = n_blocks < CHUNK / bytes ? n_blocks : CHUNK / bytes;
        if (!read_at(file, offset, chunk, n * bytes, e))
            return false;
        f->widen(chunk, n, out);
    }
    return true;
}

/* Where row `row` of an interleaved tensor lies: of each head's two halves, a row each in turn. */
static uint64_t interleaved(const struct tensor *t, uint64_t row) {
    uint64_t size = (uint64_t)t->shape[0] / (uint64_t)t->heads, at = row % size, half = size / 2;
    return row - at + at % half * 2 + at / half;
}

bool weights_read(const struct weights *w, const struct tensor *t, int64_t row, int64_t n_rows,
                  float *out, struct err *e) {
    const struct file *file = &w->files[t->file];
    uint64_t rows = t->rank >= 2 ? (uint64_t)t->shape[0] : 1, row_size = 1;
    for (int i = t->rank >= 2; i < t->rank; i++)
        row_size *= (uint64_t)t->shape[i];
    CHECK(row >= 0 && n_rows >= 0 && (uint64_t)row <= rows &&
          (uint64_t)n_rows <= rows - (uint64_t)row);
    uint64_t first = (uint64_t)row, count = (uint64_t)n_rows;
    bool ok = true;
    if (t->type == DTYPE_OTHER)
        ok = err_set(e, EXIT_CONTENT, "%s: dtype %s, expected F32, F16 or BF16", file->path,
                     t->type_name);
    else if (!t->heads)
        ok = read_numbers(file, t, first * row_size, count * row_size, out, e);
    else
        for (uint64_t i = 0; ok && i < count; i++)
            ok = read_numbers(file, t, interleaved(t, first + i) * row_size, row_size,
                              out + i * row_size, e);
    return ok || err_in(e, "tensor '%.200s'", t->name);
}

bool weights_plain(const struct tensor *t) {
    return !t->heads && t->type < DTYPE_OTHER && dtype_formats[t->type].block == 1;
}

bool weights_read_raw(const struct weights *w, const struct tensor *t, uint64_t offset, uint64_t n,
                      void *out, struct err *e) {
    CHECK(offset <= t->bytes && n <= t->bytes - offset);
    return read_at(&w->files[t->file], t->offset + offset, out, n, e) ||
           err_in(e, "tensor '%.200s'", t->name);
}

bool weights_hash(const struct weights *w, char out[HASH_HEX], struct err *e) {
    size_t digits = HASH_HEX - 1;
    char *all = must_alloc((size_t)w->n_files * digits + 1);
    bool ok = true;
    for (int f = 0; f < w->n_files && ok; f++)
        ok = hash_file(w->files[f].path, all + (size_t)f * digits, e);
    if (ok)
        hash_bytes(all, (size_t)w->n_files * digits, out);
    free(all);
    return ok;
}
