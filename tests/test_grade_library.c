/* Profile math-verify against the library's own verdicts (tests/golden/make_grade.py). */
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

struct tally {
    int asked, differ, most;
};

static void compare(struct tally *tally, bool ours, bool theirs, const char *gold,
                    const char *answer) {
    tally->asked++;
    if (ours == theirs)
        return;
    tally->differ++;
    printf("%s | %s: the library says %s\n", gold, answer, theirs ? "same" : "different");
}

static bool same(const char *a, const char *b) {
    return grade_equal(GRADE_MATH_VERIFY, a, strlen(a), b, strlen(b));
}

static void check_pair(char *fields[GRADE_FIELDS], int n, void *context) {
    assert_int_equal(n, 4);
    compare(context, same(fields[0], fields[1]), *fields[2] == '1', fields[0], fields[1]);
    compare(context, same(fields[1], fields[0]), *fields[3] == '1', fields[1], fields[0]);
}

/* These were chosen to be difficult; results/reference/grader_disagreements.md lists and explains
 * where the verdicts differ. */
static void test_grade_library_difficult_pairs(void **state) {
    (void)state;
    struct tally tally = {0};
    grades_table("pairs_mv.tsv", check_pair, &tally);
    printf("measured: %d of %d verdicts on difficult pairs differ from the library's\n",
           tally.differ, tally.asked);
    assert_true(tally.differ <= tally.asked / 40);
}

/* --- answers of a real model ------------------------------------------------------------------ */

struct cross {
    const char *dataset;
    bool (*same)[64]; /* [line][distance] */
};

static void take_cross(char *fields[GRADE_FIELDS], int n, void *context) {
    struct cross *cross = context;
    for (int i = 2; i < n && !strcmp(fields[0], cross->dataset); i++)
        cross->same[atoi(fields[1])][atoi(fields[i])] = true;
}

/* Each answer against its gold and that of the 40 problems behind it. */
static void check_answers(const char *dataset) {
    enum { DISTANCES = 40 };
    struct golds golds = grades_golds(dataset);
    struct answers answers = grades_answers(dataset);
    struct cross cross = {dataset, calloc((size_t)golds.n, sizeof *cross.same)};
    struct tally tally = {0}, own = {0};
    grades_table("cross.tsv", take_cross, &cross);
    double start = clock_seconds();
    for (int i = 0; i < answers.n; i++)
        for (int d = 0; d <= DISTANCES; d++) {
            const char *gold = golds.gold[(answers.index[i] + d) % golds.n];
            struct grade g;
            grade_answer(GRADE_MATH_VERIFY, gold, answers.text[i], strlen(answers.text[i]), &g);
            compare(d ? &tally : &own, g.correct,
                    d ? cross.same[answers.index[i]][d] : answers.mv[i], gold, g.extracted);
        }
    double each = (clock_seconds() - start) / (tally.asked + own.asked);
    printf("measured: %s: %d of %d verdicts on real answers differ from the library's, %d of %d "
           "against other gold; %.0f microseconds each\n",
           dataset, own.differ, own.asked, tally.differ, tally.asked, each * 1e6);
    assert_true(own.differ * 100 <= own.asked && tally.differ * 100 <= tally.asked);
    free(cross.same);
    answers_free(&answers);
    golds_free(&golds);
}

static void test_grade_library_answers_to_math500(void **state) {
    (void)state;
    check_answers("math500");
}
static void test_grade_library_answers_to_gsm8k(void **state) {
    (void)state;
    check_answers("gsm8k");
}

/* --- gold against gold ------------------------------------------------------------------------ */

enum { GOLDS = 530 };
static void take_matrix(char *fields[GRADE_FIELDS], int n, void *context) {
    bool(*expected)[GOLDS] = context;
    assert_int_equal(n, 2);
    expected[atoi(fields[0])][atoi(fields[1])] = true;
}

static bool is_whole(const char *gold) { return !gold[strspn(gold, "-0123456789")]; }

static void test_grade_library_gold_against_gold(void **state) {
    (void)state;
    struct golds math = grades_golds("math500"), aime = grades_golds("aime");
    const char *gold[GOLDS];
    bool(*expected)[GOLDS] = calloc(GOLDS, sizeof *expected), first[GOLDS];
    assert_int_equal(math.n + aime.n, GOLDS);
    for (int i = 0; i < GOLDS; i++) {
        gold[i] = i < math.n ? math.gold[i] : aime.gold[i - math.n];
        first[i] = true;
        for (int k = 0; k < i; k++)
            first[i] &= strcmp(gold[k], gold[i]) != 0;
    }
    grades_table("matrix.tsv", take_matrix, expected);
    struct tally library = {0}, strict = {0};
#ifdef __SANITIZE_ADDRESS__
    enum { STRIDE = 7 };
#else
    enum { STRIDE = 1 };
#endif
    for (int i = 0; i < GOLDS; i += STRIDE)
        for (int k = 0; k < GOLDS; k++) {
            if (i == k || !first[i] || !first[k] || (is_whole(gold[i]) && is_whole(gold[k])))
                continue;
            compare(&library, same(gold[i], gold[k]), expected[i][k], gold[i], gold[k]);
            bool ours =
                grade_equal(GRADE_STRICT, gold[i], strlen(gold[i]), gold[k], strlen(gold[k]));
            strict.asked++;
            strict.differ += ours != expected[i][k];
            strict.most += ours && !expected[i][k];
        }
    printf("measured: gold against gold: %d of %d verdicts differ from the library's; strict "
           "differs in %d\n",
           library.differ, library.asked, strict.differ);
    assert_int_equal(library.differ, 0);
    assert_int_equal(strict.most,
                     0); /* strict takes nothing for the same that the library doesn't */
    assert_true(strict.differ <= 4);
    free(expected);
    golds_free(&math);
    golds_free(&aime);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grade_library_difficult_pairs),
        cmocka_unit_test(test_grade_library_answers_to_math500),
        cmocka_unit_test(test_grade_library_answers_to_gsm8k),
        cmocka_unit_test(test_grade_library_gold_against_gold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
