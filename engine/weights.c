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
#include "base/json.h"
#include "base/log.h"

#define SINGLE_NAME "model.safetensors"
#define INDEX_NAME "model.safetensors.index.json"

enum { MAX_SHARDS = 512, MAX_INDEX_BYTES = 64 << 20, CHUNK = 8192 };

struct file {
    char *path; /* owned */
    int fd;
    uint64_t bytes;
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

static bool list_file(struct file *file, struct err *e) {
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

/* --- the index of shards ------------------------------------------------------ */

struct placed { /* one line of weight_map; borrowed from the JSON */
    const char *tensor, *file;
};

static int by_file(const void *a, const void *b) {
    const struct placed *x = a, *y = b;
    return strcmp(x->file, y->file);
}

/* Whether `path`, all links followed, lies in `root` or below. */
static bool lies_in(const char *root, const char *path) {
    size_t n = strlen(root);
    return strncmp(path, root, n) == 0 && (path[n] == '/' || root[n - 1] == '/');
}

/* The folder that links of shards may not leave: the model folder, or the cache entry around
 * snapshots/REV. */
static char *allowed_root(const char *folder) {
    char *root = realpath(folder, NULL);
    if (!root)
        return NULL;
    char *revision = strrchr(root, '/');
    *revision = 0;
    char *snapshots = strrchr(root, '/');
    bool is_cache = snapshots && snapshots != root && strcmp(snapshots, "/snapshots") == 0;
    if (is_cache)
        *snapshots = 0;
    else
        *revision = '/';
    return root;
}

static bool check_shard_name(const char *folder, const char *index, const char *name,
                             struct err *e) {
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(e, EXIT_CONTENT,
                       "%s: shard '%.200s': expected the name of a file in the same folder", index,
                       name);
    char *path = file_join(folder, name), *root = allowed_root(folder),
         *target = realpath(path, NULL);
    bool ok = root && target && lies_in(root, target);
    if (!target)
        err_errno(e, EXIT_CONTENT, "%s: shard '%.200s'", index, name);
    else if (!ok)
        err_set(e, EXIT_CONTENT, "%s: shard '%.200s' is a link that leaves the folder", index,
                name);
    free(target);
    free(root);
    free(path);
    return ok;
}

/* Lists weight_map sorted by file; NULL on error. */
static struct placed *read_map(const struct json_doc *doc, const char *index, size_t *count,
                               struct err *e) {
    const struct json *map = json_get(json_root(doc), "weight_map");
    *count = map && json_type(map) == JSON_OBJECT ? json_count(map) : 0;
    if (!*count) {
        err_set(e, EXIT_CONTENT, "%s: weight_map: expected a non-empty object of tensor names",
                index);
        return NULL;
    }
    struct placed *places = must_zalloc(*count, sizeof *places);
    size_t i = 0;
    for (const struct json *m = json_first(map); m; m = json_next(m), i++) {
        places[i] = (struct placed){json_key(m), json_text(m)};
        if (!places[i].file) {
            err_set(e, EXIT_CONTENT, "%s: weight_map: '%.200s': expected a file name", index,
                    json_key(m));
            free(places);
            return NULL;
        }
    }
    qsort(places, *count, sizeof *places, by_file);
    return places;
}

/* All shard names are checked before the first is opened. */
static bool name_shards(struct weights *w, const char *folder, const char *index,
                        const struct placed *places, size_t count, struct err *e) {
    w->files = must_zalloc(MAX_SHARDS, sizeof *w->files);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(places[i].file, places[i - 1].file) == 0)
            continue;
        if (w->n_files == MAX_SHARDS)
            return err_set(e, EXIT_CONTENT, "%s: more than %d shards", index, MAX_SHARDS);
        if (!check_shard_name(folder, index, places[i].file, e))
            return false;
        w->files[w->n_files++] = (struct file){.path = file_join(folder, places[i].file), .fd = -1};
    }
    return true;
}

static const char *file_name(const struct weights *w, const struct tensor *t) {
    return strrchr(w->files[t->file].path, '/') + 1;
}

