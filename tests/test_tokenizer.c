/* The tokenizer against the tokenizers library: golden ids (tests/golden/make_tokenizer.py says how
 * they were made), then texts, look-ups and speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/jsonl.h"
#include "base/utf8.h"
#include "tests/tokenizers.h"

static int load(void **state) {
    (void)state;
    tokenizers_load();
    return 0;
}

static int unload(void **state) {
    (void)state;
    tokenizers_free();
    return 0;
}

/* --- comparing --------------------------------------------------------------------------- */

static void expect_hash(struct bytes *b, const struct json *row, const char *key) {
    char hash[HASH_HEX];
    hash_bytes(b->data, b->size, hash);
    if (strcmp(hash, json_text(json_get(row, key))) != 0)
        fail_msg("%s: %s differs", json_text(json_get(row, "name")), key);
    free(b->data);
    *b = (struct bytes){0};
}

static void append_decoded(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip,
                           struct bytes *out) {
    struct err e = {0};
    size_t size;
    char *text = tokenizer_decode(t, ids, n, skip, &size, &e);
    if (!text)
        fail_msg("%s", e.text);
    bytes_append(out, text, size);
    free(text);
}

static void compare_ids(const char *name, size_t place, const struct json *expected,
                        const struct id_list *ids) {
    size_t n = 0;
    for (const struct json *v = json_first(expected); v; v = json_next(v), n++) {
        int64_t id;
        assert_true(json_integer(v, 0, INT32_MAX, &id));
        if (n >= ids->count || ids->ids[n] != id)
            fail_msg("%s: text %zu: id %zu should be %d", name, place, n, (int)id);
    }
    if (n != ids->count)
        fail_msg("%s: text %zu: %zu ids, should be %zu", name, place, ids->count, n);
}

static void compare(const struct json *row) {
    const char *name = json_text(json_get(row, "name"));
    struct tokenizer *t = tokenizers_named(name);
    struct bytes all = {0}, plain = {0}, decoded = {0}, halves = {0};
    const struct json *expected = json_first(json_get(row, "ids"));
    for (size_t i = 0; i < n_texts; i++) {
        struct id_list ids = tokenizers_encode(t, texts[i], true),
                       bare = tokenizers_encode(t, texts[i], false), half = {0};
        if (expected) {
            compare_ids(name, i, expected, &ids);
            expected = json_next(expected);
        } else {
            bytes_append(&all, ids.ids, ids.count * sizeof *ids.ids);
        }
        bytes_append(&plain, bare.ids, bare.count * sizeof *bare.ids);
        append_decoded(t, ids.ids, ids.count, false, &decoded);
        append_decoded(t, ids.ids, ids.count, true, &decoded);
        for (size_t k = 1; k < ids.count; k += 2)
            id_list_add(&half, ids.ids[k]);
        append_decoded(t, half.ids, half.count, false, &halves);
        id_list_free(&ids);
        id_list_free(&bare);
        id_list_free(&half);
    }
    expect_hash(&all, row, "sha256");
    expect_hash(&plain, row, "plain_sha256");
    expect_hash(&decoded, row, "decoded_sha256");
    expect_hash(&halves, row, "halves_sha256");
    tokenizer_free(t);
}

static void test_tokenizer_equals_the_library(void **state) {
    (void)state;
    struct jsonl lines;
    struct json_doc *doc;
    struct err e = {0};
    size_t n = 0;
    assert_true(jsonl_open(&lines, GOLDEN "ids.jsonl", &e));
    while (jsonl_next(&lines, &doc, &e)) {
        assert_non_null(doc);
        compare(json_root(doc));
        json_free(doc);
        n++;
    }
    jsonl_close(&lines);
    assert_true(n >= 20);
}

/* --- real tokenizers ------------------------------------------------------------------------- */

static void add_ids(const struct tokenizer *t, struct text text, struct bytes *out) {
    struct id_list ids = tokenizers_encode(t, text, true);
    bytes_append(out, ids.ids, ids.count * sizeof *ids.ids);
    id_list_free(&ids);
}

