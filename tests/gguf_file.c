#include "tests/gguf_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"

static void append(struct image *image, const void *data, size_t size) {
    if (image->room - image->size < size) {
        image->room = 2 * (image->size + size);
        image->bytes = must_realloc(image->bytes, image->room);
    }
    memcpy(image->bytes + image->size, data, size);
    image->size += size;
}

void image_number(struct image *image, int bytes, uint64_t number) {
    append(image, &number, (size_t)bytes);
}

void image_text(struct image *image, const char *text) {
    image_number(image, 8, strlen(text));
    append(image, text, strlen(text));
}

void image_key(struct image *image, const char *key, uint32_t type) {
    image_text(image, key);
    image_number(image, 4, type);
}

void image_zeros(struct image *image, size_t size) {
    for (size_t i = 0; i < size; i++)
        append(image, "", 1);
}

void image_head(struct image *image, uint32_t version, uint64_t tensors, uint64_t pairs) {
    append(image, "GGUF", 4);
    image_number(image, 4, version);
    image_number(image, 8, tensors);
    image_number(image, 8, pairs);
}

void image_tensor(struct image *image, const char *name, const uint64_t *dimensions, uint32_t type,
                  uint64_t offset) {
    int rank = 0;
    image_text(image, name);
    while (dimensions[rank])
        rank++;
    image_number(image, 4, (uint64_t)rank);
    for (int i = 0; i < rank; i++)
        image_number(image, 8, dimensions[i]);
    image_number(image, 4, type);
    image_number(image, 8, offset);
}

struct image image_read(const char *path) {
    struct err e = {0};
    struct image image = {0};
    image.bytes = (uint8_t *)file_read(path, 1 << 28, &image.size, &e);
    if (!image.bytes)
        fail_msg("%s", e.text);
    image.room = image.size;
    return image;
}

void image_replace(struct image *image, const char *from, const char *to) {
    size_t n = strlen(from), replaced = 0;
    assert_int_equal(n, strlen(to));
    for (size_t i = 0; i + n <= image->size; i++)
        if (memcmp(image->bytes + i, from, n) == 0) {
            memcpy(image->bytes + i, to, n);
            replaced++;
        }
    if (!replaced)
        fail_msg("'%s' does not occur", from);
}

void image_set(struct image *image, const char *key, int bytes, uint64_t number) {
    uint8_t *at = memmem(image->bytes, image->size, key, strlen(key));
    assert_non_null(at);
    memcpy(at + strlen(key) + 4, &number, (size_t)bytes);
}
