/* The metadata of a GGUF file as a struct config. Keys: the format's documentation, "LLM" section,
 * and what llama.cpp's converters write (gguf-py/gguf/constants.py). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/config.h"
#include "engine/gguf.h"

/* The family's name stands before most keys: "qwen2.block_count". */
struct source {
    const struct gguf *gguf;
    const struct weights *weights;
    const char *family;
    struct err *e;
};

enum { KEY_SIZE = 96 };

static const char *spell(const struct source *s, const char *key, char out[KEY_SIZE]) {
    snprintf(out, KEY_SIZE, "%s.%s", s->family, key);
    return out;
}

static const struct gguf_pair *get(const struct source *s, const char *key) {
    char full[KEY_SIZE];
    return gguf_find(s->gguf, spell(s, key, full));
}

static bool wrong(const struct source *s, const char *key, const char *expected) {
    char full[KEY_SIZE];
    return gguf_wrong(s->gguf, spell(s, key, full), expected, s->e);
}

static bool whole(const struct source *s, const char *key, int min, int max, int *out) {
    int64_t n;
    if (gguf_integer(get(s, key), min, max, &n))
        return *out = (int)n, true;
    char expected[80];
    snprintf(expected, sizeof expected, "a whole number from %d to %d", min, max);
    return wrong(s, key, expected);
}

/* As whole, but *out stays as it is where the key is absent. */
static bool whole_if(const struct source *s, const char *key, int min, int max, int *out) {
    return !get(s, key) || whole(s, key, min, max, out);
}

static bool real(const struct source *s, const char *key, double min, double max, float *out) {
    double x;
    if (gguf_number(get(s, key), &x) && x >= min && x <= max)
        return *out = (float)x, true;
    char expected[80];
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    return wrong(s, key, expected);
}

static bool read_family(struct source *s, struct config *c) {
    static const char key[] = "general.architecture";
    struct gguf_text name = gguf_string(gguf_find(s->gguf, key));
    char known[200] = "";
    for (const struct architecture *a = architecture_table; a->name; a++) {
        if (!a->gguf)
            continue;
        if (gguf_is(name, a->gguf)) {
            c->arch = a;
            c->qkv_bias = a->qkv_bias;
            c->qk_norm = a->qk_norm;
            s->family = a->gguf;
            return true;
        }
        err_list(known, sizeof known, a->gguf);
    }
    char expected[220];
    snprintf(expected, sizeof expected, "one of %s", known);
    return gguf_wrong(s->gguf, key, expected, s->e);
}

static bool read_heads(const struct source *s, struct config *c) {
    if (!whole(s, "attention.head_count", 1, MAX_HEADS, &c->n_heads))
        return false;
    c->n_kv_heads = c->n_heads;
    if (!whole_if(s, "attention.head_count_kv", 1, MAX_HEADS, &c->n_kv_heads))
        return false;
    if (c->n_heads % c->n_kv_heads)
        return wrong(s, "attention.head_count_kv", "a divisor of attention.head_count");
    if (!get(s, "attention.key_length") && c->dim % c->n_heads)
        return wrong(s, "embedding_length",
                     "a multiple of attention.head_count, as attention.key_length is not given");
    c->head_size = c->dim / c->n_heads;
    if (!whole_if(s, "attention.key_length", 2, MAX_HEAD_SIZE, &c->head_size))
        return false;
    int values = c->head_size, rotated = c->head_size;
    if (!whole_if(s, "attention.value_length", 2, MAX_HEAD_SIZE, &values) ||
        !whole_if(s, "rope.dimension_count", 2, MAX_HEAD_SIZE, &rotated))
        return false;
    if (values != c->head_size)
        return wrong(s, "attention.value_length", "the same as attention.key_length");
    if (rotated != c->head_size)
        return wrong(s, "rope.dimension_count", "the whole head size");
    return config_check_heads(c, s->gguf->path, s->e);
}

/* Rows of the embedding; the key is younger than many files. */
static bool read_vocab(const struct source *s, struct config *c) {
    if (get(s, "vocab_size"))
        return whole(s, "vocab_size", 1, MAX_VOCAB, &c->vocab);
    const struct tensor *t = weights_find(s->weights, "token_embd.weight");
    if (!t || t->rank != 2 || t->shape[0] > MAX_VOCAB)
        return err_set(s->e, EXIT_CONTENT,
                       "%s: tensor 'token_embd.weight' %s: expected at most %d rows", s->gguf->path,
                       t ? "has another shape" : "missing", MAX_VOCAB);
    c->vocab = (int)t->shape[0];
    return true;
}

