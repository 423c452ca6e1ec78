/* config.json: what each architecture means, both spellings, and every refusal by name. Golden
 * models: tests/golden/README.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/config.h"
#include "tests/folder.h"

struct pair {
    const char *key, *value; /* value: JSON text; NULL leaves the key out */
};

static const struct pair standard[] = {
    {"architectures", "[\"LlamaForCausalLM\"]"},
    {"hidden_size", "64"},
    {"num_hidden_layers", "2"},
    {"num_attention_heads", "4"},
    {"num_key_value_heads", "2"},
    {"intermediate_size", "128"},
    {"vocab_size", "100"},
    {"max_position_embeddings", "4096"},
    {"rms_norm_eps", "1e-6"},
    {"rope_theta", "500000.0"},
    {"bos_token_id", "1"},
    {"eos_token_id", "2"},
};
enum { N_STANDARD = sizeof standard / sizeof *standard };

static struct folder folder;

/* The standard config with up to 6 keys changed or added. */
static void write_config(const struct pair *changes, int n) {
    char text[2048] = "{";
    bool comma = false;
    for (int i = 0; i < N_STANDARD + n; i++) {
        struct pair p = i < N_STANDARD ? standard[i] : changes[i - N_STANDARD];
        for (int c = 0; i < N_STANDARD && c < n; c++)
            if (strcmp(changes[c].key, p.key) == 0)
                p.value = NULL;
        if (!p.value)
            continue;
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s\"%s\":%s", comma ? "," : "", p.key, p.value);
        comma = true;
    }
    strcat(text, "}");
    folder_text(&folder, "config.json", text);
}

static struct config must_read(const struct pair *changes, int n) {
    struct err e = {0};
    struct config c;
    write_config(changes, n);
    if (!config_read(folder.path, &c, &e))
        fail_msg("%s", e.text);
    return c;
}

static void must_refuse(const struct pair *changes, int n, const char *expected) {
    struct err e = {0};
    struct config c;
    write_config(changes, n);
    if (config_read(folder.path, &c, &e))
        fail_msg("accepted %s = %s", changes[0].key, changes[0].value);
    assert_int_equal(e.code, EXIT_CONTENT);
    if (!strstr(e.text, "config.json") || !strstr(e.text, expected))
        fail_msg("expected config.json and '%s' in: %s", expected, e.text);
}

static void test_config_reads_every_number(void **state) {
    (void)state;
    struct config c = must_read(NULL, 0);
    assert_string_equal(c.arch->name, "LlamaForCausalLM");
    assert_int_equal(c.dim, 64);
    assert_int_equal(c.n_layers, 2);
    assert_int_equal(c.n_heads, 4);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_size, 16);
    assert_int_equal(c.ffn, 128);
    assert_int_equal(c.vocab, 100);
    assert_int_equal(c.max_positions, 4096);
    assert_true(c.rms_eps == 1e-6f && c.rope_theta == 500000.0f);
    assert_true(c.rope == ROPE_PLAIN && !c.tied && !c.qkv_bias && !c.qk_norm);
    assert_int_equal(c.bos, 1);
    assert_int_equal(c.n_eos, 1);
    assert_int_equal(c.eos[0], 2);
}

