#include "engine/shards.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { MAX_SHARDS = 512, MAX_INDEX_BYTES = 64 << 20 };

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

/* Lists weight_map sorted by file. */
static bool read_map(struct shards *s, const char *index, struct err *e) {
    const struct json *map = json_get(json_root(s->doc), "weight_map");
    s->count = map && json_type(map) == JSON_OBJECT ? json_count(map) : 0;
    if (!s->count)
        return err_set(e, EXIT_CONTENT,
                       "%s: weight_map: expected a non-empty object of tensor names", index);
    s->places = must_zalloc(s->count, sizeof *s->places);
    size_t i = 0;
    for (const struct json *m = json_first(map); m; m = json_next(m), i++) {
        s->places[i] = (struct placed){.tensor = json_key(m), .file = json_text(m)};
        if (!s->places[i].file)
            return err_set(e, EXIT_CONTENT, "%s: weight_map: '%.200s': expected a file name", index,
                           json_key(m));
    }
    qsort(s->places, s->count, sizeof *s->places, by_file);
    return true;
}

static bool check_names(struct shards *s, const char *folder, const char *index, struct err *e) {
    for (size_t i = 0; i < s->count; i++) {
        struct placed *place = &s->places[i];
        place->first = i == 0 || strcmp(place->file, place[-1].file) != 0;
        if (place->first && s->n_files++ == MAX_SHARDS)
            return err_set(e, EXIT_CONTENT, "%s: more than %d shards", index, MAX_SHARDS);
        if (place->first && !check_shard_name(folder, index, place->file, e))
            return false;
    }
    return true;
}

bool shards_read(struct shards *out, const char *folder, const char *index, struct err *e) {
    *out = (struct shards){.doc = json_read(index, MAX_INDEX_BYTES, e)};
    return out->doc && read_map(out, index, e) && check_names(out, folder, index, e);
}

void shards_free(struct shards *s) {
    free(s->places);
    json_free(s->doc);
}
