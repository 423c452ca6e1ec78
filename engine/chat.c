#include "engine/chat.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/json.h"

static bool has_file(const char *folder, const char *name, char *out, size_t size) {
    snprintf(out, size, "%s/%s", folder, name);
    return access(out, F_OK) == 0;
}

bool chat_has_template(const char *folder, bool *has, struct err *e) {
    char path[PATH_MAX];
    *has = has_file(folder, "chat_template.jinja", path, sizeof path);
    if (*has || !has_file(folder, "tokenizer_config.json", path, sizeof path))
        return true;
    struct json_doc *doc = json_read(path, 64 << 20, e);
    if (!doc)
        return false;
    const struct json *entry = json_get(json_root(doc), "chat_template");
    *has = entry && json_type(entry) != JSON_NULL;
    json_free(doc);
    return true;
}

bool chat_encode(const struct model *model, enum chat chat, const char *text, size_t size,
                 struct id_list *ids, struct err *e) {
    bool has = false;
    if (!model->tokenizer)
        return err_set(e, EXIT_CONTENT, "%s: no tokenizer.json, so only --ids works", model->path);
    if (chat == CHAT_AUTO && !chat_has_template(model->path, &has, e))
        return false;
    if (has)
        return err_set(e, EXIT_USAGE,
                       "%s brings a chat template, which cannot be rendered; write the whole "
                       "prompt yourself and pass --template none",
                       model->path);
    return tokenizer_encode(model->tokenizer, text, size, true, ids, e);
}
