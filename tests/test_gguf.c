/* GGUF files: every format's numbers, models that equal their folders, and what makes no sense
 * refused by name. Golden data: tests/golden/README.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/npy.h"
#include "engine/chat.h"
#include "engine/gguf.h"
#include "tests/folder.h"
#include "tests/gguf_file.h"
#include "tests/golden.h"
#include "tests/tiny.h"

#define GGUF "tests/golden/gguf/"
#define FILE_NAME "m.gguf"

static void must_say(const struct err *e, const char *expected) {
    if (e->code != EXIT_CONTENT || !strstr(e->text, FILE_NAME) || !strstr(e->text, expected))
        fail_msg("expected code 3, '%s' and '%s' in (%d) %s", FILE_NAME, expected, e->code,
                 e->text);
}

/* Writes the image, which is refused as a model; frees it. */
static void must_refuse(const struct folder *f, struct image *image, const char *expected) {
    struct err e = {0};
    folder_write(f, FILE_NAME, image->bytes, image->size);
    struct model *model = model_open(folder_path(f, FILE_NAME), &e);
    if (model)
        fail_msg("accepted, expected: %s", expected);
    must_say(&e, expected);
    free(image->bytes);
    *image = (struct image){0};
}

/* --- numbers ---------------------------------------------------------------------- */

static void test_gguf_formats_equal_the_package(void **state) {
    (void)state;
    struct err e = {0};
    struct npy golden;
    assert_true(npy_read(GGUF "types.npy", &golden, &e));
    assert_int_equal(golden.shape[0], DTYPE_OTHER);
    struct weights *w = weights_open(GGUF "types.gguf", &e);
    if (!w)
        fail_msg("%s", e.text);
    assert_int_equal(weights_count(w), DTYPE_OTHER);
    static const enum dtype order[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q4_0, DTYPE_Q4_1,
                                       DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_Q2_K, DTYPE_Q3_K,
                                       DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};
    for (int i = 0; i < DTYPE_OTHER; i++) {
        const struct tensor *t = weights_find(w, dtype_formats[order[i]].name);
        const float *want = (const float *)golden.data + i * 3 * 512;
        float got[3 * 512];
        assert_non_null(t);
        assert_int_equal(t->type, order[i]);
        assert_true(t->rank == 2 && t->shape[0] == 3 && t->shape[1] == 512);
        assert_true(weights_read(w, t, 0, 3, got, &e));
        if (memcmp(got, want, sizeof got) != 0)
            fail_msg("%s differs", t->type_name);
        assert_true(weights_read(w, t, 1, 1, got, &e));
        assert_memory_equal(got, want + 512, 512 * sizeof *got);
    }
    weights_close(w);
    npy_free(&golden);
}

/* --- models ------------------------------------------------------------------------- */

enum { N_IDS = 96 };
static const char *const models[] = {"llama-g1", "llama-g3", "qwen2-g3", "qwen3-g3"};

static float *logits_of(const struct model *model, int prefill) {
    struct err e = {0};
    struct npy ids;
    char path[100];
    const char *name = strrchr(model->path, '/') + 1;
    snprintf(path, sizeof path, "tests/golden/models/%.*s/ids.npy", (int)strcspn(name, "."), name);
    assert_true(npy_read(path, &ids, &e));
    float *out = golden_run(model, "full", ids.data, N_IDS, prefill);
    npy_free(&ids);
    return out;
}

static void test_gguf_models_equal_transformers(void **state) {
    (void)state;
    float worst = 0;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[100];
        struct npy want;
        struct err e = {0};
        snprintf(path, sizeof path, "tests/golden/models/%s/logits.npy", models[i]);
        assert_true(npy_read(path, &want, &e));
        snprintf(path, sizeof path, GGUF "%s.gguf", models[i]);
        struct model *model = tiny_must_open(path);
        float *got = logits_of(model, 32);
        float apart = golden_apart(got, want.data, want.bytes / sizeof *got);
        if (!(apart <= 1e-4f))
            fail_msg("%s: logits differ by %g", models[i], (double)apart);
        worst = apart > worst ? apart : worst;
        free(got);
        model_close(model);
        npy_free(&want);
    }
    printf("measured: GGUF models: largest |logit - golden| %.1e (allowed 1e-04)\n", (double)worst);
}

