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

/* The next line without its end, of which one byte more than a line may have is kept at most.
 * false: nothing is left. */
static bool read_line(struct jsonl *lines, size_t *size) {
    int c = getc_unlocked(lines->file);
    *size = 0;
    if (c == EOF)
        return false;
    for (; c != EOF && c != '\n'; c = getc_unlocked(lines->file)) {
        if (*size > JSONL_LINE)
            continue;
        if (*size == lines->room)
            lines->line = must_realloc(lines->line, lines->room = 2 * *size + 4096);
        lines->line[(*size)++] = (char)c;
    }
    return true;
}

bool jsonl_next(struct jsonl *lines, struct json_doc **doc, struct err *e) {
    size_t size;
    *doc = NULL;
    errno = 0;
    bool there = read_line(lines, &size);
    if (ferror(lines->file))
        return err_errno(e, EXIT_ENV, "%s", lines->path);
    if (!there)
        return false;
    lines->number++;
    char name[600];
    snprintf(name, sizeof name, "line %zu of %s", lines->number, lines->path);
    if (size > JSONL_LINE)
        err_set(e, EXIT_CONTENT, "%s: longer than %d bytes", name, JSONL_LINE);
    else
        *doc = json_parse(size ? lines->line : "", size, name, e);
    return true;
}