/* The index and the shards must tell the same story. */
static bool check_map(const struct weights *w, const char *index, const struct placed *places,
                      size_t count, struct err *e) {
    for (size_t i = 0; i < count; i++) {
        const struct tensor *t = weights_find(w, places[i].tensor);
        if (!t || strcmp(file_name(w, t), places[i].file) != 0)
            return err_set(e, EXIT_CONTENT,
                           "%s: tensor '%.200s' is not in '%.200s' as weight_map says", index,
                           places[i].tensor, places[i].file);
    }
    if (w->count > count)
        log_warn("%s: the shards hold %zu tensors that weight_map does not list", index,
                 w->count - count);
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

static bool open_all(struct weights *w, struct err *e) {
    for (int f = 0; f < w->n_files; f++)
        if (!open_file(&w->files[f], e))
            return false;
    for (int f = 0; f < w->n_files; f++)
        if (!list_file(&w->files[f], e))
            return false;
    return merge_lists(w, e);
}

static bool open_single(struct weights *w, const char *path, struct err *e) {
    w->files = must_zalloc(1, sizeof *w->files);
    w->n_files = 1;
    w->files[0] = (struct file){.path = must_strdup(path), .fd = -1};
    return open_all(w, e);
}

static bool open_sharded(struct weights *w, const char *folder, const char *index, struct err *e) {
    struct json_doc *doc = json_read(index, MAX_INDEX_BYTES, e);
    size_t count = 0;
    struct placed *places = doc ? read_map(doc, index, &count, e) : NULL;
    bool ok = places && name_shards(w, folder, index, places, count, e) && open_all(w, e) &&
              check_map(w, index, places, count, e);
    free(places);
    json_free(doc);
    return ok;
}

static bool open_folder(struct weights *w, const char *folder, struct err *e) {
    struct stat s;
    if (stat(folder, &s) != 0)
        return err_errno(e, errno == EACCES ? EXIT_ENV : EXIT_USAGE, "%s", folder);
    if (!S_ISDIR(s.st_mode))
        return err_set(e, EXIT_CONTENT, "%s: expected a model folder", folder);
    char *single = file_join(folder, SINGLE_NAME), *index = file_join(folder, INDEX_NAME);
    bool ok;
    if (lstat(single, &s) == 0)
        ok = open_single(w, single, e);
    else if (stat(index, &s) == 0)
        ok = S_ISREG(s.st_mode) ? open_sharded(w, folder, index, e)
                                : err_set(e, EXIT_CONTENT, "%s: expected a regular file", index);
    else
        ok = err_set(e, EXIT_CONTENT, "%s: holds neither " SINGLE_NAME " nor " INDEX_NAME, folder);
    free(index);
    free(single);
    return ok;
}

struct weights *weights_open(const char *path, struct err *e) {
    struct weights *w = must_zalloc(1, sizeof *w);
    if (open_folder(w, path, e))
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

/* --- reading ---------------------------------------------------------------------- */

static float widen_bf16(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static float widen_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31,
             fraction = half & 0x3ff;
    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24 is exact */
        float small = (float)fraction * 0x1p-24f;
        return sign ? -small : small;
    }
    uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static bool read_halves(const struct file *file, const struct tensor *t, uint64_t offset,
                        uint64_t count, float *out, struct err *e) {
    uint16_t chunk[CHUNK];
    for (uint64_t done = 0; done < count;) {
        uint64_t n = count - done < CHUNK ? count - done : CHUNK;
        if (!read_at(file, offset + 2 * done, chunk, 2 * n, e))
            return false;
        for (uint64_t i = 0; i < n; i++)
            out[done + i] = t->type == DTYPE_BF16 ? widen_bf16(chunk[i]) : widen_f16(chunk[i]);
        done += n;
    }
    return true;
}

bool weights_read(const struct weights *w, const struct tensor *t, int64_t row, int64_t n_rows,
                  float *out, struct err *e) {
    const struct file *file = &w->files[t->file];
    uint64_t rows = t->rank >= 2 ? (uint64_t)t->shape[0] : 1, row_size = 1;
    for (int i = t->rank >= 2; i < t->rank; i++)
        row_size *= (uint64_t)t->shape[i];
    CHECK(row >= 0 && n_rows >= 0 && (uint64_t)row <= rows &&
          (uint64_t)n_rows <= rows - (uint64_t)row);
    uint64_t first = (uint64_t)row * row_size, count = (uint64_t)n_rows * row_size;
    bool ok;
    if (t->type == DTYPE_OTHER)
        ok = err_set(e, EXIT_CONTENT, "%s: dtype %s, expected F32, F16 or BF16", file->path,
                     t->type_name);
    else if (t->type == DTYPE_F32)
        ok = read_at(file, t->offset + 4 * first, out, 4 * count, e);
    else
        ok = read_halves(file, t, t->offset + 2 * first, count, out, e);
    return ok || err_in(e, "tensor '%.200s'", t->name);
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
