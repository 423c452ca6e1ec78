#include "commands/tokenizing.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/jsonl.h"
#include "engine/gguf_tokenizer.h"
#include "engine/model_path.h"

struct tokenizer *tokenizing_load(const struct tokenizing *common, struct err *e) {
    if (common->tokenizer)
        return gguf_file(common->tokenizer) ? tokenizer_read_gguf(common->tokenizer, e)
                                            : tokenizer_read(common->tokenizer, e);
    char folder[PATH_MAX], path[PATH_MAX + 20];
    const char *model = model_path_or_default(common->model, folder, sizeof folder, e);
    if (!model)
        return NULL;
    if (gguf_file(model))
        return tokenizer_read_gguf(model, e);
    snprintf(path, sizeof path, "%s/tokenizer.json", model);
    return tokenizer_read(path, e);
}

void tokenizing_print(struct json_out *out) {
    puts(out->text);
    free(out->text);
}

static void print_error(const struct err *e) {
    struct json_out out = {0};
    json_open(&out, '{');
    json_add_text(&out, "error", e->text);
    json_close(&out, '}');
    tokenizing_print(&out);
}

/* One line; returns whether it was answered. */
static bool answer_line(const struct tokenizer *tokenizer, const void *options,
                        tokenizing_fn *answer, const struct jsonl *lines,
                        const struct json_doc *doc, struct err *e) {
    struct json_out out = {0};
    bool ok = doc && answer(tokenizer, options, json_root(doc), &out, e);
    if (ok) {
        tokenizing_print(&out);
        return true;
    }
    free(out.text);
    if (doc)
        err_in(e, "line %zu of %s", lines->number, lines->path);
    print_error(e);
    return false;
}

int tokenizing_lines(const struct tokenizer *tokenizer, const void *options, tokenizing_fn *answer,
                     const char *path, struct err *e) {
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
        if (!answer_line(tokenizer, options, answer, &lines, doc, &line))
            code = EXIT_PARTIAL;
        json_free(doc);
    }
    jsonl_close(&lines);
    return e->code ? e->code : code;
}
