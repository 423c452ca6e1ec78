/* Extraction and equality on a table of written-out cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "datasets/grade.h"

struct test_case {
    const char *gold, *text, *extracted;
    enum grade_path path;
    bool correct;
};

static void check_cases(const struct test_case *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct grade g;
        grade_answer(GRADE_STRICT, cases[i].gold, cases[i].text, strlen(cases[i].text), &g);
        if (g.path != cases[i].path || g.correct != cases[i].correct ||
            (cases[i].extracted && strcmp(g.extracted, cases[i].extracted) != 0))
            fail_msg("'%s': expected %s by %s '%s', got %s by %s '%s'", cases[i].text,
                     cases[i].correct ? "right" : "wrong", grade_path_names[cases[i].path],
                     cases[i].extracted ? cases[i].extracted : "", g.correct ? "right" : "wrong",
                     grade_path_names[g.path], g.extracted);
        assert_int_equal(g.boxed, g.correct && g.path == PATH_BOX);
    }
}
#define CHECK_CASES(cases) check_cases(cases, sizeof(cases) / sizeof *(cases))

static void test_grade_chain_takes_the_strongest_link(void **state) {
    (void)state;
    static const struct test_case cases[] = {
        {"77", "Step 4: So Bea has 77 shells.\nThe answer is 77.", "77", PATH_PHRASE, true},
        {"77", "The answer is 78.", "78", PATH_PHRASE, false},
        {"77", "The answer is 77 shells, not 78.", "77", PATH_PHRASE, true},
        {"8", "so the answer is 3 + 5 = 8.", "8", PATH_PHRASE, true},
        {"8", "Answer: **8**", "8", PATH_PHRASE, true},
        {"8", "The answer is 7. No: the answer is 8", "8", PATH_PHRASE, true},
        {"3.5", "The answer is 3.5.", "3.5", PATH_PHRASE, true},
        {"B", "The answer is (B).", "(B)", PATH_PHRASE, true},
        {"18", "It makes 9 * 2 = $18.\n#### 18", "18", PATH_HASHES, true},
        {"18", "#### 17\n#### 18\nThe answer is 3.", "18", PATH_HASHES, true},
        {"70000", "#### 70,000", "70,000", PATH_HASHES, true},
        {"18", "\\boxed{18} #### 17", "18", PATH_BOX, true},
        {"42", "first \\boxed{41}, no wait, \\boxed{42}", "42", PATH_BOX, true},
        {"5", "we get 3 and then 5 eggs", "5", PATH_LAST_NUMBER, true},
        {"-5", "it fell to -5", "-5", PATH_LAST_NUMBER, true},
        {"5", "x-5", "5", PATH_LAST_NUMBER, true},
        {"4", "3,4", "4", PATH_LAST_NUMBER, true},
        {"3/4", "it is 3/4", "3/4", PATH_LAST_NUMBER, true},
        {"4", "it is 3/4", "3/4", PATH_LAST_NUMBER, false},
        {"3/4", "3/4", "3/4", PATH_LAST_NUMBER, true},
        {"5", "The answer is 5 or 6.", "5 or 6", PATH_PHRASE, false},
        {"5,6", "The answer is 6 or 5.", "6 or 5", PATH_PHRASE, true},
        {"5", "The answer is 5!", "5", PATH_PHRASE, true},
        {"120", "The answer is 5!", "5", PATH_PHRASE, false},
        {"1234567", "1,234,567 in all", "1,234,567", PATH_LAST_NUMBER, true},
        {"5", "no digits at all", "", PATH_NONE, false},
        {"5", "", "", PATH_NONE, false},
        {"5", "<think>The answer is 5.</think>I do not know", "", PATH_NONE, false},
        {"5", "<think>\\boxed{4}</think>\\boxed{5}", "5", PATH_BOX, true},
    };
    CHECK_CASES(cases);
}

static void test_grade_box_matches_braces(void **state) {
    (void)state;
    static const struct test_case cases[] = {
        {"\\frac{1}{2}", "\\boxed{\\frac{1}{2}}", "\\frac{1}{2}", PATH_BOX, true},
        {"3", "\\boxed{\\boxed{3}}", "\\boxed{3}", PATH_BOX, true},
        {"3", "\\fbox{3}", "3", PATH_BOX, true},
        {"\\{1\\}", "\\boxed{\\{1\\}}", "\\{1\\}", PATH_BOX, true},
        {"3", "{{ \\boxed{3}", "3", PATH_BOX, true},
        {"3", "}}} \\boxed{3}", "3", PATH_BOX, true},
        {"42", "The answer is \\boxed{42", "", PATH_NONE, false},
        {"41", "\\boxed{41} and \\boxed{42", "41", PATH_BOX, true},
        {"42", "\\boxed{}", "", PATH_BOX, false},
    };
    CHECK_CASES(cases);
}

static void test_grade_equality_is_numeric(void **state) {
    (void)state;
    static const struct test_case cases[] = {
        {"10000", "\\boxed{10{,}000}", NULL, PATH_BOX, true},
        {"10000", "\\boxed{10,\\!000}", NULL, PATH_BOX, true},
        {"18", "\\boxed{\\$18}", NULL, PATH_BOX, true},
        {"18", "\\boxed{$18.00}", NULL, PATH_BOX, true},
        {"18", "\\boxed{18 \\text{ dollars}}", NULL, PATH_BOX, true},
        {"25", "\\boxed{25\\%}", NULL, PATH_BOX, true},
        {"30", "\\boxed{30^\\circ}", NULL, PATH_BOX, true},
        {"0.5", "\\boxed{.50}", NULL, PATH_BOX, true},
        {"0", "\\boxed{-0.0}", NULL, PATH_BOX, true},
        {"007", "\\boxed{7}", NULL, PATH_BOX, true},
        {"123456789012345678901234567890", "\\boxed{123456789012345678901234567890}", NULL,
         PATH_BOX, true},
        {"123456789012345678901234567890", "\\boxed{123456789012345678901234567891}", NULL,
         PATH_BOX, false},
        {"5", "\\boxed{5x}", NULL, PATH_BOX, false},
        {"5x", "\\boxed{5}", NULL, PATH_BOX, false},
        {"12", "\\boxed{1,2}", NULL, PATH_BOX, false},
        {"45", "\\boxed{4.5}", NULL, PATH_BOX, false},
        {"5", "\\boxed{-5}", NULL, PATH_BOX, false},
        {"5", "\\boxed{3+2}", NULL, PATH_BOX, true},
        {"Tuesday", "\\boxed{\\text{tuesday}}", NULL, PATH_BOX, true},
        {"(3,4]", "\\boxed{(3,4)}", NULL, PATH_BOX, false},
    };
    CHECK_CASES(cases);
}

static void test_grade_takes_any_bytes(void **state) {
    (void)state;
    static const char bytes[] = "\xff\xfe\0\\boxed{\xc3}\0The answer is \0 7";
    struct grade g;
    grade_answer(GRADE_STRICT, "7", bytes, sizeof bytes - 1, &g);
    assert_int_equal(g.path, PATH_BOX);
    assert_false(g.correct);
    char longest[1000];
    memset(longest, '9', sizeof longest);
    grade_answer(GRADE_STRICT, "9", longest, sizeof longest,
                 &g); /* cut for display, never equal by the cut */
    assert_int_equal(strlen(g.extracted), sizeof g.extracted - 1);
    assert_false(g.correct);
}

static void test_grade_is_linear_in_hostile_text(void **state) {
    (void)state;
    static const char *const units[] = {"\\boxed{", "\\boxed{{}", "#### ", "####", "answer is ",
                                        "1,234",    "</think>",   "{",     "1,",   "\\"};
    size_t size = 1 << 18;
    char *text = malloc(size);
    double start = clock_seconds();
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t n = strlen(units[u]);
        for (size_t i = 0; i < size; i++)
            text[i] = units[u][i % n];
        struct grade g;
        grade_answer(GRADE_STRICT, "5", text, size, &g);
        assert_false(g.correct);
    }
    free(text);
    assert_true(clock_seconds() - start <
                20); /* seconds even under a sanitizer; quadratic takes hours */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grade_chain_takes_the_strongest_link),
        cmocka_unit_test(test_grade_box_matches_braces),
        cmocka_unit_test(test_grade_equality_is_numeric),
        cmocka_unit_test(test_grade_takes_any_bytes),
        cmocka_unit_test(test_grade_is_linear_in_hostile_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
