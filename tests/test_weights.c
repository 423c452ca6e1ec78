/* Safetensors, one file or shards: what is read is what was stored, and every damage is refused by
 * name. Golden models: tests/golden/README.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/weights.h"
#include "tests/folder.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define A_0_8 "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define B_8_12 "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[8,12]}"

static struct weights *must_open(const char *path) {
    struct err e = {0};
    struct weights *w = weights_open(path, &e);
    if (!w)
        fail_msg("%s", e.text);
    return w;
}

/* The folder is refused with exit code 3, and the one line names the file and the thing. */
static void must_refuse(const struct folder *f, const char *file, const char *expected) {
    struct err e = {0};
    struct weights *w = weights_open(f->path, &e);
    if (w)
        fail_msg("accepted, expected: %s", expected);
    if (e.code != EXIT_CONTENT || !strstr(e.text, file) || !strstr(e.text, expected))
        fail_msg("expected code 3, '%s' and '%s' in (%d) %s", file, expected, e.code, e.text);
}

static void test_weights_lists_and_reads(void **state) {
    const struct folder *f = *state;
    folder_tensors(f, SINGLE,
                   "{\"__metadata__\":{\"format\":\"pt\"}," B_8_12 "," A_0_8
                   ",\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[12,16]}"
                   ",\"empty\":{\"dtype\":\"F16\",\"shape\":[3,0],\"data_offsets\":[8,8]}"
                   ",\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[16,24]}}   ",
                   24);
    struct weights *w = must_open(f->path);
    assert_int_equal(weights_count(w), 5);
    for (size_t i = 1; i < 5; i++)
        assert_true(strcmp(weights_at(w, i - 1)->name, weights_at(w, i)->name) < 0);
    const struct tensor *b = weights_find(w, "b");
    assert_true(b->type == DTYPE_BF16 && b->rank == 2 && b->shape[0] == 2 && b->shape[1] == 1);
    assert_null(weights_find(w, "B"));
    assert_null(weights_find(w, "__metadata__"));

    struct err e = {0};
    float out[2];
    assert_true(weights_read(w, b, 1, 1, out, &e)); /* bytes 10, 11 of the data */
    uint32_t bits = 0x0b0a0000u;
    assert_memory_equal(out, &bits, 4);
    assert_true(weights_read(w, weights_find(w, "a"), 0, 1, out, &e));
    const uint8_t bytes[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    assert_memory_equal(out, bytes, 8);
    uint8_t raw[6] = {0};
    assert_true(weights_read_raw(w, weights_find(w, "i"), 3, 5, raw, &e)); /* any type, any place */
    assert_memory_equal(raw, "\x13\x14\x15\x16\x17", 6);
    assert_true(weights_read_raw(w, weights_find(w, "empty"), 0, 0, raw, &e));
    assert_true(weights_read(w, weights_find(w, "s"), 0, 1, out, &e));
    assert_memory_equal(out, "\x0c\x0d\x0e\x0f", 4);
    assert_true(weights_read(w, weights_find(w, "empty"), 0, 3, out, &e));
    assert_false(weights_read(w, weights_find(w, "i"), 0, 1, out, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "tensor 'i'"));
    assert_non_null(strstr(e.text, "I64"));
    weights_close(w);
}

static void test_weights_refuses_damaged_headers(void **state) {
    const struct folder *f = *state;
#define T(fields) "{\"a\":{" fields "}}"
    // clang-format off
    static const struct { const char *header; size_t bytes; const char *expected; } cases[] = {
        {"", 0, "offset 8: expected a JSON object"},
        {"[]", 0, "offset 8: expected a JSON object"},
        {" {}", 0, "offset 8: expected a JSON object"},
        {"{\"a\"", 0, SINGLE},
        {"{}x", 0, SINGLE},
        {"{\"\xff\":1}", 0, SINGLE},
        {"{" A_0_8 "," A_0_8 "}", 8, "a"},
        {"{\"a\":1}", 0, "tensor 'a': expected an object"},
        {"{\"__metadata__\":[]}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"x\":1}}", 0, "__metadata__"},
        {"{}", 1, "tensors end at 0 of the data, but the file holds 1"},
        {"{" A_0_8 "}", 7, "tensor 'a': data_offsets [0, 8]"},
        {"{" A_0_8 "}", 9, "tensors end at 8"},
        {"{" A_0_8 ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", 8, "'b': begins at 4 of the data, overlapping another; expected 8"},
        {"{" A_0_8 ",\"b\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8, "overlapping"},
        {"{" A_0_8 ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[9,11]}}", 11, "'b': begins at 9 of the data, leaving a hole; expected 8"},
        {T("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]"), 2, "leaving a hole"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]"), 8, "data_offsets [8, 0]"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]"), 8, "'a': data_offsets"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,7.5]"), 8, "'a': data_offsets"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,1e17]"), 8, "'a': data_offsets"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]"), 8, "'a': data_offsets"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4,8]"), 8, "'a': data_offsets"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":\"0,8\""), 8, "'a': data_offsets"},
        {T("\"dtype\":\"F32\",\"shape\":[2]"), 8, "'a': data_offsets missing"},
        {T("\"dtype\":\"F32\",\"data_offsets\":[0,8]"), 8, "'a': shape missing"},
        {T("\"shape\":[2],\"data_offsets\":[0,8]"), 8, "'a': dtype missing"},
        {T("\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]"), 8, "'a': unknown dtype 'F31'"},
        {T("\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]"), 8, "'a': unknown dtype 'f32'"},
        {T("\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]"), 8, "'a': data_offsets span 8 bytes, shape and dtype need 12"},
        {T("\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]"), 8, "'a': data_offsets span 8 bytes, shape and dtype need 4"},
        {T("\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]"), 8, "'a': shape"},
        {T("\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]"), 8, "'a': shape"},
        {T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0, "'a': product of the shape overflows"},
        {T("\"dtype\":\"F32\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]"), 0, "'a': shape"},
        {T("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]"), 2, "'a': size is no whole number of bytes"},
        {T("\"dtype\":\"F32\",\"shape\":[1,1,1,1,2],\"data_offsets\":[0,8]"), 8, "'a': more than 4 dimensions"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        folder_tensors(f, SINGLE, cases[i].header, cases[i].bytes);
        must_refuse(f, SINGLE, cases[i].expected);
    }
