/* libFuzzer: any bytes as a GGUF file. What is accepted lies in the file, piece by piece; its
 * metadata are then read as a tokenizer and its blocks widened. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/config.h"
#include "engine/gguf_tokenizer.h"

static void check_tensors(const struct tensor_list *list, const struct gguf *g,
                          uint64_t file_bytes) {
    uint64_t at = g->metadata;
    for (size_t i = 0; i < list->count; i++) {
        const struct tensor *t = &list->items[i];
        CHECK(t->offset >= at && t->bytes <= file_bytes && t->offset <= file_bytes - t->bytes);
        CHECK(t->rank >= 1 && t->rank <= 4 && t->type < DTYPE_OTHER && t->name && t->type_name);
        const struct dtype_format *f = &dtype_formats[t->type];
        uint64_t count = 1;
        for (int d = 0; d < t->rank; d++)
            count *= (uint64_t)t->shape[d];
        CHECK(count % (uint64_t)f->block == 0 && t->shape[t->rank - 1] % f->block == 0);
        CHECK(t->bytes == count / (uint64_t)f->block * (uint64_t)f->bytes);
        CHECK(t->heads == 0 || (t->rank == 2 && t->shape[0] % (2 * t->heads) == 0));
        at = t->offset + t->bytes;
    }
    CHECK(!list->count || at <= file_bytes);
}

static void widen_first_blocks(const struct tensor_list *list, const uint8_t *data, size_t size) {
    float out[DTYPE_BLOCK];
    for (size_t i = 0; i < list->count; i++) {
        const struct tensor *t = &list->items[i];
        const struct dtype_format *f = &dtype_formats[t->type];
        if (t->offset + (uint64_t)f->bytes <= size)
            f->widen(data + t->offset, 1, out);
    }
}

/* Every pair is found by its key, and none is read beyond its value. */
static void walk_pairs(const struct gguf *g, size_t size) {
    for (size_t i = 0; i < g->n_pairs; i++) {
        const struct gguf_pair *pair = &g->pairs[i];
        int64_t whole;
        double number;
        const uint8_t *at = pair->data;
        CHECK(pair->offset <= size);
        gguf_integer(pair, INT64_MIN, INT64_MAX, &whole);
        gguf_number(pair, &number);
        for (uint64_t k = 0; pair->type == GGUF_STRING && k < pair->count; k++)
            gguf_next(&at);
        CHECK(at <= g->image + size);
        char key[64];
        if (pair->key.size >= sizeof key)
            continue;
        memcpy(key, pair->key.bytes, pair->key.size);
        key[pair->key.size] = 0;
        CHECK(gguf_find(g, key) == pair);
    }
}

static void parse(const uint8_t *data, size_t size, uint64_t file_bytes) {
    struct err e = {0}, why = {0};
    struct tensor_list list;
    bool more;
    uint8_t *image = must_alloc(size + 1);
    if (size)
        memcpy(image, data, size);
    struct gguf *g = gguf_parse(image, size, file_bytes, "fuzz", &list, &more, &e);
    if (!g) {
        CHECK(e.code == EXIT_CONTENT && strncmp(e.text, "fuzz", 4) == 0);
        CHECK(list.items == NULL && list.count == 0 && (!more || file_bytes > size));
        return;
    }
    check_tensors(&list, g, file_bytes);
    widen_first_blocks(&list, data, size);
    walk_pairs(g, size);
    struct tokenizer *t = tokenizer_of_gguf(g, &why);
    CHECK(!t == (why.code == EXIT_CONTENT));
    tokenizer_free(t);
    tensor_list_free(&list);
    gguf_free(g);
}

/* As a file: the config, and the first and last row of each tensor. */
static void open_file(const uint8_t *data, size_t size) {
    static int fd = -1;
    static char path[40];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    struct err e = {0}, why = {0};
    struct weights *w = weights_open(path, &e);
    CHECK(!w == (e.code == EXIT_CONTENT));
    if (!w)
        return;
    struct config c;
    CHECK(config_of_gguf(w, &c, &why) || why.code == EXIT_CONTENT);
    CHECK(why.code || (c.n_layers && c.n_heads % c.n_kv_heads == 0 && c.vocab && c.arch));
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct tensor *t = weights_at(w, i);
        float *row = must_alloc(16 * (size_t)t->bytes); /* no format packs tighter */
        int64_t last = t->rank >= 2 ? t->shape[0] - 1 : 0;
        CHECK(weights_read(w, t, 0, 1, row, &e) && weights_read(w, t, last, 1, row, &e));
        free(row);
    }
    weights_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_file(data, size);
    parse(data, size, size);
    parse(data, size, (uint64_t)size + 4096); /* the head in memory, the data on disk */
    return 0;
}
