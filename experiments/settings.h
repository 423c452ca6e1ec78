/* The layers of an experiment file: what the file says, what the chosen scale overrides, what --set
 * overrides. The last layer that names a key wins; every key of every layer must be known. */
#pragma once

#include "base/err.h"
#include "base/json.h"

struct setting {
    const char *key;
    const struct json *value;
    const char *scale; /* counts only under this scale; NULL: always */
    bool command_line; /* said by --set: mistakes are EXIT_USAGE, those of the file EXIT_CONTENT */
};

struct settings {
    const char *path; /* borrowed */
    const char *scale;
    const char *const *keys; /* known keys, NULL-ended; borrowed */
    struct setting *items;   /* owned, in order of rank */
    int n_items;
    struct json_doc **docs; /* owned: the file and one per --set */
    char **names;           /* owned: the keys of --set */
    int n_docs;
};

/* Reads PATH and applies `sets` ("key=value"; value is JSON, else a bare string;
 * "scale.NAME.key=value" changes a scale). scale NULL: none. Errors name the key and list the known
 * ones. On failure nothing has to be closed. */
bool settings_open(const char *path, const char *scale, const char *const *sets, int n_sets,
                   const char *const *keys, struct settings *out, struct err *e);
void settings_close(struct settings *settings);

/* The value in force; NULL where nobody says anything. */
const struct setting *settings_find(const struct settings *settings, const char *key);

/* Puts file and key in front of an error that the value of `setting` caused, with the exit code of
 * its origin. Returns false. */
bool settings_blame(const struct settings *settings, const struct setting *setting, struct err *e);

/* Appends the values in force as one canonical JSON object (keys in the order of `keys`). */
void settings_json(const struct settings *settings, struct json_out *out);
