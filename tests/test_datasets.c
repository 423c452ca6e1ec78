/* Datasets that are files: fields of the layouts that go round, prompts, identity, and how each
 * fault is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "datasets/dataset.h"
#include "datasets/problems.h"
#include "tests/folder.h"
#include "tests/grades.h"

static struct dataset_choice choose(const char *spec) {
    struct dataset_choice choice;
    struct err e = {0};
    if (!dataset_parse(spec, &choice, &e))
        fail_msg("%s", e.text);
    return choice;
}

/* The dataset with a file of the scratch folder; each file has a name of its own, since a file is
 * read once. */
static struct dataset_choice with_file(const struct folder *f, const char *spec, const char *name,
                                       const void *data, size_t size) {
    char text[400];
    folder_write(f, name, data, size);
    snprintf(text, sizeof text, "%s%cpath=%s", spec, strchr(spec, ':') ? ',' : ':',
             folder_path(f, name));
    return choose(text);
}

static void expect_problem(const struct dataset_choice *d, int64_t i, const char *id,
                           const char *prompt, const char *answer) {
    struct problem p = {0};
    struct err e = {0};
    if (!dataset_get(d, i, &p, &e))
        fail_msg("%s", e.text);
    assert_string_equal(p.id, id);
    assert_string_equal(p.prompt, prompt);
    assert_string_equal(p.answer, answer);
    problem_free(&p);
}

#define BOXED "\nPlease reason step by step, and put your final answer within \\boxed{}."

static void test_datasets_read_gsm8k(void **state) {
    static const char text[] = "{\"question\": \"2+3?\", \"answer\": \"so\\n#### 1,005\"}\r\n"
                               "{\"question\": \"4?\", \"answer\": \"#### 3 #### 4\"}";
    struct dataset_choice d = with_file(*state, "gsm8k", "g1", text, sizeof text - 1);
    struct err e = {0};
    assert_int_equal(dataset_count(&d, &e), 2);
    expect_problem(&d, 0, "gsm8k-0", "2+3?" BOXED, "1,005");
    expect_problem(&d, 1, "gsm8k-1", "4?" BOXED, "4");
    free(d.param);
    static const struct {
        const char *spec, *prompt;
    } variants[] = {
        {"gsm8k:variant=bare", "4?"},
        {"gsm8k:variant=lm-eval", "Question: 4?\nAnswer:"},
        {"gsm8k:variant=paper",
         "4?\nMake sure the final answer is standalone and in latex format."},
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        d = with_file(*state, variants[i].spec, "g1", text, sizeof text - 1);
        expect_problem(&d, 1, "gsm8k-1", variants[i].prompt, "4");
        assert_string_equal(d.name, variants[i].spec); /* the path is no part of the spelling */
        free(d.param);
    }
}

static void test_datasets_read_math500(void **state) {
    static const char text[] =
        "{\"problem\": \"P\", \"solution\": \"S\", \"answer\": \"\\\\frac12\", \"level\": 2, "
        "\"unique_id\": \"test/algebra/7.json\"}\n{\"problem\": \"Q\", \"answer\": \"7\"}\n";
    struct dataset_choice d = with_file(*state, "math500", "m1", text, sizeof text - 1);
    expect_problem(&d, 0, "math500-test-algebra-7.json", "P" BOXED, "\\frac12");
    expect_problem(&d, 1, "math500-1", "Q" BOXED, "7");
    assert_string_equal(d.dataset->metric, "box");
    free(d.param);
}

static void test_datasets_read_layouts_of_aime(void **state) {
    static const char text[] =
        "{\"id\": 60, \"problem\": \"A\", \"solution\": \"long\", \"answer\": \"204\", \"url\": "
        "\"u\"}\n"
        "{\"id\": 61, \"problem\": \"B\", \"solution\": \"\\\\boxed{113}\"}\n"
        "{\"question\": \"C\", \"answer\": 70}\n"
        "{\"ID\": \"1983-I-2\", \"Year\": 1983, \"Question\": \"D\", \"Answer\": \"005\", "
        "\"Part\": null}\n";
    struct dataset_choice d = with_file(*state, "aime", "a1", text, sizeof text - 1);
    expect_problem(&d, 0, "aime-60", "A" BOXED, "204");
    expect_problem(&d, 1, "aime-61", "B" BOXED, "113");
    expect_problem(&d, 2, "aime-2", "C" BOXED, "70");
    expect_problem(&d, 3, "aime-1983-I-2", "D" BOXED, "5");
    free(d.param);
}

