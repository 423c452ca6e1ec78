/* Experiment files: what they expand to, and how each mistake is told. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "experiments/experiment.h"
#include "experiments/identity.h"

static char path[] = "/tmp/test_experiment-XXXXXX.json";

static int make_file(void **state) {
    (void)state;
    int fd = mkstemps(path, 5);
    return fd < 0 ? -1 : close(fd);
}
static int remove_file(void **state) {
    (void)state;
    return unlink(path);
}

static void write_file(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
}

static struct experiment read_ok(const char *text, const char *scale, const char *set) {
    write_file(text);
    struct experiment x;
    struct err e = {0};
    const struct experiment_options options = {scale, &set, set != NULL};
    if (!experiment_read(path, &options, &x, &e))
        fail_msg("%s", e.text);
    return x;
}

static void expect_error(const char *text, const char *scale, const char *set, int code,
                         const char *words[3]) {
    write_file(text);
    struct experiment x;
    struct err e = {0};
    const struct experiment_options options = {scale, &set, set != NULL};
    if (experiment_read(path, &options, &x, &e))
        fail_msg("accepted: %s %s", text, set ? set : "");
    if (e.code != code)
        fail_msg("exit code %d, expected %d: %s", e.code, code, e.text);
    for (int i = 0; i < 3; i++)
        if (words[i] && !strstr(e.text, words[i]))
            fail_msg("'%s' does not say '%s'", e.text, words[i]);
}

#define LEMMAS "\"dataset\":\"lemmas:steps=4\""

static void test_experiment_lists_multiply(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int cells, datasets;
    } cases[] = {
        {"{" LEMMAS ",\"policy\":\"full\"}", 1, 1},
        {"{" LEMMAS ",\"policy\":[\"full\",\"streaming\",\"raas\"],\"budget\":[64,128,256]}", 7, 1},
        {"{" LEMMAS ",\"policy\":[\"raas\",\"raas:budget=64\"],\"budget\":[64,128]}", 2, 1},
        {"{" LEMMAS ",\"policy\":{\"policy\":\"raas\",\"r\":[0.25,0.5,1]},\"budget\":[64,128]}", 6,
         1},
        {"{" LEMMAS ",\"policy\":{\"policy\":\"raas\",\"r\":[0.25,1],\"budget\":[32,64]},"
         "\"budget\":128}",
         4, 1},
        {"{\"dataset\":{\"dataset\":\"lemmas\",\"steps\":[4,6]},\"policy\":\"full\"}", 2, 2},
        {"{\"dataset\":[\"lemmas:steps=4\",\"lemmas:steps=4\"],\"policy\":\"full\"}", 1, 1},
        {"{" LEMMAS ",\"policy\":\"full\",\"max_new\":[10,20]}", 2, 1},
        /* nothing is sampled: seed and top_p make no cell */
        {"{" LEMMAS ",\"policy\":\"full\",\"seed\":[1,2,3],\"top_p\":[0.5,1]}", 1, 1},
        {"{" LEMMAS ",\"policy\":[\"full\",\"random\"],\"seed\":[1,2,3]}", 2, 1},
        {"{" LEMMAS ",\"policy\":{\"policy\":\"random\",\"seed\":[1,2,3]}}", 3, 1},
        {"{" LEMMAS
         ",\"policy\":\"full\",\"seed\":[1,2],\"temperature\":[0,0.5],\"top_p\":[0.5,1]}",
         5, 1},
        {"{" LEMMAS ",\"policy\":\"raas\",\"budget\":[64,\"match\"]}", 2, 1},
        {"{" LEMMAS ",\"policy\":\"raas\",\"budget\":64,\"scale\":{\"smoke\":{\"budget\":[1,2]}}}",
         1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct experiment x = read_ok(cases[i].text, NULL, NULL);
        if (x.n_cells != cases[i].cells || x.n_datasets != cases[i].datasets)
            fail_msg("%s: %d cells, %d datasets", cases[i].text, x.n_cells, x.n_datasets);
        experiment_free(&x);
    }
}

