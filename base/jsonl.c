#include "base/jsonl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool jsonl_open(struct jsonl *lines, const char *path, struct err *e) {
    *lines = (struct jsonl){.path = path};
    if (!strcmp(path, "-")) {
        lines->file = stdin;
        lines->path = "stdin";
        return true;
    }
    lines->file = fopen(path, "re");
    if (!lines->file)
        return err_errno(e, errno == ENOENT || errno == ENOTDIR ? EXIT_USAGE : EXIT_ENV, "%s",
                         path);
    struct stat st;
    if (fstat(fileno(lines->file), &st) == 0 && S_ISDIR(st.st_mode)) {
        jsonl_close(lines);
        return err_set(e, EXIT_CONTENT, "%s: expected a file, found a folder", path);
    }
    return true;
}

void jsonl_close(struct jsonl *lines) {
    if (lines->file && lines->file != stdin)
        fclose(lines->file);
    free(lines->line);
    *lines = (struct jsonl){0};
}

bool jsonl_next(struct jsonl *lines, struct json_doc **doc, struct err *e) {
    *doc = NULL;
    errno = 0;
    ssize_t n = getline(&lines->line, &lines->room, lines->file);
    if (n < 0) {
        if (!feof(lines->file))
            err_errno(e, EXIT_ENV, "%s", lines->path);
        return false;
    }
    lines->number++;
    char name[600];
    snprintf(name, sizeof name, "line %zu of %s", lines->number, lines->path);
    *doc = json_parse(lines->line, (size_t)n, name, e);
    return true;
}
