/* Profile strict on pairs whose verdict was thought through by hand, on gold of the datasets and
 * its neighbours, and on hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "datasets/grade.h"
#include "tests/grades.h"

static bool same(const char *a, const char *b) {
    return grade_equal(GRADE_STRICT, a, strlen(a), b, strlen(b));
}

struct tally {
    int pairs, wrong;
    double seconds;
};

static void check_pair(char *fields[GRADE_FIELDS], int n, void *context) {
    struct tally *tally = context;
    assert_int_equal(n, 3);
    bool expected = *fields[2] == '1';
    double start = clock_seconds();
    bool forth = same(fields[0], fields[1]);
    tally->seconds += clock_seconds() - start;
    bool back = same(fields[1], fields[0]);
    tally->pairs++;
    if (forth == expected && back == expected && same(fields[0], fields[0]) &&
        same(fields[1], fields[1]))
        return;
    tally->wrong++;
    print_error("%s | %s: expected %d, got %d, exchanged %d\n", fields[0], fields[1], expected,
                forth, back);
}

static void test_grade_pairs_agree_with_a_human(void **state) {
    (void)state;
    struct tally tally = {0};
    grades_table("pairs.tsv", check_pair, &tally);
    assert_true(tally.pairs >= 400);
    assert_int_equal(tally.wrong, 0);
    printf("measured: %d pairs by hand, %.1f microseconds each\n", tally.pairs,
           tally.seconds / tally.pairs * 1e6);
}

/* --- gold ------------------------------------------------------------------------------------- */

/* Spellings that change nothing. */
static void expect_itself(const char *gold) {
    static const char *const around[][2] = {{"", ""},          {" ", " "}, {"$", "$"},
                                            {"\\boxed{", "}"}, {"{", "}"}, {"", "."}};
    char text[400];
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        snprintf(text, sizeof text, "%s%s%s", around[i][0], gold, around[i][1]);
        if (!same(gold, text) || !same(text, gold))
            fail_msg("'%s' is not '%s'", gold, text);
    }
}

static void expect_other(const char *gold, const char *other) {
    if (same(gold, other) || same(other, gold))
        fail_msg("'%s' is '%s'", gold, other);
}

static bool is_whole(const char *gold) {
    const char *digits = gold + (*gold == '-');
    return *digits && !digits[strspn(digits, "0123456789")] && strlen(digits) < 18;
}

/* n + 1, n - 1, the sign turned round, a digit more. */
static void expect_numbers_apart(const char *gold) {
    char other[80];
    long long value = atoll(gold);
    snprintf(other, sizeof other, "%lld", value + 1);
    expect_other(gold, other);
    snprintf(other, sizeof other, "%lld", value - 1);
    expect_other(gold, other);
    if (value) {
        snprintf(other, sizeof other, "%lld", -value);
        expect_other(gold, other);
        snprintf(other, sizeof other, "%s0", gold);
        expect_other(gold, other);
    }
    snprintf(other, sizeof other, "%s.5", gold);
    expect_other(gold, other);
}

static bool holds_value(const char *gold) { return !strstr(gold, "text") && !strstr(gold, "pm"); }

/* The first digit turned into the next, a sign in front. */
static void expect_forms_apart(const char *gold) {
    char other[300];
    bool collection = strpbrk(gold, ",=") || strstr(gold, "cup") || strstr(gold, "matrix");
    size_t at = strcspn(gold, "0123456789");
    if (!holds_value(gold) || strlen(gold) > 250)
        return;
    if (gold[at]) {
        strcpy(other, gold);
        other[at] = other[at] == '9' ? '8' : (char)(other[at] + 1);
        expect_other(gold, other);
    }
    if (!collection && *gold != '0') {
        snprintf(other, sizeof other, "-(%s)", gold);
        expect_other(gold, other);
    }
}

