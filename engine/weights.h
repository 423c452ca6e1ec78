/* Tensors of a model by name, whatever file they lie in. Safetensors, sharded or not (F32, F16,
 * BF16), or one GGUF file (all of dtype.h). Nothing is trusted: header length, JSON, names,
 * offsets, overlaps, holes and shape products are checked before anything is allocated. Files are
 * read with pread, so a file truncated in use is an error, not a signal. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "engine/dtype.h"

struct tensor {
    const char *name;
    enum dtype type;
    const char *type_name; /* as the file spells it: "F32", "I64" */
    int rank;              /* 0..4 */
    int64_t shape[4];      /* outermost first */
    int heads; /* > 0: rows lie as GGUF has q and k of the family "llama"; weights_read undoes it */
    int file;  /* index into the shards */
    uint64_t offset; /* of the first byte in that file */
    uint64_t bytes;
};

/* Owner of the open files and the tensor list; immutable after open, thread-safe to read. */
struct weights;

/* path: a GGUF file, or a folder with model.safetensors or model.safetensors.index.json (at most
 * 512 shards). A shard's name comes from the index, so it must stay in the folder: no '/', no "..",
 * no symlink that leaves it (a hub cache's snapshots/REV may link into its own cache entry). Only
 * regular files are read. NULL on error. */
struct weights *weights_open(const char *path, struct err *e);
void weights_close(struct weights *weights);
size_t weights_count(const struct weights *weights);
/* The tensors are one array, in name order. */
const struct tensor *weights_at(const struct weights *weights, size_t i);
/* NULL if absent. */
const struct tensor *weights_find(const struct weights *weights, const char *name);
/* The metadata of a GGUF file (gguf.h), NULL for a folder and for NULL; it lives as long as the
 * weights. */
const struct gguf *weights_gguf(const struct weights *weights);

/* Reads rows [row, row + n_rows) (rows = shape[0]; a vector is one row) as fp32 into out[n_rows *
 * row_size]. F16 and BF16 widen exactly, blocks as dtype.h says. */
bool weights_read(const struct weights *weights, const struct tensor *tensor, int64_t row,
                  int64_t n_rows, float *out, struct err *e);

/* Whether the tensor lies in its file as plain rows of F32, F16 or BF16. */
bool weights_plain(const struct tensor *tensor);

/* Reads n bytes of a tensor from byte `offset` on, as they lie in the file, whatever its type. */
bool weights_read_raw(const struct weights *weights, const struct tensor *tensor, uint64_t offset,
                      uint64_t n, void *out, struct err *e);

/* SHA-256 over the SHA-256 (as hex) of each file, in name order. */
bool weights_hash(const struct weights *weights, char out[HASH_HEX], struct err *e);

struct tensor_list {
    struct tensor *items; /* in file order; owned with the names; free with tensor_list_free */
    size_t count;
    void *arena;
};

/* Bytes of the JSON header that the first 8 bytes of a file announce; checked against the file and
 * 32 MiB. */
bool safetensors_header(const uint8_t first[8], uint64_t file_bytes, const char *path,
                        uint64_t *bytes, struct err *e);

/* Checks and lists one safetensors image in memory (the fuzz target's door; weights_open uses it
 * too). header: the first `size` bytes of the file, at least 8 + header length; file_bytes: true
 * size of the file. Format: huggingface.co/docs/safetensors, with its reference reader's checks. */
bool safetensors_parse(const uint8_t *header, size_t size, uint64_t file_bytes, const char *path,
                       struct tensor_list *out, struct err *e);
void tensor_list_free(struct tensor_list *list);