/* The same weights and config, so the same bits; llama3's divisors are rounded to fp32 in the file.
 */
static void test_gguf_model_equals_its_folder(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[100];
        snprintf(path, sizeof path, GGUF "%s.gguf", models[i]);
        struct model *file = tiny_must_open(path);
        snprintf(path, sizeof path, "tests/golden/models/%s", models[i]);
        struct model *folder = tiny_must_open(path);
        const struct config *a = &file->config, *b = &folder->config;
        assert_ptr_equal(a->arch, b->arch);
        assert_true(a->n_layers == b->n_layers && a->dim == b->dim && a->n_heads == b->n_heads);
        assert_true(a->n_kv_heads == b->n_kv_heads && a->head_size == b->head_size);
        assert_true(a->ffn == b->ffn && a->vocab == b->vocab && a->tied == b->tied);
        assert_true(a->max_positions == b->max_positions && a->rms_eps == b->rms_eps);
        assert_true(a->rope_theta == b->rope_theta && a->qkv_bias == b->qkv_bias);
        float *x = logits_of(file, N_IDS), *y = logits_of(folder, N_IDS);
        size_t n = (size_t)N_IDS * (size_t)b->vocab;
        if (b->rope == ROPE_LLAMA3)
            assert_true(a->rope == ROPE_DIVIDED && golden_apart(x, y, n) < 1e-4f);
        else
            assert_memory_equal(x, y, n * sizeof *x);
        free(x);
        free(y);
        model_close(file);
        model_close(folder);
    }
}

static void test_gguf_reports_a_file_cut_in_use(void **state) {
    const struct folder *f = *state;
    struct err e = {0};
    struct image image = image_read(GGUF "types.gguf");
    folder_write(f, FILE_NAME, image.bytes, image.size);
    struct weights *w = weights_open(folder_path(f, FILE_NAME), &e);
    assert_non_null(w);
    const struct tensor *t = weights_find(w, "Q6_K");
    assert_int_equal(truncate(folder_path(f, FILE_NAME), (off_t)t->offset + 500), 0);
    float out[3 * 512];
    assert_true(weights_read(w, t, 0, 1, out, &e));
    assert_false(weights_read(w, t, 0, 3, out, &e));
    must_say(&e, "was it cut while in use?");
    assert_non_null(strstr(e.text, "tensor 'Q6_K'"));
    weights_close(w);
    free(image.bytes);
}

/* --- models that make no sense ----------------------------------------------------------- */