/* Each character of characters.json in the places where a pattern may class it. */
static void character_ids(const struct tokenizer *t, struct bytes *out) {
    struct err e = {0};
    struct json_doc *doc = json_read(GOLDEN "characters.json", 1 << 20, &e);
    assert_non_null(doc);
    for (const struct json *r = json_first(json_root(doc)); r; r = json_next(r)) {
        const struct json *a = json_first(r), *b = json_next(a), *c = json_next(b);
        int64_t first, last, step;
        assert_true(json_integer(a, 0, 0x10ffff, &first) && json_integer(b, 0, 0x10ffff, &last) &&
                    json_integer(c, 1, 16, &step));
        for (; first <= last; first += step) {
            char text[64], one[5] = "";
            size_t w = utf8_put((uint32_t)first, one), n = 0;
            for (const char *p = "x#y #1# ##'#"; *p; p++) {
                memcpy(text + n, *p == '#' ? one : p, *p == '#' ? w : 1);
                n += *p == '#' ? w : 1;
            }
            add_ids(t, (struct text){text, n}, out);
        }
    }
    json_free(doc);
}

/* Ids of each line of a data set, of the golden texts, or of the characters, as one stream. */
static void real_ids(const struct tokenizer *t, const char *shared, const char *file,
                     struct bytes *out) {
    char path[600], *line = NULL;
    size_t room = 0;
    ssize_t n;
    if (!strcmp(file, "characters")) {
        character_ids(t, out);
        return;
    }
    if (!strcmp(file, "texts")) {
        for (size_t i = 0; i < n_texts; i++)
            add_ids(t, texts[i], out);
        return;
    }
    snprintf(path, sizeof path, "%s/%s", shared, file);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while ((n = getline(&line, &room, f)) > 0) {
        n -= line[n - 1] == '\n';
        add_ids(t, (struct text){line, (size_t)n}, out);
    }
    free(line);
    fclose(f);
}

static void test_tokenizer_real_ones_equal_the_library(void **state) {
    (void)state;
    const char *shared = tokenizers_shared(), *folder = tokenizers_real();
    struct jsonl lines;
    struct json_doc *doc;
    struct err e = {0};
    struct tokenizer *t = NULL;
    char last[64] = "";
    size_t n = 0;
    assert_true(jsonl_open(&lines, GOLDEN "real.jsonl", &e));
    for (; jsonl_next(&lines, &doc, &e); n++) {
        const char *name = json_text(json_get(json_root(doc), "name"));
        if (strcmp(name, last) != 0) {
            char path[600];
            snprintf(path, sizeof path, "%s/%s/tokenizer.json", folder, name);
            snprintf(last, sizeof last, "%s", name);
            tokenizer_free(t);
            t = tokenizer_read(path, &e);
            if (!t)
                fail_msg("%s", e.text);
        }
        struct bytes ids = {0};
        int64_t count;
        real_ids(t, shared, json_text(json_get(json_root(doc), "file")), &ids);
        assert_true(json_integer(json_get(json_root(doc), "count"), 1, INT32_MAX, &count));
        assert_int_equal(ids.size / sizeof(int32_t), count);
        expect_hash(&ids, json_root(doc), "sha256");
        json_free(doc);
    }
    tokenizer_free(t);
    jsonl_close(&lines);
    assert_int_equal(n, 20);
}

/* --- texts ------------------------------------------------------------------------------------ */