#undef T
}

static void test_weights_refuses_wrong_lengths(void **state) {
    const struct folder *f = *state;
    folder_write(f, SINGLE, "", 0);
    must_refuse(f, SINGLE, "0 bytes: too short");
    folder_write(f, SINGLE, "\2\0\0\0{}", 6);
    must_refuse(f, SINGLE, "6 bytes: too short");
    folder_write(f, SINGLE, "\3\0\0\0\0\0\0\0{}", 10);
    must_refuse(f, SINGLE, "header length 3 at offset 0: expected at most 2");
    folder_write(f, SINGLE, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    must_refuse(f, SINGLE, "header length 18446744073709551615");
    /* a sparse file larger than that */
    folder_write(f, SINGLE, "\x01\0\0\2\0\0\0\0{}", 10);
    assert_int_equal(truncate(folder_path(f, SINGLE), 200000000), 0);
    must_refuse(f, SINGLE, "header length 33554433 at offset 0: expected at most 33554432");
}

static void test_weights_refuses_what_is_no_file(void **state) {
    const struct folder *f = *state;
    must_refuse(f, f->path, "holds neither");
    assert_int_equal(mkfifo(folder_path(f, SINGLE), 0600), 0);
    must_refuse(f, SINGLE, "expected a regular file");
    unlink(folder_path(f, SINGLE));
    assert_int_equal(mkdir(folder_path(f, SINGLE), 0700), 0);
    must_refuse(f, SINGLE, "expected a regular file");
    rmdir(folder_path(f, SINGLE));
    assert_int_equal(symlink(SINGLE, folder_path(f, SINGLE)), 0);
    must_refuse(f, SINGLE, SINGLE);
    unlink(folder_path(f, SINGLE));

    struct err absent = {0}, file = {0};
    assert_null(weights_open(folder_path(f, "nowhere"), &absent));
    assert_int_equal(absent.code, EXIT_USAGE);
    folder_text(f, "file", "x");
    assert_null(weights_open(folder_path(f, "file"), &file));
    assert_int_equal(file.code, EXIT_CONTENT);
}

static void test_weights_reports_a_file_cut_in_use(void **state) {
    const struct folder *f = *state;
    folder_tensors(f, SINGLE, "{" A_0_8 "," B_8_12 "}", 12);
    struct weights *w = must_open(f->path);
    const struct tensor *a = weights_find(w, "a"), *b = weights_find(w, "b");
    assert_int_equal(truncate(folder_path(f, SINGLE), (off_t)b->offset + 2), 0);
    float out[2];
    struct err e = {0};
    assert_true(weights_read(w, a, 0, 1, out, &e));
    assert_true(weights_read(w, b, 0, 1, out, &e));
    assert_false(weights_read(w, b, 0, 2, out, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "tensor 'b'"));
    struct err raw = {0};
    assert_true(weights_read_raw(w, b, 0, 2, out, &raw));
    assert_false(weights_read_raw(w, b, 1, 3, out, &raw));
    assert_string_equal(raw.text, e.text);
    assert_non_null(strstr(e.text, SINGLE));
    weights_close(w);
}

/* Every half and every bfloat16 against the definition of the format. */
static void test_weights_widens_exactly(void **state) {
    const struct folder *f = *state;
    enum { N = 65536 };
    const char *header =
        "{\"h\":{\"dtype\":\"F16\",\"shape\":[256,256],\"data_offsets\":[0,131072]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[65536],\"data_offsets\":[131072,262144]}}";
    size_t length = strlen(header), size = 8 + length + 4 * N;
    uint8_t *image = calloc(1, size);
    image[0] = (uint8_t)length;
    memcpy(image + 8, header, length);
    for (size_t i = 0; i < 2 * N; i++) {
        image[8 + length + 2 * i] = (uint8_t)i;
        image[8 + length + 2 * i + 1] = (uint8_t)(i >> 8);
    }
    folder_write(f, SINGLE, image, size);
    free(image);
    struct weights *w = must_open(f->path);
    float *half = malloc(N * sizeof *half), *brain = malloc(N * sizeof *brain);
    struct err e = {0};
    assert_true(weights_read(w, weights_find(w, "h"), 0, 256, half, &e));
    assert_true(weights_read(w, weights_find(w, "b"), 0, 1, brain, &e));
    for (int i = 0; i < N; i++) {
        int exponent = i >> 10 & 31, fraction = i & 0x3ff;
        double want = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        if (exponent == 31)
            want = fraction ? NAN : INFINITY;
        want = i & 0x8000 ? -want : want;
        assert_true(isnan(want) ? isnan(half[i]) : half[i] == want);
        assert_int_equal(signbit(half[i]) != 0, i >> 15);
        uint32_t bits;
        memcpy(&bits, &brain[i], sizeof bits);
        assert_int_equal(bits, (uint32_t)i << 16);
    }
    float row[256];
    assert_true(weights_read(w, weights_find(w, "h"), 17, 1, row, &e));
    assert_memory_equal(row, half + 17 * 256, sizeof row);
    free(half);
    free(brain);
    weights_close(w);
}

/* --- shards ----------------------------------------------------------------------- */

#define A_HEADER "{" A_0_8 "}"
#define B_HEADER "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"

static void write_shards(const struct folder *f) {
    folder_tensors(f, "1.safetensors", A_HEADER, 8);
    folder_tensors(f, "2.safetensors", B_HEADER, 4);
}

static void test_weights_reads_shards(void **state) {
    const struct folder *f = *state;
    write_shards(f);
    folder_text(f, INDEX,
                "{\"metadata\":{\"total_size\":12},\"weight_map\":{\"b\":\"2.safetensors\",\"a\":"
                "\"1.safetensors\"}}");
    struct weights *w = must_open(f->path);
    assert_int_equal(weights_count(w), 2);
    float out;
    struct err e = {0};
    assert_true(weights_read(w, weights_find(w, "b"), 0, 1, &out, &e));
    assert_memory_equal(&out, "\0\1\2\3", 4);
    weights_close(w);
}

static void test_weights_refuses_bad_indexes(void **state) {
    const struct folder *f = *state;
    // clang-format off
    static const struct { const char *map, *expected; } cases[] = {
        {"{}", "weight_map"},
        {"[]", "weight_map"},
        {"{\"a\":1}", "'a': expected a file name"},
        {"{\"a\":\"\"}", "shard ''"},
        {"{\"a\":\".\"}", "shard '.'"},
        {"{\"a\":\"..\"}", "shard '..'"},
        {"{\"a\":\"../1.safetensors\"}", "shard '../1.safetensors'"},
        {"{\"a\":\"/etc/hostname\"}", "shard '/etc/hostname'"},
        {"{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}", "3.safetensors"},
        {"{\"a\":\"1.safetensors\",\"b\":\"out.safetensors\"}", "'out.safetensors' is a link that leaves the folder"},
        {"{\"a\":\"1.safetensors\",\"b\":\"dangling\"}", "shard 'dangling'"},
        {"{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}", "tensor 'b' is not in '1.safetensors'"},
        {"{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}", "is not in"},
        {"{\"a\":\"1.safetensors\",\"a\":\"2.safetensors\"}", "a"},
    };
    // clang-format on
    write_shards(f);
    assert_int_equal(symlink("/etc/hostname", folder_path(f, "out.safetensors")), 0);
    assert_int_equal(symlink("nothing", folder_path(f, "dangling")), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        snprintf(text, sizeof text, "{\"weight_map\":%s}", cases[i].map);
        folder_text(f, INDEX, text);
        must_refuse(f, INDEX, cases[i].expected);
    }
    folder_text(f, INDEX, "{}");
    must_refuse(f, INDEX, "weight_map");
    folder_text(f, INDEX, "{");
    must_refuse(f, INDEX, INDEX);
    unlink(folder_path(f, INDEX));
    assert_int_equal(mkfifo(folder_path(f, INDEX), 0600), 0);
    must_refuse(f, INDEX, "expected a regular file");
}

static void test_weights_refuses_bad_shards(void **state) {
    const struct folder *f = *state;
    folder_tensors(f, "1.safetensors", A_HEADER, 8);
    folder_text(f, INDEX, "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}");
    folder_tensors(f, "2.safetensors", "{" A_0_8 "," B_8_12 "}", 12);
    must_refuse(f, "safetensors", "tensor 'a' also occurs in");
    folder_tensors(f, "2.safetensors", B_HEADER, 3);
    must_refuse(f, "2.safetensors", "tensor 'b'");
    unlink(folder_path(f, "2.safetensors"));
    assert_int_equal(mkfifo(folder_path(f, "2.safetensors"), 0600), 0);
    must_refuse(f, "2.safetensors", "expected a regular file");
}

/* Links inside the folder are fine, and so is a hub cache's own layout. */
static void test_weights_follows_links_that_stay(void **state) {
    const struct folder *f = *state;
    struct folder snapshot;
    mkdir(folder_path(f, "blobs"), 0700);
    mkdir(folder_path(f, "snapshots"), 0700);
    mkdir(folder_path(f, "snapshots/0123"), 0700);
    snprintf(snapshot.path, sizeof snapshot.path, "%s", folder_path(f, "snapshots/0123"));
    folder_tensors(f, "blobs/aa", A_HEADER, 8);
    folder_tensors(&snapshot, "b", B_HEADER, 4);
    folder_text(&snapshot, INDEX,
                "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}");
    assert_int_equal(symlink("../../blobs/aa", folder_path(&snapshot, "1.safetensors")), 0);
    assert_int_equal(symlink("b", folder_path(&snapshot, "2.safetensors")), 0);
    weights_close(must_open(snapshot.path));

    assert_int_equal(rename(folder_path(f, "snapshots"), folder_path(f, "elsewhere")), 0);
    snprintf(snapshot.path, sizeof snapshot.path, "%s", folder_path(f, "elsewhere/0123"));
    must_refuse(&snapshot, INDEX, "'1.safetensors' is a link that leaves the folder");
}

static void test_weights_hash_follows_content(void **state) {
    const struct folder *f = *state;
    char one[65], again[65], other[65];
    struct err e = {0};
    write_shards(f);
    folder_text(f, INDEX, "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}");
    char *const out[3] = {one, again, other};
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            folder_tensors(f, "2.safetensors", B_HEADER " ", 4);
        struct weights *w = must_open(f->path);
        assert_true(weights_hash(w, out[i], &e));
        weights_close(w);
    }
    assert_int_equal(strlen(one), 64);
    assert_string_equal(one, again);
    assert_string_not_equal(one, other);
}

