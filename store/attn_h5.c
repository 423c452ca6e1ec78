#include "store/attn_h5.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin_once(void) {
    CHECK(H5dont_atexit() >= 0 && H5open() >= 0);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void h5_begin(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin_once);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* a stack for each thread */
}

static herr_t note(unsigned n, const H5E_error2_t *error, void *text) {
    if (n == 0) /* the innermost, as the walk goes outward */
        snprintf(text, 200, "%s", error->desc ? error->desc : "no reason given");
    return 0;
}

bool h5_fail(struct err *e, int code, const char *path, const char *what) {
    char text[200] = "no reason given";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, note, text);
    H5Eclear2(H5E_DEFAULT);
    return err_set(e, code, "%s: %s: HDF5: %s", path, what, text);
}

hid_t h5_half(void) {
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type < 0)
        return type;
    if (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 ||
        H5Tset_ebias(type, 15) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

hid_t h5_text(size_t size) {
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0)
        return type;
    if (H5Tset_size(type, size ? size : 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0 ||
        H5Tset_strpad(type, H5T_STR_NULLPAD) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

hid_t h5_put_list(hid_t where, const char *name, hid_t file_type, hid_t memory_type, size_t n,
                  const void *data) {
    hsize_t size = n;
    hid_t space = H5Screate_simple(1, &size, NULL), plist = H5Pcreate(H5P_DATASET_CREATE), set = -1;
    if (space >= 0 && plist >= 0 && H5Pset_obj_track_times(plist, false) >= 0)
        set = H5Dcreate2(where, name, file_type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    if (set >= 0 && H5Dwrite(set, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        H5Dclose(set);
        set = -1;
    }
    H5Pclose(plist);
    H5Sclose(space);
    return set;
}

static bool put_attribute(hid_t where, const char *name, hid_t file_type, hid_t memory_type,
                          const void *data) {
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = space < 0 ? -1 : H5Acreate2(where, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = a >= 0 && H5Awrite(a, memory_type, data) >= 0;
    ok = (a < 0 || H5Aclose(a) >= 0) && ok;
    H5Sclose(space);
    return ok;
}

bool h5_put_text(hid_t where, const char *name, const char *text) {
    hid_t type = h5_text(strlen(text));
    bool ok = type >= 0 && put_attribute(where, name, type, type, text);
    H5Tclose(type);
    return ok;
}

bool h5_put_int(hid_t where, const char *name, int64_t value) {
    return put_attribute(where, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

bool h5_put_real(hid_t where, const char *name, double value) {
    return put_attribute(where, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

static char *text_of(hid_t a, hid_t type) {
    char *text = NULL;
    size_t size = H5Tget_size(type);
    double real;
    int64_t whole;
    switch (H5Tget_class(type)) {
    case H5T_STRING:
        if (H5Tis_variable_str(type) == 0 && size < (1 << 20)) {
            text = must_zalloc(1, size + 1);
            if (H5Aread(a, type, text) < 0)
                free(text), text = NULL;
        }
        break;
    case H5T_FLOAT:
        if (H5Aread(a, H5T_NATIVE_DOUBLE, &real) >= 0)
            CHECK(asprintf(&text, "%.17g", real) > 0);
        break;
    case H5T_INTEGER:
        if (H5Aread(a, H5T_NATIVE_INT64, &whole) >= 0)
            CHECK(asprintf(&text, "%lld", (long long)whole) > 0);
        break;
    default:
        break;
    }
    return text;
}

char *h5_get_text(hid_t where, const char *name) {
    if (H5Aexists(where, name) <= 0)
        return NULL;
    hid_t a = H5Aopen(where, name, H5P_DEFAULT);
    hid_t type = a < 0 ? -1 : H5Aget_type(a), space = a < 0 ? -1 : H5Aget_space(a);
    char *text = type >= 0 && space >= 0 && H5Sget_simple_extent_npoints(space) == 1
                     ? text_of(a, type)
                     : NULL;
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(a);
    return text;
}

bool h5_get_int(hid_t where, const char *name, int64_t *value) {
    char *text = h5_get_text(where, name), *end = NULL;
    if (text)
        *value = strtoll(text, &end, 10);
    bool ok = text && end != text && !*end;
    free(text);
    return ok;
}

int32_t *h5_get_list(hid_t where, const char *name, int64_t most, int32_t *n) {
    int32_t *list = NULL;
    hid_t set = H5Dopen2(where, name, H5P_DEFAULT);
    hid_t space = set < 0 ? -1 : H5Dget_space(set);
    hsize_t size = 0;
    if (space >= 0 && H5Sget_simple_extent_ndims(space) == 1 &&
        H5Sget_simple_extent_dims(space, &size, NULL) == 1 && (int64_t)size <= most) {
        list = must_zalloc((size_t)size, sizeof *list);
        *n = (int32_t)size;
        if (H5Dread(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, list) < 0)
            free(list), list = NULL;
    }
    H5Sclose(space);
    H5Dclose(set);
    return list;
}

const char *attn_library(void) {
    static char text[32];
    unsigned major, minor, release;
    h5_begin();
    H5get_libversion(&major, &minor, &release);
    snprintf(text, sizeof text, "%u.%u.%u", major, minor, release);
    return text;
}
