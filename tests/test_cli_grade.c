/* `raas grade` on JSONL and on a database, and `raas fetch`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "tests/cli.h"
#include "tests/store_rows.h"

static void expect_lines(const char *profile, const char *input, int code, const char *expected) {
    struct cli cli;
    cli_run(&cli, input, "grade", "--jsonl", "-", "--profile", profile, "--dataset", "math500",
            NULL);
    if (cli.code != code || strcmp(cli.out, expected))
        fail_msg("code %d:\n%s%s", cli.code, cli.out, cli.err);
    cli_free(&cli);
}

static void test_cli_grade_lines(void **state) {
    (void)state;
    expect_lines(
        "strict",
        "{\"answer\": \"\\\\frac12\", \"output\": \"so \\\\boxed{0.5}.\"}\n"
        "{\"answer\": \"x\\n#### 18\", \"output\": \"The answer is 18.\", \"dataset\": \"gsm8k\"}\n"
        "{\"answer\": 7, \"output\": \"nothing\", \"dataset\": \"aime:years=2025\"}\n",
        0,
        "{\"correct\":true,\"extracted\":\"0.5\",\"path\":\"box\",\"boxed\":true}\n"
        "{\"correct\":true,\"extracted\":\"18\",\"path\":\"phrase\",\"boxed\":false}\n"
        "{\"correct\":false,\"extracted\":\"\",\"path\":\"none\",\"boxed\":false}\n");
    /* where the profiles differ */
    static const char line[] = "{\"answer\": \"28\\\\%\", \"output\": \"$\\\\boxed{0.28}$\"}\n";
    expect_lines("strict", line, 0,
                 "{\"correct\":false,\"extracted\":\"0.28\",\"path\":\"box\",\"boxed\":false}\n");
    expect_lines("math-verify", line, 0,
                 "{\"correct\":true,\"extracted\":\"0.28\",\"path\":\"box\",\"boxed\":true}\n");
}

static void test_cli_grade_tells_bad_lines_in_their_place(void **state) {
    (void)state;
    struct cli cli;
    cli_run(&cli,
            "{\"answer\": [], \"output\": \"5\"}\n{\"output\": \"5\"}\n{\n"
            "{\"answer\": \"5\", \"output\": \"5\", \"dataset\": \"no\"}\n{\"answer\": \"5\", "
            "\"output\": \"5\"}\n",
            "grade", "--jsonl", "-", NULL);
    assert_int_equal(cli.code, 4);
    static const char *const words[] = {"expected \\\"answer\\\": a string", "line 2 of stdin",
                                        "line 3 of stdin", "unknown dataset 'no'",
                                        "\"correct\":true"};
    char *line = cli.out;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = 0;
        if (!strstr(line, words[i]))
            fail_msg("line %zu: %s: expected %s", i + 1, line, words[i]);
        line = end + 1;
    }
    cli_free(&cli);
    CLI_FAILS(2, "No such file", "grade", "--jsonl", "/nowhere.jsonl");
    CLI_FAILS(2, "unknown dataset", "grade", "--jsonl", "-", "--dataset", "no");
    CLI_FAILS(2, "--jsonl grades a file", "grade", "--jsonl", "-", "--run", "1");
}

/* A database whose verdicts an older grader gave: the first is wrong, the third has a text that is
 * no UTF-8, none was judged by math-verify. */
static const char *make_database(void) {
    static char path[300]; /* outlives those of the runs */
    snprintf(path, sizeof path, "%s", cli_path("grade.db"));
    struct rows rows = rows_open(path, "old", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "full", 0, DB_SHARED);
    char key[HASH_HEX];
    struct db_result r = rows_result(&rows, cell, 0, 0, false, key);
    r.text = "so \\boxed{77.0}", r.text_size = strlen(r.text);
    rows_add(&rows, &r);
    r = rows_result(&rows, cell, 1, 0, true, key);
    rows_add(&rows, &r);
    r = rows_result(&rows, cell, 2, 0, false, key);
    r.text = "\xff The answer is 77", r.text_size = strlen(r.text);
    rows_add(&rows, &r);
    r = rows_result(&rows, cell, 3, 0, false, key);
    r.text = "between 76 and 77", r.text_size = strlen(r.text);
    rows_add(&rows, &r);
    db_close(rows.db);
    return path;
}

