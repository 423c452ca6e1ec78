/* The program from outside: generate and logits, with the embedded model. Nothing here depends on
 * what the model has learnt. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/npy.h"
#include "commands/stream.h"
#include "tests/cli.h"

#define PROMPT \
    "Ann has 12 shells. Bea has 30 more shells than Ann. How many shells does Bea have?\n"
#define MAX_IDS 512

/* The object that --json prints. */
struct answer {
    int32_t ids[MAX_IDS];
    size_t n_ids;
    char *text, finish[16];
    int64_t tokens, kept, kv_bytes;
};

static int64_t number(const struct json *object, const char *key) {
    int64_t value = -1;
    const struct json *member = json_get(object, key);
    assert_true(member && json_integer(member, 0, INT64_C(1) << 40, &value));
    return value;
}

static void parse_answer(const char *json, size_t size, struct answer *a) {
    struct err e = {0};
    struct json_doc *doc = json_parse(json, size, "stdout", &e);
    if (!doc)
        fail_msg("%s", e.text);
    const struct json *root = json_root(doc);
    assert_int_equal(json_count(root), 6);
    *a = (struct answer){.tokens = number(root, "tokens"),
                         .kept = number(root, "kept"),
                         .kv_bytes = number(root, "kv_bytes")};
    for (const struct json *v = json_first(json_get(root, "ids")); v; v = json_next(v)) {
        int64_t id;
        assert_true(json_integer(v, 0, INT32_MAX, &id) && a->n_ids < MAX_IDS);
        a->ids[a->n_ids++] = (int32_t)id;
    }
    a->text = must_strdup(json_text(json_get(root, "text")));
    snprintf(a->finish, sizeof a->finish, "%s", json_text(json_get(root, "finish")));
    json_free(doc);
}

/* generate --json of PROMPT with three more arguments. */
static void generate(struct answer *a, const char *x, const char *y, const char *z) {
    struct cli cli;
    cli_run(&cli, NULL, "generate", "--json", "--prompt", PROMPT, x, y, z, NULL);
    if (cli.code != EXIT_OK)
        fail_msg("code %d: %s", cli.code, cli.err);
    parse_answer(cli.out, cli.out_size, a);
    cli_free(&cli);
}

static void assert_same_ids(const struct answer *a, const struct answer *b) {
    assert_int_equal(a->n_ids, b->n_ids);
    assert_memory_equal(a->ids, b->ids, a->n_ids * sizeof *a->ids);
    assert_string_equal(a->text, b->text);
}

/* --- generate ------------------------------------------------------------------------- */

static void test_generate_stream_is_the_text(void **state) {
    (void)state;
    struct answer a;
    struct cli cli;
    generate(&a, "--max-new=40", NULL, NULL);
    cli_run(&cli, NULL, "generate", "--max-new=40", "--prompt", PROMPT, NULL);
    assert_int_equal(cli.code, EXIT_OK);
    size_t n = strlen(a.text);
    assert_memory_equal(cli.out, a.text, n);
    /* a line is ended where the text didn't */
    assert_string_equal(cli.out + n, n && a.text[n - 1] == '\n' ? "" : "\n");
    assert_non_null(strstr(cli.err, "kept "));
    assert_non_null(strstr(cli.err, "tokens/s"));
    cli_free(&cli);
    const char *path = cli_path("prompt.txt");
    cli_write(path, PROMPT, strlen(PROMPT));
    cli_run(&cli, NULL, "generate", "--max-new=40", "--prompt-file", path, NULL);
    assert_int_equal(cli.code, EXIT_OK);
    assert_memory_equal(cli.out, a.text, n);
    cli_free(&cli);
    cli_run(&cli, PROMPT, "generate", "--max-new=40", "--prompt-file", "-", NULL);
    assert_int_equal(cli.code, EXIT_OK);
    assert_memory_equal(cli.out, a.text, n);
    cli_free(&cli);
    free(a.text);
}

