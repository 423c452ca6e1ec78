/* Where the embedded model lies. */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* The folder models/lemmas-* (the first by name with a config.json) in the first folder of
 * base/home.h that has one. false (EXIT_USAGE) when there is none. */
bool model_default_path(char *out, size_t size, struct err *e);

/* `path`, or where it is NULL the embedded model's folder written to out; NULL on error. */
const char *model_path_or_default(const char *path, char *out, size_t size, struct err *e);
