#include "commands/lines.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/jsonl.h"

void lines_print(struct json_out *out) {
    puts(out->text);
    free(out->text);
}

static void print_error(const struct err *e) {
    struct json_out out = {0};
    json_open(&out, '{');
    json_add_text(&out, "error", e->text);
    json_close(&out, '}');
    lines_print(&out);
}

/* One line; returns whether it was answered. */
static bool answer_line(lines_fn *answer, const void *context, const struct jsonl *lines,
                        const struct json_doc *doc, struct err *e) {
    struct json_out out = {0};
    if (doc && answer(context, json_root(doc), &out, e)) {
        lines_print(&out);
        return true;
    }
    free(out.text);
    if (doc)
        err_in(e, "line %zu of %s", lines->number, lines->path);
    print_error(e);
    return false;
}

int lines_answer(lines_fn *answer, const void *context, const char *path, struct err *e) {
    struct jsonl lines;
    if (!jsonl_open(&lines, path, e))
        return e->code;
    int code = EXIT_OK;
    for (;;) {
        struct err line = {0};
        struct json_doc *doc;
        if (!jsonl_next(&lines, &doc, &line)) {
            if (line.code)
                *e = line;
            break;
        }
        if (!answer_line(answer, context, &lines, doc, &line))
            code = EXIT_PARTIAL;
        json_free(doc);
    }
    jsonl_close(&lines);
    return e->code ? e->code : code;
}
