/* raas: looks up the subcommand and reports its error. Every command is one file in commands/. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "commands/command.h"
#include "version.h"

/* A full or closed stdout is never success. */
static int flush(int code) {
    if (code != EXIT_OK || (fflush(stdout) == 0 && !ferror(stdout)))
        return code;
    log_error("stdout could not be written");
    return EXIT_ENV;
}

static int usage(FILE *out) {
    fputs("usage: raas COMMAND [options]      (raas COMMAND --help says more)\n\n", out);
    for (const struct command *const *c = all_commands; *c; c++)
        fprintf(out, "  %-12s %s\n", (*c)->name, (*c)->summary);
    return out == stdout ? EXIT_OK : EXIT_USAGE;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return usage(stderr);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
        return flush(usage(stdout));
    if (!strcmp(argv[1], "--version")) {
        puts("raas " RAAS_COMMIT);
        return flush(EXIT_OK);
    }
    const struct command *command = command_find(argv[1]);
    if (!command) {
        log_error("unknown command '%s'; raas --help lists them", argv[1]);
        return EXIT_USAGE;
    }
    struct err e = {0};
    int code = command->run(argc - 1, argv + 1, &e);
    if (e.code) {
        log_error("%s", e.text);
        return e.code;
    }
    return flush(code);
}
