/* The components of tokenizer.json in front of the model: normalizer, pre_tokenizer. */
#include <stdio.h>

#include "engine/tokenizer_read.h"

/* GPT-2's pattern, which ByteLevel applies when use_regex is set. */
#define GPT2_PATTERN \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* --- normalizer and pre-tokenizer ----------------------------------------------------------- */

static bool add_normal(struct reader *r, enum normal_kind kind, const char *from, const char *to) {
    return normal_add(r->t, kind, from, to) ||
           FAIL(r, "%s: normalizer: more than %d steps", r->name, NORMAL_STEPS);
}

/* A short text under `key`: it may be written many times. */
static const char *short_text(struct reader *r, const struct json *object, const char *key,
                              const char *place) {
    const struct json *value = json_get(object, key);
    const char *text = absent(value) ? NULL : json_text(value);
    if (text && strlen(text) <= 64)
        return text;
    FAIL(r, "%s: %s.%s: expected a text of at most 64 bytes", r->name, place, key);
    return NULL;
}

static bool read_replace(struct reader *r, const struct json *n) {
    const char *from = short_text(r, json_get(n, "pattern"), "String", "normalizer.pattern");
    const char *to = from ? short_text(r, n, "content", "normalizer") : NULL;
    return to && add_normal(r, NORMAL_REPLACE, from, to);
}

static bool read_normalizer(struct reader *r, const struct json *n) {
    if (absent(n))
        return true;
    const char *type = read_type(r, n, "normalizer");
    if (!type)
        return false;
    if (!strcmp(type, "NFC"))
        return add_normal(r, NORMAL_NFC, NULL, NULL);
    if (!strcmp(type, "Replace"))
        return read_replace(r, n);
    if (!strcmp(type, "Prepend")) {
        const char *text = short_text(r, n, "prepend", "normalizer");
        return text && add_normal(r, NORMAL_PREPEND, NULL, text);
    }
    if (strcmp(type, "Sequence") != 0)
        return read_unsupported(r, "normalizer", type);
    return read_sequence(r, n, "normalizer", "normalizers", read_normalizer);
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
    bool regex = true, prefix;
    if (!read_flag(r, p, "add_prefix_space", "pre_tokenizer", &prefix) ||
        (json_get(p, "use_regex") && !read_flag(r, p, "use_regex", "pre_tokenizer", &regex)))
        return false;
    step->prefix = prefix ? PREFIX_ALWAYS : PREFIX_NEVER;
    r->byte_level = true;
    return !regex || split_compile(step, r->name, GPT2_PATTERN, false, r->e);
}

/* Files of older versions say add_prefix_space, and cut always. */
static bool read_metaspace(struct reader *r, const struct json *p, struct split *step) {
    bool split = true;
    if (!read_space(r, p, "pre_tokenizer", step->space, &step->prefix) ||
        (json_get(p, "split") && !read_flag(r, p, "split", "pre_tokenizer", &split)))
        return false;
    step->keep = SPLIT_WITH_NEXT;
    return !split || split_compile(step, r->name, step->space, true, r->e);
}

static bool read_pre_tokenizer(struct reader *r, const struct json *p) {
    const char *type = read_type(r, p, "pre_tokenizer");
    if (!type)
        return false;
    if (!strcmp(type, "Sequence"))
        return read_sequence(r, p, "pre_tokenizer", "pretokenizers", read_pre_tokenizer);
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
    if (!strcmp(type, "Metaspace"))
        return read_metaspace(r, p, step);
    return read_unsupported(r, "pre_tokenizer", type);
}

bool read_front(struct reader *r, const struct json *root) {
    const struct json *p = json_get(root, "pre_tokenizer");
    if (!read_normalizer(r, json_get(root, "normalizer")) ||
        (!absent(p) && !read_pre_tokenizer(r, p)))
        return false;
    r->t->vocab.verbatim = !r->byte_level;
    return true;
}
