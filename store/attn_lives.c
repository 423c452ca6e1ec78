/* The group /lives of a file in the making: written, and read back for comparison. Small beside a
 * map, so the library's own filters do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/attn_pack.h"

static hid_t memory_type(enum attn_type type) {
    return type == ATTN_INT32     ? H5T_NATIVE_INT32
           : type == ATTN_FLOAT32 ? H5T_NATIVE_FLOAT
                                  : H5T_NATIVE_DOUBLE;
}

static hid_t file_type(enum attn_type type) {
    return type == ATTN_INT32     ? H5T_STD_I32LE
           : type == ATTN_FLOAT32 ? H5T_IEEE_F32LE
                                  : H5T_IEEE_F64LE;
}

static bool name_axes(struct pack *p, hid_t set, bool keys) {
    const int axes[3] = {AXIS_LAYER, AXIS_HEAD, AXIS_KEY};
    for (unsigned i = 0; i < (keys ? 3 : 2); i++)
        if (H5DSattach_scale(set, p->axes[axes[i]].id, i) < 0 ||
            H5DSset_label(set, i, p->axes[axes[i]].name) < 0)
            return false;
    return true;
}

static bool put_array(struct pack *p, hid_t group, const struct attn_array *a) {
    const struct attn_params *params = &p->f->params;
    hsize_t n = (hsize_t)(a->n ? a->n : p->n_keys);
    hsize_t size[3] = {(hsize_t)params->layers.n, (hsize_t)params->heads.n, n};
    hsize_t chunk[3] = {1, 1, n};
    hid_t space = H5Screate_simple(3, size, NULL), plist = H5Pcreate(H5P_DATASET_CREATE), set = -1;
    bool ok = space >= 0 && plist >= 0 && H5Pset_chunk(plist, 3, chunk) >= 0 &&
              H5Pset_obj_track_times(plist, false) >= 0 && H5Pset_shuffle(plist) >= 0 &&
              H5Pset_deflate(plist, 1) >= 0 && H5Pset_fletcher32(plist) >= 0;
    if (ok)
        set =
            H5Dcreate2(group, a->name, file_type(a->type), space, H5P_DEFAULT, plist, H5P_DEFAULT);
    ok = set >= 0 && name_axes(p, set, !a->n) &&
         H5Dwrite(set, memory_type(a->type), H5S_ALL, H5S_ALL, H5P_DEFAULT, a->data) >= 0;
    ok = (set < 0 || H5Dclose(set) >= 0) && ok;
    H5Pclose(plist);
    H5Sclose(space);
    return ok;
}

bool lives_write(struct pack *p) {
    if (!p->f->params.lives)
        return true;
    hid_t group = H5Gcreate2(p->file, "lives", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = group >= 0;
    for (int i = 0; ok && i < p->f->n_lives; i++)
        ok = put_array(p, group, &p->f->lives[i]);
    return (group < 0 || H5Gclose(group) >= 0) && ok;
}

bool lives_check(struct pack *p) {
    const struct attn_params *params = &p->f->params;
    bool ok = true;
    for (int i = 0; ok && i < p->f->n_lives; i++) {
        const struct attn_array *a = &p->f->lives[i];
        size_t size = attn_array_bytes(a, params->layers.n, params->heads.n, p->n_keys);
        char name[80], *back = must_alloc(size);
        snprintf(name, sizeof name, "lives/%s", a->name);
        hid_t set = H5Dopen2(p->file, name, H5P_DEFAULT);
        ok = set >= 0 &&
             H5Dread(set, memory_type(a->type), H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0 &&
             !memcmp(back, a->data, size);
        if (set >= 0)
            H5Dclose(set);
        free(back);
    }
    return ok;
}