static void test_experiment_names_every_mistake(void **state) {
    (void)state;
    static const struct {
        const char *text, *set;
        int code;
        const char *words[3];
    } cases[] = {
        {"", NULL, EXIT_CONTENT, {path}},
        {"{", NULL, EXIT_CONTENT, {path}},
        {"[]", NULL, EXIT_CONTENT, {path, "object"}},
        {"{\"policy\":\"full\"}", NULL, EXIT_CONTENT, {"dataset", "missing"}},
        {"{" LEMMAS "}", NULL, EXIT_CONTENT, {"policy", "missing"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"n\":4,\"n\":5}",
         NULL,
         EXIT_CONTENT,
         {path, "\"n\"", "twice"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"bugdet\":4}",
         NULL,
         EXIT_CONTENT,
         {path, "'bugdet'", "budget"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"N\":4}", NULL, EXIT_CONTENT, {path, "'N'"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"n\":0}", NULL, EXIT_CONTENT, {path, "'n'", "from 1"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"n\":\"4\"}", NULL, EXIT_CONTENT, {"'n'", "number"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"n\":4.5}", NULL, EXIT_CONTENT, {"'n'", "4.5", "whole"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"margin\":3}", NULL, EXIT_CONTENT, {"'margin'", "0.5"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"n\":[4,5]}", NULL, EXIT_CONTENT, {"'n'", "number"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"seed\":[]}", NULL, EXIT_CONTENT, {"'seed'", "empty"}},
        {"{" LEMMAS ",\"policy\":[]}", NULL, EXIT_CONTENT, {"'policy'", "empty"}},
        {"{" LEMMAS ",\"policy\":{\"policy\":\"raas\",\"r\":[]}}",
         NULL,
         EXIT_CONTENT,
         {"'policy'", "'r'", "empty"}},
        {"{" LEMMAS ",\"policy\":\"ful\"}", NULL, EXIT_CONTENT, {"'policy'", "'ful'", "full"}},
        {"{" LEMMAS ",\"policy\":\"raas:q=1\"}", NULL, EXIT_CONTENT, {"'policy'", "raas", "alpha"}},
        {"{" LEMMAS ",\"policy\":{\"policy\":\"raas\",\"q\":1}}",
         NULL,
         EXIT_CONTENT,
         {"'policy'", "raas", "alpha"}},
        {"{" LEMMAS ",\"policy\":{\"policy\":\"raas\",\"r\":\"1,alpha=2\"}}",
         NULL,
         EXIT_CONTENT,
         {"'policy'", "raas: r: expected a number"}},
        {"{" LEMMAS ",\"policy\":{\"raas\":1}}", NULL, EXIT_CONTENT, {"'policy'", "expected"}},
        {"{" LEMMAS ",\"policy\":7}", NULL, EXIT_CONTENT, {"'policy'", "expected"}},
        {"{" LEMMAS ",\"policy\":\"raas\",\"budget\":250}",
         NULL,
         EXIT_CONTENT,
         {"'budget'", "250", "multiple of 16"}},
        {"{" LEMMAS ",\"policy\":\"raas\",\"budget\":\"many\"}",
         NULL,
         EXIT_CONTENT,
         {"'budget'", "many"}},
        {"{\"dataset\":\"lemma\",\"policy\":\"full\"}",
         NULL,
         EXIT_CONTENT,
         {"'dataset'", "'lemma'", "lemmas"}},
        {"{\"dataset\":\"lemmas:step=4\",\"policy\":\"full\"}",
         NULL,
         EXIT_CONTENT,
         {"'dataset'", "step", "steps"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"scale\":3}", NULL, EXIT_CONTENT, {"'scale'"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"scale\":{\"smoke\":{\"m\":3}}}",
         NULL,
         EXIT_CONTENT,
         {"'smoke'", "'m'"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"precision\":\"fp64\"}",
         NULL,
         EXIT_CONTENT,
         {"'precision'", "fp64", "bf16"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"name\":\"a/b\"}", NULL, EXIT_CONTENT, {"a/b"}},
        {"{" LEMMAS ",\"policy\":\"full\"}", "name=a/b", EXIT_USAGE, {"--set name", "a/b"}},
        {"{" LEMMAS ",\"policy\":\"full\"}", "m=3", EXIT_USAGE, {"--set", "'m'"}},
        {"{" LEMMAS ",\"policy\":\"full\"}", "n", EXIT_USAGE, {"--set", "key=value"}},
        {"{" LEMMAS ",\"policy\":\"full\"}", "n=x", EXIT_USAGE, {"--set n", "number"}},
        {"{" LEMMAS ",\"policy\":\"full\"}",
         "policy=[\"raas\",\"h3o\"]",
         EXIT_USAGE,
         {"--set policy", "h3o"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"width\":65}",
         NULL,
         EXIT_CONTENT,
         {"'width'", "65", "1 to 64 on cpu"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"width\":65}",
         "backend=tpu",
         EXIT_USAGE,
         {"--set backend", "tpu", "cpu|cuda"}},
        {"{" LEMMAS ",\"policy\":\"full\",\"backend\":\"cuda\"}",
         "width=8193",
         EXIT_USAGE,
         {"--set width", "8193", "8192"}},
        {"{" LEMMAS ",\"policy\":\"raas\"}", "budget=250", EXIT_USAGE, {"--set budget", "250"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(cases[i].text, NULL, cases[i].set, cases[i].code,
                     (const char **)cases[i].words);
    expect_error("{" LEMMAS ",\"policy\":\"full\"}", "smoke", NULL, EXIT_USAGE,
                 (const char *[3]){"smoke", "no scales"});
    expect_error("{" LEMMAS ",\"policy\":\"full\",\"scale\":{\"full\":{}}}", "smoke", NULL,
                 EXIT_USAGE, (const char *[3]){"smoke", "full"});
}

static void test_experiment_a_missing_file_is_a_usage_error(void **state) {
    (void)state;
    struct experiment x;
    struct err e = {0};
    assert_false(experiment_read("/nowhere/x.json", &(struct experiment_options){0}, &x, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    assert_non_null(strstr(e.text, "/nowhere/x.json"));
}

static void test_experiment_layers_override_in_order(void **state) {
    (void)state;
    static const char text[] = "{\"scale\":{\"smoke\":{\"n\":3,\"max_new\":7},\"full\":{\"n\":9}},"
                               "\"n\":5," LEMMAS ",\"policy\":\"full\",\"name\":\"x-1\"}";
    static const struct {
        const char *scale, *set;
        int64_t n, max_new;
    } cases[] = {
        {NULL, NULL, 5, 1024},
        {"smoke", NULL, 3, 7},
        {"full", NULL, 9, 1024},
        {"smoke", "n=11", 11, 7},
        {NULL, "n=11", 11, 1024},
        {"smoke", "scale.smoke.n=2", 2, 7},
        {"full", "scale.smoke.n=2", 9, 1024},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct experiment x = read_ok(text, cases[i].scale, cases[i].set);
        assert_string_equal(x.name, "x-1");
        assert_int_equal(x.n, cases[i].n);
        assert_int_equal(x.cells[0].max_new, cases[i].max_new);
        experiment_free(&x);
    }
}

static void test_experiment_saves_the_values_in_force(void **state) {
    (void)state;
    struct experiment x = read_ok(
        "{" LEMMAS ",\"policy\":[\"full\"],\"n\":5,\"name\":\"t\",\"scale\":{\"s\":{\"n\":6}}}",
        "s", "temperature=0.5");
    assert_string_equal(x.json, "{\"dataset\":\"lemmas:steps=4\",\"n\":6,\"name\":\"t\","
                                "\"policy\":[\"full\"],\"temperature\":0.5}");
    experiment_free(&x);
}

static void test_experiment_repeats_only_what_is_drawn(void **state) {
    (void)state;
    struct experiment x =
        read_ok("{" LEMMAS ",\"policy\":[\"full\",\"random\"],\"repeats\":3}", NULL, NULL);
    assert_int_equal(x.cells[0].repeats, 1);
    assert_int_equal(x.cells[1].repeats, 3);
    assert_false(cell_draws(&x.cells[0]));
    assert_true(cell_draws(&x.cells[1]));
    experiment_free(&x);
}

static void test_experiment_identity_is_canonical(void **state) {
    (void)state;
    struct experiment x =
        read_ok("{" LEMMAS ",\"policy\":\"streaming\",\"budget\":64,\"max_new\":9}", NULL, NULL);
    char *plain = cell_config(&x, &x.cells[0], NULL);
    char expected[900];
    snprintf(expected, sizeof expected,
             "{\"backend\":\"cpu\",\"dataset\":\"lemmas:steps=4\",\"max_new\":9,\"policy\":%s,"
             "\"precision\":\"bf16\",\"result_version\":%d,\"seed\":0,\"stop_loops\":false,"
             "\"temperature\":0,\"top_p\":1}",
             x.cells[0].plan.json, RESULT_VERSION);
    assert_string_equal(plain, expected);
    struct cell_identity id = {"m", "t", NULL, "d", "none", "avx2", false};
    char *whole = cell_config(&x, &x.cells[0], &id);
    assert_non_null(strstr(whole, "\"isa\":\"avx2\""));
    assert_non_null(strstr(whole, "\"template_sha256\":null"));
    assert_null(strstr(whole, "isolated"));
    id.isolated = true;
    char *isolated = cell_config(&x, &x.cells[0], &id);
    assert_non_null(strstr(isolated, "\"timing\":\"isolated\""));
    assert_non_null(strstr(isolated, "\"width\":32"));
    free(plain), free(whole), free(isolated);
    experiment_free(&x);
}

static void test_experiment_every_setting_that_matters_changes_the_identity(void **state) {
    (void)state;
    static const char *const sets[] = {"max_new=8",
                                       "policy=h2o",
                                       "budget=128",
                                       "temperature=1",
                                       "precision=fp32",
                                       "stop_loops=true",
                                       "dataset=lemmas:steps=5"};
    static const char text[] = "{" LEMMAS ",\"policy\":\"streaming\",\"budget\":64,\"max_new\":9}";
    struct experiment base = read_ok(text, NULL, NULL);
    char *plain = cell_config(&base, &base.cells[0], NULL);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct experiment x = read_ok(text, NULL, sets[i]);
        char *other = cell_config(&x, &x.cells[0], NULL);
        if (!strcmp(plain, other))
            fail_msg("--set %s changes nothing", sets[i]);
        free(other);
        experiment_free(&x);
    }
    free(plain);
    experiment_free(&base);
}

static void test_experiment_shards_are_stable_and_even(void **state) {
    (void)state;
    int count[4] = {0};
    for (int i = 0; i < 4000; i++) {
        char sample[32];
        snprintf(sample, sizeof sample, "lemmas-%d", i);
        int shard = job_shard("{\"a\":1}", sample, 0, 4);
        assert_int_equal(shard, job_shard("{\"a\":1}", sample, 0, 4));
        assert_true(shard >= 0 && shard < 4);
        count[shard]++;
    }
    for (int s = 0; s < 4; s++) /* 1000 expected, sd 27 */
        assert_true(count[s] > 850 && count[s] < 1150);
}

static void test_experiment_dataset_hash_follows_its_content(void **state) {
    (void)state;
    struct experiment x = read_ok("{\"dataset\":[\"lemmas:steps=4\",\"lemmas:steps=4,seed=9\"],"
                                  "\"policy\":\"full\"}",
                                  NULL, NULL);
    char a[HASH_HEX], b[HASH_HEX], again[HASH_HEX];
    struct err e = {0};
    assert_true(dataset_sha256(&x.datasets[0], a, &e));
    assert_true(dataset_sha256(&x.datasets[1], b, &e));
    assert_true(dataset_sha256(&x.datasets[0], again, &e));
    assert_string_equal(a, again);
    assert_string_not_equal(a, b);
    experiment_free(&x);
}

static void test_experiment_committed_files_are_valid_and_quick_to_check(void **state) {
    (void)state;
    static const char *const scales[] = {NULL, "smoke", "full"};
    glob_t files;
    assert_int_equal(glob("experiments/*.json", 0, NULL, &files), 0);
    double start = clock_seconds();
    for (size_t f = 0; f < files.gl_pathc; f++)
        for (int i = 0; i < 3; i++) {
            struct experiment x;
            struct err e = {0};
            const struct experiment_options options = {.scale = scales[i]};
            if (!experiment_read(files.gl_pathv[f], &options, &x, &e))
                fail_msg("%s", e.text);
            if (strstr(files.gl_pathv[f], "/demo.json"))
                assert_int_equal(x.n_cells, 1 + 5 * 3);
            experiment_free(&x);
        }
    globfree(&files);
    assert_true(clock_seconds() - start < 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_experiment_lists_multiply),
        cmocka_unit_test(test_experiment_names_every_mistake),
        cmocka_unit_test(test_experiment_a_missing_file_is_a_usage_error),
        cmocka_unit_test(test_experiment_layers_override_in_order),
        cmocka_unit_test(test_experiment_saves_the_values_in_force),
        cmocka_unit_test(test_experiment_repeats_only_what_is_drawn),
        cmocka_unit_test(test_experiment_identity_is_canonical),
        cmocka_unit_test(test_experiment_every_setting_that_matters_changes_the_identity),
        cmocka_unit_test(test_experiment_shards_are_stable_and_even),
        cmocka_unit_test(test_experiment_dataset_hash_follows_its_content),
        cmocka_unit_test(test_experiment_committed_files_are_valid_and_quick_to_check),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
