/* A model folder as a whole: tensors against the config, tokenizer against the embedding, identity.
 * Golden models: tests/golden/README.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/model.h"
#include "tests/folder.h"
#include "tests/tiny.h"

#define MODELS "tests/golden/models/"

static char *read_text(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    *size = fread(text, 1, (1 << 20) - 1, file);
    fclose(file);
    return text;
}

/* Copies a file of a golden model with every `from` replaced by `to` (of the same length if the
 * file has offsets). */
static void copy(const struct folder *f, const char *model, const char *name, const char *from,
                 const char *to) {
    char path[120];
    size_t size;
    snprintf(path, sizeof path, MODELS "%s/%s", model, name);
    char *text = read_text(path, &size);
    char *out = malloc(2 * size + 1);
    size_t n = 0, replaced = 0;
    for (size_t i = 0; i < size;) {
        if (from && strncmp(text + i, from, strlen(from)) == 0) {
            memcpy(out + n, to, strlen(to));
            n += strlen(to);
            i += strlen(from);
            replaced++;
        } else
            out[n++] = text[i++];
    }
    assert_true(!from || replaced);
    folder_write(f, name, out, n);
    free(out);
    free(text);
}

static void must_refuse(const struct folder *f, const char *const *expected) {
    struct err e = {0};
    struct model *model = model_open(f->path, &e);
    if (model)
        fail_msg("accepted, expected: %s", *expected);
    assert_int_equal(e.code, EXIT_CONTENT);
    for (; *expected; expected++)
        if (!strstr(e.text, *expected))
            fail_msg("expected '%s' in: %s", *expected, e.text);
}

static void test_model_finds_roles(void **state) {
    (void)state;
    struct model *llama = tiny_must_open(MODELS "llama-g1"),
                 *qwen3 = tiny_must_open(MODELS "qwen3-g3");
    const struct tensor *embed = model_tensor(llama, TENSOR_EMBED, 0);
    assert_ptr_equal(model_tensor(llama, TENSOR_HEAD, 0), embed); /* tied */
    assert_ptr_not_equal(model_tensor(qwen3, TENSOR_HEAD, 0), model_tensor(qwen3, TENSOR_EMBED, 0));
    assert_null(model_tensor(llama, TENSOR_Q_BIAS, 0));
    assert_null(model_tensor(llama, TENSOR_Q_NORM, 0));
    assert_null(model_tensor(llama, TENSOR_Q, 2));
    assert_string_equal(model_tensor(llama, TENSOR_DOWN, 1)->name,
                        "model.layers.1.mlp.down_proj.weight");
    assert_int_equal(model_tensor(qwen3, TENSOR_K_NORM, 1)->shape[0], 128);
    assert_null(llama->tokenizer);
    assert_string_equal(llama->tokenizer_hash, "");
    model_close(llama);
    model_close(qwen3);
}

