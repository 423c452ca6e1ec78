/* The program from outside: help, exit codes, list, doctor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "commands/command.h"
#include "datasets/dataset.h"
#include "engine/config.h"
#include "engine/policy.h"
#include "tests/cli.h"

static void test_cli_help(void **state) {
    (void)state;
    struct cli cli;
    cli_run(&cli, NULL, "--help", NULL);
    assert_int_equal(cli.code, EXIT_OK);
    for (const struct command *const *c = all_commands; *c; c++)
        assert_non_null(strstr(cli.out, (*c)->name));
    cli_free(&cli);
    for (const struct command *const *c = all_commands; *c; c++) {
        char begin[100];
        snprintf(begin, sizeof begin, "usage: raas %s", (*c)->name);
        cli_run(&cli, NULL, (*c)->name, "--help", NULL);
        if (cli.code != EXIT_OK || strncmp(cli.out, begin, strlen(begin)) || *cli.err)
            fail_msg("raas %s --help: code %d, stderr \"%s\"", (*c)->name, cli.code, cli.err);
        cli_free(&cli);
    }
}

static void test_cli_usage_errors(void **state) {
    (void)state;
    struct cli cli;
    cli_run(&cli, NULL, NULL);
    assert_int_equal(cli.code, EXIT_USAGE);
    assert_int_equal(cli.out_size, 0);
    assert_non_null(strstr(cli.err, "usage: raas COMMAND"));
    cli_free(&cli);
    CLI_FAILS(EXIT_USAGE, "unknown command 'lits'", "lits");
    CLI_FAILS(EXIT_USAGE, "did you mean --json", "list", "policies", "--jsno");
    CLI_FAILS(EXIT_USAGE, "cannot list 'policy'", "list", "policy");
    CLI_FAILS(EXIT_USAGE, "policies|datasets", "list");
    CLI_FAILS(EXIT_USAGE, "unexpected argument 'now'", "doctor", "now");
}

/* Paths that are empty: most come from a variable that was never set. */
static void test_cli_refuses_empty_paths(void **state) {
    (void)state;
    static const char experiment[] = "experiments/demo.json";
    CLI_FAILS(EXIT_USAGE, "--db: expected a text, got ''", "table", "--db", "");
    CLI_FAILS(EXIT_USAGE, "--db: expected a text, got ''", "plot", "accuracy_vs_budget", "--db=");
    CLI_FAILS(EXIT_USAGE, "--db: expected a text, got ''", "run", experiment, "--db", "");
    CLI_FAILS(EXIT_USAGE, "--out: expected a text, got ''", "run", experiment, "--out", "");
    CLI_FAILS(EXIT_USAGE, "--model: expected a text, got ''", "generate", "--model", "");
    CLI_FAILS(EXIT_USAGE, "--jsonl: expected a text, got ''", "tokenize", "--jsonl", "");
    CLI_FAILS(EXIT_USAGE, "--verify: expected a text, got ''", "doctor", "--verify", "");
    CLI_FAILS(EXIT_USAGE, "No such file", "run", "");
}

/* --- list --------------------------------------------------------------------------- */

static struct json_doc *run_json(const char *command, const char *what) {
    struct cli cli;
    struct err e = {0};
    cli_run(&cli, NULL, command, what, what ? "--json" : NULL, NULL);
    if (cli.code != EXIT_OK || *cli.err)
        fail_msg("raas %s %s: code %d, stderr \"%s\"", command, what, cli.code, cli.err);
    struct json_doc *doc = json_parse(cli.out, cli.out_size, "stdout", &e);
    if (!doc)
        fail_msg("%s", e.text);
    cli_free(&cli);
    return doc;
}

static const char *text_of(const struct json *object, const char *key) {
    const struct json *value = json_get(object, key);
    if (!value || !json_text(value))
        fail_msg("no text \"%s\"", key);
    return json_text(value);
}

static void check_option(const struct json *json, const struct option *option) {
    double number;
    assert_non_null(json);
    assert_string_equal(text_of(json, "name"), option->name);
    assert_string_equal(text_of(json, "help"), option->help);
    assert_non_null(json_get(json, "type"));
    const struct json *standard = json_get(json, "default"), *range = json_get(json, "range");
    assert_true(standard && range);
    if (option->type != OPTION_INT && option->type != OPTION_REAL)
        return;
    assert_true(json_number(standard, &number) && number == option->standard);
    assert_true(json_number(json_first(range), &number) && number == option->min);
    assert_true(json_number(json_next(json_first(range)), &number) && number == option->max);
}

static void check_options(const struct json *entry, const struct option *options) {
    const struct json *json = json_get(entry, "options"), *at = json_first(json);
    for (; options->name; options++, at = json_next(at))
        check_option(at, options);
    assert_null(at);
}

