/* The tokenizer that a GGUF file's metadata describe. */
#pragma once

#include "base/json.h"
#include "engine/gguf.h"
#include "engine/tokenizer.h"

/* Writes the tokenizer.json that the same model's folder would have had, and reads that: one reader
 * knows what tokenizers are. Byte-level BPE ("gpt2") with the pre-tokenizers of README's families,
 * and SentencePiece's BPE ("llama"): its scores become merges as transformers makes them
 * (convert_slow_tokenizer.py, generate_merges). NULL on error (EXIT_CONTENT). */
struct tokenizer *tokenizer_of_gguf(const struct gguf *gguf, struct err *e);

/* The tokenizer of a GGUF file alone. NULL on error. */
struct tokenizer *tokenizer_read_gguf(const char *path, struct err *e);

/* --- shared by the two files that write it --------------------------------------------- */

struct gguf_token {
    struct gguf_text text;
    int32_t id;
};

struct gguf_vocab {
    struct gguf_text *texts;    /* by id, `count` of them */
    struct gguf_token *by_text; /* the same, sorted; no two are equal */
    uint64_t count;
    const struct gguf_pair *types;  /* NULL: all are normal */
    const struct gguf_pair *scores; /* as many; SentencePiece only */
};
int gguf_token_type(const struct gguf_vocab *vocab, uint64_t id);

/* Writes the merges that scores stand for, a list. */
bool gguf_merges_of_scores(const struct gguf *gguf, const struct gguf_vocab *vocab,
                           struct json_out *out, struct err *e);
