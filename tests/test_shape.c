/* Models that are only a shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/shape.h"

static void test_shape_opens_every_name(void **state) {
    (void)state;
    for (const char *const *name = shape_names; *name; name++) {
        struct err e = {0};
        struct model *model = model_of_shape(*name, &e);
        assert_non_null(model);
        const struct config *c = &model->config;
        assert_true(c->n_heads % c->n_kv_heads == 0 && c->n_layers > 0 &&
                    c->max_positions == 65536);
        assert_int_equal(c->qkv_bias, strcmp(c->arch->name, "Qwen2ForCausalLM") == 0);
        assert_true(c->eos[0] < c->vocab && c->bos < c->vocab);
        assert_null(model->weights);
        assert_null(model->tokenizer);
        assert_int_equal(strlen(model->hash), HASH_HEX - 1);
        assert_int_equal(strspn(model->hash, "0"), HASH_HEX - 1);
        assert_string_equal(model->tokenizer_hash, "");
        assert_true(strncmp(model->path, *name, strlen(*name)) == 0);
        assert_string_equal(model->path + strlen(*name), " (random weights)");
        model_close(model);
    }
}

/* Parameters in millions, as the model cards count them. */
static void test_shape_has_published_sizes(void **state) {
    (void)state;
    const int64_t wanted[] = {7616, 1544, 8030};
    for (int i = 0; shape_names[i]; i++) {
        struct err e = {0};
        struct model *model = model_of_shape(shape_names[i], &e);
        const struct config *c = &model->config;
        int64_t q = c->n_heads * c->head_size, kv = c->n_kv_heads * c->head_size, dim = c->dim;
        int64_t layer = (2 * q + 2 * kv) * dim + 3 * (int64_t)c->ffn * dim + 2 * dim +
                        (c->qkv_bias ? q + 2 * kv : 0);
        int64_t all = layer * c->n_layers + (c->tied ? 1 : 2) * c->vocab * dim + dim;
        assert_int_equal((all + 500000) / 1000000, wanted[i]);
        model_close(model);
    }
}

static void test_shape_refuses_other_names(void **state) {
    (void)state;
    struct err e = {0};
    assert_null(model_of_shape("qwen", &e));
    assert_int_equal(e.code, EXIT_USAGE);
    assert_string_equal(e.text, "shape 'qwen': expected one of qwen2.5-7b, qwen2.5-1.5b, llama-8b");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape_opens_every_name),
        cmocka_unit_test(test_shape_has_published_sizes),
        cmocka_unit_test(test_shape_refuses_other_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