static bool read_sizes(const struct source *s, struct config *c) {
    int window = MAX_POSITIONS;
    if (!whole(s, "block_count", 1, MAX_LAYERS, &c->n_layers) ||
        !whole(s, "embedding_length", 1, MAX_DIM, &c->dim) || !read_heads(s, c) ||
        !whole(s, "feed_forward_length", 1, MAX_FFN, &c->ffn) || !read_vocab(s, c) ||
        !whole(s, "context_length", 1, MAX_POSITIONS, &c->max_positions) ||
        !real(s, "attention.layer_norm_rms_epsilon", 1e-20, 0.1, &c->rms_eps) ||
        !whole_if(s, "attention.sliding_window", 1, MAX_POSITIONS, &window))
        return false;
    config_cap(c, window, s->gguf->path);
    c->tied = !weights_find(s->weights, "output.weight");
    int64_t experts;
    return !get(s, "expert_count") || gguf_integer(get(s, "expert_count"), 0, 0, &experts) ||
           wrong(s, "expert_count", "0: mixtures of experts are not supported");
}

/* --- rotary embedding ------------------------------------------------------------ */

/* The converters write llama3's scaling as one divisor of each frequency. */
static bool read_divisors(const struct source *s, struct config *c) {
    const struct tensor *t = weights_find(s->weights, "rope_freqs.weight");
    if (!t)
        return true;
    if (t->rank != 1 || t->shape[0] != c->head_size / 2)
        return err_set(s->e, EXIT_CONTENT, "%s: tensor 'rope_freqs.weight': expected %d numbers",
                       s->gguf->path, c->head_size / 2);
    if (!weights_read(s->weights, t, 0, 1, c->rope_divisors, s->e))
        return false;
    c->rope = ROPE_DIVIDED;
    for (int i = 0; i < c->head_size / 2; i++)
        if (!(c->rope_divisors[i] >= 1e-6f && c->rope_divisors[i] <= 1e6f))
            return err_set(s->e, EXIT_CONTENT,
                           "%s: tensor 'rope_freqs.weight': number %d is %g: expected one from "
                           "1e-06 to 1e+06",
                           s->gguf->path, i, (double)c->rope_divisors[i]);
    return true;
}

static bool read_rope(const struct source *s, struct config *c) {
    static const char *const factors[] = {"rope.scaling.factor", "rope.scale_linear"};
    c->rope_theta = 10000; /* what files without the key mean */
    if (get(s, "rope.freq_base") && !real(s, "rope.freq_base", 1, 1e12, &c->rope_theta))
        return false;
    const struct gguf_pair *type = get(s, "rope.scaling.type");
    if (type && !gguf_is(gguf_string(type), "none"))
        return wrong(s, "rope.scaling.type",
                     "'none' (other kinds of rope scaling are not supported)");
    for (int i = 0; i < 2; i++) {
        double factor = 1;
        if (get(s, factors[i]) && (!gguf_number(get(s, factors[i]), &factor) || factor != 1))
            return wrong(s, factors[i], "1 (rope scaling of this kind is not supported)");
    }
    return read_divisors(s, c);
}

/* --- end tokens -------------------------------------------------------------------- */

static bool read_id(const struct source *s, const char *key, const struct config *c, int32_t *id) {
    int64_t n;
    if (!gguf_find(s->gguf, key))
        return true;
    if (!gguf_integer(gguf_find(s->gguf, key), 0, c->vocab - 1, &n))
        return gguf_wrong(s->gguf, key, "an id below the rows of the embedding", s->e);
    *id = (int32_t)n;
    return true;
}

/* Control tokens that end an answer by their name, as files name only one of them by id: those that
 * llama.cpp (src/llama-vocab.cpp) takes for these families. */
static void add_named_ends(const struct source *s, struct config *c) {
    static const char *const names[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>",
                                        "<|end_of_text|>"};
    const struct gguf_pair *tokens = gguf_array(s->gguf, "tokenizer.ggml.tokens", GGUF_STRING);
    const struct gguf_pair *types = gguf_array(s->gguf, "tokenizer.ggml.token_type", GGUF_I32);
    if (!tokens || !types || tokens->count != types->count)
        return;
    const uint8_t *at = tokens->data;
    for (uint64_t i = 0; i < tokens->count && i < (uint64_t)c->vocab; i++) {
        struct gguf_text token = gguf_next(&at);
        for (size_t j = 0; j < sizeof names / sizeof *names; j++)
            if (gguf_int_at(types, i) == GGUF_TOKEN_CONTROL && gguf_is(token, names[j]))
                config_add_eos(c, (int32_t)i);
    }
}

static bool read_special(const struct source *s, struct config *c) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    c->bos = -1;
    if (!read_id(s, "tokenizer.ggml.bos_token_id", c, &c->bos))
        return false;
    for (int i = 0; i < 3; i++) {
        int32_t id = -1;
        if (!read_id(s, ends[i], c, &id))
            return false;
        if (id >= 0)
            config_add_eos(c, id);
    }
    add_named_ends(s, c);
    return true;
}

bool config_of_gguf(const struct weights *weights, struct config *out, struct err *e) {
    struct source s = {.gguf = weights_gguf(weights), .weights = weights, .e = e};
    *out = (struct config){0};
    return read_family(&s, out) && read_sizes(&s, out) && read_rope(&s, out) &&
           read_special(&s, out);
}
