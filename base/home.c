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

bool home_folder(int place, char *out, size_t size) {
    char path[PATH_MAX] = ".";
    if (place > 0) {
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
        path[n < 0 ? 0 : n] = 0;
    }
    for (int i = 0; i < place; i++) {
        char *slash = strrchr(path, '/');
        if (!slash)
            return false;
        *slash = 0;
    }
    if ((size_t)snprintf(out, size, "%s", path) >= size || is_build(path))
        *out = 0;
    return place <= 3;
}

bool home_find(const char *name, char *out, size_t size) {
    char folder[PATH_MAX];
    for (int place = 0; home_folder(place, folder, sizeof folder); place++) {
        if (!*folder)
            continue;
        bool here = place == 0; /* then the short name that a user would type */
        int n = snprintf(out, size, "%s%s%s", here ? "" : folder, here ? "" : "/", name);
        if ((size_t)n < size && access(out, F_OK) == 0)
            return true;
    }
    return false;
}
