/* Option tables: one table gives parsing, ranges, help, spelling and the stored JSON.
 * Used for the options of policies and datasets ("raas:budget=256,r=0.5") and for command-line
 * flags. */
#pragma once

#include <stddef.h>

#include "base/err.h"

enum option_type {
    OPTION_INT,    /* int64_t field */
    OPTION_REAL,   /* double field */
    OPTION_BOOL,   /* bool field; 0|1 as policy option, bare --name as flag */
    OPTION_CHOICE, /* int field: index into `choices` */
    OPTION_TEXT,   /* const char * field, borrowed (argv, plan); NULL by default, never empty */
    OPTION_STRING, /* char[OPTION_STRING_ROOM] field, a copy; "" by default */
    OPTION_LIST, /* struct option_list field: a TEXT that may be given several times; flags only */
};

#define OPTION_STRING_ROOM 256
#define OPTION_LIST_MAX 64
struct option_list {
    int count;
    const char *items[OPTION_LIST_MAX]; /* borrowed, in the order given */
};

struct option {
    const char *name;
    enum option_type type;
    size_t offset;       /* of the field in the parameter struct */
    double standard;     /* default value (TEXT: ignored) */
    double min, max;     /* inclusive range of INT and REAL */
    const char *choices; /* CHOICE: "abs|rank" */
    const char *help;    /* one line, no full stop; a TEXT's "FILE: " in front names its value */
};
/* The last row of every table. */
#define OPTION_END \
    { NULL, OPTION_INT, 0, 0, 0, 0, NULL, NULL }

/* Sets every field to its default. */
void option_defaults(const struct option *table, void *param);

/* Sets one field from text. Errors (EXIT_USAGE) name `what` (e.g. "policy raas"), the key, the
 * value and what was expected; an unknown key lists the known ones. `param` is unchanged on error.
 */
bool option_set(const struct option *table, void *param, const char *what, const char *key,
                const char *value, struct err *e);

/* Parses "key=value,key=value" (empty is fine; a key given twice is an error). TEXT options are not
 * allowed; a comma inside a value is written "\,". */
bool option_parse(const struct option *table, void *param, const char *what, const char *text,
                  struct err *e);

/* Writes the options that differ from their defaults as "key=value,key=value" in table order,
 * skipping the key `skip` (may be NULL). Numbers are spelled shortest-exact. Returns the length
 * (buffer always ended). */
size_t option_spell(const struct option *table, const void *param, const char *skip, char *out,
                    size_t size);

/* Name number `index` of "abs|rank", not ended by 0; *size is 0 past the last one. */
const char *option_choice(const char *choices, int index, size_t *size);

/* Writes every option as canonical JSON: keys sorted bytewise, no spaces, numbers shortest-exact.
 */
size_t option_json(const struct option *table, const void *param, char *out, size_t size);

/* Parses argv[1..] of a subcommand: --name value, --name=value, --flag ('-' and '_' in names are
 * the same). What is no flag is moved, in order, to the front of argv (argv[0] on); *n_args is
 * their number. "--" ends the flags. A flag given twice is an error (LIST and BOOL aside). On
 * --help prints usage, the text `about` (may hold several lines) and the table to stdout and exits
 * 0. `usage` begins "raas NAME". */
bool option_argv(const struct option *table, void *param, const char *usage, const char *about,
                 int argc, char **argv, int *n_args, struct err *e);
