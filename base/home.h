/* Where the project's own files lie: experiments, plots, models. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The file or folder `name`, looked for in the working folder, then beside the program and up to
 * two folders above it (the program may lie in build/CONFIG). false where there is none, or out is
 * too small. */
bool home_find(const char *name, char *out, size_t size);
