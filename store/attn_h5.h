/* The HDF5 library, for store/attn*.c alone: every call checked, its own error stack silenced and
 * said once. The library is never asked to clean up at the program's end: after a full disk that
 * would crash. */
#pragma once

#include <hdf5.h>
#include <hdf5_hl.h>
#include <stdbool.h>

#include "base/err.h"

/* Before any other call; any thread, any number of times. */
void h5_begin(void);

/* After a call of the library that failed: the innermost message of its stack into e, which says
 * `path: what: MESSAGE`. EXIT_ENV where a disk may be the reason, else EXIT_CONTENT. */
bool h5_fail(struct err *e, int code, const char *path, const char *what);

hid_t h5_half(void);        /* IEEE half precision, to be closed with H5Tclose */
hid_t h5_text(size_t size); /* UTF-8 of that many bytes, filled with 0 */

/* A dataset of rank 1, written whole; negative on failure. Close it with H5Dclose. */
hid_t h5_put_list(hid_t where, const char *name, hid_t file_type, hid_t memory_type, size_t n,
                  const void *data);
bool h5_put_text(hid_t where, const char *name, const char *text);
bool h5_put_int(hid_t where, const char *name, int64_t value);
bool h5_put_real(hid_t where, const char *name, double value);

/* A text or number as text, malloc'd; NULL where there is none. */
char *h5_get_text(hid_t where, const char *name);
bool h5_get_int(hid_t where, const char *name, int64_t *value);
/* A dataset of rank 1 and 32-bit integers, malloc'd: *n of them, at most `most`; NULL on failure.
 */
int32_t *h5_get_list(hid_t where, const char *name, int64_t most, int32_t *n);