static void test_generate_limits(void **state) {
    (void)state;
    struct answer a;
    generate(&a, "--max-new=5", "--ignore-eos", NULL);
    assert_int_equal(a.tokens, 5);
    assert_int_equal(a.n_ids, 5);
    assert_string_equal(a.finish, "cap");
    free(a.text);
    generate(&a, "--max-new=200", "--min-new=100", NULL);
    assert_true(a.n_ids >= 100 && a.tokens <= 200);
    assert_int_equal(a.tokens, a.n_ids + !strcmp(a.finish, "answer"));
    free(a.text);
}

static void test_generate_budget_bounds_what_is_kept(void **state) {
    (void)state;
    struct answer full, small;
    generate(&full, "--max-new=200", "--ignore-eos", NULL);
    generate(&small, "--max-new=200", "--ignore-eos", "--policy=streaming:budget=64");
    assert_true(full.kept > 200 && full.kept < 300);
    assert_int_equal(small.kept, 64);
    assert_true(small.kv_bytes * 3 < full.kv_bytes);
    free(full.text);
    free(small.text);
    /* the budget covers everything: the policy must not change a bit */
    generate(&full, "--max-new=100", "--ignore-eos", "--precision=fp32");
    struct cli cli;
    cli_run(&cli, NULL, "generate", "--json", "--prompt", PROMPT, "--max-new=100", "--ignore-eos",
            "--precision=fp32", "--policy=raas:budget=1024", "--threads=1", NULL);
    parse_answer(cli.out, cli.out_size, &small);
    assert_same_ids(&full, &small);
    cli_free(&cli);
    free(full.text);
    free(small.text);
}

static void test_generate_sampling_follows_the_seed(void **state) {
    (void)state;
    struct answer a, b, c;
    generate(&a, "--temperature=1.5", "--max-new=60", "--seed=1");
    generate(&b, "--temperature=1.5", "--max-new=60", "--seed=1");
    generate(&c, "--temperature=1.5", "--max-new=60", "--seed=2");
    assert_same_ids(&a, &b);
    assert_true(a.n_ids != c.n_ids || memcmp(a.ids, c.ids, a.n_ids * sizeof *a.ids));
    free(a.text);
    free(b.text);
    free(c.text);
}

/* Splits what --jsonl printed into answers; a line that failed has n_ids == MAX_IDS. */
static size_t parse_lines(const char *out, struct answer *answers, size_t most) {
    size_t n = 0;
    for (const char *line = out; *line; line = strchr(line, '\n') + 1) {
        assert_true(n < most);
        if (!strncmp(line, "{\"error\":", 9))
            answers[n] = (struct answer){.n_ids = MAX_IDS};
        else
            parse_answer(line, strcspn(line, "\n"), &answers[n]);
        n++;
    }
    return n;
}

static void test_generate_jsonl_keeps_order_and_goes_on(void **state) {
    (void)state;
    static const char lines[] = "{\"prompt\": \"Ann has 12 shells. Bea has 30 more shells than "
                                "Ann. How many shells does Bea "
                                "have?\\n\", \"answer\": \"42\"}\n"
                                "{\"prompt\": 7}\n"
                                "not JSON\n"
                                "{\"ids\": [1, 2, 3]}\r\n"
                                "{\"ids\": [1, 999999999]}\n"
                                "{\"prompt\": \"\"}\n"
                                "\n"
                                "{\"ids\": [1], \"prompt\": \"x\"}\n"
                                "{\"ids\": [5]}";
    static const bool fails[] = {false, true, true, false, true, true, true, true, false};
    struct answer one, many[9], few[9];
    struct cli cli;
    cli_run(&cli, lines, "generate", "--jsonl", "-", "--max-new=30", NULL);
    assert_int_equal(cli.code, EXIT_PARTIAL);
    assert_non_null(strstr(cli.out, "line 3 of -"));
    assert_int_equal(parse_lines(cli.out, many, 9), 9);
    cli_free(&cli);
    cli_run(&cli, lines, "generate", "--jsonl", "-", "--max-new=30", "--batch=1", NULL);
    assert_int_equal(parse_lines(cli.out, few, 9), 9);
    cli_free(&cli);
    generate(&one, "--max-new=30", NULL, NULL);
    assert_same_ids(&one, &many[0]);
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(many[i].n_ids == MAX_IDS, fails[i]);
        if (!fails[i])
            assert_same_ids(&many[i], &few[i]);
        free(many[i].text);
        free(few[i].text);
    }
    free(one.text);
}

