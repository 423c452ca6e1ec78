#include "tests/tokenizers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "tests/folder.h"

struct text texts[MAX_TEXTS];
size_t n_texts;
#define FORMS 4
static char *forms[FORMS];
static const char *const form_names[FORMS] = {"@MODEL@", "@PAIRS@", "@WHOLE@", "@SPM@"};

static char *read_or_fail(const char *path) {
    struct err e = {0};
    size_t size;
    char *text = file_read(path, 1 << 28, &size, &e);
    if (!text)
        fail_msg("%s", e.text);
    return text;
}

void tokenizers_load(void) {
    static const char *const paths[FORMS] = {GOLDEN "model.json", GOLDEN "pairs.json",
                                             GOLDEN "whole.json", GOLDEN "spm.json"};
    for (int i = 0; i < FORMS; i++)
        forms[i] = read_or_fail(paths[i]);
    struct jsonl lines;
    struct json_doc *doc;
    struct err e = {0};
    assert_true(jsonl_open(&lines, GOLDEN "texts.jsonl", &e));
    while (jsonl_next(&lines, &doc, &e)) {
        size_t size;
        const char *bytes = json_bytes(json_get(json_root(doc), "text"), &size);
        assert_true(n_texts < MAX_TEXTS);
        texts[n_texts].bytes = must_alloc(size);
        memcpy(texts[n_texts].bytes, bytes, size);
        texts[n_texts++].size = size;
        json_free(doc);
    }
    jsonl_close(&lines);
}

void tokenizers_free(void) {
    for (size_t i = 0; i < n_texts; i++)
        free(texts[i].bytes);
    for (int i = 0; i < FORMS; i++)
        free(forms[i]);
}

/* The text with @MODEL@ and the like replaced; malloc'd. */
static char *filled(const char *text) {
    for (int i = 0; i < FORMS; i++) {
        const char *at = strstr(text, form_names[i]);
        char *out;
        if (at && asprintf(&out, "%.*s%s%s", (int)(at - text), text, forms[i],
                           at + strlen(form_names[i])) > 0)
            return out;
    }
    return must_strdup(text);
}

struct tokenizer *tokenizers_parse(const char *json) {
    struct err e = {0};
    char *text = filled(json);
    struct tokenizer *t = tokenizer_parse(text, strlen(text), "t.json", &e);
    if (!t)
        fail_msg("%s", e.text);
    free(text);
    return t;
}

/* The variant of that name, or the tokenizer of a folder of models/. */
struct tokenizer *tokenizers_named(const char *name) {
    struct err e = {0};
    struct tokenizer *found = NULL;
    if (!strncmp(name, "models/", 7)) {
        char path[300];
        snprintf(path, sizeof path, "%s/tokenizer.json", name);
        found = tokenizer_read(path, &e);
    }
    struct jsonl lines;
    struct json_doc *doc;
    assert_true(jsonl_open(&lines, GOLDEN "variants.jsonl", &e));
    while (!found && jsonl_next(&lines, &doc, &e)) {
        if (!strcmp(json_text(json_get(json_root(doc), "name")), name))
            found = tokenizers_parse(json_text(json_get(json_root(doc), "json")));
        json_free(doc);
    }
    jsonl_close(&lines);
    if (!found)
        fail_msg("%s: %s", name, e.text);
    return found;
}

void bytes_append(struct bytes *b, const void *data, size_t size) {
    if (b->room - b->size < size) {
        b->room = 2 * (b->size + size);
        b->data = must_realloc(b->data, b->room);
    }
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

struct id_list tokenizers_encode(const struct tokenizer *t, struct text text, bool special) {
    struct id_list ids = {0};
    struct err e = {0};
    if (!tokenizer_encode(t, text.bytes, text.size, special, &ids, &e))
        fail_msg("%s", e.text);
    return ids;
}

const char *tokenizers_shared(void) {
    const char *shared = getenv("RAAS_SHARED");
    return shared ? shared : "../shared";
}

static bool unpack(const char *shared, const char *folder) {
    char tool[600], probe[600];
    snprintf(tool, sizeof tool, "%s/tools/unpack-tokenizers", shared);
    snprintf(probe, sizeof probe, "%s/qwen3/tokenizer.json", folder);
    if (access(tool, X_OK) != 0)
        return false;
    if (access(probe, R_OK) == 0)
        return true;
    pid_t child = fork();
    if (child == 0) {
        execl(tool, tool, folder, (char *)NULL);
        _exit(127);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

const char *tokenizers_real(void) {
    static char folder[300];
    snprintf(folder, sizeof folder, "%s/tokenizers", folder_of_program());
    if (!unpack(tokenizers_shared(), folder)) {
        printf("skipped: real tokenizers are not in %s\n", tokenizers_shared());
        skip();
    }
    return folder;
}
