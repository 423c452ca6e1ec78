/* Where the project's own files lie: experiments, plots, models. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The folders that may hold them, in the order of search: the working folder (place 0), the
 * program's own, and up to two above that (the program may lie in build/CONFIG). false past the
 * last; "" for one to pass over: a folder of objects, or a name that does not fit `out`. */
bool home_folder(int place, char *out, size_t size);

/* The file or folder `name` in the first of them that has it. false where there is none, or out is
 * too small. */
bool home_find(const char *name, char *out, size_t size);