static void test_model_lists_all_missing_tensors(void **state) {
    const struct folder *f = *state;
    copy(f, "llama-g1", "model.safetensors", NULL, NULL);
    copy(f, "llama-g1", "config.json", "LlamaForCausalLM", "Qwen2ForCausalLM");
    must_refuse(f, (const char *[]){f->path, "model.layers.{0-1}.self_attn.q_proj.bias missing",
                                    "model.layers.{0-1}.self_attn.k_proj.bias missing",
                                    "model.layers.{0-1}.self_attn.v_proj.bias missing", NULL});
    copy(f, "llama-g1", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    must_refuse(f, (const char *[]){"model.layers.2.input_layernorm.weight missing",
                                    "model.layers.2.mlp.down_proj.weight missing", NULL});
    copy(f, "llama-g1", "config.json", "\"tie_word_embeddings\": true",
         "\"tie_word_embeddings\": false");
    must_refuse(f, (const char *[]){": lm_head.weight missing", NULL});
}

static void test_model_lists_all_wrong_shapes(void **state) {
    const struct folder *f = *state;
    copy(f, "llama-g1", "model.safetensors", NULL, NULL);
    copy(f, "llama-g1", "config.json", "\"intermediate_size\": 80", "\"intermediate_size\": 96");
    must_refuse(f, (const char *[]){
                       "model.layers.{0-1}.mlp.gate_proj.weight is [80, 64], expected [96, 64]",
                       "model.layers.{0-1}.mlp.down_proj.weight is [64, 80], expected [64, 96]",
                       NULL});
    copy(f, "llama-g1", "config.json", "\"vocab_size\": 97", "\"vocab_size\": 98");
    must_refuse(f,
                (const char *[]){"model.embed_tokens.weight is [97, 64], expected [98, 64]", NULL});
}

/* However wrong, it is one line, and it says how much it leaves out. */
static void test_model_counts_what_does_not_fit(void **state) {
    const struct folder *f = *state;
    copy(f, "llama-g3", "model.safetensors", "model.", "m0del.");
    copy(f, "llama-g3", "config.json", NULL, NULL);
    must_refuse(f,
                (const char *[]){"model.embed_tokens.weight missing", "model.layers.{0-1}.", NULL});
    copy(f, "llama-g3", "model.safetensors", NULL, NULL);
    copy(f, "llama-g3", "config.json", "\"hidden_size\": 48", "\"hidden_size\": 32768");
    must_refuse(f,
                (const char *[]){"expected [97, 32768]", "expected [32768]", "more entries", NULL});
}

static void test_model_refuses_dtype_it_cannot_read(void **state) {
    const struct folder *f = *state;
    copy(f, "llama-g3", "model.safetensors", "BF16", "I16 ");
    copy(f, "llama-g3", "config.json", NULL, NULL);
    must_refuse(f, (const char *[]){"unknown dtype 'I16 '", NULL});
    copy(f, "llama-g1", "model.safetensors", "\"F32\"", "\"I32\"");
    copy(f, "llama-g1", "config.json", NULL, NULL);
    must_refuse(f, (const char *[]){"model.norm.weight is I32, expected F32, F16 or BF16", NULL});
}

static void test_model_refuses_tokenizer_beyond_embedding(void **state) {
    const struct folder *f = *state;
    copy(f, "llama-g1", "model.safetensors", NULL, NULL);
    copy(f, "llama-g1", "config.json", NULL, NULL);
    folder_text(f, "tokenizer.json", "{}");
    must_refuse(f, (const char *[]){"tokenizer.json", NULL});
}

static void test_model_hash_is_configs_and_weights(void **state) {
    const struct folder *f = *state;
    char original[65];
    struct model *model = tiny_must_open(MODELS "llama-g1");
    memcpy(original, model->hash, sizeof original);
    model_close(model);
    assert_int_equal(strlen(original), 64);
    copy(f, "llama-g1", "model.safetensors", NULL, NULL);
    copy(f, "llama-g1", "config.json", NULL, NULL);
    copy(f, "llama-g1", "generation_config.json", NULL, NULL);
    model = tiny_must_open(f->path);
    assert_string_equal(model->hash, original); /* the place does not count */
    model_close(model);
    folder_text(f, "generation_config.json", "{\"eos_token_id\":[3,4]}"); /* end tokens do */
    model = tiny_must_open(f->path);
    assert_string_not_equal(model->hash, original);
    model_close(model);
    assert_int_equal(unlink(folder_path(f, "generation_config.json")), 0);
    copy(f, "llama-g1", "config.json", "\"rope_theta\": 10000.0", "\"rope_theta\": 10001.0");
    model = tiny_must_open(f->path);
    assert_string_not_equal(model->hash, original);
    model_close(model);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_finds_roles),
        WITH_FOLDER(test_model_lists_all_missing_tensors),
        WITH_FOLDER(test_model_lists_all_wrong_shapes),
        WITH_FOLDER(test_model_counts_what_does_not_fit),
        WITH_FOLDER(test_model_refuses_dtype_it_cannot_read),
        WITH_FOLDER(test_model_refuses_tokenizer_beyond_embedding),
        WITH_FOLDER(test_model_hash_is_configs_and_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
