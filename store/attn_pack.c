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
#include "store/attn_pack.h"

enum { DEFLATE = 1 };

const char *const attn_set_names[KINDS] = {"attn", "attn_page_max", "attn_page_sum", "resident"};

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
    float value; /* room for any */
    chunks_fill(kind, (char *)&value, 1);
    return H5Pset_fill_value(plist, type, &value) >= 0;
}

static bool make_set(struct pack *p, int kind) {
    const struct attn_planes *k = &p->f->kinds[kind];
    int32_t keys = keys_of(p, kind);
    hsize_t size[4] = {(hsize_t)p->f->params.layers.n, (hsize_t)k->n_heads, (hsize_t)p->n_steps,
                       (hsize_t)keys};
    hsize_t chunk[4] = {1, 1, (hsize_t)steps_of_chunk(p), (hsize_t)keys_of_chunk(p, kind)};
    hid_t space = H5Screate_simple(4, size, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    hid_t in_file = file_type(kind), in_memory = memory_type(kind);
    bool ok = space >= 0 && plist >= 0 && in_file >= 0 && in_memory >= 0 &&
              H5Pset_chunk(plist, 4, chunk) >= 0 && put_fill(plist, kind, in_memory) &&
              H5Pset_obj_track_times(plist, false) >= 0 && H5Pset_shuffle(plist) >= 0 &&
              H5Pset_deflate(plist, DEFLATE) >= 0 && H5Pset_fletcher32(plist) >= 0;
    if (ok)
        p->set[kind] = H5Dcreate2(p->file, attn_set_names[kind], in_file, space, H5P_DEFAULT, plist,
                                  H5P_DEFAULT);
    H5Tclose(in_memory);
    H5Tclose(in_file);
    H5Pclose(plist);
    H5Sclose(space);
    return ok && p->set[kind] >= 0 && name_axes(p, kind);
}

/* --- tokens and notes ------------------------------------------------------------------------- */

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

/* --- from raw to whole ------------------------------------------------------------------------ */

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
    if (!ok || !put_tokens(p) || !lives_write(p) || !put_notes(p))
        return h5_fail(e, EXIT_ENV, p->path, "cannot be written");
    return chunks_write(p, e);
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
            p->set[kind] = H5Dopen2(p->file, attn_set_names[kind], H5P_DEFAULT);
            if (p->set[kind] < 0)
                return h5_fail(e, EXIT_ENV, p->path, attn_set_names[kind]);
        }
    if (!lives_check(p))
        return h5_fail(e, EXIT_ENV, p->path, "/lives cannot be read back as it was written");
    return chunks_check(p, e);
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

static void open_pack(struct pack *p, struct attn_file *f, const char *path) {
    *p = (struct pack){.f = f, .path = path, .file = -1};
    p->n_keys = f->tokens.n;
    p->n_steps = p->n_keys - f->first_query;
    p->n_pages = (p->n_keys + ATTN_PAGE - 1) / ATTN_PAGE;
    CHECK(p->n_steps > 0 && p->n_steps <= f->max_steps);
    for (int i = 0; i < AXES; i++)
        p->axes[i].id = -1;
    for (int kind = 0; kind < KINDS; kind++)
        p->set[kind] = -1;
    chunks_open(p);
}

bool attn_pack(struct attn_file *f, uint64_t *bytes, struct err *e) {
    struct pack p;
    char *path = must_alloc(strlen(f->params.path) + 8);
    open_pack(&p, f, strcat(strcpy(path, f->params.path), ".part"));
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
    chunks_close(&p);
    free(path);
    return ok;
}