static void test_config_refuses_by_key(void **state) {
    (void)state;
    // clang-format off
    static const struct { struct pair change; const char *expected; } cases[] = {
        {{"num_attention_heads", "0"}, "num_attention_heads is 0"},
        {{"num_attention_heads", "5"}, "num_key_value_heads is 2"},
        {{"num_key_value_heads", "3"}, "divisor"},
        {{"num_key_value_heads", "-1"}, "num_key_value_heads is -1"},
        {{"num_hidden_layers", "1000000000"}, "num_hidden_layers is 1e+09"},
        {{"num_hidden_layers", "2.5"}, "num_hidden_layers is 2.5"},
        {{"num_hidden_layers", "1e400"}, "1e400"},
        {{"hidden_size", "66"}, "hidden_size is 66: expected a multiple"},
        {{"hidden_size", "\"64\""}, "hidden_size is '64'"},
        {{"hidden_size", NULL}, "hidden_size is missing"},
        {{"hidden_size", "12"}, "head size 3"},
        {{"head_dim", "15"}, "head size 15"},
        {{"head_dim", "512"}, "head_dim is 512"},
        {{"intermediate_size", "0"}, "intermediate_size"},
        {{"vocab_size", "null"}, "vocab_size is missing"},
        {{"max_position_embeddings", "[]"}, "max_position_embeddings is of another type"},
        {{"rms_norm_eps", "0"}, "rms_norm_eps is 0"},
        {{"rms_norm_eps", "NaN"}, "config.json"},
        {{"rope_theta", "-1"}, "rope_theta is -1"},
        {{"rope_theta", "\"nan\""}, "rope_theta is 'nan'"},
        {{"tie_word_embeddings", "1"}, "tie_word_embeddings"},
        {{"architectures", "[\"GPT2LMHeadModel\"]"}, "'GPT2LMHeadModel' is not supported"},
        {{"architectures", "[]"}, "architectures"},
        {{"architectures", NULL}, "architectures is missing"},
        {{"hidden_act", "\"gelu\""}, "hidden_act is 'gelu'"},
        {{"attention_bias", "true"}, "attention_bias is true"},
        {{"mlp_bias", "true"}, "mlp_bias is true"},
        {{"quantization_config", "{}"}, "quantization_config"},
        {{"torch_dtype", "\"float8_e4m3fn\""}, "torch_dtype is 'float8_e4m3fn'"},
        {{"dtype", "\"int8\""}, "dtype is 'int8'"},
        {{"partial_rotary_factor", "0.5"}, "partial_rotary_factor is 0.5"},
        {{"eos_token_id", "100"}, "eos_token_id is 100"},
        {{"eos_token_id", "[1, -1]"}, "eos_token_id"},
        {{"eos_token_id", "[1,2,3,4,5,6,7,8,9]"}, "at most 8"},
        {{"bos_token_id", "1000"}, "bos_token_id is 1000"},
        {{"rope_scaling", "[]"}, "rope_scaling"},
        {{"rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":4}"}, "rope_scaling.rope_type is 'yarn'"},
        {{"rope_scaling", "{\"type\":\"linear\",\"factor\":2}"}, "rope_scaling.type is 'linear'"},
        {{"rope_scaling", "{\"type\":\"dynamic\",\"factor\":2}"}, "'dynamic'"},
        {{"rope_parameters", "{\"rope_type\":\"longrope\"}"}, "rope_parameters.rope_type is 'longrope'"},
        {{"rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":1000}"}, "rope_parameters.rope_theta is 1000"},
        {{"rope_parameters", "{\"full_attention\":{\"rope_type\":\"default\"}}"}, "rope_parameters.rope_type is missing"},
        {{"rope_scaling", "{\"rope_type\":\"llama3\",\"factor\":8}"}, "rope_scaling.low_freq_factor is missing"},
        {{"rope_scaling", "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":1,"
                          "\"original_max_position_embeddings\":64}"}, "high_freq_factor is 1"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_refuse(&cases[i].change, 1, cases[i].expected);
}

static void test_config_needs_explicit_head_size_for_qwen3(void **state) {
    (void)state;
    struct pair changes[] = {{"architectures", "[\"Qwen3ForCausalLM\"]"}, {"head_dim", "32"}};
    must_refuse(changes, 1, "head_dim is missing");
    struct config c = must_read(changes, 2);
    assert_true(c.qk_norm && !c.qkv_bias);
    assert_int_equal(c.head_size, 32);
}

static void test_config_spellings_mean_the_same(void **state) {
    (void)state;
    const char *scaling = "{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
                          "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":64}";
    const char *parameters =
        "{\"rope_theta\":250000.0,\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
        "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":64}";
    struct pair old[] = {
        {"rope_scaling", scaling}, {"rope_theta", "250000.0"}, {"torch_dtype", "\"bfloat16\""}};
    struct pair new[] = {
        {"rope_parameters", parameters}, {"rope_theta", NULL}, {"dtype", "\"bfloat16\""}};
    struct config a = must_read(old, 3), b = must_read(new, 3);
    assert_true(a.rope == ROPE_LLAMA3 && a.rope_theta == 250000.0f && a.rope_factor == 8.0f);
    assert_int_equal(a.rope_original, 64);
    assert_memory_equal(&a, &b, sizeof a);
}

static void test_config_theta_defaults_as_before_the_key(void **state) {
    (void)state;
    struct pair changes[] = {{"rope_theta", NULL}, {"rope_scaling", "null"}};
    assert_true(must_read(changes, 2).rope_theta == 10000.0f);
}

static void test_config_window_caps_positions(void **state) {
    (void)state;
    struct pair mistral = {"architectures", "[\"MistralForCausalLM\"]"};
    struct pair qwen2 = {"architectures", "[\"Qwen2ForCausalLM\"]"};
    struct pair long_text = {"max_position_embeddings", "32768"};
    struct pair absent[] = {mistral, long_text};
    assert_int_equal(must_read(absent, 2).max_positions, 4096);
    struct pair none[] = {mistral, long_text, {"sliding_window", "null"}};
    assert_int_equal(must_read(none, 3).max_positions, 32768);
    struct pair set[] = {mistral, long_text, {"sliding_window", "1024"}};
    assert_int_equal(must_read(set, 3).max_positions, 1024);
    struct pair unused[] = {
        qwen2, long_text, {"sliding_window", "1024"}, {"use_sliding_window", "false"}};
    assert_int_equal(must_read(unused, 4).max_positions, 32768);
    struct pair used[] = {
        qwen2, long_text, {"sliding_window", "1024"}, {"use_sliding_window", "true"}};
    assert_int_equal(must_read(used, 4).max_positions, 1024);
    struct pair layers[] = {
        qwen2, long_text, {"layer_types", "[\"full_attention\",\"sliding_attention\"]"}};
    must_refuse(layers, 3, "sliding_window is missing");
    struct pair llama[] = {long_text, {"sliding_window", "1024"}};
    assert_int_equal(must_read(llama, 2).max_positions, 32768);
}

static void test_config_end_tokens_are_a_union(void **state) {
    (void)state;
    struct pair changes[] = {{"eos_token_id", "[7, 2]"}, {"bos_token_id", "null"}};
    folder_text(&folder, "generation_config.json", "{\"eos_token_id\":[2,9],\"bos_token_id\":5}");
    struct config c = must_read(changes, 2);
    assert_int_equal(c.n_eos, 3);
    assert_true(c.eos[0] == 7 && c.eos[1] == 2 && c.eos[2] == 9);
    assert_int_equal(c.bos, 5);
    folder_text(&folder, "generation_config.json", "{\"eos_token_id\":100}");
    struct err e = {0};
    assert_false(config_read(folder.path, &c, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "generation_config.json: eos_token_id is 100"));
    unlink(folder_path(&folder, "generation_config.json"));
}

static void test_config_refuses_what_is_no_config(void **state) {
    (void)state;
    static const char *const texts[] = {"", "[]", "null", "{", "{}x", "{\"a\":1,\"a\":2}", "\xff"};
    struct config c;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err e = {0};
        folder_text(&folder, "config.json", texts[i]);
        assert_false(config_read(folder.path, &c, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
        assert_non_null(strstr(e.text, "config.json"));
    }
    struct err absent = {0}, empty = {0};
    unlink(folder_path(&folder, "config.json"));
    assert_false(config_read(folder.path, &c, &empty));
    assert_int_equal(empty.code, EXIT_CONTENT);
    assert_false(config_read(folder_path(&folder, "nowhere"), &c, &absent));
    assert_int_equal(absent.code, EXIT_USAGE);
}

/* Expected values by hand: with 64 original positions, factor 8 and blending between 1 and 4 turns.
 */
static void test_config_rope_frequencies_llama3(void **state) {
    (void)state;
    struct config c = {.head_size = 8, .rope_theta = 10000.0f};
    float plain[4], scaled[4];
    config_rope_frequencies(&c, plain);
    const float powers[4] = {1, 0.1f, 0.01f, 0.001f};
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(plain[i] - powers[i]) <= 1e-7f * powers[i]);
    c.rope = ROPE_LLAMA3;
    c.rope_factor = 8, c.rope_low = 1, c.rope_high = 4, c.rope_original = 64;
    config_rope_frequencies(&c, scaled);
    double turns = 64 * 0.1 / 6.283185307179586; /* 1.0186: just within the blend */
    double keep = (turns - 1) / 3, blend = (1 - keep) * 0.1 / 8 + keep * 0.1;
    assert_true(scaled[0] == 1); /* 10.2 turns */
    assert_true(fabs(scaled[1] - blend) < 1e-8);
    assert_true(fabsf(scaled[2] - 0.00125f) < 1e-9f);
    assert_true(fabsf(scaled[3] - 0.000125f) < 1e-10f);
}

static int make_folder(void **state) {
    (void)state;
    folder_make(&folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    folder_remove(&folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_reads_every_number),
        cmocka_unit_test(test_config_refuses_by_key),
        cmocka_unit_test(test_config_needs_explicit_head_size_for_qwen3),
        cmocka_unit_test(test_config_spellings_mean_the_same),
        cmocka_unit_test(test_config_theta_defaults_as_before_the_key),
        cmocka_unit_test(test_config_window_caps_positions),
        cmocka_unit_test(test_config_end_tokens_are_a_union),
        cmocka_unit_test(test_config_refuses_what_is_no_config),
        cmocka_unit_test(test_config_rope_frequencies_llama3),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
