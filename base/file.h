/* Whole files: read within a limit, written so that a reader never sees half of one. */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* malloc'd bytes of a regular file, with a 0 behind the last (*size does not count it). NULL: no
 * such path (EXIT_USAGE), not readable (EXIT_ENV), no regular file or larger than max_bytes
 * (EXIT_CONTENT). */
char *file_read(const char *path, size_t max_bytes, size_t *size, struct err *e);

/* Writes head then body to PATH.part, syncs, renames onto PATH; a device or pipe is written to as
 * it is, never replaced. false (EXIT_ENV) leaves no .part behind. */
bool file_write(const char *path, const void *head, size_t head_size, const void *body,
                size_t body_size, struct err *e);

/* "folder/name", malloc'd. */
char *file_join(const char *folder, const char *name);

/* Makes the folders above `path` where they are missing: "a/b/c" makes a and a/b. EXIT_ENV. */
bool file_folders(const char *path, struct err *e);
