/* The components of tokenizer.json that stand round the model: normalizer, pre_tokenizer,
 * post_processor, decoder. */
#include <stdio.h>

#include "engine/tokenizer_reader.h"

/* GPT-2's pattern, which ByteLevel applies when use_regex is set. */
#define GPT2_PATTERN \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* The "type" of a component; NULL (and an error) without one. */
static const char *type_of(struct reader *r, const struct json *component, const char *place) {
    const struct json *type = json_get(component, "type");
    const char *text = type ? json_text(type) : NULL;
    if (!text)
        FAIL(r, "%s: %s: expected an object with a \"type\"", r->name, place);
    return text;
}

static bool unsupported(struct reader *r, const char *place, const char *type) {
    return FAIL(r, "%s: %s of type '%.60s' is not supported (byte-level BPE only)", r->name, place,
                type);
}

/* --- normalizer and pre-tokenizer ----------------------------------------------------------- */

static bool read_normalizer(struct reader *r, const struct json *n) {
    if (absent(n))
        return true;
    const char *type = type_of(r, n, "normalizer");
    if (!type)
        return false;
    if (!strcmp(type, "NFC"))
        return r->t->nfc = true;
    if (strcmp(type, "Sequence") != 0)
        return unsupported(r, "normalizer", type);
    const struct json *list = json_get(n, "normalizers");
    if (absent(list) || json_type(list) != JSON_ARRAY)
        return FAIL(r, "%s: normalizer.normalizers: expected a list", r->name);
    for (const struct json *m = json_first(list); m; m = json_next(m))
        if (!read_normalizer(r, m))
            return false;
    return true;
}

static bool read_keep(struct reader *r, const struct json *p, enum split_keep *keep) {
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"};
    const struct json *behavior = json_get(p, "behavior");
    const char *text = absent(behavior) ? NULL : json_text(behavior);
    for (int i = 0; text && i < 5; i++)
        if (!strcmp(text, names[i])) {
            *keep = (enum split_keep)i;
            return true;
        }
    return FAIL(r,
                "%s: pre_tokenizer.behavior: expected Isolated, Removed, Contiguous, "
                "MergedWithPrevious or MergedWithNext",
                r->name);
}

static bool read_split(struct reader *r, const struct json *p, struct split *step) {
    const struct json *pattern = json_get(p, "pattern");
    const struct json *regex = json_get(pattern, "Regex"), *string = json_get(pattern, "String");
    const char *text = json_text(regex ? regex : string);
    if (!text)
        return FAIL(r,
                    "%s: pre_tokenizer.pattern: expected {\"Regex\": text} or {\"String\": text}",
                    r->name);
    char place[600];
    snprintf(place, sizeof place, "%s: pre_tokenizer", r->name);
    if (!read_keep(r, p, &step->keep) ||
        !read_option(r, p, "invert", "pre_tokenizer", &step->invert))
        return false;
    return !*text || split_compile(step, place, text, !regex, r->e);
}

static bool read_digits(struct reader *r, const struct json *p, struct split *step) {
    bool individual;
    if (!read_flag(r, p, "individual_digits", "pre_tokenizer", &individual))
        return false;
    step->keep = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return split_compile(step, r->name, "\\p{N}", false, r->e);
}

static bool read_byte_level(struct reader *r, const struct json *p, struct split *step) {
    bool regex = true;
    if (!read_flag(r, p, "add_prefix_space", "pre_tokenizer", &step->prefix_space) ||
        (json_get(p, "use_regex") && !read_flag(r, p, "use_regex", "pre_tokenizer", &regex)))
        return false;
    r->byte_level = true;
    return !regex || split_compile(step, r->name, GPT2_PATTERN, false, r->e);
}

static bool read_pre_tokenizer(struct reader *r, const struct json *p) {
    const char *type = type_of(r, p, "pre_tokenizer");
    if (!type)
        return false;
    if (!strcmp(type, "Sequence")) {
        const struct json *list = json_get(p, "pretokenizers");
        if (absent(list) || json_type(list) != JSON_ARRAY)
            return FAIL(r, "%s: pre_tokenizer.pretokenizers: expected a list", r->name);
        for (const struct json *m = json_first(list); m; m = json_next(m))
            if (!read_pre_tokenizer(r, m))
                return false;
        return true;
    }
    if (r->byte_level)
        return FAIL(r, "%s: pre_tokenizer: nothing is supported behind ByteLevel", r->name);
    if (r->t->n_steps == SPLIT_STEPS)
        return FAIL(r, "%s: pre_tokenizer: more than %d steps", r->name, SPLIT_STEPS);
    struct split *step = &r->t->steps[r->t->n_steps++];
    if (!strcmp(type, "Split"))
        return read_split(r, p, step);
    if (!strcmp(type, "Digits"))
        return read_digits(r, p, step);
    if (!strcmp(type, "ByteLevel"))
        return read_byte_level(r, p, step);
    return unsupported(r, "pre_tokenizer", type);
}

bool read_flow(struct reader *r, const struct json *root) {
    const struct json *p = json_get(root, "pre_tokenizer");
    if (!read_normalizer(r, json_get(root, "normalizer")) ||
        (!absent(p) && !read_pre_tokenizer(r, p)))
        return false;
    return r->byte_level ||
           FAIL(r, "%s: pre_tokenizer: expected a ByteLevel step (byte-level BPE only)", r->name);
}

/* --- post-processor and decoder --------------------------------------------------------------- */

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
    const char *type = type_of(r, p, "post_processor");
    if (!type)
        return false;
    if (!strcmp(type, "ByteLevel")) /* moves offsets, not ids */
        return true;
    if (!strcmp(type, "TemplateProcessing"))
        return read_template(r, p);
    if (strcmp(type, "Sequence") != 0)
        return unsupported(r, "post_processor", type);
    const struct json *list = json_get(p, "processors");
    if (absent(list) || json_type(list) != JSON_ARRAY)
        return FAIL(r, "%s: post_processor.processors: expected a list", r->name);
    for (const struct json *m = json_first(list); m; m = json_next(m))
        if (!read_post_processor(r, m))
            return false;
    return true;
}

bool read_ends(struct reader *r, const struct json *root) {
    const struct json *decoder = json_get(root, "decoder");
    if (absent(decoder))
        return FAIL(r, "%s: decoder: expected ByteLevel", r->name);
    const char *type = type_of(r, decoder, "decoder");
    if (!type)
        return false;
    if (strcmp(type, "ByteLevel") != 0)
        return unsupported(r, "decoder", type);
    return read_post_processor(r, json_get(root, "post_processor"));
}