static void test_weights_opens_golden_models(void **state) {
    (void)state;
    static const struct {
        const char *path;
        size_t count;
        enum dtype type;
    } cases[] = {
        {"tests/golden/models/llama-g1", 20, DTYPE_F32},
        {"tests/golden/models/llama-g3", 21, DTYPE_BF16},
        {"tests/golden/models/qwen2-g3", 27, DTYPE_F16},
        {"tests/golden/models/qwen3-g3", 25, DTYPE_F16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weights *w = must_open(cases[i].path);
        assert_int_equal(weights_count(w), cases[i].count);
        const struct tensor *t = weights_find(w, "model.layers.1.mlp.down_proj.weight");
        assert_non_null(t);
        assert_int_equal(t->type, cases[i].type);
        weights_close(w);
    }
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_weights_lists_and_reads),
        WITH_FOLDER(test_weights_refuses_damaged_headers),
        WITH_FOLDER(test_weights_refuses_wrong_lengths),
        WITH_FOLDER(test_weights_refuses_what_is_no_file),
        WITH_FOLDER(test_weights_reports_a_file_cut_in_use),
        WITH_FOLDER(test_weights_widens_exactly),
        WITH_FOLDER(test_weights_reads_shards),
        WITH_FOLDER(test_weights_refuses_bad_indexes),
        WITH_FOLDER(test_weights_refuses_bad_shards),
        WITH_FOLDER(test_weights_follows_links_that_stay),
        WITH_FOLDER(test_weights_hash_follows_content),
        cmocka_unit_test(test_weights_opens_golden_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
