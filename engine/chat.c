#include "engine/chat.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "engine/gguf.h"

enum { MAX_BYTES = 64 << 20 };

/* --- what the model brings ----------------------------------------------------------------- */

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

bool chat_text(const struct model *model, char **text, struct err *e) {
    *text = NULL;
    const struct gguf *gguf = weights_gguf(model->weights);
    if (!gguf)
        return read_folder(model->path, text, e);
    static const char key[] = "tokenizer.chat_template";
    struct gguf_text found = gguf_string(gguf_find(gguf, key));
    if (!found.bytes && gguf_find(gguf, key))
        return gguf_wrong(gguf, key, "a text", e);
    if (found.bytes) {
        *text = must_zalloc(1, found.size + 1);
        memcpy(*text, found.bytes, found.size);
    }
    return true;
}

/* --- which one ---------------------------------------------------------------------------- */

const struct chat_template *chat_find(const char *sha256) {
    for (const struct chat_template *f = chat_table; f->name; f++)
        for (int i = 0; i < CHAT_TEXTS && f->sha256[i]; i++)
            if (!strcmp(f->sha256[i], sha256))
                return f;
    return NULL;
}

static const struct chat_template *find_name(const char *name) {
    const struct chat_template *f = chat_table;
    while (f->name && strcmp(f->name, name) != 0)
        f++;
    return f->name ? f : NULL;
}

bool chat_check(const char *wanted, struct err *e) {
    if (!strcmp(wanted, "auto") || !strcmp(wanted, "none") || find_name(wanted))
        return true;
    char list[400] = "";
    for (const struct chat_template *f = chat_table; f->name; f++)
        err_list(list, sizeof list, f->name);
    return err_set(e, EXIT_USAGE, "chat template '%.60s': expected auto, none or one of %s", wanted,
                   list);
}

/* Jinja drops a newline at the end: with and without it a text is the same. */
static const struct chat_template *find_text(const char *text, char sha256[HASH_HEX]) {
    size_t n = strlen(text);
    char other[HASH_HEX], *longer = must_alloc(n + 1);
    memcpy(longer, text, n);
    longer[n] = '\n';
    hash_bytes(text, n, sha256);
    hash_bytes(longer, n && text[n - 1] == '\n' ? n - 1 : n + 1, other);
    free(longer);
    const struct chat_template *template = chat_find(sha256);
    return template ? template : chat_find(other);
}

static bool choose(const struct model *model, struct chat *out, struct err *e) {
    char *text, sha256[HASH_HEX];
    if (!chat_text(model, &text, e))
        return false;
    if (!text)
        return true;
    out->template = find_text(text, sha256);
    free(text);
    if (out->template)
        return true;
    log_warn("%s: its chat template (SHA-256 %.12s...) is not known, prompts go in as they are; "
             "--template NAME takes one of `raas list templates`",
             model->path, sha256);
    return true;
}

/* A name and each of the texts that lead to one template give the same prompts, so the hash is of
 * what all of them do: of [before,after,trim] as canonical JSON. */
static void identify(struct chat *chat) {
    const struct chat_template *template = chat->template;
    if (!template)
        return;
    struct json_out o = {0};
    json_open(&o, '[');
    json_put_text(&o, template->before);
    json_put_text(&o, template->after);
    json_put_bool(&o, template->trim);
    json_close(&o, ']');
    hash_bytes(o.text, o.size, chat->sha256);
    free(o.text);
}

bool chat_open(const struct model *model, const char *wanted, struct chat *out, struct err *e) {
    *out = (struct chat){.template = find_name(wanted)};
    if (!chat_check(wanted, e) || (!strcmp(wanted, "auto") && !choose(model, out, e)))
        return false;
    identify(out);
    return true;
}

const char *chat_name(const struct chat *chat) {
    return chat->template ? chat->template->name : "none";
}

/* --- prompts ---------------------------------------------------------------------------------- */

/* White space as Python's str.strip, and so Jinja's trim, has it. */
static bool is_blank(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static void trim(const char **text, size_t *size) {
    const char *at = *text, *end = at + *size, *stop = at;
    for (size_t width; at < end && (width = utf8_width(at, (size_t)(end - at))) &&
                       is_blank(utf8_code(at, width));)
        at += width;
    *text = stop = at;
    for (size_t width; at < end; at += width) {
        width = utf8_width(at, (size_t)(end - at));
        bool blank = width && is_blank(utf8_code(at, width));
        width = width ? width : 1;
        stop = blank ? stop : at + width;
    }
    *size = (size_t)(stop - *text);
}

char *chat_render(const struct chat_template *template, const char *text, size_t *size) {
    size_t n = strlen(template->before), m = strlen(template->after);
    if (template->trim)
        trim(&text, size);
    char *out = must_alloc(n + *size + m + 1);
    memcpy(out, template->before, n);
    memcpy(out + n, text, *size);
    memcpy(out + n + *size, template->after, m + 1);
    *size += n + m;
    return out;
}

bool chat_encode(const struct model *model, const struct chat *chat, const char *text, size_t size,
                 struct id_list *ids, struct err *e) {
    if (!model->tokenizer)
        return err_set(e, EXIT_CONTENT, "%s: no tokenizer, so only --ids works", model->path);
    if (!chat->template)
        return tokenizer_encode(model->tokenizer, text, size, true, ids, e);
    char *whole = chat_render(chat->template, text, &size);
    bool ok = tokenizer_encode(model->tokenizer, whole, size, false, ids, e);
    free(whole);
    return ok;
}
