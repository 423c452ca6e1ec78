#include "engine/shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const shape_names[] = {"qwen2.5-7b", "qwen2.5-1.5b", "llama-8b", NULL};

/* As shape_names. Qwen2.5-Math-7B and -1.5B, Llama-3.1-8B; only max_positions is the benchmarks'
 * own. */
static const struct {
    const char *architecture;
    struct config config;
} shapes[] = {
    {"Qwen2ForCausalLM",
     {.n_layers = 28,
      .dim = 3584,
      .n_heads = 28,
      .n_kv_heads = 4,
      .head_size = 128,
      .ffn = 18944,
      .vocab = 152064,
      .rms_eps = 1e-6f,
      .rope_theta = 10000,
      .bos = 151643,
      .eos = {151643},
      .n_eos = 1}},
    {"Qwen2ForCausalLM",
     {.n_layers = 28,
      .dim = 1536,
      .n_heads = 12,
      .n_kv_heads = 2,
      .head_size = 128,
      .ffn = 8960,
      .vocab = 151936,
      .rms_eps = 1e-6f,
      .rope_theta = 10000,
      .tied = true,
      .bos = 151643,
      .eos = {151643},
      .n_eos = 1}},
    {"LlamaForCausalLM",
     {.n_layers = 32,
      .dim = 4096,
      .n_heads = 32,
      .n_kv_heads = 8,
      .head_size = 128,
      .ffn = 14336,
      .vocab = 128256,
      .rms_eps = 1e-5f,
      .rope_theta = 500000,
      .rope = ROPE_LLAMA3,
      .rope_factor = 8,
      .rope_low = 1,
      .rope_high = 4,
      .rope_original = 8192,
      .bos = 128000,
      .eos = {128001},
      .n_eos = 1}},
};

_Static_assert(sizeof shape_names / sizeof *shape_names == sizeof shapes / sizeof *shapes + 1,
               "one name a shape");

enum { POSITIONS = 65536 };

static const struct architecture *architecture_of(const char *name) {
    const struct architecture *a = architecture_table;
    while (a->name && strcmp(a->name, name) != 0)
        a++;
    CHECK(a->name);
    return a;
}

struct model *model_of_shape(const char *name, struct err *e) {
    char known[200] = "";
    size_t i = 0;
    for (; shape_names[i] && strcmp(shape_names[i], name) != 0; i++)
        err_list(known, sizeof known, shape_names[i]);
    if (!shape_names[i]) {
        err_set(e, EXIT_USAGE, "shape '%.80s': expected one of %s", name, known);
        return NULL;
    }
    static const char about[] = " (random weights)";
    struct model *model = must_zalloc(1, sizeof *model);
    struct config *c = &model->config;
    *c = shapes[i].config;
    c->arch = architecture_of(shapes[i].architecture);
    c->qkv_bias = c->arch->qkv_bias;
    c->qk_norm = c->arch->qk_norm;
    c->max_positions = POSITIONS;
    size_t size = strlen(name) + sizeof about;
    model->path = must_alloc(size);
    snprintf(model->path, size, "%s%s", name, about);
    memset(model->hash, '0', HASH_HEX - 1);
    return model;
}
