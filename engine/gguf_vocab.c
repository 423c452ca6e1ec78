#include "engine/gguf_vocab.h"

#include <inttypes.h>
#include <stdlib.h>

enum { MAX_IDS = 1 << 22 };

int gguf_token_type(const struct gguf_vocab *v, uint64_t id) {
    return v->types ? gguf_int_at(v->types, id) : GGUF_TOKEN_NORMAL;
}

static int by_text(const void *a, const void *b) {
    return gguf_compare(((const struct gguf_token *)a)->text, ((const struct gguf_token *)b)->text);
}

const struct gguf_token *gguf_vocab_find(const struct gguf_vocab *v, const char *bytes,
                                         size_t size) {
    struct gguf_token key = {.text = {bytes, size}};
    return bsearch(&key, v->by_text, v->count, sizeof key, by_text);
}

/* The lower id first, so that an error names both in their order. */
static int by_text_and_id(const void *a, const void *b) {
    const struct gguf_token *x = a, *y = b;
    int order = gguf_compare(x->text, y->text);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static bool sort_tokens(const struct gguf *g, struct gguf_vocab *v, struct err *e) {
    v->by_text = must_alloc(v->count * sizeof *v->by_text);
    for (uint64_t i = 0; i < v->count; i++)
        v->by_text[i] = (struct gguf_token){v->texts[i], (int32_t)i};
    qsort(v->by_text, v->count, sizeof *v->by_text, by_text_and_id);
    for (uint64_t i = 1; i < v->count; i++) {
        const struct gguf_token *a = &v->by_text[i - 1], *b = &v->by_text[i];
        if (gguf_compare(a->text, b->text) == 0)
            return err_set(e, EXIT_CONTENT,
                           "%s: key 'tokenizer.ggml.tokens': ids %d and %d are both '%.*s'",
                           g->path, a->id, b->id, gguf_shown(a->text), a->text.bytes);
    }
    return true;
}

bool gguf_vocab_read(const struct gguf *g, bool scored, struct gguf_vocab *v, struct err *e) {
    static const char tokens[] = "tokenizer.ggml.tokens", types[] = "tokenizer.ggml.token_type",
                      scores[] = "tokenizer.ggml.scores";
    const struct gguf_pair *list = gguf_array(g, tokens, GGUF_STRING);
    *v = (struct gguf_vocab){.types = gguf_array(g, types, GGUF_I32),
                             .scores = gguf_array(g, scores, GGUF_F32)};
    if (!list || !list->count || list->count > MAX_IDS)
        return gguf_wrong(g, tokens, "1 to 4194304 texts", e);
    v->count = list->count;
    if (gguf_find(g, types) && (!v->types || v->types->count != v->count))
        return gguf_wrong(g, types, "as many I32 as there are tokens", e);
    if (scored && (!v->scores || v->scores->count != v->count))
        return gguf_wrong(g, scores, "as many F32 as there are tokens", e);
    for (uint64_t i = 0; v->types && i < v->count; i++)
        if (gguf_token_type(v, i) < GGUF_TOKEN_NORMAL || gguf_token_type(v, i) > GGUF_TOKEN_BYTE)
            return err_set(e, EXIT_CONTENT,
                           "%s: key '%s': item %" PRIu64 " is %d: expected 1 to %d", g->path, types,
                           i, gguf_token_type(v, i), GGUF_TOKEN_BYTE);
    v->texts = must_alloc(v->count * sizeof *v->texts);
    const uint8_t *at = list->data;
    for (uint64_t i = 0; i < v->count; i++) {
        v->texts[i] = gguf_next(&at);
        if (v->texts[i].size > GGUF_TOKEN_MAX)
            return gguf_wrong(g, tokens, "tokens of at most 65535 bytes", e);
    }
    return sort_tokens(g, v, e);
}

void gguf_vocab_free(struct gguf_vocab *v) {
    free(v->texts);
    free(v->by_text);
}
