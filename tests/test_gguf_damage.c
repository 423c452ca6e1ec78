/* GGUF heads that are cut, wrong or hostile: each is refused by name, before anything is allocated
 * for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/gguf.h"
#include "tests/folder.h"
#include "tests/gguf_file.h"

#define FILE_NAME "m.gguf"

/* Writes the image, which is refused; frees it. */
static void must_refuse(const struct folder *f, struct image *image, const char *expected) {
    struct err e = {0};
    folder_write(f, FILE_NAME, image->bytes, image->size);
    struct weights *w = weights_open(folder_path(f, FILE_NAME), &e);
    if (w)
        fail_msg("accepted, expected: %s", expected);
    if (e.code != EXIT_CONTENT || !strstr(e.text, FILE_NAME) || !strstr(e.text, expected))
        fail_msg("expected code 3, '%s' and '%s' in (%d) %s", FILE_NAME, expected, e.code, e.text);
    free(image->bytes);
    *image = (struct image){0};
}

/* --- heads ----------------------------------------------------------------------------- */

static void test_gguf_refuses_what_is_none(void **state) {
    const struct folder *f = *state;
    struct image m = {0};
    image_number(&m, 3, 0x554747);
    must_refuse(f, &m, "offset 0: the magic GGUF: expected 4 bytes, the file has 3");
    image_number(&m, 8, 0x0000000346554700);
    must_refuse(f, &m, "offset 0: expected the magic GGUF");
    image_head(&m, 1, 0, 0);
    must_refuse(f, &m, "offset 4: version 1: expected 2 or 3");
    image_head(&m, 4, 0, 0);
    must_refuse(f, &m, "offset 4: version 4: expected 2 or 3");
    image_head(&m, 0x03000000, 0, 0);
    must_refuse(f, &m, "offset 4: a big-endian file");
    image_head(&m, 3, UINT64_MAX, 0);
    must_refuse(f, &m, "18446744073709551615 tensors: expected at most 0 in a file of 24 bytes");
    image_head(&m, 3, 0, UINT64_MAX / 14);
    must_refuse(f, &m, "keys: expected at most 0 in a file of 24 bytes");
    image_head(&m, 3, 0, 70000);
    image_zeros(&m, 2000000);
    must_refuse(f, &m, "70000 keys: expected at most 65536");
    image_head(&m, 3, 0, 0);
    m.size -= 5;
    must_refuse(f, &m, "offset 16: the number of keys: expected 8 bytes, the file has 3");
}

static void test_gguf_refuses_damaged_metadata(void **state) {
    const struct folder *f = *state;
    struct image m = {0};
    image_head(&m, 3, 0, 1);
    image_number(&m, 8, UINT64_MAX);
    image_zeros(&m, 16);
    must_refuse(f, &m, "offset 24: a key of 18446744073709551615 bytes: expected at most 65535");
    image_head(&m, 3, 0, 1);
    image_number(&m, 8, 60000);
    image_zeros(&m, 16);
    must_refuse(f, &m, "offset 32: a key: expected 60000 bytes, the file has 16");
    image_head(&m, 3, 0, 1);
    image_key(&m, "a\xff", GGUF_U32);
    image_number(&m, 4, 1);
    must_refuse(f, &m, "offset 24: a key: expected UTF-8 without U+0000");
    image_head(&m, 3, 0, 1);
    image_key(&m, "a", 13);
    image_number(&m, 4, 1);
    must_refuse(f, &m, "offset 33: value type 13: expected 0 to 12");
    image_head(&m, 3, 0, 1);
    image_key(&m, "a", GGUF_BOOL);
    image_number(&m, 1, 2);
    must_refuse(f, &m, "offset 37: truth value 2: expected 0 or 1");
    image_head(&m, 3, 0, 1);
    image_key(&m, "a", GGUF_STRING);
    image_number(&m, 8, INT64_MAX);
    must_refuse(f, &m, "offset 37: a text of 9223372036854775807 bytes");
    image_head(&m, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        image_key(&m, "twice", GGUF_U8);
        image_number(&m, 1, 1);
    }
    must_refuse(f, &m, "key 'twice' occurs twice");
    image_head(&m, 3, 0, 1);
    image_key(&m, "split.count", GGUF_U16);
    image_number(&m, 2, 3);
    must_refuse(f, &m, "key 'split.count' is 3: expected the model in one file");
}

