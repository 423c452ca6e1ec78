/* Golden ids of the tokenizers library (tests/golden/make_tokenizer.py says how they were made),
 * and what no library may decide: hostile files, hostile texts, speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/jsonl.h"
#include "engine/tokenizer.h"

#define GOLDEN "tests/golden/tokenizer/"

/* --- golden files ------------------------------------------------------------------ */

struct text {
    char *bytes;
    size_t size;
};

static struct text texts[1000];
static size_t n_texts;
static char *forms[3];
static const char *const form_names[3] = {"@MODEL@", "@PAIRS@", "@WHOLE@"};

static char *read_or_fail(const char *path) {
    struct err e = {0};
    size_t size;
    char *text = file_read(path, 1 << 28, &size, &e);
    if (!text)
        fail_msg("%s", e.text);
    return text;
}

static int load_golden(void **state) {
    (void)state;
    static const char *const paths[3] = {GOLDEN "model.json", GOLDEN "pairs.json",
                                         GOLDEN "whole.json"};
    for (int i = 0; i < 3; i++)
        forms[i] = read_or_fail(paths[i]);
    struct jsonl lines;
    struct json_doc *doc;
    struct err e = {0};
    assert_true(jsonl_open(&lines, GOLDEN "texts.jsonl", &e));
    while (jsonl_next(&lines, &doc, &e)) {
        size_t size;
        const char *bytes = json_bytes(json_get(json_root(doc), "text"), &size);
        assert_true(n_texts < sizeof texts / sizeof *texts);
        texts[n_texts].bytes = must_alloc(size);
        memcpy(texts[n_texts].bytes, bytes, size);
        texts[n_texts++].size = size;
        json_free(doc);
    }
    jsonl_close(&lines);
    return 0;
}

static int free_golden(void **state) {
    (void)state;
    for (size_t i = 0; i < n_texts; i++)
        free(texts[i].bytes);
    for (int i = 0; i < 3; i++)
        free(forms[i]);
    return 0;
}

/* The text with @MODEL@ and the like replaced; malloc'd. */
static char *filled(const char *text) {
    for (int i = 0; i < 3; i++) {
        const char *at = strstr(text, form_names[i]);
        char *out;
        if (at && asprintf(&out, "%.*s%s%s", (int)(at - text), text, forms[i],
                           at + strlen(form_names[i])) > 0)
            return out;
    }
    return must_strdup(text);
}

static struct tokenizer *parse_or_fail(const char *json) {
    struct err e = {0};
    char *text = filled(json);
    struct tokenizer *t = tokenizer_parse(text, strlen(text), "t.json", &e);
    if (!t)
        fail_msg("%s", e.text);
    free(text);
    return t;
}

/* The variant of that name, or the tokenizer of a folder of models/. */
static struct tokenizer *named(const char *name) {
    struct err e = {0};
    struct tokenizer *found = NULL;
    if (!strncmp(name, "models/", 7)) {
        char path[300];
        snprintf(path, sizeof path, "%s/tokenizer.json", name);
        found = tokenizer_read(path, &e);
    }
    struct jsonl lines;
    struct json_doc *doc;
    assert_true(jsonl_open(&lines, GOLDEN "variants.jsonl", &e));
    while (!found && jsonl_next(&lines, &doc, &e)) {
        if (!strcmp(json_text(json_get(json_root(doc), "name")), name))
            found = parse_or_fail(json_text(json_get(json_root(doc), "json")));
        json_free(doc);
    }
    jsonl_close(&lines);
    if (!found)
        fail_msg("%s: %s", name, e.text);
    return found;
}

/* --- comparing --------------------------------------------------------------------------- */

struct bytes {
    char *data;
    size_t size, room;
};