/* What is no whole number from 0 to 999 has no gold, whatever digits are in it. */
static void test_datasets_refuse_other_answers_of_aime(void **state) {
    static const char *const answers[] = {"-5", "x^2", "3\\\\pi", "5!", "1.5", "1 2", "1000", "$"};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        char text[120];
        struct err e = {0};
        int n = snprintf(text, sizeof text,
                         "{\"problem\": \"A\", \"answer\": \"0\"}\n"
                         "{\"problem\": \"B\", \"answer\": \"%s\"}\n",
                         answers[i]);
        char name[16];
        snprintf(name, sizeof name, "bad-%zu", i);
        struct dataset_choice d = with_file(*state, "aime", name, text, (size_t)n);
        assert_int_equal(dataset_count(&d, &e), -1);
        if (e.code != EXIT_CONTENT || !strstr(e.text, "answer: expected a whole number") ||
            !strstr(e.text, name))
            fail_msg("'%s': code %d: %s", answers[i], e.code, e.text);
        free(d.param);
    }
}

static void test_datasets_key_holds_the_file_not_its_place(void **state) {
    static const char one[] = "{\"question\": \"1?\", \"answer\": \"#### 1\"}\n";
    static const char two[] = "{\"question\": \"1?\", \"answer\": \"#### 2\"}\n";
    struct dataset_choice d[4] = {
        with_file(*state, "gsm8k", "k1", one, sizeof one - 1),
        with_file(*state, "gsm8k", "k2", one, sizeof one - 1),
        with_file(*state, "gsm8k", "k3", two, sizeof two - 1),
        with_file(*state, "gsm8k:variant=bare", "k1", one, sizeof one - 1),
    };
    char hash[4][HASH_HEX];
    struct err e = {0};
    for (int i = 0; i < 4; i++) {
        assert_true(dataset_sha256(&d[i], hash[i], &e));
        char *provenance = dataset_provenance(&d[i], &e);
        assert_non_null(provenance);
        assert_null(strstr(provenance, ((struct folder *)*state)->path));
        assert_non_null(strstr(provenance, "file_sha256"));
        free(provenance);
        free(d[i].param);
    }
    assert_string_equal(hash[0], hash[1]);
    assert_string_not_equal(hash[0], hash[2]);
    assert_string_not_equal(hash[0], hash[3]);
}

