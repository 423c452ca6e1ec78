/* tokenizer.json files: small ones, bad ones, hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <glob.h>

#include "base/clock.h"
#include "base/file.h"
#include "tests/tokenizers.h"

#define FLOW                                                                                    \
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false," \
    "\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"}"
#define ADDED(text, id)                                                              \
    "{\"content\":\"" text "\",\"id\":" id ",\"special\":true,\"normalized\":false," \
    "\"single_word\":false,\"lstrip\":false,\"rstrip\":false}"
#define WITH(added, model) \
    "{\"added_tokens\":[" added "]," FLOW ",\"model\":{\"type\":\"BPE\"," model "}}"
#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"abb\":3}"
#define PRE(step)                                      \
    "{\"normalizer\":null,\"pre_tokenizer\":" step     \
    ",\"decoder\":{\"type\":\"ByteLevel\"},\"model\":" \
    "{\"type\":\"BPE\"," VOCAB ",\"merges\":[]}}"
#define NORMAL(step)                                                                              \
    "{\"normalizer\":" step ",\"pre_tokenizer\":null,\"decoder\":{\"type\":\"Fuse\"},\"model\":{" \
    "\"type\":\"BPE\"," VOCAB ",\"merges\":[]}}"
#define DECODER(step)                                               \
    "{\"normalizer\":null,\"pre_tokenizer\":null,\"decoder\":" step \
    ",\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[]}}"
#define SPLIT(regex)                                                                            \
    PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":" \
        "\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","   \
        "\"add_prefix_space\":false,"                                                           \
        "\"use_regex\":false}]}")

#define A8 "aaaaaaaa"
#define A64 A8 A8 A8 A8 A8 A8 A8 A8
#define GROW "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"" A64 "\"}"

static void test_tokenizer_files_minimal_one_is_read(void **state) {
    (void)state;
    struct tokenizer *t =
        tokenizers_parse(WITH(ADDED("<x>", "9"), VOCAB ",\"merges\":[\"a b\",[\"ab\",\"b\"]]"));
    struct id_list ids = tokenizers_encode(t, (struct text){(char[]){"abbab<x>b"}, 9}, true);
    const int32_t expected[] = {3, 2, 9, 1};
    assert_int_equal(ids.count, 4);
    assert_memory_equal(ids.ids, expected, sizeof expected);
    assert_int_equal(tokenizer_vocab(t), 10);
    size_t size;
    struct err e = {0};
    assert_null(tokenizer_decode(t, (const int32_t[]){5}, 1, false, &size, &e)); /* a hole */
    e.code = 0;
    ids.count = 0;
    assert_false(tokenizer_encode(t, "abc", 3, true, &ids, &e)); /* no token for c, no unk_token */
    assert_non_null(strstr(e.text, "byte 0x63"));
    id_list_free(&ids);
    tokenizer_free(t);
}

static void test_tokenizer_files_unknown_bytes_become_unk(void **state) {
    (void)state;
    for (int fuse = 0; fuse < 2; fuse++) {
        struct tokenizer *t = tokenizers_parse(
            fuse ? WITH("", VOCAB ",\"merges\":[],\"unk_token\":\"abb\",\"fuse_unk\":true")
                 : WITH("", VOCAB ",\"merges\":[],\"unk_token\":\"abb\",\"fuse_unk\":false"));
        struct id_list ids = tokenizers_encode(t, (struct text){(char[]){"acdcb"}, 5}, true);
        assert_int_equal(ids.count, fuse ? 3 : 5);
        assert_int_equal(ids.ids[1], 3);
        id_list_free(&ids);
        tokenizer_free(t);
    }
}

