/* Tokenizers out of GGUF metadata: ids of the tokenizers library on the same tokens, and metadata
 * that make no tokenizer. Golden data: tests/golden/README.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/jsonl.h"
#include "engine/gguf_tokenizer.h"
#include "tests/cli.h"
#include "tests/folder.h"
#include "tests/gguf_file.h"
#include "tests/tokenizers.h"

#define GGUF "tests/golden/gguf/"
#define FILE_NAME "m.gguf"

static void expect_ids(const struct tokenizer *t, const struct json *row, const char *key,
                       bool special) {
    struct bytes all = {0};
    char hash[HASH_HEX];
    int64_t n;
    assert_true(json_integer(json_get(row, "texts"), 1, (int64_t)n_texts, &n));
    for (int64_t i = 0; i < n; i++) {
        struct id_list ids = tokenizers_encode(t, texts[i], special);
        bytes_append(&all, ids.ids, ids.count * sizeof *ids.ids);
        id_list_free(&ids);
    }
    hash_bytes(all.data, all.size, hash);
    if (strcmp(hash, json_text(json_get(row, key))) != 0)
        fail_msg("%s: %s differs", json_text(json_get(row, "name")), key);
    free(all.data);
}

static void test_gguf_tokenizers_equal_the_library(void **state) {
    (void)state;
    struct jsonl lines;
    struct json_doc *doc;
    struct err e = {0};
    int n = 0;
    tokenizers_load();
    assert_true(jsonl_open(&lines, GGUF "tokenizers.jsonl", &e));
    for (; jsonl_next(&lines, &doc, &e); n++) {
        const struct json *row = json_root(doc);
        char path[100];
        snprintf(path, sizeof path, GGUF "tokenizer-%s.gguf", json_text(json_get(row, "name")));
        struct tokenizer *t = tokenizer_read_gguf(path, &e);
        if (!t)
            fail_msg("%s", e.text);
        expect_ids(t, row, "sha256", true);
        expect_ids(t, row, "plain_sha256", false);
        tokenizer_free(t);
        json_free(doc);
    }
    jsonl_close(&lines);
    tokenizers_free();
    assert_int_equal(n, 6);
}

static void test_gguf_tokenizers_decode_what_they_encode(void **state) {
    (void)state;
    static const char *const names[] = {"qwen2", "llama"};
    static const char text[] = "The answer is 42,  caf\xc3\xa9 \xf0\x9f\x98\x80.\n";
    for (int i = 0; i < 2; i++) {
        struct err e = {0};
        struct id_list ids = {0};
        char path[100];
        size_t size;
        snprintf(path, sizeof path, GGUF "tokenizer-%s.gguf", names[i]);
        struct tokenizer *t = tokenizer_read_gguf(path, &e);
        if (!t)
            fail_msg("%s", e.text);
        assert_true(tokenizer_encode(t, text, strlen(text), true, &ids, &e));
        char *back = tokenizer_decode(t, ids.ids, ids.count, true, &size, &e);
        assert_string_equal(back, text);
        free(back);
        id_list_free(&ids);
        tokenizer_free(t);
    }
}

static void test_gguf_tokenizers_refuse_bad_metadata(void **state) {
    const struct folder *f = *state;
    // clang-format off
    static const struct { const char *file, *from, *to; const char *key; uint64_t value; const char *expected; } cases[] = {
        {"qwen2", "gpt2", "bert", NULL, 0, "key 'tokenizer.ggml.model' is 'bert': expected 'gpt2' or 'llama'"},
        {"qwen2", "qwen2", "qwen9", NULL, 0, "key 'tokenizer.ggml.pre' is 'qwen9': expected one of qwen2, deepseek-r1-qwen, llama-bpe"},
        {"qwen2", "token_type", "token_typo", "tokenizer.ggml.bos_token_id", 504, "key 'tokenizer.ggml.bos_token_id' is 504: expected the id of a token"},
        {"qwen2", "</think>", "<|end|>x", NULL, 0, NULL},
        {"qwen2", "<think>", "<|end|>", NULL, 0, "<|end|>"},
        {"deepseek-r1-qwen", "bos_token_id", "boz_token_id", NULL, 0, "key 'tokenizer.ggml.bos_token_id' is missing"},
        {"llama", "tokenizer.ggml.scores", "tokenizer.ggml.scorez", NULL, 0, "key 'tokenizer.ggml.scores' is missing: expected as many F32"},
        {"llama", "tokenizer.ggml.tokens", "tokenizer.ggml.tokenz", NULL, 0, "key 'tokenizer.ggml.tokens' is missing"},
        {"llama", "<0x41>", "<0x42>", NULL, 0, "are both '<0x42>'"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        char path[100];
        snprintf(path, sizeof path, GGUF "tokenizer-%s.gguf", cases[i].file);
        struct image m = image_read(path);
        image_replace(&m, cases[i].from, cases[i].to);
        if (cases[i].key)
            image_set(&m, cases[i].key, 4, cases[i].value);
        folder_write(f, FILE_NAME, m.bytes, m.size);
        free(m.bytes);
        struct tokenizer *t = tokenizer_read_gguf(folder_path(f, FILE_NAME), &e);
        if (!t != (cases[i].expected != NULL))
            fail_msg("case %zu: %s", i, t ? "accepted" : e.text);
        if (!t && (e.code != EXIT_CONTENT || !strstr(e.text, FILE_NAME) ||
                   !strstr(e.text, cases[i].expected)))
            fail_msg("expected '%s' in (%d) %s", cases[i].expected, e.code, e.text);
        tokenizer_free(t);
    }
}

/* Writes four bytes over item i of an array whose items have as many. */
static void set_item(struct image *m, const char *key, size_t i, uint32_t bits) {
    uint8_t *at = memmem(m->bytes, m->size, key, strlen(key));
    assert_non_null(at);
    memcpy(at + strlen(key) + 16 + 4 * i, &bits, 4);
}