static void test_datasets_tell_faults_with_their_line(void **state) {
#define GOOD "{\"question\": \"1?\", \"answer\": \"#### 1\"}\n"
#define WITH_NUL GOOD "{\"question\": \"a\0\", \"answer\": \"#### 1\"}\n"
    static const struct {
        const char *text;
        size_t size; /* 0: up to the first 0 */
        const char *words;
    } faults[] = {
        {"", 0, "found an empty file"},
        {GOOD "{\"question\": \"1?\", ", 0, "line 2"},
        {GOOD "\n" GOOD, 0, "line 2: expected an object, found an empty line"},
        {GOOD "[1]\n", 0, "line 2: expected an object"},
        {"\xef\xbb\xbf" GOOD, 0, "line 1: begins with a byte-order mark"},
        {GOOD "{\"answer\": \"#### 1\"}\n", 0, "line 2: expected one of the fields question"},
        {GOOD "{\"question\": \"1?\"}\n", 0, "line 2: expected one of the fields answer"},
        {GOOD "{\"question\": \"1?\", \"answer\": null}\n", 0,
         "line 2: expected one of the fields answer"},
        {GOOD "{\"question\": \"1?\", \"answer\": \"1\"}\n", 0,
         "line 2: answer: expected a final answer behind ####"},
        {GOOD "{\"question\": [], \"answer\": \"#### 1\"}\n", 0,
         "line 2: question: expected a text"},
        {GOOD "{\"question\": \"\", \"answer\": \"#### 1\"}\n", 0,
         "line 2: question: expected a text, found none"},
        {GOOD "{\"question\": \"a\\u0000b\", \"answer\": \"#### 1\"}\n", 0,
         "line 2: question: expected a text without U+0000"},
        {GOOD "{\"question\": \"\xff\", \"answer\": \"#### 1\"}\n", 0, "line 2"},
        {WITH_NUL, sizeof WITH_NUL - 1, "line 2"},
        {"{\"id\": 5, \"question\": \"1?\", \"answer\": \"#### 1\"}\n{\"id\": \"5\", \"question\": "
         "\"2?\", \"answer\": \"#### 2\"}\n",
         0, "line 2: problem gsm8k-5 stands in line 1 already"},
        {"{\"id\": \"a/b\", \"question\": \"1?\", \"answer\": \"#### 1\"}\n"
         "{\"id\": \"a b\", \"question\": \"2?\", \"answer\": \"#### 2\"}\n",
         0, "line 2: its id becomes gsm8k-a-b, as that of line 1 does"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        char name[32];
        struct err e = {0};
        snprintf(name, sizeof name, "fault-%zu", i);
        size_t size = faults[i].size ? faults[i].size : strlen(faults[i].text);
        struct dataset_choice d = with_file(*state, "gsm8k", name, faults[i].text, size);
        assert_int_equal(dataset_count(&d, &e), -1);
        if (e.code != EXIT_CONTENT || !strstr(e.text, faults[i].words) || !strstr(e.text, name))
            fail_msg("fault %zu: code %d: %s", i, e.code, e.text);
        free(d.param);
    }
}

static void test_datasets_tell_a_long_line(void **state) {
    size_t size = 3 << 20;
    char *text = malloc(size);
    memset(text, 'a', size);
    struct dataset_choice d = with_file(*state, "gsm8k", "long", text, size);
    struct err e = {0};
    assert_int_equal(dataset_count(&d, &e), -1);
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "line 1: expected at most"));
    free(d.param);
    free(text);
}

static void test_datasets_say_where_a_file_is_to_be_had(void **state) {
    (void)state;
    struct dataset_choice comma = choose("math500:path=a\\,b=c,variant=paper");
    assert_string_equal(((const struct problem_param *)comma.param)->path, "a,b=c");
    free(comma.param);
    struct dataset_choice d = choose("math500:path=/nowhere/at/all.jsonl");
    struct err e = {0};
    char hash[HASH_HEX];
    assert_int_equal(dataset_count(&d, &e), -1);
    assert_int_equal(e.code, EXIT_USAGE);
    assert_non_null(strstr(e.text, "raas fetch dataset math500"));
    e = (struct err){0};
    assert_false(dataset_sha256(&d, hash, &e));
    free(d.param);
}

static void test_datasets_know_the_public_files(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int n;
        const char *last;
    } sets[] = {{"gsm8k", 1319, "14"}, {"math500", 500, "106^\\circ"}, {"aime", 30, "699"}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct golds golds = grades_golds(sets[i].name);
        assert_int_equal(golds.n, sets[i].n);
        if (i < 2)
            assert_string_equal(golds.gold[golds.n - 1], sets[i].last);
        golds_free(&golds);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_datasets_read_gsm8k, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_datasets_read_math500, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_datasets_refuse_other_answers_of_aime, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_datasets_read_layouts_of_aime, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_datasets_key_holds_the_file_not_its_place,
                                        folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_datasets_tell_faults_with_their_line, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_datasets_tell_a_long_line, folder_setup,
                                        folder_teardown),
        cmocka_unit_test(test_datasets_say_where_a_file_is_to_be_had),
        cmocka_unit_test(test_datasets_know_the_public_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
