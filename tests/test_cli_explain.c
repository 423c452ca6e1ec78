/* The program from outside: explain, from a run to accounts, counts and the figure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "tests/cli.h"
#include "tests/store_rows.h"

static char path[300]; /* the database: a run, and the proof of the model */

static void must_run(struct cli *cli) {
    if (cli->code)
        fail_msg("code %d: %s", cli->code, cli->err);
    cli_free(cli);
}

/* A window that the prompt slides out of; and full, which has all. */
static int make_run(void **state) {
    (void)state;
    struct cli cli;
    snprintf(path, sizeof path, "%s", cli_path("explain.db"));
    cli_run(&cli, NULL, "run", "experiments/demo.json", "--db", path, "--set",
            "policy=[\"full\",\"streaming\"]", "--set", "budget=64", "--set",
            "dataset=lemmas:steps=6", "--limit=4", "--quiet", NULL);
    must_run(&cli);
    cli_run(&cli, NULL, "analyze", "--validate", "--steps=8", "--n=4", "--train=4", "--db", path,
            NULL);
    must_run(&cli);
    return 0;
}

static void expect(const char *sql, const char *expected) {
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    if (!db)
        fail_msg("%s", e.text);
    rows_expect(db, sql, expected);
    db_close(db);
}

static void test_explain_command_counts_causes(void **state) {
    (void)state;
    struct cli cli, again;
    struct err e = {0};
    cli_run(&cli, NULL, "explain", "--db", path, "--json", NULL);
    if (cli.code)
        fail_msg("code %d: %s", cli.code, cli.err);
    struct json_doc *doc = json_parse(cli.out, cli.out_size, "stdout", &e);
    assert_non_null(doc);
    const struct json *full = json_first(json_root(doc)), *tiny = json_next(full);
    int64_t wrong, gone[2], right;
    assert_true(json_integer(json_get(full, "wrong"), 0, 0, &wrong));
    assert_true(json_integer(json_get(tiny, "wrong"), 3, 4, &wrong));
    assert_true(json_integer(json_get(tiny, "source_evicted"), 0, 4, &gone[0]));
    assert_true(json_integer(json_get(tiny, "statement_evicted"), 0, 4, &gone[1]));
    assert_int_equal(gone[0] + gone[1], wrong);
    assert_true(json_integer(json_get(tiny, "full_right"), 0, 4, &right));
    assert_int_equal(right, wrong);
    json_free(doc);
    /* nothing is computed twice, and the replays chose what was written */
    cli_run(&again, NULL, "explain", "--db", path, "--json", NULL);
    assert_string_equal(cli.out, again.out);
    expect("SELECT count(DISTINCT run_id) FROM explain", "1");
    expect("SELECT count(*) = (SELECT count(*) FROM v_result WHERE correct = 0) FROM v_explain",
           "1");
    expect("SELECT min(agreement) FROM v_explain", "1.0");
    expect("SELECT count(*) FROM v_explain WHERE evicted_at IS NULL OR evicted_at > query", "0");
    cli_free(&cli);
    cli_free(&again);
    cli_run(&cli, NULL, "explain", "--db", path, NULL);
    assert_non_null(strstr(cli.out, "why answers are wrong"));
    assert_non_null(strstr(cli.out, "steps that an eviction spoiled come out right"));
    cli_free(&cli);
}

static void test_explain_command_tells_of_a_sample(void **state) {
    (void)state;
    static const char *const says[] = {"under streaming:budget=64: answered",
                                       "  problem ",
                                       "  gold ",
                                       "  written ",
                                       "  needed ",
                                       "  held ",
                                       "  evicted ",
                                       "  attention ",
                                       "  cause ",
                                       "  under full right"};
    struct cli cli;
    cli_run(&cli, NULL, "explain", "lemmas-6-1-0", "--policy", "streaming", "--db", path, NULL);
    if (cli.code)
        fail_msg("code %d: %s", cli.code, cli.err);
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        if (!strstr(cli.out, says[i]))
            fail_msg("no '%s' in\n%s", says[i], cli.out);
    cli_free(&cli);
}

static void test_explain_command_figure(void **state) {
    (void)state;
    struct cli cli;
    cli_run(&cli, NULL, "explain", "--db", path, NULL);
    must_run(&cli);
    cli_run(&cli, NULL, "plot", "causes", "--db", path, "--out", cli_path("explain-plots"), NULL);
    must_run(&cli);
}

/* Cells whose budget is another policy's have none in the database. */
static void test_explain_command_takes_matched_budgets(void **state) {
    (void)state;
    struct cli cli;
    cli_run(&cli, NULL, "run", "experiments/demo.json", "--db", path, "--set",
            "policy=\"streaming\"", "--set", "budget=\"match\"", "--set", "dataset=lemmas:steps=6",
            "--limit=4", "--quiet", NULL);
    must_run(&cli);
    cli_run(&cli, NULL, "explain", "--policy", "streaming:budget=match", "--db", path, NULL);
    must_run(&cli);
    expect("SELECT count(*) > 0 FROM v_explain WHERE policy = 'streaming:match=1'", "1");
    expect("SELECT count(*) = (SELECT count(*) FROM v_result WHERE correct = 0) FROM v_explain",
           "1");
}

static void test_explain_command_refuses(void **state) {
    (void)state;
    CLI_FAILS(2, "no such database", "explain", "--db", "nowhere.db");
    CLI_FAILS(2, "no answers", "explain", "lemmas-9-9-9", "--db", path);
    CLI_FAILS(2, "no run 'nope'", "explain", "--run", "nope", "--db", path);
    CLI_FAILS(2, "unknown policy", "explain", "--policy", "nope", "--db", path);
    CLI_FAILS(2, "expected one sample", "explain", "a", "b", "--db", path);
    CLI_FAILS(3, "is a wrong one", "explain", "lemmas-6-1-0", "--policy", "full", "--db", path);
    CLI_FAILS(2, "--f1", "explain", "--f1=2", "--db", path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_explain_command_counts_causes),
        cmocka_unit_test(test_explain_command_tells_of_a_sample),
        cmocka_unit_test(test_explain_command_figure),
        cmocka_unit_test(test_explain_command_refuses),
        cmocka_unit_test(test_explain_command_takes_matched_budgets),
    };
    return cmocka_run_group_tests(tests, make_run, NULL);
}