static void test_cli_list_policies(void **state) {
    (void)state;
    struct json_doc *doc = run_json("list", "policies");
    const struct json *entry = json_first(json_root(doc));
    for (const struct policy *const *p = all_policies; *p; p++, entry = json_next(entry)) {
        struct plan plan;
        assert_non_null(entry);
        assert_string_equal(text_of(entry, "name"), (*p)->name);
        assert_string_equal(text_of(entry, "summary"), (*p)->summary);
        assert_int_equal(access(text_of(entry, "path"), R_OK), 0);
        assert_true(policy_parse((*p)->name, &plan, NULL));
        assert_int_equal(json_is_true(json_get(entry, "evicts")), plan.evict != UNIT_NONE);
        assert_int_equal(json_is_true(json_get(entry, "selects")), plan.select != UNIT_NONE);
        check_options(entry, (*p)->options);
    }
    assert_null(entry);
    json_free(doc);
}

static void test_cli_list_datasets(void **state) {
    (void)state;
    struct json_doc *doc = run_json("list", "datasets");
    const struct json *entry = json_first(json_root(doc));
    for (const struct dataset *const *d = all_datasets; *d; d++, entry = json_next(entry)) {
        assert_non_null(entry);
        assert_string_equal(text_of(entry, "name"), (*d)->name);
        assert_int_equal(access(text_of(entry, "path"), R_OK), 0);
        check_options(entry, (*d)->options);
    }
    assert_null(entry);
    json_free(doc);
}

/* Every entry of these names a file that is there, and says what it is. */
static void test_cli_list_files(void **state) {
    (void)state;
    static const char *const kinds[] = {"architectures", "experiments", "figures"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct json_doc *doc = run_json("list", kinds[i]);
        const struct json *entry = json_first(json_root(doc));
        assert_non_null(entry);
        for (; entry; entry = json_next(entry)) {
            assert_true(*text_of(entry, "name") && *text_of(entry, "summary"));
            assert_int_equal(access(text_of(entry, "path"), R_OK), 0);
        }
        json_free(doc);
    }
}

static void test_cli_list_text(void **state) {
    (void)state;
    struct cli cli;
    cli_run(&cli, NULL, "list", "policies", NULL);
    assert_int_equal(cli.code, EXIT_OK);
    assert_non_null(strstr(cli.out, "\nraas "));
    assert_non_null(strstr(cli.out, "    budget=256 "));
    cli_free(&cli);
}

/* --- doctor -------------------------------------------------------------------------- */

static void test_cli_doctor(void **state) {
    (void)state;
    static const char *const names[] = {"program",   "processor", "kernels", "memory", "results",
                                        "libraries", "gnuplot",   "gpu",     "model"};
    struct cli cli;
    struct err e = {0};
    cli_run(&cli, NULL, "doctor", "--json", NULL);
    assert_int_equal(cli.code, EXIT_OK);
    struct json_doc *doc = json_parse(cli.out, cli.out_size, "stdout", &e);
    assert_non_null(doc);
    assert_true(json_is_true(json_get(json_root(doc), "ok")));
    const struct json *check = json_first(json_get(json_root(doc), "checks"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++, check = json_next(check))
        assert_string_equal(text_of(check, "name"), names[i]);
    assert_null(check);
    json_free(doc);
    cli_free(&cli);
}

static void test_cli_doctor_verify(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        int code;
    } cases[] = {
        {"", 0, EXIT_CONTENT},
        {"garbage, not a database\n", 24, EXIT_CONTENT},
        {"SQLite format 3\0cut", 19, EXIT_CONTENT},
    };
    struct cli cli;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = cli_path("verify.db");
        cli_write(path, cases[i].text, cases[i].size);
        cli_run(&cli, NULL, "doctor", "--verify", path, NULL);
        assert_int_equal(cli.code, cases[i].code);
        assert_non_null(strstr(cli.out, "broken"));
        cli_free(&cli);
    }
    cli_run(&cli, NULL, "doctor", "--verify", cli_path("missing.db"), NULL);
    assert_int_equal(cli.code, EXIT_USAGE);
    cli_free(&cli);
    cli_run(&cli, NULL, "doctor", "--verify", "tests", NULL);
    assert_int_equal(cli.code, EXIT_CONTENT);
    cli_free(&cli);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_help),
        cmocka_unit_test(test_cli_usage_errors),
        cmocka_unit_test(test_cli_refuses_empty_paths),
        cmocka_unit_test(test_cli_list_policies),
        cmocka_unit_test(test_cli_list_datasets),
        cmocka_unit_test(test_cli_list_files),
        cmocka_unit_test(test_cli_list_text),
        cmocka_unit_test(test_cli_doctor),
        cmocka_unit_test(test_cli_doctor_verify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
