/* Every policy against its executable definition (float64), teacher-forced on tiny models: prompts
 * shorter and longer than the budget, most of them no multiple of the page. tests/golden/README.md
 * says where the numbers come from. tests/golden/policies/index.txt: one case a line: model,
 * policy, prefill, ids, slice of MODEL.npy, smallest decision gap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/npy.h"
#include "tests/golden.h"

/* Where the case's index, ids and logits lie: of the executable definition of the policies, or of
 * the one of those that observe a window of queries. */
static const char *folder;
static const float tolerance = 3e-4f;
static const double clear_gap = 1e-5; /* below it fp32 may decide otherwise than float64 */

struct line {
    char model[32], policy[64], ids[32];
    int prefill, slice;
    double gap;
};

static struct npy read_npy(const char *name, const char *type) {
    struct err e = {0};
    struct npy npy;
    char path[120];
    snprintf(path, sizeof path, "tests/golden/%s/%s", folder, name);
    if (!npy_read(path, &npy, &e))
        fail_msg("%s", e.text);
    assert_string_equal(npy.type, type);
    return npy;
}

/* The rows that are stored: every eighth position and the last 16. */
static bool is_kept(int position, int n) { return position % 8 == 0 || position >= n - 16; }

static float compare(const struct line *line, const float *got, int n, int vocab,
                     const struct npy *want) {
    assert_in_range(line->slice, 0, want->shape[0] - 1);
    assert_int_equal(want->shape[2], vocab);
    const float *row =
        (const float *)want->data + (size_t)line->slice * want->shape[1] * want->shape[2];
    float worst = 0;
    size_t rows = 0;
    for (int i = 0; i < n; i++) {
        if (!is_kept(i, n))
            continue;
        float apart = golden_apart(got + (size_t)i * (size_t)vocab, row, (size_t)vocab);
        worst = apart > worst ? apart : worst;
        row += vocab;
        rows++;
    }
    assert_int_equal(rows, want->shape[1]);
    return worst;
}

/* Runs the lines of one policy; returns how many there were. */
static int run_policy(const char *from, const char *policy) {
    char name_of_index[64];
    folder = from;
    snprintf(name_of_index, sizeof name_of_index, "tests/golden/%s/index.txt", folder);
    FILE *index = fopen(name_of_index, "r");
    assert_non_null(index);
    struct line line;
    int n_lines = 0, n_wrong = 0;
    float worst = 0;
    size_t name = strlen(policy);
    while (fscanf(index, "%31s %63s %d %31s %d %lf", line.model, line.policy, &line.prefill,
                  line.ids, &line.slice, &line.gap) == 6) {
        if (strncmp(line.policy, policy, name) != 0 || line.policy[name] != ':')
            continue;
        struct err e = {0};
        char path[100], file[40];
        snprintf(path, sizeof path, "tests/golden/models/%s", line.model);
        snprintf(file, sizeof file, "%s.npy", line.model);
        struct model *model = model_open(path, &e);
        if (!model)
            fail_msg("%s", e.text);
        struct npy ids = read_npy(line.ids, "i4"), want = read_npy(file, "f4");
        float *got = golden_run(model, line.policy, ids.data, (int)ids.shape[0], line.prefill);
        float apart = compare(&line, got, (int)ids.shape[0], model->config.vocab, &want);
        if (line.gap < clear_gap)
            printf("excused: %s %s, prefill %d: decision gap %.1e, logits differ by %g\n",
                   line.model, line.policy, line.prefill, line.gap, (double)apart);
        else if (!(apart <= tolerance)) {
            print_error("%s %s, prefill %d: logits differ by %g (smallest decision gap %.1e)\n",
                        line.model, line.policy, line.prefill, (double)apart, line.gap);
            n_wrong++;
        } else
            worst = apart > worst ? apart : worst;
        n_lines++;
        free(got);
        npy_free(&ids);
        npy_free(&want);
        model_close(model);
    }
    assert_true(feof(index));
    fclose(index);
    printf("measured: %s: %d cases, largest |logit - reference| %.1e (allowed %.0e)\n", policy,
           n_lines, (double)worst, (double)tolerance);
    assert_int_equal(n_wrong, 0);
    return n_lines;
}

static void test_policy_reference_streaming(void **state) {
    (void)state;
    assert_true(run_policy("policies", "streaming") >= 10);
}

static void test_policy_reference_h2o(void **state) {
    (void)state;
    assert_true(run_policy("policies", "h2o") >= 10);
}

static void test_policy_reference_quest(void **state) {
    (void)state;
    assert_true(run_policy("policies", "quest") >= 10);
}

static void test_policy_reference_raas(void **state) {
    (void)state;
    assert_true(run_policy("policies", "raas") >= 30);
}

static void test_policy_reference_fifo(void **state) {
    (void)state;
    assert_true(run_policy("policies", "fifo") >= 10);
}

static void test_policy_reference_oracle(void **state) {
    (void)state;
    assert_true(run_policy("policies", "oracle") >= 10);
}

static void test_policy_reference_tova(void **state) {
    (void)state;
    assert_true(run_policy("windowed", "tova") >= 9);
}

static void test_policy_reference_snapkv(void **state) {
    (void)state;
    assert_true(run_policy("windowed", "snapkv") >= 18);
}

static void test_policy_reference_rkv(void **state) {
    (void)state;
    assert_true(run_policy("windowed", "rkv") >= 27);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_reference_streaming),
        cmocka_unit_test(test_policy_reference_h2o),
        cmocka_unit_test(test_policy_reference_quest),
        cmocka_unit_test(test_policy_reference_raas),
        cmocka_unit_test(test_policy_reference_fifo),
        cmocka_unit_test(test_policy_reference_oracle),
        cmocka_unit_test(test_policy_reference_tova),
        cmocka_unit_test(test_policy_reference_snapkv),
        cmocka_unit_test(test_policy_reference_rkv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
