#include "commands/tokenizing.h"

#include <limits.h>
#include <stdio.h>

#include "engine/gguf_tokenizer.h"
#include "engine/model_path.h"

static struct tokenizer *load(const struct tokenizing *common, struct err *e) {
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

bool tokenizing_load(struct tokenizing *common, struct err *e) {
    common->loaded = load(common, e);
    return common->loaded;
}
