/* Option tables: parsing, spelling, command lines, help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/option.h"
#include "tests/printed.h"

struct param {
    int64_t budget;
    double r;
    bool pin;
    int pos;
    const char *out;
    struct option_list set;
};

// clang-format off
static const struct option table[] = {
    {"r", OPTION_REAL, offsetof(struct param, r), 0.5, 0, 1, NULL, "share of pages stamped"},
    {"budget", OPTION_INT, offsetof(struct param, budget), 256, 16, 4096, NULL, "tokens kept"},
    {"pin_prompt", OPTION_BOOL, offsetof(struct param, pin), 1, 0, 1, NULL, "keep the prompt"},
    {"pos", OPTION_CHOICE, offsetof(struct param, pos), 0, 0, 0, "abs|rank|absolute", "positions"},
    OPTION_END,
};
static const struct option flags[] = {
    {"max_new", OPTION_INT, offsetof(struct param, budget), 8, 1, 99, NULL, "tokens to generate"},
    {"r", OPTION_REAL, offsetof(struct param, r), 0.5, -1, 1, NULL, "ratio"},
    {"dry-run", OPTION_BOOL, offsetof(struct param, pin), 0, 0, 1, NULL, "plan only"},
    {"pos", OPTION_CHOICE, offsetof(struct param, pos), 1, 0, 0, "abs|rank", "positions"},
    {"out", OPTION_TEXT, offsetof(struct param, out), 0, 0, 0, NULL, "DIR: where results go"},
    {"set", OPTION_LIST, offsetof(struct param, set), 0, 0, 0, NULL, "K=V: overrides a key"},
    OPTION_END,
};
// clang-format on

static void test_option_parse_and_spell(void **state) {
    (void)state;
    struct param p;
    struct err e = {0};
    char text[200];
    option_defaults(table, &p);
    assert_int_equal(option_spell(table, &p, NULL, text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_true(option_parse(table, &p, "policy x", "", &e));
    assert_true(option_parse(table, &p, "policy x", "budget=512,pos=rank,r=0.1,pin_prompt=0", &e));
    assert_true(p.budget == 512 && p.pos == 1 && p.r == 0.1 && !p.pin);
    assert_int_equal(option_spell(table, &p, NULL, text, sizeof text), 38);
    assert_string_equal(text, "r=0.1,budget=512,pin_prompt=0,pos=rank");
    option_spell(table, &p, "budget", text, sizeof text);
    assert_string_equal(text, "r=0.1,pin_prompt=0,pos=rank");
    assert_int_equal(option_spell(table, &p, NULL, text, 10), 38); /* cut, but ended */
    assert_string_equal(text, "r=0.1,bud");
    option_json(table, &p, text, sizeof text);
    assert_string_equal(text, "{\"budget\":512,\"pin_prompt\":false,\"pos\":\"rank\",\"r\":0.1}");
}

static void test_option_refuse(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"budget=15", "policy x: budget: expected a whole number from 16 to 4096, got '15'"},
        {"budget=4097", "from 16 to 4096"},
        {"budget=25x", "got '25x'"},
        {"budget=", "got ''"},
        {"budget= 32", "got ' 32'"},
        {"budget=99999999999999999999", "from 16"},
        {"budget=32.0", "whole number"},
        {"r=nan", "a number from 0 to 1"},
        {"r=1.0001", "a number from 0 to 1"},
        {"pin_prompt=yes", "0 or 1"},
        {"pos=ab", "one of abs|rank|absolute"},
        {"pos=", "one of"},
        {"bugdet=64", "unknown option 'bugdet'; known: r, budget, pin_prompt, pos"},
        {"budget", "expected key=value"},
        {"r=0.5,", "expected key=value"},
        {"budget=64,budget=64", "given twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct param p, before;
        struct err e = {0};
        memset(&p, 0, sizeof p);
        option_defaults(table, &p);
        before = p;
        bool first = strstr(cases[i][0], ",") == NULL;
        assert_false(option_parse(table, &p, "policy x", cases[i][0], &e));
        assert_int_equal(e.code, EXIT_USAGE);
        if (!strstr(e.text, cases[i][1]))
            fail_msg("%s: said \"%s\"", cases[i][0], e.text);
        if (first)
            assert_memory_equal(&p, &before, sizeof p);
    }
}

