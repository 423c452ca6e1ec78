#include "engine/gguf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/gguf_vocab.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SPACE "\xe2\x96\x81" /* U+2581, SentencePiece's space */

enum { MAX_SPLITS = 4 };

/* tokenizer.ggml.pre: how text is cut before BPE. */
static const struct pre {
    const char *name;
    const char *splits[MAX_SPLITS]; /* isolated, one after the other */
    bool nfc;
    bool whole_first; /* ignore_merges */
    bool bos;         /* add_bos_token where the key is absent */
} pre_table[] = {
    {.name = "qwen2", .splits = {CONTRACTIONS WORDS "|\\p{N}" REST}, .nfc = true},
    {.name = "deepseek-r1-qwen", .splits = {CONTRACTIONS WORDS "|\\p{N}" REST}, .nfc = true},
    {.name = "llama-bpe",
     .splits = {CONTRACTIONS WORDS "|\\p{N}{1,3}" REST},
     .whole_first = true,
     .bos = true},
    {.name = "smollm", .splits = {"\\p{N}", GPT2}},
    {.name = "gpt-2", .splits = {GPT2}},
    {.name = "default",
     .splits = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

struct writer {
    const struct gguf *gguf;
    struct gguf_vocab vocab;
    const struct pre *pre; /* NULL: SentencePiece */
    struct json_out out;
    struct err *e;
};

/* --- vocabulary -------------------------------------------------------------------- */

static void add_name(struct json_out *out, struct gguf_text text) {
    char name[GGUF_TOKEN_MAX + 1];
    memcpy(name, text.bytes, text.size);
    name[text.size] = 0;
    json_name(out, name);
}

static void write_vocab(struct writer *w) {
    json_name(&w->out, "vocab");
    json_open(&w->out, '{');
    for (uint64_t i = 0; i < w->vocab.count; i++) {
        add_name(&w->out, w->vocab.texts[i]);
        json_put_int(&w->out, (int64_t)i);
    }
    json_close(&w->out, '}');
}

/* Tokens that are looked for as a whole, before anything else. */
static void write_added(struct writer *w) {
    static const char *const off[] = {"single_word", "lstrip", "rstrip", "normalized"};
    json_name(&w->out, "added_tokens");
    json_open(&w->out, '[');
    for (uint64_t i = 0; i < w->vocab.count; i++) {
        int type = gguf_token_type(&w->vocab, i);
        if (type != GGUF_TOKEN_CONTROL && type != GGUF_TOKEN_USER && type != GGUF_TOKEN_UNKNOWN)
            continue;
        json_open(&w->out, '{');
        json_add_int(&w->out, "id", (int64_t)i);
        json_name(&w->out, "content");
        json_put_bytes(&w->out, w->vocab.texts[i].bytes, w->vocab.texts[i].size);
        for (int j = 0; j < 4; j++)
            json_add_bool(&w->out, off[j], false);
        json_add_bool(&w->out, "special", type != GGUF_TOKEN_USER);
        json_close(&w->out, '}');
    }
    json_close(&w->out, ']');
}

/* --- model -------------------------------------------------------------------------- */

static bool write_merges(struct writer *w) {
    static const char key[] = "tokenizer.ggml.merges";
    json_name(&w->out, "merges");
    if (!w->pre)
        return gguf_merges_of_scores(w->gguf, &w->vocab, &w->out, w->e);
    const struct gguf_pair *merges = gguf_array(w->gguf, key, GGUF_STRING);
    if (!merges || merges->count > INT32_MAX)
        return gguf_wrong(w->gguf, key, "texts", w->e);
    json_open(&w->out, '[');
    const uint8_t *at = merges->data;
    for (uint64_t i = 0; i < merges->count; i++) {
        struct gguf_text merge = gguf_next(&at);
        json_put_bytes(&w->out, merge.bytes, merge.size);
    }
    json_close(&w->out, ']');
    return true;
}

/* The token of an id that the metadata give under `key`; NULL without one. */
static bool read_token(struct writer *w, const char *key, int64_t *id) {
    const struct gguf_pair *pair = gguf_find(w->gguf, key);
    *id = -1;
    return !pair || gguf_integer(pair, 0, (int64_t)w->vocab.count - 1, id) ||
           gguf_wrong(w->gguf, key, "the id of a token", w->e);
}

static void put_token(struct writer *w, int64_t id) {
    json_put_bytes(&w->out, w->vocab.texts[id].bytes, w->vocab.texts[id].size);
}

static bool write_model(struct writer *w) {
    int64_t unknown;
    if (!read_token(w, "tokenizer.ggml.unknown_token_id", &unknown))
        return false;
    json_name(&w->out, "model");
    json_open(&w->out, '{');
    json_add_text(&w->out, "type", "BPE");
    if (unknown >= 0) {
        json_name(&w->out, "unk_token");
        put_token(w, unknown);
    }
    json_add_bool(&w->out, "fuse_unk", !w->pre);
    json_add_bool(&w->out, "byte_fallback", !w->pre);
    json_add_bool(&w->out, "ignore_merges", w->pre && w->pre->whole_first);
    write_vocab(w);
    bool ok = write_merges(w);
    json_close(&w->out, '}');
    return ok;
}

/* --- what stands round the model ------------------------------------------------------ */

static void write_split(struct json_out *out, const char *pattern) {
    json_open(out, '{');
    json_add_text(out, "type", "Split");
    json_name(out, "pattern");
    json_open(out, '{');
    json_add_text(out, "Regex", pattern);
    json_close(out, '}');
    json_add_text(out, "behavior", "Isolated");
    json_add_bool(out, "invert", false);
    json_close(out, '}');
}

static void write_byte_level(struct writer *w) {
    json_add_raw(&w->out, "normalizer", w->pre->nfc ? "{\"type\":\"NFC\"}" : "null");
    json_name(&w->out, "pre_tokenizer");
    json_open(&w->out, '{');
    json_add_text(&w->out, "type", "Sequence");
    json_name(&w->out, "pretokenizers");
    json_open(&w->out, '[');
    for (int i = 0; i < MAX_SPLITS && w->pre->splits[i]; i++)
        write_split(&w->out, w->pre->splits[i]);
    json_put_raw(&w->out,
                 "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}");
    json_close(&w->out, ']');
    json_close(&w->out, '}');
    json_add_raw(&w->out, "decoder", "{\"type\":\"ByteLevel\"}");
}

/* As transformers writes SentencePiece's BPE: a space in front, spaces as U+2581, bytes for what
 * the vocabulary lacks. */
#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"" SPACE "\"}"
#define REPLACE(from, to) \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" from "\"},\"content\":\"" to "\"}"
#define BYTES "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}"
#define STRIP "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}"
#define NORMALIZERS(list) "{\"type\":\"Sequence\",\"normalizers\":[" list "]}"
#define DECODERS(list) "{\"type\":\"Sequence\",\"decoders\":[" list "]}"

static bool read_switch(struct writer *w, const char *key, bool *on) {
    const struct gguf_pair *pair = gguf_find(w->gguf, key);
    return !pair || gguf_truth(pair, on) || gguf_wrong(w->gguf, key, "true or false", w->e);
}

static bool write_sentencepiece(struct writer *w) {
    bool prefix = true;
    if (!read_switch(w, "tokenizer.ggml.add_space_prefix", &prefix))
        return false;
    json_add_raw(&w->out, "normalizer",
                 prefix ? NORMALIZERS(PREPEND "," REPLACE(" ", SPACE))
                        : NORMALIZERS(REPLACE(" ", SPACE)));
    json_add_raw(&w->out, "pre_tokenizer", "null");
    json_add_raw(&w->out, "decoder",
                 prefix ? DECODERS(REPLACE(SPACE, " ") "," BYTES "," STRIP)
                        : DECODERS(REPLACE(SPACE, " ") "," BYTES));
    return true;
}

static void write_special(struct writer *w, int64_t id) {
    json_open(&w->out, '{');
    json_name(&w->out, "SpecialToken");
    json_open(&w->out, '{');
    json_name(&w->out, "id");
    put_token(w, id);
    json_close(&w->out, '}');
    json_close(&w->out, '}');
}

/* BOS in front and EOS behind, as the file asks for. */
static bool write_template(struct writer *w) {
    static const char *const switches[] = {"tokenizer.ggml.add_bos_token",
                                           "tokenizer.ggml.add_eos_token"};
    static const char *const keys[] = {"tokenizer.ggml.bos_token_id",
                                       "tokenizer.ggml.eos_token_id"};
    bool on[2] = {!w->pre || w->pre->bos, false};
    int64_t ids[2];
    for (int i = 0; i < 2; i++) {
        if (!read_switch(w, switches[i], &on[i]) || !read_token(w, keys[i], &ids[i]))
            return false;
        if (on[i] && ids[i] < 0)
            return gguf_wrong(w->gguf, keys[i], "the id of a token", w->e);
    }
    json_name(&w->out, "post_processor");
    json_open(&w->out, '{');
    json_add_text(&w->out, "type", "TemplateProcessing");
    json_name(&w->out, "single");
    json_open(&w->out, '[');
    if (on[0])
        write_special(w, ids[0]);
    json_put_raw(&w->out, "{\"Sequence\":{\"id\":\"A\"}}");
    if (on[1])
        write_special(w, ids[1]);
    json_close(&w->out, ']');
    json_name(&w->out, "special_tokens");
    json_open(&w->out, '{');
    for (int i = 0; i < 2; i++) {
        if (!on[i] || (i && on[0] && ids[0] == ids[1]))
            continue;
        int32_t id = (int32_t)ids[i];
        add_name(&w->out, w->vocab.texts[id]);
        json_open(&w->out, '{');
        json_name(&w->out, "ids");
        json_put_ids(&w->out, &id, 1);
        json_close(&w->out, '}');
    }
    json_close(&w->out, '}');
    json_close(&w->out, '}');
    return true;
}

/* --- the whole -------------------------------------------------------------------------- */

static bool find_kind(struct writer *w) {
    static const char model[] = "tokenizer.ggml.model", key[] = "tokenizer.ggml.pre";
    struct gguf_text kind = gguf_string(gguf_find(w->gguf, model));
    if (gguf_is(kind, "llama"))
        return true;
    if (!gguf_is(kind, "gpt2"))
        return gguf_wrong(w->gguf, model, "'gpt2' or 'llama'", w->e);
    struct gguf_text pre = gguf_string(gguf_find(w->gguf, key));
    char known[200] = "";
    for (size_t i = 0; i < sizeof pre_table / sizeof *pre_table; i++) {
        if (gguf_is(pre, pre_table[i].name))
            w->pre = &pre_table[i];
        err_list(known, sizeof known, pre_table[i].name);
    }
    char expected[220];
    snprintf(expected, sizeof expected, "one of %s", known);
    return w->pre || gguf_wrong(w->gguf, key, expected, w->e);
}

static bool write_all(struct writer *w) {
    if (!find_kind(w) || !gguf_vocab_read(w->gguf, !w->pre, &w->vocab, w->e))
        return false;
    json_open(&w->out, '{');
    write_added(w);
    bool ok = true;
    if (w->pre)
        write_byte_level(w);
    else
        ok = write_sentencepiece(w);
    ok = ok && write_template(w) && write_model(w);
    json_close(&w->out, '}');
    return ok;
}

struct tokenizer *tokenizer_of_gguf(const struct gguf *gguf, struct err *e) {
    struct writer w = {.gguf = gguf, .e = e};
    char name[600];
    snprintf(name, sizeof name, "%.500s: tokenizer", gguf->path);
    struct tokenizer *t = write_all(&w) ? tokenizer_parse(w.out.text, w.out.size, name, e) : NULL;
    free(w.out.text);
    gguf_vocab_free(&w.vocab);
    return t;
}

struct tokenizer *tokenizer_read_gguf(const char *path, struct err *e) {
    struct weights *w = weights_open(path, e);
    struct tokenizer *t = w ? tokenizer_of_gguf(weights_gguf(w), e) : NULL;
    weights_close(w);
    return t;
}