static void append(struct bytes *b, const void *data, size_t size) {
    if (b->room - b->size < size) {
        b->room = 2 * (b->size + size);
        b->data = must_realloc(b->data, b->room);
    }
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void expect_hash(struct bytes *b, const struct json *row, const char *key) {
    char hash[HASH_HEX];
    hash_bytes(b->data, b->size, hash);
    if (strcmp(hash, json_text(json_get(row, key))) != 0)
        fail_msg("%s: %s differs", json_text(json_get(row, "name")), key);
    free(b->data);
    *b = (struct bytes){0};
}

static struct id_list encode(const struct tokenizer *t, struct text text, bool special) {
    struct id_list ids = {0};
    struct err e = {0};
    if (!tokenizer_encode(t, text.bytes, text.size, special, &ids, &e))
        fail_msg("%s", e.text);
    return ids;
}

static void append_decoded(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip,
                           struct bytes *out) {
    struct err e = {0};
    size_t size;
    char *text = tokenizer_decode(t, ids, n, skip, &size, &e);
    if (!text)
        fail_msg("%s", e.text);
    append(out, text, size);
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
    struct tokenizer *t = named(name);
    struct bytes all = {0}, plain = {0}, decoded = {0}, halves = {0};
    const struct json *expected = json_first(json_get(row, "ids"));
    for (size_t i = 0; i < n_texts; i++) {
        struct id_list ids = encode(t, texts[i], true), bare = encode(t, texts[i], false),
                       half = {0};
        if (expected) {
            compare_ids(name, i, expected, &ids);
            expected = json_next(expected);
        } else {
            append(&all, ids.ids, ids.count * sizeof *ids.ids);
        }
        append(&plain, bare.ids, bare.count * sizeof *bare.ids);
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

static bool unpack(const char *shared, const char *folder) {
    char tool[600], probe[600];
    snprintf(tool, sizeof tool, "%s/tools/unpack-tokenizers", shared);
    snprintf(probe, sizeof probe, "%s/qwen3/tokenizer.json", folder);
    if (access(tool, X_OK) != 0)
        return false;
    if (access(probe, R_OK) == 0)
        return true;
    pid_t child = fork();
    if (child == 0) {
        execl(tool, tool, folder, (char *)NULL);
        _exit(127);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* Ids of each line of a data set, or of the golden texts, as one stream. */
static void real_ids(const struct tokenizer *t, const char *shared, const char *file,
                     struct bytes *out) {
    char path[600], *line = NULL;
    size_t room = 0;
    ssize_t n;
    if (!strcmp(file, "texts")) {
        for (size_t i = 0; i < n_texts; i++) {
            struct id_list ids = encode(t, texts[i], true);
            append(out, ids.ids, ids.count * sizeof *ids.ids);
            id_list_free(&ids);
        }
        return;
    }
    snprintf(path, sizeof path, "%s/%s", shared, file);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while ((n = getline(&line, &room, f)) > 0) {
        n -= line[n - 1] == '\n';
        struct id_list ids = encode(t, (struct text){line, (size_t)n}, true);
        append(out, ids.ids, ids.count * sizeof *ids.ids);
        id_list_free(&ids);
    }
    free(line);
    fclose(f);
}

static void test_tokenizer_real_ones_equal_the_library(void **state) {
    (void)state;
    const char *shared = getenv("RAAS_SHARED"), *build = getenv("RAAS_BUILD");
    shared = shared ? shared : "../shared";
    char folder[300];
    snprintf(folder, sizeof folder, "%s/tokenizers", build ? build : "build/release");
    if (!unpack(shared, folder)) {
        printf("skipped: real tokenizers are not in %s\n", shared);
        skip();
    }
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
    assert_int_equal(n, 12);
}

/* --- texts ------------------------------------------------------------------------------------ */

static void test_tokenizer_invalid_utf8_is_an_error_with_its_offset(void **state) {
    (void)state;
    struct tokenizer *t = named("qwen");
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
    struct tokenizer *t = named("llama3"); /* no normalizer: text comes back byte for byte */
    for (size_t i = 0; i < n_texts; i++) {
        struct id_list ids = encode(t, texts[i], false);
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
    struct tokenizer *t = named("llama3");
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
    struct id_list ids = encode(t, text, false);
    double seconds = clock_seconds() - start;
    *count = ids.count;
    id_list_free(&ids);
    return seconds;
}

static void test_tokenizer_long_runs_take_linear_time(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    struct tokenizer *one = named("one_piece"), *qwen = named("qwen");
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
    struct tokenizer *t = named("qwen");
    struct bytes prose = {0};
    uint64_t x = 1;
    while (prose.size < 2000000) { /* words with the skew of a language: low numbers come often */
        x = x * 6364136223846793005u + 1442695040888963407u;
        unsigned word = (unsigned)(x >> 33) % (1u + (unsigned)((x >> 20) % 5000));
        char text[24];
        int n = 0;
        for (unsigned w = word; w || !n; w /= 19)
            text[n++] = "etaoinshrdlcumwfgyp"[w % 19];
        append(&prose, text, (size_t)n);
        append(&prose, x % 64 ? " " : ".\n", x % 64 ? 1 : 2);
    }
    size_t count;
    double seconds = seconds_for(t, prose.data, prose.size, &count);
    printf("measured: prose at %.1f MB/s, %zu ids\n", (double)prose.size / 1e6 / seconds, count);
    assert_true(count > 0);
    free(prose.data);
    tokenizer_free(t);
}

/* --- files ------------------------------------------------------------------------------------ */

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
#define SPLIT(regex)                                                                            \
    PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":" \
        "\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","   \
        "\"add_prefix_space\":false,"                                                           \
        "\"use_regex\":false}]}")

static void test_tokenizer_reads_a_minimal_file(void **state) {
    (void)state;
    struct tokenizer *t =
        parse_or_fail(WITH(ADDED("<x>", "9"), VOCAB ",\"merges\":[\"a b\",[\"ab\",\"b\"]]"));
    struct id_list ids = encode(t, (struct text){(char[]){"abbab<x>b"}, 9}, true);
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

static void test_tokenizer_unknown_bytes_become_unk(void **state) {
    (void)state;
    for (int fuse = 0; fuse < 2; fuse++) {
        struct tokenizer *t = parse_or_fail(
            fuse ? WITH("", VOCAB ",\"merges\":[],\"unk_token\":\"abb\",\"fuse_unk\":true")
                 : WITH("", VOCAB ",\"merges\":[],\"unk_token\":\"abb\",\"fuse_unk\":false"));
        struct id_list ids = encode(t, (struct text){(char[]){"acdcb"}, 5}, true);
        assert_int_equal(ids.count, fuse ? 3 : 5);
        assert_int_equal(ids.ids[1], 3);
        id_list_free(&ids);
        tokenizer_free(t);
    }
}

static void test_tokenizer_refuses_bad_files(void **state) {
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
        {PRE("null"), "expected a ByteLevel step"},
        {PRE("{\"type\":\"Whitespace\"}"), "'Whitespace' is not supported"},
        {PRE("{\"type\":\"Metaspace\"}"), "'Metaspace' is not supported"},
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

static void test_tokenizer_runaway_pattern_is_an_error(void **state) {
    (void)state;
    struct tokenizer *t = parse_or_fail(SPLIT("(a|a|ab?)+[cd]"));
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_equals_the_library),
        cmocka_unit_test(test_tokenizer_real_ones_equal_the_library),
        cmocka_unit_test(test_tokenizer_invalid_utf8_is_an_error_with_its_offset),
        cmocka_unit_test(test_tokenizer_round_trips_every_text),
        cmocka_unit_test(test_tokenizer_looks_up_tokens_and_pieces),
        cmocka_unit_test(test_tokenizer_long_runs_take_linear_time),
        cmocka_unit_test(test_tokenizer_speed_on_prose),
        cmocka_unit_test(test_tokenizer_reads_a_minimal_file),
        cmocka_unit_test(test_tokenizer_unknown_bytes_become_unk),
        cmocka_unit_test(test_tokenizer_refuses_bad_files),
        cmocka_unit_test(test_tokenizer_runaway_pattern_is_an_error),
    };
    return cmocka_run_group_tests(tests, load_golden, free_golden);
}
