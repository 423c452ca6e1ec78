/* The tokenizer that a GGUF file's metadata describe. */
#pragma once

#include "engine/gguf.h"
#include "engine/tokenizer.h"

/* Writes the tokenizer.json that the same model's folder would have had, and reads that: one reader
 * knows what tokenizers are. Byte-level BPE ("gpt2") with the pre-tokenizers of README's families,
 * and SentencePiece's BPE ("llama"): its scores become merges as transformers makes them
 * (convert_slow_tokenizer.py, generate_merges). NULL on error (EXIT_CONTENT). */
struct tokenizer *tokenizer_of_gguf(const struct gguf *gguf, struct err *e);

/* The tokenizer of a GGUF file alone. NULL on error. */
struct tokenizer *tokenizer_read_gguf(const char *path, struct err *e);