static void test_tokenizer_files_bad_ones_are_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"[]", "expected an object with a \"model\""},
        {"{\"model\":{\"type\":\"Unigram\"}}", "model.type"},
        {WITH("", VOCAB), "model.merges: expected a list"},
        {WITH("", "\"vocab\":{},\"merges\":[]"), "model.vocab"},
        {WITH("", "\"vocab\":[],\"merges\":[]"), "model.vocab"},
        {WITH("", "\"vocab\":{\"a\":-1},\"merges\":[]"), "id of 'a'"},
        {WITH("", "\"vocab\":{\"a\":4194304},\"merges\":[]"), "id of 'a'"},
        {WITH("", "\"vocab\":{\"a\":1e300},\"merges\":[]"), "id of 'a'"},
        {WITH("", "\"vocab\":{\"a\":0.5},\"merges\":[]"), "id of 'a'"},
        {WITH("", "\"vocab\":{\"a\":\"0\"},\"merges\":[]"), "id of 'a'"},
        {WITH("", "\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]"),
         "id 0 stands for 'b' and for another"},
        {WITH("", "\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]"), "given twice"},
        {WITH("", VOCAB ",\"merges\":[\"a x\"]"), "merges[0]: 'x' is not in the vocabulary"},
        {WITH("", VOCAB ",\"merges\":[\"a b\",\"b a\"]"),
         "merges[1]: 'ba' is not in the vocabulary"},
        {WITH("", VOCAB ",\"merges\":[\"ab\"]"), "merges[0]: expected"},
        {WITH("", VOCAB ",\"merges\":[\"a b b\"]"), "merges[0]: expected"},
        {WITH("", VOCAB ",\"merges\":[[\"a\"]]"), "merges[0]: expected"},
        {WITH("", VOCAB ",\"merges\":[[\"a\",\"b\",\"b\"]]"), "merges[0]: expected"},
        {WITH("", VOCAB ",\"merges\":[7]"), "merges[0]: expected"},
        {WITH("", VOCAB ",\"merges\":[],\"byte_fallback\":true"), "byte_fallback"},
        {WITH("", VOCAB ",\"merges\":[],\"dropout\":0.1"), "dropout"},
        {WITH("", VOCAB ",\"merges\":[],\"end_of_word_suffix\":\"</w>\""), "end_of_word_suffix"},
        {WITH("", VOCAB ",\"merges\":[],\"unk_token\":\"zz\""), "unk_token"},
        {WITH("", VOCAB ",\"merges\":[],\"ignore_merges\":1"), "ignore_merges"},
        {WITH(ADDED("<x>", "1"), VOCAB ",\"merges\":[]"), "belongs to another token"},
        {WITH(ADDED("a", "7"), VOCAB ",\"merges\":[]"), "has id 7 here and 0 elsewhere"},
        {WITH(ADDED("<x>", "4") "," ADDED("<x>", "5"), VOCAB ",\"merges\":[]"), "id 5 here and 4"},
        {WITH(ADDED("<x>", "4") "," ADDED("<y>", "4"), VOCAB ",\"merges\":[]"), "another token"},
        {WITH(ADDED("<x>", "-4"), VOCAB ",\"merges\":[]"), "id of '<x>'"},
        {WITH("{\"content\":5,\"id\":9}", VOCAB ",\"merges\":[]"), "added_tokens[0].content"},
        {WITH("{\"content\":\"<x>\",\"id\":9}", VOCAB ",\"merges\":[]"), "added_tokens[0].special"},
        {WITH("3", VOCAB ",\"merges\":[]"), "added_tokens[0].content"},
        {PRE("null"), "decoder of type 'ByteLevel': expected a pre_tokenizer of"},
        {PRE("{\"type\":\"Whitespace\"}"), "'Whitespace' is not supported"},
        {PRE("{\"type\":\"Metaspace\"}"), "replacement: expected one character"},
        {PRE("{\"type\":\"Metaspace\",\"replacement\":\"ab\"}"), "expected one character"},
        {PRE("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}"),
         "prepend_scheme: expected never, always or first"},
        {PRE("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\","
             "\"add_prefix_space\":false}"),
         "add_prefix_space"},
        {NORMAL("{\"type\":\"Lowercase\"}"), "'Lowercase' is not supported"},
        {NORMAL("{\"type\":\"Prepend\"}"), "normalizer.prepend: expected a text"},
        {NORMAL("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"b\"}"),
         "normalizer.pattern.String: expected a text"},
        {NORMAL("{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}"),
         "normalizer.content: expected a text"},
        {NORMAL("{\"type\":\"Sequence\"}"), "normalizer.normalizers: expected a list"},
        {DECODER("null"), "decoder: expected one"},
        {DECODER("{\"type\":\"WordPiece\"}"), "'WordPiece' is not supported"},
        {DECODER("{\"type\":\"Replace\"}"), "decoder: Replace: expected"},
        {DECODER("{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"),
         "decoder: Strip: expected"},
        {DECODER("{\"type\":\"Sequence\",\"decoders\":[" GROW "," GROW "]}"),
         "makes a text more than 64 times its size"},
        {DECODER("{\"type\":\"Sequence\"}"), "decoder.decoders: expected a list"},
        {PRE("{\"kind\":\"ByteLevel\"}"), "expected an object with a \"type\""},
        {PRE("{\"type\":\"ByteLevel\"}"), "add_prefix_space: expected true or false"},
        {PRE("{\"type\":\"Sequence\"}"), "pretokenizers: expected a list"},
        {SPLIT("(a"), "bad regular expression"},
        {SPLIT("[b-a]"), "bad regular expression"},
        {SPLIT("a{2,1}"), "bad regular expression"},
        {SPLIT("\\\\w+"), "is not supported in"},
        {SPLIT("(?m)x"), "is not supported in"},
        {SPLIT("(*ACCEPT)"), "is not supported in"},
        {SPLIT("[a[bc]]"), "is not supported in"},
        {SPLIT("[a&&b]"), "is not supported in"},
        {SPLIT("a{1,2}+"), "is not supported in"},
        {SPLIT("x\\\\"), "is not supported in"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        struct tokenizer *t = tokenizer_parse(cases[i][0], strlen(cases[i][0]), "t.json", &e);
        if (t)
            fail_msg("accepted: %s", cases[i][0]);
        assert_int_equal(e.code, EXIT_CONTENT);
        if (strncmp(e.text, "t.json: ", 8) != 0 || !strstr(e.text, cases[i][1]))
            fail_msg("%s: said \"%s\", expected \"%s\"", cases[i][0], e.text, cases[i][1]);
    }
    struct err e = {0};
    assert_null(tokenizer_read("tests/golden/tokenizer", &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    e.code = 0;
    assert_null(tokenizer_read("no/such/file", &e));
    assert_int_equal(e.code, EXIT_USAGE);
}

#define GROW4 GROW "," GROW "," GROW "," GROW

/* Eight steps of 64 times each would make 256 TiB of one byte. */
static void test_tokenizer_files_normalizer_has_bounds(void **state) {
    (void)state;
    static const char grows[] =
        NORMAL("{\"type\":\"Sequence\",\"normalizers\":[" GROW4 "," GROW4 "]}");
    struct err e = {0};
    struct tokenizer *t = tokenizer_parse(grows, strlen(grows), "t.json", &e);
    if (!t)
        fail_msg("%s", e.text);
    struct id_list ids = {0};
    assert_false(tokenizer_encode(t, "a", 1, true, &ids, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "t.json: normalizer: makes more than 64 times its size"));
    assert_int_equal(ids.count, 0);
    id_list_free(&ids);
    tokenizer_free(t);
}

static void test_tokenizer_files_runaway_pattern_is_an_error(void **state) {
    (void)state;
    struct tokenizer *t = tokenizers_parse(SPLIT("(a|a|ab?)+[cd]"));
    char text[60];
    memset(text, 'a', sizeof text);
    struct id_list ids = {0};
    struct err e = {0};
    double start = clock_seconds();
    assert_false(tokenizer_encode(t, text, sizeof text, true, &ids, &e));
    assert_true(clock_seconds() - start < 20);
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "match limit"));
    id_list_free(&ids);
    tokenizer_free(t);
}

/* Otherwise the fuzzer would start from files that end at the first check. */
static void test_tokenizer_files_seeds_of_the_fuzzer_are_read(void **state) {
    (void)state;
    glob_t found;
    assert_int_equal(glob("tests/corpus/fuzz_tokenizer/*", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct err e = {0};
        size_t size;
        char *text = file_read(found.gl_pathv[i], 1 << 20, &size, &e);
        struct tokenizer *t = text ? tokenizer_parse(text, strlen(text), "seed", &e) : NULL;
        if (!t)
            fail_msg("%s: %s", found.gl_pathv[i], e.text);
        tokenizer_free(t);
        free(text);
    }
    globfree(&found);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_files_minimal_one_is_read),
        cmocka_unit_test(test_tokenizer_files_unknown_bytes_become_unk),
        cmocka_unit_test(test_tokenizer_files_bad_ones_are_refused),
        cmocka_unit_test(test_tokenizer_files_normalizer_has_bounds),
        cmocka_unit_test(test_tokenizer_files_runaway_pattern_is_an_error),
        cmocka_unit_test(test_tokenizer_files_seeds_of_the_fuzzer_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
