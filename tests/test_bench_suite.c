/* The suite of `raas bench gpu` over measurements that are made up; its peers, its child, the
 * figure of growth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "commands/bench_growth.h"
#include "commands/bench_suite.h"
#include "commands/bench_sweep.h"
#include "tests/folder.h"

static const struct bench_device device = {.name = "card", .read = 1e9, .copy = 1e9};
static int measured;

/* A floor of 1 ms; full at 16k takes 4 ms, everything else 2. */
static bool make_up(const struct bench_step *step, struct bench_reading *out, struct err *e) {
    (void)e;
    bool long_full = !strcmp(step->policy, "full") && step->context == 16384;
    measured++;
    *out = (struct bench_reading){.step = long_full ? 4e-3 : 2e-3, .bytes = {.weights = 1e6}};
    out->mean = out->step;
    return true;
}

static bool no_room(const struct bench_step *step, struct bench_reading *out, struct err *e) {
    (void)step, (void)out;
    return err_set(e, EXIT_ENV, "out of memory");
}

static bool eight_seconds(double *seconds, struct err *e) {
    (void)e;
    *seconds = 8;
    return true;
}

static bool no_sweep(double *seconds, struct err *e) {
    *seconds = 3;
    return err_set(e, EXIT_ENV, "the child ended with 1");
}

static char *read_text(const char *path) {
    struct err e = {0};
    size_t size;
    char *text = file_read(path, 1 << 20, &size, &e);
    if (!text)
        fail_msg("%s", e.text);
    return text;
}

/* Runs a suite; what it prints for people goes to *table. */
static int run_suite(struct bench_suite *suite, char **table, struct err *e) {
    size_t size;
    suite->device = &device;
    suite->table = open_memstream(table, &size);
    assert_non_null(suite->table);
    int code = bench_suite_run(suite, e);
    fclose(suite->table);
    return code;
}