static void test_gguf_refuses_absurd_configs(void **state) {
    const struct folder *f = *state;
    // clang-format off
    static const struct { const char *key; uint32_t value; const char *expected; } cases[] = {
        {"llama.block_count", 1000000000, "key 'llama.block_count' is 1e+09: expected a whole number from 1 to 1024"},
        {"llama.block_count", 3, "blk.2.attn_norm.weight missing"},
        {"llama.attention.head_count", 0, "key 'llama.attention.head_count' is 0"},
        {"llama.attention.head_count_kv", 3, "key 'llama.attention.head_count_kv' is 3: expected a divisor"},
        {"llama.embedding_length", 65, "key 'llama.embedding_length' is 65: expected a multiple"},
        {"llama.embedding_length", 1024, "head size 512"},
        {"llama.embedding_length", 128, "token_embd.weight is [97, 64], expected [97, 128]"},
        {"llama.context_length", 0, "key 'llama.context_length' is 0"},
        {"llama.rope.freq_base", 0x7fc00000, "key 'llama.rope.freq_base' is nan"},
        {"llama.attention.layer_norm_rms_epsilon", 0, "key 'llama.attention.layer_norm_rms_epsilon' is 0"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct image m = image_read(GGUF "llama-g1.gguf");
        image_set(&m, cases[i].key, 4, cases[i].value);
        must_refuse(f, &m, cases[i].expected);
    }
}

static void test_gguf_refuses_what_does_not_fit(void **state) {
    const struct folder *f = *state;
    // clang-format off
    static const struct { const char *model, *from, *to, *expected; } cases[] = {
        {"llama-g1", "llama.block_count", "llama.clock_bount", "key 'llama.block_count' is missing"},
        {"llama-g1", "general.architecture", "general.architektur_", "key 'general.architecture' is missing: expected one of llama, qwen2, qwen3"},
        {"llama-g1", "blk.1.ffn_up.weight", "blk.1.ffn_up.weighs", "blk.1.ffn_up.weight missing"},
        {"qwen2-g3", "blk.0.attn_v.bias", "blk.0.attn_v.xxxx", "blk.0.attn_v.bias missing"},
        {"llama-g3", "rope_freqs.weight", "rope_freqs.weighs", "1 tensors have no place in LlamaForCausalLM, the first is 'rope_freqs.weighs'"},
        {"llama-g1", "tokenizer.ggml.pre", "tokenizer.ggml.xxx", "key 'tokenizer.ggml.pre' is missing: expected one of qwen2"},
        {"llama-g1", "tokenizer.ggml.tokens", "tokenizer.ggml.xxxxxx", "key 'tokenizer.ggml.tokens' is missing"},
        {"llama-g1", "tokenizer.ggml.merges", "tokenizer.ggml.xxxxxx", "key 'tokenizer.ggml.merges' is missing"},
        {"llama-g1", "t96", "t95", "ids 95 and 96 are both 't95'"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[100];
        snprintf(path, sizeof path, GGUF "%s.gguf", cases[i].model);
        struct image m = image_read(path);
        image_replace(&m, cases[i].from, cases[i].to);
        must_refuse(f, &m, cases[i].expected);
    }
}

static void test_gguf_chat_template_is_exposed(void **state) {
    const struct folder *f = *state;
    struct image m = {0};
    struct err e = {0};
    char *text;
    image_head(&m, 3, 0, 1);
    image_key(&m, "tokenizer.chat_template", GGUF_STRING);
    image_text(&m, "{{ messages }}");
    folder_write(f, FILE_NAME, m.bytes, m.size);
    free(m.bytes);
    struct model model = {.weights = weights_open(folder_path(f, FILE_NAME), &e)};
    assert_non_null(model.weights);
    assert_true(chat_text(&model, &text, &e));
    assert_string_equal(text, "{{ messages }}");
    free(text);
    weights_close(model.weights);

    m = (struct image){0};
    image_head(&m, 3, 0, 1);
    image_key(&m, "tokenizer.chat_template", GGUF_U32);
    image_number(&m, 4, 7);
    folder_write(f, FILE_NAME, m.bytes, m.size);
    free(m.bytes);
    model.weights = weights_open(folder_path(f, FILE_NAME), &e);
    assert_false(chat_text(&model, &text, &e));
    assert_non_null(strstr(e.text, "key 'tokenizer.chat_template' is 7: expected a text"));
    weights_close(model.weights);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_formats_equal_the_package),
        cmocka_unit_test(test_gguf_models_equal_transformers),
        cmocka_unit_test(test_gguf_model_equals_its_folder),
        WITH_FOLDER(test_gguf_reports_a_file_cut_in_use),
        WITH_FOLDER(test_gguf_refuses_absurd_configs),
        WITH_FOLDER(test_gguf_refuses_what_does_not_fit),
        WITH_FOLDER(test_gguf_chat_template_is_exposed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