static void test_tokenizer_invalid_utf8_is_an_error_with_its_offset(void **state) {
    (void)state;
    struct tokenizer *t = tokenizers_named("qwen");
    static const struct {
        const char *text;
        size_t size, offset;
    } cases[] = {{"abc\xff", 4, 3},          {"\xc3", 1, 0},
                 {"ab\xe2\x82", 4, 2},       {"\xed\xa0\x80", 3, 0},
                 {"0123456789\x80", 11, 10}, {"\xf4\x90\x80\x80", 4, 0},
                 {"\xc0\x80", 2, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        struct id_list ids = {0};
        id_list_add(&ids, 7);
        assert_false(tokenizer_encode(t, cases[i].text, cases[i].size, true, &ids, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
        char words[40];
        snprintf(words, sizeof words, "offset %zu:", cases[i].offset);
        assert_non_null(strstr(e.text, words));
        assert_int_equal(ids.count, 1); /* what was there before stays, nothing is added */
        id_list_free(&ids);
    }
    tokenizer_free(t);
}

static void test_tokenizer_round_trips_every_text(void **state) {
    (void)state;
    struct tokenizer *t =
        tokenizers_named("llama3"); /* no normalizer: text comes back byte for byte */
    for (size_t i = 0; i < n_texts; i++) {
        struct id_list ids = tokenizers_encode(t, texts[i], false);
        struct bytes out = {0};
        append_decoded(t, ids.ids, ids.count, false, &out);
        assert_int_equal(out.size, texts[i].size);
        if (out.size)
            assert_memory_equal(out.data, texts[i].bytes, out.size);
        free(out.data);
        id_list_free(&ids);
    }
    tokenizer_free(t);
}

static void test_tokenizer_looks_up_tokens_and_pieces(void **state) {
    (void)state;
    struct tokenizer *t = tokenizers_named("llama3");
    size_t size;
    bool special;
    assert_int_equal(tokenizer_vocab(t), 504);
    assert_int_equal(tokenizer_id(t, "<|end|>"), 500);
    assert_int_equal(tokenizer_id(t, "no such token"), -1);
    int32_t the = tokenizer_id(t, "\xc4\xa0the"); /* byte-level spelling of " the" */
    const char *piece = tokenizer_piece(t, the, &size, &special);
    assert_non_null(piece);
    assert_int_equal(size, 4);
    assert_memory_equal(piece, " the", 4);
    assert_false(special);
    assert_non_null(tokenizer_piece(t, 500, &size, &special));
    assert_true(special);
    assert_non_null(tokenizer_piece(t, 502, &size, &special));
    assert_false(special); /* an added token need not be special */
    assert_null(tokenizer_piece(t, 504, &size, &special));
    assert_null(tokenizer_piece(t, -1, &size, &special));
    struct err e = {0};
    assert_null(tokenizer_decode(t, (const int32_t[]){1, 504}, 2, false, &size, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "id 504 at place 1"));
    tokenizer_free(t);
}

static double seconds_for(const struct tokenizer *t, const char *bytes, size_t size,
                          size_t *count) {
    struct text text = {(char *)(uintptr_t)bytes, size};
    double start = clock_seconds();
    struct id_list ids = tokenizers_encode(t, text, false);
    double seconds = clock_seconds() - start;
    *count = ids.count;
    id_list_free(&ids);
    return seconds;
}

static void test_tokenizer_long_runs_take_linear_time(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    struct tokenizer *one = tokenizers_named("one_piece"), *qwen = tokenizers_named("qwen");
    char *text = must_alloc(SIZE);
    static const char *const units[] = {" ", "a", "ab", "the ", "\r\n ", "1", "\xcc\x81"};
    double worst = 0;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t n = strlen(units[u]), count;
        size_t size = SIZE / n * n;
        for (size_t i = 0; i < size; i++)
            text[i] = units[u][i % n];
        /* quadratic merging would take hours on the one piece */
        double a = seconds_for(one, text, size, &count), b = seconds_for(qwen, text, size, &count);
        assert_true(count > 0);
        worst = a > worst ? a : worst;
        worst = b > worst ? b : worst;
    }
    printf("measured: worst megabyte of one piece %.2f s\n", worst);
    assert_true(worst < 20);
    free(text);
    tokenizer_free(one);
    tokenizer_free(qwen);
}

static void test_tokenizer_speed_on_prose(void **state) {
    (void)state;
    struct tokenizer *t = tokenizers_named("qwen");
    struct bytes prose = {0};
    uint64_t x = 1;
    while (prose.size < 2000000) { /* words with the skew of a language: low numbers come often */
        x = x * 6364136223846793005u + 1442695040888963407u;
        unsigned word = (unsigned)(x >> 33) % (1u + (unsigned)((x >> 20) % 5000));
        char text[24];
        int n = 0;
        for (unsigned w = word; w || !n; w /= 19)
            text[n++] = "etaoinshrdlcumwfgyp"[w % 19];
        bytes_append(&prose, text, (size_t)n);
        bytes_append(&prose, x % 64 ? " " : ".\n", x % 64 ? 1 : 2);
    }
    size_t count;
    double seconds = seconds_for(t, prose.data, prose.size, &count);
    printf("measured: prose at %.1f MB/s, %zu ids\n", (double)prose.size / 1e6 / seconds, count);
    assert_true(count > 0);
    free(prose.data);
    tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_equals_the_library),
        cmocka_unit_test(test_tokenizer_real_ones_equal_the_library),
        cmocka_unit_test(test_tokenizer_invalid_utf8_is_an_error_with_its_offset),
        cmocka_unit_test(test_tokenizer_round_trips_every_text),
        cmocka_unit_test(test_tokenizer_looks_up_tokens_and_pieces),
        cmocka_unit_test(test_tokenizer_long_runs_take_linear_time),
        cmocka_unit_test(test_tokenizer_speed_on_prose),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
