/* Downloads, in builds that have libcurl (make CURL=1). */
#pragma once

#include "base/err.h"

/* false: this build has no libcurl. */
bool fetch_can(void);

/* The content of an https address into a file: written as PATH.part, then renamed; folders are
 * made. EXIT_ENV. */
bool fetch_file(const char *url, const char *path, struct err *e);