static void test_cli_grade_stored_answers_again(void **state) {
    (void)state;
    const char *path = make_database();
    struct cli cli;
    cli_run(&cli, NULL, "grade", "--db", path, "--run", "old", "--json", NULL);
    assert_int_equal(cli.code, 0);
    assert_string_equal(
        cli.out,
        "{\"graded\":4,\"changed\":4,\"correct_box\":2,\"correct_chain\":2,\"correct_mv\":4}\n");
    cli_free(&cli);
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    assert_non_null(db);
    rows_expect(db,
                "SELECT group_concat(correct_box || correct_chain || correct_mv || ' ' || path || "
                "' ' || extracted, '; ') "
                "FROM (SELECT * FROM result ORDER BY id)",
                "111 box 77.0; 011 phrase 77; 011 phrase 77; 001 none ");
    db_close(db);
    cli_run(&cli, NULL, "grade", "--db", path, NULL);
    assert_int_equal(cli.code, 0);
    assert_non_null(strstr(cli.out, "4 answers graded, 0 changed"));
    cli_free(&cli);
    cli_run(&cli, NULL, "grade", "--db", path, "--disagreements", NULL);
    assert_int_equal(cli.code, 0);
    assert_non_null(strstr(cli.out, "lemmas p3  full"));
    assert_non_null(strstr(cli.out, "\n1 disagreements\n"));
    cli_free(&cli);
    cli_run(&cli, NULL, "grade", "--db", path, "--disagreements", "--json", NULL);
    struct json_doc *doc = json_parse(cli.out, strlen(cli.out), "disagreement", &e);
    assert_non_null(doc);
    assert_string_equal(json_text(json_get(json_root(doc), "gold")), "77");
    json_free(doc);
    cli_free(&cli);
    CLI_FAILS(2, "no run 'other'", "grade", "--db", path, "--run", "other");
    CLI_FAILS(2, "no such database", "grade", "--db", "/nowhere/at/all.db");
    CLI_FAILS(2, "no such database", "grade", "--disagreements", "--db", "/nowhere/at/all.db");
}

static void test_cli_fetch_prints_the_command(void **state) {
    (void)state;
    struct cli cli;
    cli_run(&cli, NULL, "fetch", "dataset", "gsm8k", "--print", "--out", "/tmp/it's here", NULL);
    assert_int_equal(cli.code, 0);
    assert_non_null(strstr(cli.out, "curl --fail --location --create-dirs --output '/tmp/it'\\''s "
                                    "here/gsm8k/test.jsonl' 'https://"));
    assert_non_null(strstr(cli.out, "sha256sum --check"));
    cli_free(&cli);
    cli_run(&cli, NULL, "fetch", "dataset", "aime:years=2025", "--print", "--out", "d", NULL);
    assert_int_equal(cli.code, 0);
    assert_non_null(strstr(cli.out, "'d/aime25/test.jsonl'"));
    cli_free(&cli);
    CLI_FAILS(2, "expected one of: aime", "fetch", "dataset", "no");
    CLI_FAILS(2, "lemmas is generated", "fetch", "dataset", "lemmas");
    CLI_FAILS(2, "no place is known", "fetch", "dataset", "aime:years=1983-2024");
    CLI_FAILS(2, "expected one of: qwen2.5", "fetch", "model", "no");
    CLI_FAILS(2, "expected dataset or model", "fetch", "thing", "no");
    CLI_FAILS(2, "expected dataset or model", "fetch", "dataset");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_grade_lines),
        cmocka_unit_test(test_cli_grade_tells_bad_lines_in_their_place),
        cmocka_unit_test(test_cli_grade_stored_answers_again),
        cmocka_unit_test(test_cli_fetch_prints_the_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