static bool parse_flags(struct param *p, int argc, const char *const *args, int *n, char **argv,
                        struct err *e) {
    for (int i = 0; i < argc; i++)
        argv[i] = (char *)(uintptr_t)args[i];
    option_defaults(flags, p);
    return option_argv(flags, p, "raas x", "", argc, argv, n, e);
}

static void test_option_flags_parse(void **state) {
    (void)state;
    const char *const args[] = {"x",  "one",   "--max-new=3", "--r",      "-0.5",  "--dry_run",
                                "-",  "--set", "a=1",         "--out",    "--odd", "--set=b=2",
                                "-7", "--",    "--pos",       "two words"};
    char *argv[20];
    struct param p;
    struct err e = {0};
    int n;
    if (!parse_flags(&p, 16, args, &n, argv, &e))
        fail_msg("%s", e.text);
    assert_true(p.budget == 3 && p.r == -0.5 && p.pin && p.pos == 1);
    assert_string_equal(p.out, "--odd"); /* no flag of ours, so a value */
    assert_int_equal(p.set.count, 2);
    assert_string_equal(p.set.items[1], "b=2");
    assert_int_equal(n, 5);
    const char *const rest[] = {"one", "-", "-7", "--pos", "two words"};
    for (int i = 0; i < n; i++)
        assert_string_equal(argv[i], rest[i]);
}

static void test_option_flags_refuse(void **state) {
    (void)state;
    static const struct {
        const char *args[4];
        const char *words;
    } cases[] = {
        {{"x", "--max-nwe", "3"}, "raas x: unknown option --max-nwe; did you mean --max-new?"},
        {{"x", "--zzzzzz"}, "unknown option --zzzzzz; raas x --help lists them"},
        {{"x", "-v"}, "unknown option -v"},
        {{"x", "--max-new"}, "--max-new: expected a whole number from 1 to 99 after it"},
        {{"x", "--out", "--dry-run"}, "--out: expected a text before --dry-run"},
        {{"x", "--max-new", "100"},
         "raas x: --max-new: expected a whole number from 1 to 99, got '100'"},
        {{"x", "--max-new=1", "--max_new=2"}, "--max-new: given twice"},
        {{"x", "--dry-run=maybe"}, "0 or 1"},
        {{"x", "--out", ""}, "raas x: --out: expected a text, got ''"},
        {{"x", "--out="}, "--out: expected a text, got ''"},
        {{"x", "--set", ""}, "--set: expected a text, got ''"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *argv[4];
        struct param p;
        struct err e = {0};
        int n, argc = 1;
        while (argc < 4 && cases[i].args[argc])
            argc++;
        assert_false(parse_flags(&p, argc, cases[i].args, &n, argv, &e));
        assert_int_equal(e.code, EXIT_USAGE);
        if (!strstr(e.text, cases[i].words))
            fail_msg("%s: said \"%s\"", cases[i].args[1], e.text);
    }
}

static void ask_help(void) {
    char *argv[] = {"x", "--help"};
    struct param p;
    int n;
    struct err e = {0};
    option_defaults(flags, &p);
    option_argv(flags, &p, "raas x [options] FILE", "Does x.", 2, argv, &n, &e);
    _exit(9); /* not reached: --help ends the program */
}

static void test_option_help_is_a_table(void **state) {
    (void)state;
    char text[4000];
    assert_int_equal(printed(ask_help, STDOUT_FILENO, text, sizeof text), 0);
    assert_string_equal(text, "usage: raas x [options] FILE\n"
                              "\n"
                              "Does x.\n"
                              "\n"
                              "options:\n"
                              "  --max-new N     tokens to generate (default 8; 1 to 99)\n"
                              "  --r X           ratio (default 0.5; -1 to 1)\n"
                              "  --dry-run       plan only\n"
                              "  --pos abs|rank  positions (default rank)\n"
                              "  --out DIR       where results go\n"
                              "  --set K=V...    overrides a key\n"
                              "  --help          this text\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_option_parse_and_spell), cmocka_unit_test(test_option_refuse),
        cmocka_unit_test(test_option_flags_parse),     cmocka_unit_test(test_option_flags_refuse),
        cmocka_unit_test(test_option_help_is_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
