/* The components of tokenizer.json behind the model: post_processor, decoder. */
#include "engine/tokenizer_read.h"

/* --- post-processor ------------------------------------------------------------------------ */

/* The ids that the template names `id`. */
static bool read_template_token(struct reader *r, const struct json *processor, const char *id,
                                struct id_list *out) {
    const struct json *token = json_get(json_get(processor, "special_tokens"), id);
    const struct json *ids = json_get(token, "ids");
    if (absent(ids) || json_type(ids) != JSON_ARRAY)
        return FAIL(r, "%s: post_processor.special_tokens: expected \"ids\" for '%.60s'", r->name,
                    id);
    for (const struct json *n = json_first(ids); n; n = json_next(n)) {
        int64_t value;
        if (!read_id(r, n, "post_processor.special_tokens", id, &value))
            return false;
        if (value >= r->t->vocab.count || !r->t->vocab.pieces[value].known)
            return FAIL(r, "%s: post_processor.special_tokens: '%.60s': id %d is no token", r->name,
                        id, (int)value);
        id_list_add(out, (int32_t)value);
    }
    return true;
}

/* Reads the ids on both sides of the one sequence A. */
static bool read_single(struct reader *r, const struct json *p, struct id_list *before,
                        struct id_list *behind) {
    const struct json *single = json_get(p, "single");
    bool text = false;
    for (const struct json *m = json_first(single); m; m = json_next(m)) {
        const struct json *token = json_get(json_get(m, "SpecialToken"), "id");
        const struct json *sequence = json_get(json_get(m, "Sequence"), "id");
        const char *id = json_text(token ? token : sequence);
        if (!id || (!token && (text || strcmp(id, "A") != 0)))
            return FAIL(r, "%s: post_processor.single: expected special tokens and one sequence A",
                        r->name);
        text = text || !token;
        if (token && !read_template_token(r, p, id, text ? behind : before))
            return false;
    }
    return text || FAIL(r, "%s: post_processor.single: expected special tokens and one sequence A",
                        r->name);
}

/* A template in a sequence stands around what the ones before it made. */
static bool read_template(struct reader *r, const struct json *p) {
    struct id_list before = {0}, behind = {0};
    bool ok = read_single(r, p, &before, &behind);
    if (ok) {
        id_list_append(&before, &r->t->prefix);
        id_list_append(&r->t->suffix, &behind);
        id_list_free(&r->t->prefix);
        r->t->prefix = before;
    } else {
        id_list_free(&before);
    }
    id_list_free(&behind);
    return ok;
}

static bool read_post_processor(struct reader *r, const struct json *p) {
    if (absent(p))
        return true;
    const char *type = read_type(r, p, "post_processor");
    if (!type)
        return false;
    if (!strcmp(type, "ByteLevel")) /* moves offsets, not ids */
        return true;
    if (!strcmp(type, "TemplateProcessing"))
        return read_template(r, p);
    if (strcmp(type, "Sequence") != 0)
        return read_unsupported(r, "post_processor", type);
    return read_sequence(r, p, "post_processor", "processors", read_post_processor);
}

/* --- decoder --------------------------------------------------------------------------------- */

static bool add_step(struct reader *r, enum decode_kind kind, const char *from, const char *to,
                     int start, int stop) {
    return decode_add(r->t, kind, from, to, start, stop) ||
           FAIL(r, "%s: decoder: more than %d steps", r->name, DECODE_STEPS);
}

static bool read_replace(struct reader *r, const struct json *d) {
    const struct json *from = json_get(json_get(d, "pattern"), "String"),
                      *to = json_get(d, "content");
    if (absent(from) || absent(to) || !json_text(from) || !json_text(to))
        return FAIL(r,
                    "%s: decoder: Replace: expected a \"pattern\": {\"String\": text} and a "
                    "\"content\"",
                    r->name);
    size_t n = strlen(json_text(from)), m = strlen(json_text(to)), times = n ? (m + n - 1) / n : 1;
    r->growth = (r->growth ? r->growth : 1) * (times ? times : 1);
    if (r->growth > NORMAL_GROWTH)
        return FAIL(r, "%s: decoder: Replace: makes a text more than %d times its size", r->name,
                    NORMAL_GROWTH);
    return add_step(r, DECODE_REPLACE, json_text(from), json_text(to), 0, 0);
}

static bool read_strip(struct reader *r, const struct json *d) {
    const struct json *content = json_get(d, "content"), *start = json_get(d, "start"),
                      *stop = json_get(d, "stop");
    const char *text = absent(content) ? NULL : json_text(content);
    int64_t from, to;
    if (!text || !*text || absent(start) || absent(stop) ||
        !json_integer(start, 0, INT32_MAX, &from) || !json_integer(stop, 0, INT32_MAX, &to))
        return FAIL(r, "%s: decoder: Strip: expected a \"content\" and numbers \"start\", \"stop\"",
                    r->name);
    return add_step(r, DECODE_STRIP, text, NULL, (int)from, (int)to);
}

static bool read_metaspace(struct reader *r, const struct json *d) {
    char space[8];
    enum split_prefix prefix;
    return read_space(r, d, "decoder", space, &prefix) &&
           add_step(r, DECODE_METASPACE, space, NULL, prefix != PREFIX_NEVER, 0);
}

/* One step; ByteLevel only by itself. */
static bool read_decoder(struct reader *r, const struct json *decoder) {
    const char *type = read_type(r, decoder, "decoder");
    if (!type)
        return false;
    if (!strcmp(type, "Sequence"))
        return read_sequence(r, decoder, "decoder", "decoders", read_decoder);
    if (r->byte_level)
        return !strcmp(type, "ByteLevel") ||
               read_unsupported(r, "decoder (behind ByteLevel)", type);
    if (!strcmp(type, "ByteLevel"))
        return FAIL(r,
                    "%s: decoder of type 'ByteLevel': expected a pre_tokenizer of that type, too",
                    r->name);
    if (!strcmp(type, "Replace"))
        return read_replace(r, decoder);
    if (!strcmp(type, "ByteFallback"))
        return add_step(r, DECODE_BYTES, NULL, NULL, 0, 0);
    if (!strcmp(type, "Fuse"))
        return add_step(r, DECODE_FUSE, NULL, NULL, 0, 0);
    if (!strcmp(type, "Strip"))
        return read_strip(r, decoder);
    if (!strcmp(type, "Metaspace"))
        return read_metaspace(r, decoder);
    return read_unsupported(r, "decoder", type);
}

bool read_back(struct reader *r, const struct json *root) {
    const struct json *decoder = json_get(root, "decoder");
    if (absent(decoder))
        return FAIL(r, "%s: decoder: expected one", r->name);
    if (!read_decoder(r, decoder) || !read_post_processor(r, json_get(root, "post_processor")))
        return false;
    decode_texts(r->t);
    return true;
}
