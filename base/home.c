#include "base/home.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The program's own build folder has folders of the same names, with objects in them. */
static bool is_build(const char *folder) {
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/main.o", folder);
    return access(path, F_OK) == 0;
}

bool home_find(const char *name, char *out, size_t size) {
    if (strlen(name) < size && access(name, F_OK) == 0) {
        strcpy(out, name);
        return true;
    }
    char folder[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    folder[n < 0 ? 0 : n] = 0;
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(folder, '/');
        if (!slash)
            return false;
        *slash = 0;
        if (is_build(folder))
            continue;
        if ((size_t)snprintf(out, size, "%s/%s", folder, name) < size && access(out, F_OK) == 0)
            return true;
    }
    return false;
}