/* "(a,b)" as "(b,a)". */
static void expect_swapped_apart(const char *gold) {
    char other[300];
    const char *comma = strchr(gold, ',');
    size_t n = strlen(gold);
    if (*gold != '(' || !comma || strchr(comma + 1, ',') || gold[n - 1] != ')' || n > 250)
        return;
    snprintf(other, sizeof other, "(%.*s,%.*s)", (int)(gold + n - 2 - comma), comma + 1,
             (int)(comma - gold - 1), gold + 1);
    expect_other(gold, other);
}

static void check_golds(const char *dataset) {
    struct golds golds = grades_golds(dataset);
    for (int i = 0; i < golds.n; i++) {
        const char *gold = golds.gold[i];
        expect_itself(gold);
        if (is_whole(gold))
            expect_numbers_apart(gold);
        else
            expect_forms_apart(gold);
        expect_swapped_apart(gold);
    }
    golds_free(&golds);
}

static void test_grade_pairs_gold_of_math500_is_only_itself(void **state) {
    (void)state;
    check_golds("math500");
}
static void test_grade_pairs_gold_of_gsm8k_is_only_itself(void **state) {
    (void)state;
    check_golds("gsm8k");
}
static void test_grade_pairs_gold_of_aime_is_only_itself(void **state) {
    (void)state;
    check_golds("aime");
}

/* --- bounds ----------------------------------------------------------------------------------- */

/* `unit` again and again, up to what is parsed, with `end`. */
static void repeat(char out[2000], const char *begin, const char *unit, int times,
                   const char *end) {
    size_t n = (size_t)snprintf(out, 2000, "%s", begin);
    for (int i = 0; i < times && n + strlen(unit) + strlen(end) < 1990; i++)
        n += (size_t)snprintf(out + n, 2000 - n, "%s", unit);
    snprintf(out + n, 2000 - n, "%s", end);
}

static void test_grade_pairs_cost_is_bounded(void **state) {
    (void)state;
    static const struct {
        const char *begin, *unit, *end;
    } texts[] = {
        {"1", "+\\sin(2x)", ""},
        {"x", "+\\arcsin(x/9)", ""},
        {"0", ",\\tan(3)", ""},
        {"\\{1", ",999!", "\\}"},
        {"0", "+x!", ""},
        {"9", "^9", "!"},
        {"x", "^x", ""},
        {"1", "*7^{4000}", ""},
        {"1", "+\\binom{1000000}{400}", ""},
        {"", "(1,", ""},
        {"1", "\\pm 1", ""},
        {"1", ",\\pm\\sin 2", ""},
        {"(0,1)", "\\cup(1,2)", ""},
        {"x", ", x = 1", ""},
        {"", "\\frac{1}{", ""},
        {"\\sqrt{2}", "^{0.37}", ""},
        {"\\sin(10^{100})", "+\\cos(10^{100})", ""},
        {"0.", "3", ""},
        {"", "\\boxed{", ""},
        {"", "$", ""},
        {"e", "^{ix}", ""},
        {"", "|", ""},
    };
    enum { TEXTS = sizeof texts / sizeof *texts };
    char a[2000], b[2000];
    double worst = 0;
    for (int i = 0; i < TEXTS; i++)
        for (int times = 10; times < 2000; times *= 5) {
            repeat(a, texts[i].begin, texts[i].unit, times, texts[i].end);
            repeat(b, texts[i].begin, texts[i].unit, times - 1, texts[i].end);
            for (int profile = 0; profile < 2; profile++) {
                double start = clock_seconds();
                grade_equal((enum grade_profile)profile, a, strlen(a), b, strlen(b));
                double took = clock_seconds() - start;
                worst = took > worst ? took : worst;
            }
        }
    printf("measured: the slowest hostile pair took %.1f ms\n", worst * 1e3);
    assert_true(worst < 5); /* 0.05 on an idle machine without sanitizers */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grade_pairs_agree_with_a_human),
        cmocka_unit_test(test_grade_pairs_gold_of_math500_is_only_itself),
        cmocka_unit_test(test_grade_pairs_gold_of_gsm8k_is_only_itself),
        cmocka_unit_test(test_grade_pairs_gold_of_aime_is_only_itself),
        cmocka_unit_test(test_grade_pairs_cost_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
