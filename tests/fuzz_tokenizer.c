/* Any bytes as a tokenizer.json, up to the first 0 byte; what stands behind it is a text to encode.
 * A file that is accepted must give known ids, the same ones twice, that decode. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer.h"

static const char tricky[] = "It's 12345 caf\xc3\xa9 e\xcc\x81 \xe3\x80\x80<x> a\xc2\xa0"
                             "b\r\n\r\n  <|end|>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\0abbb ";

static void try_text(const struct tokenizer *t, const char *text, size_t size) {
    struct err e = {0};
    struct id_list once = {0}, twice = {0};
    if (tokenizer_encode(t, text, size, true, &once, &e)) {
        CHECK(tokenizer_encode(t, text, size, true, &twice, &e));
        CHECK(once.count == twice.count);
        CHECK(!once.count || !memcmp(once.ids, twice.ids, once.count * sizeof *once.ids));
        size_t n;
        char *back = tokenizer_decode(t, once.ids, once.count, false, &n, &e);
        CHECK(back && strlen(back) <= n);
        free(back);
    } else {
        CHECK(e.code == EXIT_CONTENT && *e.text);
    }
    id_list_free(&once);
    id_list_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *json = (const char *)data, *end = size ? memchr(json, 0, size) : NULL;
    size_t json_size = end ? (size_t)(end - json) : size;
    struct err e = {0};
    struct tokenizer *t = tokenizer_parse(json, json_size, "fuzz", &e);
    CHECK(!t == (e.code == EXIT_CONTENT));
    if (!t)
        return 0;
    try_text(t, tricky, sizeof tricky - 1);
    if (end)
        try_text(t, end + 1, size - json_size - 1);
    tokenizer_free(t);
    return 0;
}