static void test_gguf_tokenizers_say_which_item_is_wrong(void **state) {
    const struct folder *f = *state;
    static const struct {
        const char *key;
        size_t item;
        uint32_t bits;
        const char *expected;
    } cases[] = {
        {"tokenizer.ggml.scores", 300, 0x7fc00000, "scores': item 300 is nan: expected a finite"},
        {"tokenizer.ggml.scores", 300, 0x7f800000, "scores': item 300 is inf: expected a finite"},
        {"tokenizer.ggml.token_type", 5, 99, "token_type': item 5 is 99: expected 1 to 6"},
        {"tokenizer.ggml.token_type", 5, (uint32_t)-1, "token_type': item 5 is -1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        struct image m = image_read(GGUF "tokenizer-llama.gguf");
        set_item(&m, cases[i].key, cases[i].item, cases[i].bits);
        folder_write(f, FILE_NAME, m.bytes, m.size);
        free(m.bytes);
        assert_null(tokenizer_read_gguf(folder_path(f, FILE_NAME), &e));
        assert_int_equal(e.code, EXIT_CONTENT);
        if (!strstr(e.text, cases[i].expected))
            fail_msg("expected '%s' in %s", cases[i].expected, e.text);
    }
}

static void test_gguf_tokenizers_serve_commands(void **state) {
    (void)state;
    struct cli cli;
    cli_run(&cli, NULL, "tokenize", "--tokenizer", GGUF "tokenizer-qwen2.gguf", "<|end|>a", NULL);
    assert_int_equal(cli.code, EXIT_OK);
    assert_non_null(strstr(cli.out, "500"));
    cli_free(&cli);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_tokenizers_equal_the_library),
        cmocka_unit_test(test_gguf_tokenizers_decode_what_they_encode),
        cmocka_unit_test_setup_teardown(test_gguf_tokenizers_refuse_bad_metadata, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_gguf_tokenizers_say_which_item_is_wrong, folder_setup,
                                        folder_teardown),
        cmocka_unit_test(test_gguf_tokenizers_serve_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
