/* The second pass: what lies in the raw file becomes the HDF5 file. It is compressed, closed,
 * opened again, compared number by number, sealed, synced, and only then gets its name. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/attn_h5.h"
#include "store/attn_half.h"
#include "store/attn_private.h"

enum { DEFLATE = 1 };

struct axis {
    const char *name, *about;
    hid_t id;
};
enum { AXIS_LAYER, AXIS_HEAD, AXIS_KV, AXIS_STEP, AXIS_KEY, AXIS_PAGE, AXES };

struct pack {
    struct attn_file *f;
    const char *path; /* of the file in the making */
    hid_t file;
    hid_t set[KINDS];
    struct axis axes[AXES];
    int32_t n_steps, n_keys, n_pages;
    char *chunk, *back; /* [ATTN_STEPS][width] of any kind */
};

static const char *const names[KINDS] = {"attn", "attn_page_max", "attn_page_sum", "resident"};

static hid_t memory_type(int kind) {
    switch (kind) {
    case KIND_FULL:
        return h5_half();
    case KIND_RESIDENT:
        return H5Tcopy(H5T_NATIVE_UINT8);
    default:
        return H5Tcopy(H5T_NATIVE_FLOAT);
    }
}

static hid_t file_type(int kind) {
    switch (kind) {
    case KIND_FULL:
        return h5_half();
    case KIND_RESIDENT:
        return H5Tcopy(H5T_STD_U8LE);
    default:
        return H5Tcopy(H5T_IEEE_F32LE);
    }
}

static bool is_paged(int kind) { return kind == KIND_MAX || kind == KIND_SUM; }
static int32_t keys_of(const struct pack *p, int kind) {
    return is_paged(kind) ? p->n_pages : p->n_keys;
}

/* --- chunks ----------------------------------------------------------------------------------- */

struct chunk { /* steps [step, step + n_steps) of one plane, keys [key, key + n_keys) */
    int kind, layer, head;
    int32_t step, key, n_steps, n_keys;
};

static bool read_at(int fd, char *data, size_t size, uint64_t offset) {
    while (size) {
        ssize_t n = pread(fd, data, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0) { /* the end of the file is a hole, too */
            memset(data, 0, size);
            return true;
        }
        data += n, size -= (size_t)n, offset += (uint64_t)n;
    }
    return true;
}

/* From the raw file: [ATTN_STEPS][width]. */
static bool load(const struct pack *p, const struct chunk *c, struct err *e) {
    const struct attn_file *f = p->f;
    const struct attn_planes *k = &f->kinds[c->kind];
    uint64_t plane = (uint64_t)c->layer * (uint64_t)k->n_heads + (uint64_t)c->head;
    for (int32_t done = 0; done < c->n_steps; done += f->height) {
        uint64_t stripe = (uint64_t)((c->step + done) / f->height);
        uint64_t at = k->offset + (plane * (uint64_t)f->n_stripes + stripe) * k->strip +
                      (uint64_t)(c->key / k->width) * k->tile;
        if (!read_at(f->fd, p->chunk + (size_t)done * (size_t)k->width * k->item, k->tile, at))
            return err_errno(e, EXIT_ENV, "%s", f->raw_path);
    }
    return true;
}

