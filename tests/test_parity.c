/* The fp32 reference path against transformers, on tiny random models of every architecture row.
 * tests/golden/README.md says where models and logits come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/npy.h"
#include "tests/golden.h"

enum { N_IDS = 96, PREFILL = 32 };
static const float tolerance = 1e-4f;

static const char *const models[] = {"llama-g1", "llama-g3", "llama-old", "mistral-g1",
                                     "qwen2-g7", "qwen2-g3", "qwen3-g3"};
enum { N_MODELS = sizeof models / sizeof *models };

static struct model *open_golden(const char *name) {
    struct err e = {0};
    char path[100];
    snprintf(path, sizeof path, "tests/golden/models/%s", name);
    struct model *model = model_open(path, &e);
    if (!model)
        fail_msg("%s", e.text);
    return model;
}

static struct npy read_golden(const char *name, const char *file, const char *type, size_t rows) {
    struct err e = {0};
    struct npy npy;
    char path[120];
    snprintf(path, sizeof path, "tests/golden/models/%s/%s", name, file);
    if (!npy_read(path, &npy, &e))
        fail_msg("%s", e.text);
    assert_string_equal(npy.type, type);
    assert_int_equal(npy.shape[0], rows);
    return npy;
}

static void compare_all(int prefill, const char *how) {
    float worst = 0;
    for (int m = 0; m < N_MODELS; m++) {
        struct model *model = open_golden(models[m]);
        struct npy ids = read_golden(models[m], "ids.npy", "i4", N_IDS);
        struct npy want = read_golden(models[m], "logits.npy", "f4", N_IDS);
        assert_int_equal(want.shape[1], model->config.vocab);
        float *got = golden_run(model, "full", ids.data, N_IDS, prefill);
        float apart = golden_apart(got, want.data, N_IDS * want.shape[1]);
        if (!(apart <= tolerance))
            fail_msg("%s, %s: logits differ by %g", models[m], how, (double)apart);
        worst = apart > worst ? apart : worst;
        free(got);
        npy_free(&want);
        npy_free(&ids);
        model_close(model);
    }
    printf("measured: %s of %d models: largest |logit - golden| %.1e (allowed %.0e)\n", how,
           N_MODELS, (double)worst, (double)tolerance);
}

static void test_parity_prefill(void **state) {
    (void)state;
    compare_all(N_IDS, "prefill of 96");
}

static void test_parity_decode(void **state) {
    (void)state;
    compare_all(PREFILL, "prefill of 32 and 64 decode steps");
}

static void test_parity_decode_from_one(void **state) {
    (void)state;
    compare_all(1, "95 decode steps");
}

/* The comparison itself must notice: one gain of the golden models is far from neutral, so other
 * weights give other logits. */
static void test_parity_models_differ(void **state) {
    (void)state;
    struct npy a = read_golden("llama-g1", "logits.npy", "f4", N_IDS);
    struct npy b = read_golden("llama-g3", "logits.npy", "f4", N_IDS);
    assert_true(golden_apart(a.data, b.data, a.bytes / sizeof(float)) > 1);
    npy_free(&a);
    npy_free(&b);
}

static void test_parity_covers_every_architecture(void **state) {
    (void)state;
    bool found[16] = {0};
    for (int m = 0; m < N_MODELS; m++) {
        struct model *model = open_golden(models[m]);
        found[model->config.arch - architecture_table] = true;
        model_close(model);
    }
    for (const struct architecture *a = architecture_table; a->name; a++)
        if (!found[a - architecture_table])
            fail_msg("no golden model of %s", a->name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parity_prefill),
        cmocka_unit_test(test_parity_decode),
        cmocka_unit_test(test_parity_decode_from_one),
        cmocka_unit_test(test_parity_models_differ),
        cmocka_unit_test(test_parity_covers_every_architecture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