static void test_generate_refuses_bad_input(void **state) {
    (void)state;
    const char *path = cli_path("long.txt");
    char *ids = must_alloc(20000);
    memset(ids, 0, 20000);
    for (int i = 0; i < 9999; i++)
        memcpy(ids + 2 * i, "1,", 3);
    ids[2 * 9999 - 1] = 0;
    cli_write(path, ids, strlen(ids));
    char at[400];
    snprintf(at, sizeof at, "@%s", path);
    CLI_FAILS(EXIT_CONTENT, "9999 tokens, this model takes at most", "generate", "--ids", at);
    free(ids);
    CLI_FAILS(EXIT_USAGE, "expected one of --prompt", "generate");
    CLI_FAILS(EXIT_USAGE, "expected one of --prompt", "generate", "--prompt", "x", "--ids", "1");
    CLI_FAILS(EXIT_USAGE, "--prompt: expected a text, got ''", "generate", "--prompt", "");
    CLI_FAILS(EXIT_USAGE, "expected 0 to", "generate", "--ids", "1,999999999");
    CLI_FAILS(EXIT_USAGE, "got 'x'", "generate", "--ids", "1,x");
    CLI_FAILS(EXIT_USAGE, "last comma", "generate", "--ids", "1,");
    CLI_FAILS(EXIT_USAGE, "got '-1'", "generate", "--ids", "-1");
    CLI_FAILS(EXIT_USAGE, "got '99999999999999999999'", "generate", "--ids",
              "99999999999999999999");
    CLI_FAILS(EXIT_USAGE, "unknown policy 'ras'", "generate", "--prompt", "x", "--policy", "ras");
    CLI_FAILS(EXIT_USAGE, "multiple of 16", "generate", "--prompt", "x", "--policy",
              "raas:budget=250");
    CLI_FAILS(EXIT_USAGE, "auto, none or one of qwen2", "generate", "--prompt", "x", "--template",
              "chatml");
    CLI_FAILS(EXIT_USAGE, "missing.txt", "generate", "--prompt-file", cli_path("missing.txt"));
    CLI_FAILS(EXIT_USAGE, "missing.jsonl", "generate", "--jsonl", cli_path("missing.jsonl"));
    CLI_FAILS(EXIT_USAGE, "no-model", "generate", "--prompt", "x", "--model", cli_path("no-model"));
    CLI_FAILS(EXIT_USAGE, "temperature", "generate", "--prompt", "x", "--temperature", "-1");
    CLI_FAILS(EXIT_USAGE, "top-p", "generate", "--prompt", "x", "--top-p", "0");
    path = cli_path("latin.txt");
    cli_write(path, "\xff\xfe", 2);
    CLI_FAILS(EXIT_CONTENT, "UTF-8", "generate", "--prompt-file", path);
}

/* --- logits ------------------------------------------------------------------------------ */

static void logits(struct npy *npy, const char *ids, const char *prefill, const char *policy) {
    struct cli cli;
    struct err e = {0};
    const char *path = cli_path("logits.npy");
    cli_run(&cli, NULL, "logits", "--ids", ids, "--out", path, prefill, policy, NULL);
    if (cli.code != EXIT_OK || cli.out_size)
        fail_msg("code %d: %s", cli.code, cli.err);
    if (!npy_read(path, npy, &e))
        fail_msg("%s", e.text);
    assert_string_equal(npy->type, "f4");
    assert_int_equal(npy->rank, 2);
    cli_free(&cli);
}