static void has_line(const char *text, const char *line) {
    size_t n = strlen(line);
    for (const char *at = text; (at = strstr(at, line)); at++)
        if ((at == text || at[-1] == '\n') && at[n] == '\n')
            return;
    fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void has_row(const char *csv, const char *begin) {
    char bounded[200];
    snprintf(bounded, sizeof bounded, "\n%s,card,", begin);
    if (!strstr(csv, bounded))
        fail_msg("no row \"%s\" in:\n%s", begin, csv);
}

static const char peers[] = "engine,shape,batch,context,ms_median,ms_p10,ms_p90,gpu,versions\n"
                            "dynamic,qwen2.5-7b,1,2048,17,16,18,card,torch 2\n"
                            "static+compile,llama-8b,1,2048,9,9,9,card,torch 2\n"
                            "static+compile,qwen2.5-7b,1,2048,7,7,7,other card,torch 2\n"
                            "static+compile,qwen2.5-1.5b,1,2048,,,,card,torch 2\n"
                            "static+compile,qwen2.5-7b,1,2048,5,4.9,5.1,card,torch 2\n";

static void test_bench_suite_writes_every_case(void **state) {
    static const struct option_list all = {0};
    struct bench_suite suite = {.only = &all, .measure = make_up, .sweep = eight_seconds};
    struct err e = {0};
    char *table;
    folder_text(*state, "peers.csv", peers);
    suite.peers = must_strdup(folder_path(*state, "peers.csv"));
    suite.out = must_strdup(folder_path(*state, "new/gpu.csv"));
    measured = 0;
    assert_int_equal(run_suite(&suite, &table, &e), EXIT_OK);
    assert_int_equal(measured, 10); /* ten steps for eleven cases that need one */
    char *csv = read_text(suite.out);
    has_line(csv, "case,first,goal,measured,floor_ms,step_ms,gpu,commit");
    has_row(csv, "7b_b1_2k,0.85,0.92,0.5,1,2");
    has_row(csv, "8b_b1_2k,0.85,0.92,0.5,1,2");
    has_row(csv, "1.5b_b1_2k,0.7,0.85,0.5,1,2");
    has_row(csv, "7b_b32_8k,0.8,0.88,0.5,1,2");
    has_row(csv, "7b_b32_16k_raas,0.72,0.82,0.5,1,2");
    has_row(csv, "7b_b32_16k_streaming,0.72,0.82,0.5,1,2");
    has_row(csv, "raas_over_full,2.2,2.6,2,1,4");
    has_row(csv, "7b_b32_16k_quest,0.65,0.78,0.5,1,2");
    has_row(csv, "7b_b32_16k_h2o,0.65,0.76,0.5,1,2");
    has_row(csv, "lemmas_sweep_s,10,4,8,,");
    has_row(csv, "1.5b_256seq_tok_s,50000,100000,128000,1,2");
    has_row(csv, "over_transformers,1.25,1.5,2.5,,2");
    assert_non_null(strstr(table, "first target")); /* the sweep: 8 s */
    assert_non_null(strstr(table, "below"));
    assert_non_null(strstr(table, "goal"));
    free(csv), free(table);
    free((char *)suite.peers), free((char *)suite.out);
}

static void test_bench_suite_goes_on_past_failures(void **state) {
    static const struct option_list all = {0};
    struct bench_suite suite = {.only = &all, .measure = no_room, .sweep = no_sweep};
    struct err e = {0};
    char *table;
    suite.out = folder_path(*state, "gpu.csv");
    assert_int_equal(run_suite(&suite, &table, &e), EXIT_PARTIAL);
    assert_int_equal(e.code, 0);
    char *csv = read_text(suite.out);
    int lines = 0, said = 0;
    for (const char *at = csv; (at = strchr(at, '\n')); at++)
        lines++;
    for (const char *at = table; (at = strstr(at, "not measured: out of memory")); at++)
        said++;
    assert_int_equal(lines, 13);
    assert_int_equal(said, 11);
    has_row(csv, "7b_b1_2k,0.85,0.92,,,");
    has_row(csv, "lemmas_sweep_s,10,4,,,");
    has_row(csv, "over_transformers,1.25,1.5,,,");
    assert_non_null(strstr(table, "not measured: the child ended with 1"));
    free(csv), free(table);
}

static void test_bench_suite_keeps_rows_it_was_not_asked_for(void **state) {
    static const struct option_list one = {1, {"raas_over_full"}};
    static const struct option_list against = {1, {"over_transformers"}};
    struct bench_suite suite = {.only = &one, .measure = make_up, .sweep = no_sweep};
    struct err e = {0};
    char *table;
    folder_text(*state, "gpu.csv",
                "case,first,goal,measured,floor_ms,step_ms,gpu,commit\nold,1,1,1,1,1,a,b\n"
                "raas_over_full,9,9,9,9,9,a,b\n7b_b1_2k,9,9,9,9,9,a,b\n");
    suite.out = folder_path(*state, "gpu.csv");
    measured = 0;
    assert_int_equal(run_suite(&suite, &table, &e), EXIT_OK);
    assert_int_equal(measured, 2); /* its own and the one it is compared with */
    char *csv = read_text(suite.out);
    has_line(csv, "7b_b1_2k,9,9,9,9,9,a,b");
    has_row(csv, "raas_over_full,2.2,2.6,2,1,4");
    assert_null(strstr(csv, "old"));
    assert_null(strstr(csv, "lemmas_sweep_s"));
    free(csv), free(table);

    suite.only = &against; /* no table of peers */
    assert_int_equal(run_suite(&suite, &table, &e), EXIT_PARTIAL);
    assert_non_null(strstr(table, "no --peers"));
    free(table);
}

static void test_bench_suite_names_what_is_not_there(void **state) {
    static const struct option_list none = {0}, known = {1, {"7b_b1_2k"}}, unknown = {1, {"7b"}};
    struct bench_suite suite = {.only = &unknown};
    struct err e = {0};
    assert_false(bench_suite_check(&suite, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    assert_non_null(strstr(e.text, "--case 7b: expected one of 7b_b1_2k, "));
    e.code = 0, suite.only = &none, suite.peers = folder_path(*state, "missing.csv");
    assert_false(bench_suite_check(&suite, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    e.code = 0, suite.only = &known, suite.peers = NULL;
    assert_true(bench_suite_check(&suite, &e));
}

static void test_bench_suite_peers_are_found_by_name(void **state) {
    struct bench_step step = {.shape = "qwen2.5-7b", .policy = "full", .batch = 1, .context = 2048};
    double ms;
    folder_text(*state, "peers.csv", peers);
    const char *path = folder_path(*state, "peers.csv");
    struct err e = {0};
    assert_true(bench_peer_step(path, &step, "card", &ms, &e));
    assert_true(ms == 5);
    assert_true(bench_peer_step(path, &step, "other card", &ms, &e));
    assert_true(ms == 7);
    assert_false(bench_peer_step(path, &step, "a third one", &ms, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    const struct bench_step absent[] = {{.shape = "qwen2.5-7b", .batch = 8, .context = 2048},
                                        {.shape = "qwen2.5-7b", .batch = 1, .context = 4096},
                                        {.shape = "qwen2.5-1.5b", .batch = 1, .context = 2048},
                                        {.shape = "other", .batch = 1, .context = 2048}};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        e.code = 0;
        assert_false(bench_peer_step(path, &absent[i], "card", &ms, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
    }
    static const char *const broken[] = {"", "\n", "engine\nstatic+compile\n", "a,b,c\n1,2,3\n"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        e.code = 0;
        folder_text(*state, "broken.csv", broken[i]);
        assert_false(bench_peer_step(folder_path(*state, "broken.csv"), &step, "card", &ms, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
    }
    e.code = 0;
    assert_false(bench_peer_step(folder_path(*state, "missing.csv"), &step, "card", &ms, &e));
    assert_int_equal(e.code, EXIT_USAGE);
}

/* --- children ------------------------------------------------------------------------------- */

static void test_bench_suite_child_is_timed_and_explained(void **state) {
    const struct folder *folder = *state;
    char *const naps[] = {"/bin/sleep", "0.2", NULL}, *const long_nap[] = {"/bin/sleep", "9", NULL};
    char *const fails[] = {"/bin/ls", "/nothing/there", NULL}, *const none[] = {"/none", NULL};
    double seconds = 0;
    struct err e = {0};
    assert_true(bench_child(naps, folder->path, 5, &seconds, &e));
    assert_true(seconds >= 0.2 && seconds < 2);
    assert_false(bench_child(fails, folder->path, 5, &seconds, &e));
    assert_int_equal(e.code, EXIT_ENV);
    assert_non_null(strstr(e.text, "/bin/ls ended with 2: "));
    assert_non_null(strstr(e.text, "/nothing/there"));
    e.code = 0;
    assert_false(bench_child(long_nap, folder->path, 0.1, &seconds, &e));
    assert_non_null(strstr(e.text, "/bin/sleep: stopped after"));
    e.code = 0;
    assert_false(bench_child(none, folder->path, 1, &seconds, &e));
    assert_non_null(strstr(e.text, "/none cannot be started"));
}

/* --- the figure ----------------------------------------------------------------------------- */

static void test_bench_suite_growth_is_drawn(void **state) {
    const char *heading = "policy,budget,shape,batch,tokens,how,kept,kv_bytes,step_ms,p10_ms,"
                          "p90_ms,floor_ms,gpu,commit\n";
    char csv[2000];
    struct err e = {0};
    snprintf(csv, sizeof csv,
             "%sfull,,small,4,2048,decoded,2148,61000000,2,1.9,2.1,1,card,abc\n"
             "full,,small,4,4096,decoded,4196,120000000,3,2.9,3.1,2,card,abc\n"
             "raas,1024,small,4,2048,decoded,1024,31000000,1.5,1.4,1.6,1,card,abc\n"
             "raas,1024,small,4,4096,decoded,1024,31000000,1.5,1.4,1.6,1,card,abc\n",
             heading);
    folder_text(*state, "growth.csv", csv);
    char *out = must_strdup(folder_path(*state, "figure")), path[300];
    if (!bench_growth_draw(folder_path(*state, "growth.csv"), out, &e))
        fail_msg("%s", e.text);
    snprintf(path, sizeof path, "%s/gpu_growth.svg", out);
    char *svg = read_text(path);
    assert_non_null(strstr(svg, "small, batch 4"));
    assert_non_null(strstr(svg, "budget 1024"));
    assert_non_null(strstr(svg, ">raas<"));
    assert_non_null(strstr(svg, "KV cache of a sequence (MiB)"));
    free(svg);
    static const char *const wrong[] = {"", "a,b\n1,2\n", "policy,budget,\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        e.code = 0;
        folder_text(*state, "wrong.csv", wrong[i]);
        assert_false(bench_growth_draw(folder_path(*state, "wrong.csv"), out, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
    }
    free(out);
}

int main(void) {
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_bench_suite_writes_every_case),
        IN_FOLDER(test_bench_suite_goes_on_past_failures),
        IN_FOLDER(test_bench_suite_keeps_rows_it_was_not_asked_for),
        IN_FOLDER(test_bench_suite_names_what_is_not_there),
        IN_FOLDER(test_bench_suite_peers_are_found_by_name),
        IN_FOLDER(test_bench_suite_child_is_timed_and_explained),
        IN_FOLDER(test_bench_suite_growth_is_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
