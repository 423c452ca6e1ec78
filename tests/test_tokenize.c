/* raas tokenize and raas detokenize as a script sees them: lines out, exit codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tests/cli.h"

/* Bytes without merges are enough to tell lines apart: ids of "abc" are 0 1 2, BOS is 3. */
static const char small[] =
    "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,"
    "\"rstrip\":false,\"normalized\":false,\"special\":true}],\"normalizer\":null,"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
    "\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[3]}}},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,"
    "\"c\":2,\"\xc4\x80\":4},\"merges\":[]}}";

static char tokenizer[200];

static int write_tokenizer(void **state) {
    (void)state;
    snprintf(tokenizer, sizeof tokenizer, "%s", cli_path("tokenize.json"));
    cli_write(tokenizer, small, strlen(small));
    return 0;
}

/* stdin and stdout of a run with the small tokenizer and one more argument (NULL: none). */
static void expect(int code, const char *out, const char *input, const char *command,
                   const char *argument, const char *last) {
    struct cli cli;
    cli_run(&cli, input, command, "--tokenizer", tokenizer, argument, last, NULL);
    assert_string_equal(cli.out, out);
    assert_int_equal(cli.code, code);
    cli_free(&cli);
}

static void test_tokenize_one_text(void **state) {
    (void)state;
    expect(EXIT_OK, "{\"ids\":[3,0,1,3,2]}\n", NULL, "tokenize", "ab<s>c", NULL);
    expect(EXIT_OK, "{\"ids\":[0,1]}\n", NULL, "tokenize", "--no-special", "ab");
    expect(EXIT_OK, "{\"text\":\"abc<s>\"}\n", NULL, "detokenize", "0,1,2,3", NULL);
    expect(EXIT_OK, "{\"text\":\"c\"}\n", NULL, "detokenize", "--skip-special", "3,2");
    expect(EXIT_OK, "{\"text\":\"\"}\n", NULL, "detokenize", "", NULL);
}

static void test_tokenize_knows_the_embedded_model(void **state) {
    (void)state;
    struct cli ids, text;
    cli_run(&ids, "{\"text\":\"So Bea has 77 shells.\"}\n", "tokenize", "--jsonl", "-", NULL);
    assert_int_equal(ids.code, EXIT_OK);
    cli_run(&text, ids.out, "detokenize", "--jsonl", "-", NULL);
    assert_int_equal(text.code, EXIT_OK);
    assert_string_equal(text.out, "{\"text\":\"So Bea has 77 shells.\"}\n");
    cli_free(&ids);
    cli_free(&text);
}

static void test_tokenize_lines_fail_alone(void **state) {
    (void)state;
    expect(EXIT_PARTIAL,
           "{\"ids\":[3,0,1]}\n"
           "{\"error\":\"line 2 of stdin: expected {\\\"text\\\": a string}\"}\n"
           "{\"ids\":[3,0,4,1]}\n"
           "{\"error\":\"line 4 of stdin: line 1, offset 9: invalid UTF-8 (byte 0xff)\"}\n"
           "{\"error\":\"line 5 of stdin: line 1, offset 0: expected a value, found 'n'\"}\n"
           "{\"ids\":[3]}\n",
           "{\"text\":\"ab\"}\n{\"txt\":1}\n{\"text\":\"a\\u0000b\"}\n{\"text\":\"\xff\"}\nno\n{"
           "\"text\":\"\"}\n",
           "tokenize", "--jsonl", "-");
    expect(EXIT_PARTIAL,
           "{\"text\":\"a\\u0000b\"}\n"
           "{\"error\":\"line 2 of stdin: id 9 at place 1: expected a token of the 5 known ids\"}\n"
           "{\"error\":\"line 3 of stdin: ids[0]: expected a token id\"}\n"
           "{\"text\":\"\"}\n",
           "{\"ids\":[0,4,1]}\n{\"ids\":[0,9]}\n{\"ids\":[0.5]}\n{\"ids\":[]}", "detokenize",
           "--jsonl", "-");
}

static void test_tokenize_exit_codes(void **state) {
    (void)state;
    CLI_FAILS(EXIT_USAGE, "expected one TEXT", "tokenize");
    CLI_FAILS(EXIT_USAGE, "expected one TEXT", "tokenize", "two", "words");
    CLI_FAILS(EXIT_USAGE, "did you mean --jsonl?", "tokenize", "--jsonk", "x");
    CLI_FAILS(EXIT_USAGE, "no/such", "tokenize", "--tokenizer", "no/such", "x");
    CLI_FAILS(EXIT_USAGE, "no/such", "tokenize", "--tokenizer", tokenizer, "--jsonl", "no/such");
    CLI_FAILS(EXIT_USAGE, "got '-1'", "detokenize", "--tokenizer", tokenizer, "-1");
    CLI_FAILS(EXIT_USAGE, "id 99 at place 0", "detokenize", "--tokenizer", tokenizer, "99");
    CLI_FAILS(EXIT_CONTENT, "no token for byte 0x7a", "tokenize", "--tokenizer", tokenizer, "z");
    CLI_FAILS(EXIT_CONTENT, "offset 1: invalid UTF-8", "tokenize", "--tokenizer", tokenizer,
              "a\xff");
    const char *half = cli_path("half.json");
    cli_write(half, "{", 1);
    CLI_FAILS(EXIT_CONTENT, "found the end", "tokenize", "--tokenizer", half, "x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenize_one_text),
        cmocka_unit_test(test_tokenize_knows_the_embedded_model),
        cmocka_unit_test(test_tokenize_lines_fail_alone),
        cmocka_unit_test(test_tokenize_exit_codes),
    };
    return cmocka_run_group_tests(tests, write_tokenizer, NULL);
}
