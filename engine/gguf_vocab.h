/* The vocabulary in a GGUF file's metadata (tokenizer.ggml.*): texts, types, scores, by id. For the
 * files that write its tokenizer alone. */
#pragma once

#include "base/json.h"
#include "engine/gguf.h"

enum { GGUF_TOKEN_MAX = 65535 }; /* bytes of a token at most */

struct gguf_token {
    struct gguf_text text;
    int32_t id;
};

struct gguf_vocab {
    struct gguf_text *texts;    /* by id, `count` of them */
    struct gguf_token *by_text; /* the same, sorted; no two are equal */
    uint64_t count;
    const struct gguf_pair *types;  /* NULL: all are normal */
    const struct gguf_pair *scores; /* where asked for, as many */
};

/* scored: each token must have a score. Texts are the metadata's. Call gguf_vocab_free in either
 * case. false (EXIT_CONTENT) for what is missing, too long or there twice. */
bool gguf_vocab_read(const struct gguf *gguf, bool scored, struct gguf_vocab *vocab, struct err *e);
void gguf_vocab_free(struct gguf_vocab *vocab);
int gguf_token_type(const struct gguf_vocab *vocab, uint64_t id); /* GGUF_TOKEN_NORMAL ... */
/* The token of exactly these bytes; NULL if absent. */
const struct gguf_token *gguf_vocab_find(const struct gguf_vocab *vocab, const char *bytes,
                                         size_t size);

/* Writes the merges that scores stand for, a list (gguf_scores.c). false (EXIT_CONTENT) for scores
 * that are no numbers, and vocabularies too large for it. */
bool gguf_merges_of_scores(const struct gguf *gguf, const struct gguf_vocab *vocab,
                           struct json_out *out, struct err *e);
