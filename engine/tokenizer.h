/* tokenizer.json: BPE as the Hugging Face `tokenizers` library computes it, byte-level (GPT-2,
 * Qwen, Llama 3) or of characters with bytes behind them (SentencePiece: Llama 2, Mistral). Text is
 * bytes with a length: U+0000 is an ordinary character; invalid UTF-8 is an error, never repaired.
 * Characters that PCRE2's Unicode (14 for PCRE2 10.42) and the library's know differently are
 * listed in tokenizer_unicode.c and treated as there. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id_list.h"

struct tokenizer;

struct tokenizer *tokenizer_read(const char *path, struct err *e);
struct tokenizer *tokenizer_parse(const char *json, size_t size, const char *name, struct err *e);
void tokenizer_free(struct tokenizer *tokenizer);       /* NULL is fine */
int tokenizer_vocab(const struct tokenizer *tokenizer); /* highest id + 1 */

/* Appends the ids of text. Special spellings in the text become special ids; `special` also adds
 * what the post-processor adds (BOS and the like). Linear time in size. false (EXIT_CONTENT) on
 * invalid UTF-8, with the byte offset. */
bool tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t size,
                      bool special, struct id_list *out, struct err *e);

/* Bytes of one id (for streaming; not always whole UTF-8 characters); NULL for an unknown id. */
const char *tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, size_t *size,
                            bool *special);

/* Text of ids, malloc'd and 0-ended (*size without the end). Incomplete UTF-8 becomes U+FFFD as in
 * the library. NULL (EXIT_CONTENT) for an id out of range. */
char *tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n,
                       bool skip_special, size_t *size, struct err *e);
/* Whether tokenizer_decode leaves out a space that the text begins with (tokenizer_piece does not).
 */
bool tokenizer_drops_space(const struct tokenizer *tokenizer);
int32_t tokenizer_id(const struct tokenizer *tokenizer,
                     const char *token); /* added or vocabulary token; -1 if absent */