static void test_gguf_refuses_damaged_arrays(void **state) {
    const struct folder *f = *state;
    struct image m = {0};
    image_head(&m, 3, 0, 1);
    image_key(&m, "a", GGUF_ARRAY);
    image_number(&m, 4, GGUF_ARRAY);
    image_number(&m, 8, 1);
    must_refuse(f, &m, "offset 37: arrays of arrays are not supported");
    image_head(&m, 3, 0, 1);
    image_key(&m, "a", GGUF_ARRAY);
    image_number(&m, 4, 99);
    image_number(&m, 8, 1);
    must_refuse(f, &m, "offset 37: value type 99");
    static const struct {
        uint32_t type;
        uint64_t count, at_most;
    } cases[] = {{GGUF_F64, (uint64_t)1 << 61, 1},
                 {GGUF_F64, 2, 1},
                 {GGUF_STRING, UINT64_MAX, 1},
                 {GGUF_I32, ((uint64_t)1 << 62) + 1, 2},
                 {GGUF_U8, 9, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[100];
        image_head(&m, 3, 0, 1);
        image_key(&m, "a", GGUF_ARRAY);
        image_number(&m, 4, cases[i].type);
        image_number(&m, 8, cases[i].count);
        image_number(&m, 8, 0);
        snprintf(expected, sizeof expected, "%llu items: expected at most %llu",
                 (unsigned long long)cases[i].count, (unsigned long long)cases[i].at_most);
        must_refuse(f, &m, expected);
    }
}

static void test_gguf_refuses_bad_alignment(void **state) {
    const struct folder *f = *state;
    static const uint32_t bad[] = {0, 3, 48, 1u << 21, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct image m = {0};
        image_head(&m, 3, 0, 1);
        image_key(&m, "general.alignment", GGUF_U32);
        image_number(&m, 4, bad[i]);
        must_refuse(f, &m, "key 'general.alignment' is");
    }
}

#define DIMENSIONS(...) ((const uint64_t[]){__VA_ARGS__, 0})

static void test_gguf_refuses_damaged_tensors(void **state) {
    const struct folder *f = *state;
    const uint64_t big = (uint64_t)1 << 33;
    static const uint64_t none[] = {0};
    // clang-format off
    const struct { const char *name; const uint64_t *dimensions; uint32_t type; uint64_t offset; const char *expected; } cases[] = {
        {"t", none, 0, 0, "tensor 't': expected 1 to 4 dimensions"},
        {"t", DIMENSIONS(1, 1, 1, 1, 2), 0, 0, "tensor 't': expected 1 to 4 dimensions"},
        {"t", DIMENSIONS(UINT64_MAX), 0, 0, "tensor 't': expected dimensions of at least 1"},
        {"t", DIMENSIONS(big, big), 0, 0, "tensor 't': product of the dimensions overflows"},
        {"t", DIMENSIONS(big, big >> 3, 16), 0, 0, "tensor 't': product of the dimensions overflows"},
        {"t", DIMENSIONS(big << 28), 0, 0, "tensor 't': product of the dimensions overflows"},
        {"t", DIMENSIONS(32), 16, 0, "tensor 't': type 16 is not supported: expected one of F32, F16, BF16, Q4_0"},
        {"t", DIMENSIONS(32), UINT32_MAX, 0, "tensor 't': type 4294967295 is not supported"},
        {"t", DIMENSIONS(48), 2, 0, "tensor 't': rows of 48 numbers: expected a multiple of 32 for Q4_0"},
        {"t", DIMENSIONS(128, 2), 14, 0, "tensor 't': rows of 128 numbers: expected a multiple of 256 for Q6_K"},
        {"t", DIMENSIONS(8), 0, 32, "tensor 't' begins at 32 of the data: expected 0"},
        {"t", DIMENSIONS(8), 0, UINT64_MAX - 31, "tensor 't' begins at 18446744073709551584 of the data: expected 0"},
        {"t", DIMENSIONS(9), 0, 0, "tensor 't' ends at 36 of the data, which begins at 64: the file has 96 bytes"},
        {"t", DIMENSIONS(1 << 20), 0, 0, "tensor 't' of 4194304 bytes at 0 of the data: the file has 96 bytes"},
        {"a-name-that-is-longer-than-the-sixty-four-bytes-which-ggml-has-for-it", DIMENSIONS(8), 0, 0, "a tensor's name of 69 bytes: expected at most 64"},
        {"\xc3", DIMENSIONS(8), 0, 0, "a tensor's name: expected UTF-8"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct image m = {0};
        image_head(&m, 3, 1, 0);
        image_tensor(&m, cases[i].name, cases[i].dimensions, cases[i].type, cases[i].offset);
        if (m.size < 96)
            image_zeros(&m, 96 - m.size);
        must_refuse(f, &m, cases[i].expected);
    }
}

static void test_gguf_refuses_overlaps_and_rests(void **state) {
    const struct folder *f = *state;
    struct image m = {0};
    image_head(&m, 2, 2, 0); /* version 2 has the same head */
    image_tensor(&m, "a", DIMENSIONS(8), 0, 0);
    image_tensor(&m, "b", DIMENSIONS(8), 0, 0);
    image_zeros(&m, 128);
    must_refuse(f, &m, "tensor 'b' begins at 0 of the data: expected 32");
    image_head(&m, 2, 2, 0);
    image_tensor(&m, "a", DIMENSIONS(8), 0, 0);
    image_tensor(&m, "a", DIMENSIONS(8), 0, 32);
    image_zeros(&m, 96 + 64 - m.size);
    must_refuse(f, &m, "tensor 'a' occurs twice");
    image_head(&m, 3, 1, 0);
    image_tensor(&m, "a", DIMENSIONS(8), 0, 0);
    image_zeros(&m, 96 + 32 + 8 - m.size);
    must_refuse(f, &m, "expected the end of the file behind its last tensor");
    image_head(&m, 3, 2, 0);
    image_tensor(&m, "a", DIMENSIONS(8), 0, 0);
    must_refuse(f, &m, "2 tensors: expected at most 1");
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_gguf_refuses_what_is_none),
        WITH_FOLDER(test_gguf_refuses_damaged_metadata),
        WITH_FOLDER(test_gguf_refuses_damaged_arrays),
        WITH_FOLDER(test_gguf_refuses_bad_alignment),
        WITH_FOLDER(test_gguf_refuses_damaged_tensors),
        WITH_FOLDER(test_gguf_refuses_overlaps_and_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
