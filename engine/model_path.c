#include "engine/model_path.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/home.h"

/* glob would read a '[' in the folder's own name as a pattern. */
static void quote(const char *folder, char *out, size_t size) {
    size_t n = 0;
    for (; *folder && n + 2 < size; folder++) {
        if (strchr("*?[]\\", *folder))
            out[n++] = '\\';
        out[n++] = *folder;
    }
    out[n] = 0;
}

static bool look_in(const char *folder, char *out, size_t size) {
    char quoted[2 * PATH_MAX], pattern[2 * PATH_MAX + 40];
    quote(folder, quoted, sizeof quoted);
    snprintf(pattern, sizeof pattern, "%s/models/lemmas-*/config.json", quoted);
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0)
        return false;
    const char *path = found.gl_pathv[0];
    size_t n = (size_t)(strrchr(path, '/') - path);
    bool fits = n < size;
    if (fits)
        snprintf(out, size, "%.*s", (int)n, path);
    globfree(&found);
    return fits;
}

bool model_default_path(char *out, size_t size, struct err *e) {
    char folder[PATH_MAX];
    for (int place = 0; home_folder(place, folder, sizeof folder); place++)
        if (*folder && look_in(folder, out, size))
            return true;
    return err_set(
        e, EXIT_USAGE,
        "no embedded model (models/lemmas-*) in the working folder or beside the program; "
        "name a model with --model");
}

const char *model_path_or_default(const char *path, char *out, size_t size, struct err *e) {
    if (path)
        return path;
    return model_default_path(out, size, e) ? out : NULL;
}
