/* GGUF images for tests: written field by field, or a golden file with some bytes exchanged. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct image {
    uint8_t *bytes; /* free() it */
    size_t size, room;
};

/* `bytes` bytes of a little-endian number; a text with its length; a key and the type behind it. */
void image_number(struct image *image, int bytes, uint64_t number);
void image_text(struct image *image, const char *text);
void image_key(struct image *image, const char *key, uint32_t type);
void image_zeros(struct image *image, size_t size);
/* The magic, the version and both counts. */
void image_head(struct image *image, uint32_t version, uint64_t tensors, uint64_t pairs);
/* A tensor's entry; its dimensions end with 0. */
void image_tensor(struct image *image, const char *name, const uint64_t *dimensions, uint32_t type,
                  uint64_t offset);

/* A whole file. */
struct image image_read(const char *path);
/* Writes `to` over every `from`, which must occur; both are equally long. */
void image_replace(struct image *image, const char *from, const char *to);
/* Writes a number over the value of a key that has one value of `bytes` bytes. */
void image_set(struct image *image, const char *key, int bytes, uint64_t number);