/* Greedy ids are the arg max of the logits of the same ids; prefill and decode agree. */
static void test_logits_agree_with_generate(void **state) {
    (void)state;
    struct cli cli;
    struct answer a;
    struct npy all, steps;
    cli_run(&cli, NULL, "generate", "--json", "--ids", "7,8,9", "--max-new=12", "--ignore-eos",
            "--precision=fp32", NULL);
    parse_answer(cli.out, cli.out_size, &a);
    cli_free(&cli);
    char ids[400] = "7,8,9";
    for (size_t i = 0; i < a.n_ids; i++)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), ",%d", a.ids[i]);
    logits(&all, ids, NULL, NULL);
    logits(&steps, ids, "--prefill=4", "--policy=raas:budget=1024");
    assert_int_equal(all.shape[0], 3 + a.n_ids);
    assert_int_equal(all.bytes, steps.bytes);
    size_t vocab = all.shape[1];
    const float *x = all.data, *y = steps.data;
    for (size_t i = 0; i < all.shape[0] * vocab; i++)
        assert_true(isfinite(x[i]) && fabsf(x[i] - y[i]) <= 1e-4f);
    for (size_t i = 0; i < a.n_ids; i++) {
        const float *row = y + (i + 2) * vocab, chosen = row[a.ids[i]];
        for (size_t k = 1; k < vocab; k++) /* the end token, 0, was not allowed */
            assert_true(row[k] <= chosen + 1e-4f);
    }
    npy_free(&all);
    npy_free(&steps);
    free(a.text);
}

static void test_logits_refuses_bad_input(void **state) {
    (void)state;
    const char *path = cli_path("logits.npy");
    CLI_FAILS(EXIT_USAGE, "expected --ids and --out", "logits", "--ids", "1");
    CLI_FAILS(EXIT_USAGE, "--prefill 4, but there are 3 ids", "logits", "--ids", "1,2,3",
              "--prefill", "4", "--out", path);
    CLI_FAILS(EXIT_ENV, "no/such/folder", "logits", "--ids", "1", "--out", "no/such/folder/x.npy");
}

/* --- the stream ---------------------------------------------------------------------------- */

/* Puts the text in pieces of every size and compares what comes out. */
static void check_stream(bool terminal, const char *in, size_t size, const char *want) {
    for (size_t piece = 1; piece <= size; piece++) {
        char *text;
        size_t n;
        struct stream s = {.out = open_memstream(&text, &n), .terminal = terminal};
        for (size_t at = 0; at < size; at += piece)
            stream_put(&s, in + at, at + piece < size ? piece : size - at);
        stream_end(&s);
        fclose(s.out);
        assert_string_equal(text, want);
        free(text);
    }
}

static void test_stream_whole_characters(void **state) {
    (void)state;
    check_stream(false, "a\xc3\xa9\xf0\x9f\x98\x80!", 8, "a\xc3\xa9\xf0\x9f\x98\x80!\n");
    check_stream(false, "line\n", 5, "line\n");
    /* never valid, cut in the middle, cut at the end */
    check_stream(false, "\xff\x80z\xe2\x82\x41\xe2\x82", 8,
                 "\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\x41\xef\xbf\xbd\n");
    check_stream(false, "\x1b[2J", 4, "\x1b[2J\n");
    check_stream(true, "\x1b[2J\t\r\xe2\x80\xae\xc2\x9b", 11,
                 "\\u{1b}[2J\t\\u{d}\\u{202e}\\u{9b}\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_whole_characters),
        cmocka_unit_test(test_generate_stream_is_the_text),
        cmocka_unit_test(test_generate_limits),
        cmocka_unit_test(test_generate_budget_bounds_what_is_kept),
        cmocka_unit_test(test_generate_sampling_follows_the_seed),
        cmocka_unit_test(test_generate_jsonl_keeps_order_and_goes_on),
        cmocka_unit_test(test_generate_refuses_bad_input),
        cmocka_unit_test(test_logits_agree_with_generate),
        cmocka_unit_test(test_logits_refuses_bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
