#include "engine/chat.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/gguf.h"

enum { MAX_BYTES = 64 << 20 };

/* chat_template of tokenizer_config.json: a text, or a list of {"name", "template"}. */
static bool read_entry(const struct json *entry, const char *path, char **text, struct err *e) {
    if (!entry || json_type(entry) == JSON_NULL)
        return true;
    const char *found = json_text(entry);
    if (json_type(entry) == JSON_ARRAY)
        for (const struct json *m = json_first(entry); m; m = json_next(m)) {
            const struct json *name = json_get(m, "name"), *body = json_get(m, "template");
            if (name && body && json_text(name) && strcmp(json_text(name), "default") == 0)
                found = json_text(body);
        }
    if (!found)
        return err_set(e, EXIT_CONTENT,
                       "%s: chat_template: expected a text, or a list with one named 'default'",
                       path);
    *text = must_strdup(found);
    return true;
}

static bool read_folder(const char *folder, char **text, struct err *e) {
    char path[PATH_MAX];
    size_t size;
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    if (access(path, F_OK) == 0)
        return (*text = file_read(path, MAX_BYTES, &size, e)) != NULL;
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    if (access(path, F_OK) != 0)
        return true;
    struct json_doc *doc = json_read(path, MAX_BYTES, e);
    bool ok = doc && read_entry(json_get(json_root(doc), "chat_template"), path, text, e);
    json_free(doc);
    return ok;
}

bool chat_template(const struct model *model, char **text, struct err *e) {
    *text = NULL;
    const struct gguf *gguf = weights_gguf(model->weights);
    if (!gguf)
        return read_folder(model->path, text, e);
    struct gguf_text found = gguf_string(gguf_find(gguf, "tokenizer.chat_template"));
    if (found.bytes) {
        *text = must_zalloc(1, found.size + 1);
        memcpy(*text, found.bytes, found.size);
    }
    return true;
}

bool chat_encode(const struct model *model, enum chat chat, const char *text, size_t size,
                 struct id_list *ids, struct err *e) {
    char *template = NULL;
    if (!model->tokenizer)
        return err_set(e, EXIT_CONTENT, "%s: no tokenizer, so only --ids works", model->path);
    if (chat == CHAT_AUTO && !chat_template(model, &template, e))
        return false;
    bool has = template != NULL;
    free(template);
    if (has)
        return err_set(e, EXIT_USAGE,
                       "%s brings a chat template, which cannot be rendered; write the whole "
                       "prompt yourself and pass --template none",
                       model->path);
    return tokenizer_encode(model->tokenizer, text, size, true, ids, e);
}
