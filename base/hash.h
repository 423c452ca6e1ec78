/* SHA-256 as lower-case hex: identity of models, tokenizers, datasets and result keys. */
#pragma once

#include <stddef.h>

#include "base/err.h"

#define HASH_HEX 65 /* 64 digits and the end */

void hash_bytes(const void *data, size_t size, char out[HASH_HEX]);
bool hash_file(const char *path, char out[HASH_HEX], struct err *e);
