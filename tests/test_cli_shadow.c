/* The program from outside: shadow, from each of its sources. */
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

static double number(const struct json *object, const char *key) {
    double value = -1;
    assert_true(json_number(json_get(object, key), &value));
    return value;
}

/* Of the only policy that was asked: its mean divergence, and the tokens compared. */
static void parse(const struct cli *cli, double *kl, double *tokens) {
    struct err e = {0};
    struct json_doc *doc = json_parse(cli->out, cli->out_size, "stdout", &e);
    if (cli->code || !doc)
        fail_msg("code %d: %s%s", cli->code, cli->err, e.text);
    const struct json *only = json_first(json_root(doc));
    *kl = number(only, "kl"), *tokens = number(only, "tokens");
    assert_int_equal(json_count(json_root(doc)), 1);
    json_free(doc);
}

static void test_shadow_command_replays_gold(void **state) {
    (void)state;
    static const char *const policies[] = {"full", "raas:budget=4096", "streaming:budget=64"};
    double kl, tokens;
    for (int i = 0; i < 3; i++) {
        struct cli cli;
        cli_run(&cli, NULL, "shadow", "--dataset", "lemmas:steps=4", "--n=2", "--json", "--policy",
                policies[i], "--db", cli_path("shadow-gold.db"), NULL);
        parse(&cli, &kl, &tokens);
        assert_true(i < 2 ? kl == 0 : kl > 0.01);
        assert_true(tokens > 100);
        cli_free(&cli);
    }
}

static void test_shadow_command_replays_lines(void **state) {
    (void)state;
    const char *path = cli_path("shadow.jsonl");
    static const char lines[] = "{\"prompt_ids\":[5,6,7],\"ids\":[8,9,10,11]}\n"
                                "{\"prompt\":\"Ann has 12 shells.\",\"ids\":[8,9]}\n"
                                "{\"index\":1,\"ids\":[8,9,10]}\n";
    struct cli cli;
    double kl, tokens;
    cli_write(path, lines, strlen(lines));
    cli_run(&cli, NULL, "shadow", "--jsonl", path, "--dataset", "lemmas", "--json", "--policy",
            "full", "--db", cli_path("shadow-lines.db"), NULL);
    parse(&cli, &kl, &tokens);
    assert_true(kl == 0 && tokens == 9);
    cli_free(&cli);
}

static void test_shadow_command_replays_a_run(void **state) {
    (void)state;
    const char *db = cli_path("shadow.db");
    struct cli cli;
    double kl, tokens;
    cli_run(&cli, NULL, "run", "experiments/demo.json", "--db", db, "--set", "policy=[\"full\"]",
            "--set", "dataset=lemmas:steps=4", "--limit=3", "--quiet", NULL);
    if (cli.code)
        fail_msg("code %d: %s", cli.code, cli.err);
    cli_free(&cli);
    cli_run(&cli, NULL, "shadow", "--db", db, "--run=1", "--json", "--policy=full", NULL);
    parse(&cli, &kl, &tokens);
    assert_true(kl == 0 && tokens > 100);
    cli_free(&cli);
}

/* A second run replays nothing and says the same; another policy alone is replayed. Accuracies of
 * the same database stand beside the divergences. */
static void test_shadow_command_goes_on_where_it_was(void **state) {
    (void)state;
    char db[300];
    struct cli first, second;
    snprintf(db, sizeof db, "%s", cli_path("shadow-on.db"));
    cli_run(&first, NULL, "run", "experiments/demo.json", "--db", db, "--set",
            "policy=[\"streaming\",\"raas\"]", "--set", "budget=128", "--set",
            "dataset=lemmas:steps=4", "--limit=3", "--quiet", NULL);
    assert_int_equal(first.code, 0);
    cli_free(&first);
    cli_run(&first, NULL, "shadow", "--db", db, "--dataset", "lemmas:steps=4", "--n=3", "--policy",
            "streaming:budget=128", NULL);
    assert_int_equal(first.code, 0);
    assert_null(strstr(first.err, "stored already"));
    cli_free(&first);
    cli_run(&first, NULL, "shadow", "--db", db, "--dataset", "lemmas:steps=4", "--n=3", "--policy",
            "streaming:budget=128", "--policy", "raas:budget=128", "--policy",
            "raas:r=0.5,budget=128", NULL);
    assert_non_null(strstr(first.err, "3 of 6 stored already"));
    assert_non_null(strstr(first.out, "places at equal budgets"));
    cli_run(&second, NULL, "shadow", "--db", db, "--dataset", "lemmas:steps=4", "--n=3", "--policy",
            "streaming:budget=128", "--policy", "raas:budget=128", NULL);
    assert_non_null(strstr(second.err, "6 of 6 stored already"));
    assert_string_equal(first.out, second.out);
    cli_free(&first);
    cli_free(&second);
    struct err e = {0};
    struct db *file = db_open(db, DB_READ, &e);
    assert_non_null(file);
    rows_expect(file, "SELECT count(*) FROM shadow", "6");
    rows_expect(file, "SELECT count(*) || ' ' || sum(n) FROM v_shadow", "2 6");
    rows_expect(file, "SELECT count(*) FROM v_shadow_head", "24");
    rows_expect(file,
                "SELECT count(*) = (SELECT sum(new_tokens) FROM v_shadow_text) FROM v_shadow_step",
                "1");
    rows_expect(file,
                "SELECT max(abs(t.kl - (SELECT avg(kl) FROM v_shadow_step AS s WHERE "
                "s.cell_id = t.cell_id AND s.text_id = t.text_id))) < 1e-5 "
                "FROM v_shadow_text AS t",
                "1");
    db_close(file);
}

static void test_shadow_command_refuses(void **state) {
    (void)state;
    const char *db = cli_path("shadow-none.db");
    CLI_FAILS(2, "expected one of --run, --jsonl and --dataset", "shadow");
    CLI_FAILS(2, "no such database", "shadow", "--run=1", "--db", "nowhere.db");
    CLI_FAILS(2, "unknown dataset 'nope'", "shadow", "--dataset", "nope", "--db", db);
    CLI_FAILS(2, "has no end: expected --n", "shadow", "--dataset", "lemmas", "--n=0", "--db", db);
    CLI_FAILS(2, "unknown policy", "shadow", "--dataset", "lemmas", "--policy", "nope");
    CLI_FAILS(2, "chat template 'nope'", "shadow", "--dataset", "lemmas", "--template", "nope");
    static const char *const bad[] = {
        "{\"ids\":[1]}", "{\"prompt_ids\":[1],\"ids\":[]}", "{\"prompt_ids\":[1],\"ids\":[99999]}",
        "{\"prompt_ids\":[1],\"ids\":3}", "{\"prompt_ids\":[1,2],\"prompt_tokens\":3,\"ids\":[1]}"};
    static const char *const says[] = {"expected \"prompt\"", "no generated ids", "id 99999",
                                       "expected \"ids\", a list", "what \"prompt_tokens\" says"};
    for (int i = 0; i < 5; i++) {
        const char *path = cli_path("shadow-bad.jsonl");
        db = cli_path("shadow-none.db");
        cli_write(path, bad[i], strlen(bad[i]));
        CLI_FAILS(3, says[i], "shadow", "--jsonl", path, "--db", db);
        CLI_FAILS(3, "line 1", "shadow", "--jsonl", path, "--db", db);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shadow_command_replays_gold),
        cmocka_unit_test(test_shadow_command_replays_lines),
        cmocka_unit_test(test_shadow_command_replays_a_run),
        cmocka_unit_test(test_shadow_command_goes_on_where_it_was),
        cmocka_unit_test(test_shadow_command_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