/* Spaces of a chunk in the dataset and in memory; closed by the caller. */
static bool select_chunk(const struct pack *p, const struct chunk *c, hid_t *space, hid_t *memory) {
    hsize_t start[4] = {(hsize_t)c->layer, (hsize_t)c->head, (hsize_t)c->step, (hsize_t)c->key};
    hsize_t count[4] = {1, 1, (hsize_t)c->n_steps, (hsize_t)c->n_keys};
    hsize_t room[2] = {ATTN_STEPS, (hsize_t)p->f->kinds[c->kind].width}, none[2] = {0, 0};
    *space = H5Dget_space(p->set[c->kind]);
    *memory = H5Screate_simple(2, room, NULL);
    return *space >= 0 && *memory >= 0 &&
           H5Sselect_hyperslab(*space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
           H5Sselect_hyperslab(*memory, H5S_SELECT_SET, none, NULL, count + 2, NULL) >= 0;
}

static bool store(struct pack *p, const struct chunk *c, struct err *e) {
    hid_t space = -1, memory = -1, type = memory_type(c->kind);
    bool ok = load(p, c, e);
    ok = ok && ((select_chunk(p, c, &space, &memory) &&
                 H5Dwrite(p->set[c->kind], type, memory, space, H5P_DEFAULT, p->chunk) >= 0) ||
                h5_fail(e, EXIT_ENV, p->path, names[c->kind]));
    H5Sclose(space);
    H5Sclose(memory);
    H5Tclose(type);
    return ok;
}

static bool compare(struct pack *p, const struct chunk *c, struct err *e) {
    const struct attn_planes *k = &p->f->kinds[c->kind];
    hid_t space = -1, memory = -1, type = memory_type(c->kind);
    bool ok = load(p, c, e);
    ok = ok && ((select_chunk(p, c, &space, &memory) &&
                 H5Dread(p->set[c->kind], type, memory, space, H5P_DEFAULT, p->back) >= 0) ||
                h5_fail(e, EXIT_ENV, p->path, names[c->kind]));
    size_t row = (size_t)k->width * k->item;
    for (int32_t i = 0; ok && i < c->n_steps; i++)
        ok = !memcmp(p->chunk + (size_t)i * row, p->back + (size_t)i * row,
                     (size_t)c->n_keys * k->item) ||
             err_set(e, EXIT_ENV, "%s: %s does not hold what was written: the disk or memory fails",
                     p->path, names[c->kind]);
    H5Sclose(space);
    H5Sclose(memory);
    H5Tclose(type);
    return ok;
}

/* Every chunk that holds a born key; the others stay unallocated. */
static bool each_chunk(struct pack *p,
                       bool (*act)(struct pack *p, const struct chunk *c, struct err *e),
                       struct err *e) {
    for (int kind = 0; kind < KINDS; kind++) {
        const struct attn_planes *k = &p->f->kinds[kind];
        struct chunk c = {.kind = kind};
        if (!k->present)
            continue;
        int32_t keys = keys_of(p, kind), scale = is_paged(kind) ? ATTN_PAGE : 1;
        for (c.layer = 0; c.layer < p->f->params.layers.n; c.layer++)
            for (c.head = 0; c.head < k->n_heads; c.head++)
                for (c.step = 0; c.step < p->n_steps; c.step += ATTN_STEPS) {
                    int32_t left = p->n_steps - c.step;
                    c.n_steps = left < ATTN_STEPS ? left : ATTN_STEPS;
                    int32_t last = p->f->first_query + c.step + c.n_steps - 1;
                    for (c.key = 0; c.key < keys && c.key * scale <= last; c.key += k->width) {
                        c.n_keys = keys - c.key < k->width ? keys - c.key : k->width;
                        if (!act(p, &c, e))
                            return false;
                        attn_breathe(p->f->writer);
                    }
                }
    }
    return true;
}

/* --- the file --------------------------------------------------------------------------------- */

static bool put_axis(struct pack *p, int axis, const char *name, const char *about, int32_t n,
                     const int32_t *items) {
    hid_t set = h5_put_list(p->file, name, H5T_STD_I32LE, H5T_NATIVE_INT32, (size_t)n, items);
    p->axes[axis] = (struct axis){name, about, set};
    return set >= 0 && h5_put_text(set, "long_name", about) && H5DSset_scale(set, name) >= 0;
}

static bool put_range(struct pack *p, int axis, const char *name, const char *about, int32_t from,
                      int32_t by, int32_t n) {
    int32_t *items = must_alloc((size_t)n * sizeof *items);
    for (int32_t i = 0; i < n; i++)
        items[i] = from + i * by;
    bool ok = put_axis(p, axis, name, about, n, items);
    free(items);
    return ok;
}

static bool put_axes(struct pack *p) {
    const struct attn_file *f = p->f;
    return put_axis(p, AXIS_LAYER, "layer", "layer of the model", f->params.layers.n,
                    f->params.layers.items) &&
           put_axis(p, AXIS_HEAD, "head", "q head", f->params.heads.n, f->params.heads.items) &&
           put_axis(p, AXIS_KV, "kv_head", "KV head", f->n_kv_heads, f->kv_heads) &&
           put_range(p, AXIS_STEP, "step", "position of the query", f->first_query, 1,
                     p->n_steps) &&
           put_range(p, AXIS_KEY, "key", "position of the key", 0, 1, p->n_keys) &&
           put_range(p, AXIS_PAGE, "page", "position of the page's first key", 0, ATTN_PAGE,
                     p->n_pages);
}

static bool name_axes(struct pack *p, int kind) {
    const int axes[4] = {AXIS_LAYER, kind == KIND_RESIDENT ? AXIS_KV : AXIS_HEAD, AXIS_STEP,
                         is_paged(kind) ? AXIS_PAGE : AXIS_KEY};
    for (unsigned i = 0; i < 4; i++)
        if (H5DSattach_scale(p->set[kind], p->axes[axes[i]].id, i) < 0 ||
            H5DSset_label(p->set[kind], i, p->axes[axes[i]].name) < 0)
            return false;
    return true;
}

static bool put_fill(hid_t plist, int kind, hid_t type) {
    static const uint16_t half = HALF_NAN;
    static const float nan_ = NAN;
    static const uint8_t zero = 0;
    const void *fill = kind == KIND_FULL       ? (const void *)&half
                       : kind == KIND_RESIDENT ? (const void *)&zero
                                               : (const void *)&nan_;
    return H5Pset_fill_value(plist, type, fill) >= 0;
}

static bool make_set(struct pack *p, int kind) {
    const struct attn_planes *k = &p->f->kinds[kind];
    int32_t keys = keys_of(p, kind);
    hsize_t size[4] = {(hsize_t)p->f->params.layers.n, (hsize_t)k->n_heads, (hsize_t)p->n_steps,
                       (hsize_t)keys};
    hsize_t chunk[4] = {1, 1, (hsize_t)(p->n_steps < ATTN_STEPS ? p->n_steps : ATTN_STEPS),
                        (hsize_t)(keys < k->width ? keys : k->width)};
    hid_t space = H5Screate_simple(4, size, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    hid_t in_file = file_type(kind), in_memory = memory_type(kind);
    bool ok = space >= 0 && plist >= 0 && in_file >= 0 && in_memory >= 0 &&
              H5Pset_chunk(plist, 4, chunk) >= 0 && put_fill(plist, kind, in_memory) &&
              H5Pset_obj_track_times(plist, false) >= 0 && H5Pset_shuffle(plist) >= 0 &&
              H5Pset_deflate(plist, DEFLATE) >= 0 && H5Pset_fletcher32(plist) >= 0;
    if (ok)
        p->set[kind] =
            H5Dcreate2(p->file, names[kind], in_file, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    H5Tclose(in_memory);
    H5Tclose(in_file);
    H5Pclose(plist);
    H5Sclose(space);
    return ok && p->set[kind] >= 0 && name_axes(p, kind);
}

/* --- tokens and notes ---------------------------------------------------------------------------
 */

static bool put_of_keys(struct pack *p, hid_t group, const char *name, hid_t in_file,
                        hid_t in_memory, const void *data) {
    hid_t set = h5_put_list(group, name, in_file, in_memory, (size_t)p->n_keys, data);
    bool ok = set >= 0 && H5DSattach_scale(set, p->axes[AXIS_KEY].id, 0) >= 0 &&
              H5DSset_label(set, 0, "key") >= 0;
    H5Dclose(set);
    return ok;
}

static bool put_ints(struct pack *p, hid_t group, const char *name, const int32_t *list) {
    return !list || put_of_keys(p, group, name, H5T_STD_I32LE, H5T_NATIVE_INT32, list);
}

static bool put_texts(struct pack *p, hid_t group) {
    const struct attn_tokens *t = &p->f->tokens;
    size_t longest = 1;
    for (int32_t i = 0; i < t->n; i++)
        longest = strlen(t->text[i]) > longest ? strlen(t->text[i]) : longest;
    char *texts = must_zalloc((size_t)t->n, longest);
    for (int32_t i = 0; i < t->n; i++)
        memcpy(texts + (size_t)i * longest, t->text[i], strlen(t->text[i]));
    hid_t type = h5_text(longest);
    bool ok = type >= 0 && put_of_keys(p, group, "text", type, type, texts);
    H5Tclose(type);
    free(texts);
    return ok;
}

static bool put_tokens(struct pack *p) {
    const struct attn_tokens *t = &p->f->tokens;
    int32_t *role = must_zalloc((size_t)t->n, 2 * sizeof *role), *step = role + t->n;
    for (int32_t i = 0; i < t->n; i++) {
        role[i] = i >= t->n_prompt;
        step[i] = i < t->n_prompt ? -1 : i - t->n_prompt;
    }
    hid_t group = H5Gcreate2(p->file, "tokens", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = group >= 0 && put_ints(p, group, "id", t->id) && put_texts(p, group) &&
              put_of_keys(p, group, "role", H5T_STD_U8LE, H5T_NATIVE_INT32, role) &&
              put_ints(p, group, "step", step) && put_ints(p, group, "gold_step", t->gold_step) &&
              put_ints(p, group, "gold_lemma", t->gold_lemma) &&
              put_ints(p, group, "gold_source", t->gold_source);
    ok = (group < 0 || H5Gclose(group) >= 0) && ok;
    free(role);
    return ok;
}

static bool put_notes(struct pack *p) {
    const struct attn_params *a = &p->f->params;
    char now[32];
    clock_utc(now);
    bool ok = h5_put_int(p->file, "schema_version", ATTN_SCHEMA) &&
              h5_put_text(p->file, "created", now) &&
              h5_put_int(p->file, "model_layers", a->n_layers) &&
              h5_put_int(p->file, "model_heads", a->n_heads) &&
              h5_put_int(p->file, "model_kv_heads", a->n_kv_heads) &&
              h5_put_int(p->file, "n_prompt", a->n_prompt) &&
              h5_put_int(p->file, "first_query", p->f->first_query);
    for (int i = 0; ok && i < p->f->n_notes; i++) {
        const struct attn_note *note = &p->f->notes[i];
        bool whole = floor(note->number) == note->number && fabs(note->number) < 0x1p53;
        ok = note->text ? h5_put_text(p->file, note->name, note->text)
             : whole    ? h5_put_int(p->file, note->name, (int64_t)note->number)
                        : h5_put_real(p->file, note->name, note->number);
    }
    return ok && h5_put_int(p->file, "complete", 1); /* the last */
}

/* --- from raw to whole --------------------------------------------------------------------------
 */

static bool make(struct pack *p, struct err *e) {
    hid_t plist = H5Pcreate(H5P_FILE_CREATE);
    if (plist >= 0 && H5Pset_userblock(plist, ATTN_SEAL) >= 0)
        p->file = H5Fcreate(p->path, H5F_ACC_TRUNC, plist, H5P_DEFAULT);
    H5Pclose(plist);
    if (p->file < 0)
        return h5_fail(e, EXIT_ENV, p->path, "cannot be made");
    bool ok = put_axes(p);
    for (int kind = 0; ok && kind < KINDS; kind++)
        ok = !p->f->kinds[kind].present || make_set(p, kind);
    if (!ok || !put_tokens(p) || !put_notes(p))
        return h5_fail(e, EXIT_ENV, p->path, "cannot be written");
    return each_chunk(p, store, e);
}

/* Everything that is open; false where the library says that bytes did not reach the file. */
static bool shut(struct pack *p) {
    bool ok = true;
    for (int kind = 0; kind < KINDS; kind++)
        ok = (p->set[kind] < 0 || H5Dclose(p->set[kind]) >= 0) && ok, p->set[kind] = -1;
    for (int i = 0; i < AXES; i++)
        ok = (p->axes[i].id < 0 || H5Dclose(p->axes[i].id) >= 0) && ok, p->axes[i].id = -1;
    ok = (p->file < 0 || H5Fclose(p->file) >= 0) && ok;
    p->file = -1;
    return ok;
}

static bool check(struct pack *p, struct err *e) {
    p->file = H5Fopen(p->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (p->file < 0)
        return h5_fail(e, EXIT_ENV, p->path, "cannot be opened again");
    for (int kind = 0; kind < KINDS; kind++)
        if (p->f->kinds[kind].present) {
            p->set[kind] = H5Dopen2(p->file, names[kind], H5P_DEFAULT);
            if (p->set[kind] < 0)
                return h5_fail(e, EXIT_ENV, p->path, names[kind]);
        }
    return each_chunk(p, compare, e);
}

static bool sync_folder(const char *path, struct err *e) {
    char *copy = must_strdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* some file systems know no sync of a folder, and say EINVAL */
    bool ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
    if (!ok)
        err_errno(e, EXIT_ENV, "%s: its folder", path);
    if (fd >= 0)
        close(fd);
    free(copy);
    return ok;
}

bool attn_pack(struct attn_file *f, uint64_t *bytes, struct err *e) {
    struct pack p = {.f = f, .file = -1};
    char *path = must_alloc(strlen(f->params.path) + 8);
    p.path = strcat(strcpy(path, f->params.path), ".part");
    p.n_keys = f->tokens.n;
    p.n_steps = p.n_keys - f->first_query;
    p.n_pages = (p.n_keys + ATTN_PAGE - 1) / ATTN_PAGE;
    CHECK(p.n_steps > 0 && p.n_steps <= f->max_steps);
    for (int i = 0; i < AXES; i++)
        p.axes[i].id = -1;
    for (int kind = 0; kind < KINDS; kind++)
        p.set[kind] = -1;
    p.chunk = must_alloc(ATTN_STEPS * ATTN_KEYS * sizeof(float));
    p.back = must_alloc(ATTN_STEPS * ATTN_KEYS * sizeof(float));
    h5_begin();
    bool ok = make(&p, e);
    if (!shut(&p) && ok)
        ok = h5_fail(e, EXIT_ENV, path, "cannot be closed");
    ok = ok && check(&p, e);
    if (!shut(&p) && ok)
        ok = h5_fail(e, EXIT_ENV, path, "cannot be closed");
    ok = ok && attn_seal(path, bytes, e) &&
         (rename(path, f->params.path) == 0 || err_errno(e, EXIT_ENV, "%s", f->params.path)) &&
         sync_folder(f->params.path, e);
    if (!ok)
        unlink(path);
    free(p.chunk);
    free(p.back);
    free(path);
    return ok;
}
