/* A subcommand. One file in commands/ ends in `const struct command command_NAME`; main.c only
 * looks it up. */
#pragma once

#include "base/err.h"

struct command {
    const char *name;
    const char *usage;   /* "raas table [--run R] ..." */
    const char *summary; /* one line */
    /* argv[0] is the subcommand's name. Returns the exit code; an error is reported by main if
     * e->code is set. */
    int (*run)(int argc, char **argv, struct err *e);
};
extern const struct command *const all_commands[];
const struct command *command_find(const char *name);
