#include "engine/config.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"

enum { MAX_CONFIG_BYTES = 4 << 20, MISTRAL_WINDOW = 4096 };

const struct architecture architecture_table[] = {
    {.name = "LlamaForCausalLM",
     .gguf = "llama",
     .summary = "Llama 2 and 3.x, with llama3 rope scaling"},
    {.name = "MistralForCausalLM",
     .summary = "Mistral 7B; a sliding window caps the length",
     .window = WINDOW_ALWAYS},
    {.name = "Qwen2ForCausalLM",
     .gguf = "qwen2",
     .summary = "Qwen2 and 2.5: biases on q, k, v",
     .qkv_bias = true,
     .window = WINDOW_IF_USED},
    {.name = "Qwen3ForCausalLM",
     .gguf = "qwen3",
     .summary = "Qwen3: RMSNorm on q and k, explicit head size",
     .qk_norm = true,
     .head_size_explicit = true,
     .window = WINDOW_IF_USED},
    {0},
};

/* One JSON object of one file: what every error line names. */
struct source {
    const struct json *object;
    const char *path, *within; /* "" or "rope_parameters." */
    struct err *e;
};

/* An absent key and an explicit null mean the same in these files. */
static const struct json *get(const struct source *s, const char *key) {
    const struct json *value = json_get(s->object, key);
    return value && json_type(value) != JSON_NULL ? value : NULL;
}

static bool wrong(const struct source *s, const char *key, const char *expected) {
    const struct json *value = get(s, key);
    const char *text = value ? json_text(value) : NULL;
    double number = 0;
    char shown[64] = "missing";
    if (text)
        snprintf(shown, sizeof shown, "'%.40s'", text);
    else if (value && json_number(value, &number))
        snprintf(shown, sizeof shown, "%.9g", number);
    else if (value)
        snprintf(shown, sizeof shown, "of another type");
    return err_set(s->e, EXIT_CONTENT, "%s: %s%s is %s: expected %s", s->path, s->within, key,
                   shown, expected);
}

static bool whole(const struct source *s, const char *key, int64_t min, int64_t max, int *out) {
    char expected[80];
    const struct json *value = get(s, key);
    int64_t number;
    if (value && json_integer(value, min, max, &number)) {
        *out = (int)number;
        return true;
    }
    snprintf(expected, sizeof expected, "a whole number from %" PRId64 " to %" PRId64, min, max);
    return wrong(s, key, expected);
}

static bool real(const struct source *s, const char *key, double min, double max, float *out) {
    char expected[80];
    const struct json *value = get(s, key);
    double number;
    if (value && json_number(value, &number) && number >= min && number <= max) {
        *out = (float)number;
        return true;
    }
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    return wrong(s, key, expected);
}

/* A switch that is off when absent. */
static bool flag(const struct source *s, const char *key, bool *out) {
    const struct json *value = get(s, key);
    *out = value && json_is_true(value);
    return !value || json_type(value) == JSON_BOOL || wrong(s, key, "true or false");
}

static bool must_be_off(const struct source *s, const char *key, const struct config *c) {
    bool on;
    if (!flag(s, key, &on))
        return false;
    return !on || err_set(s->e, EXIT_CONTENT, "%s: %s is true: not supported for %s", s->path, key,
                          c->arch->name);
}

static bool read_architecture(const struct source *s, struct config *c) {
    const struct json *list = get(s, "architectures");
    const struct json *first =
        list && json_type(list) == JSON_ARRAY && json_count(list) == 1 ? json_first(list) : NULL;
    const char *name = first ? json_text(first) : NULL;
    if (!name)
        return wrong(s, "architectures", "a list of one name");
    char known[200] = "";
    for (const struct architecture *a = architecture_table; a->name; a++) {
        if (strcmp(a->name, name) == 0) {
            c->arch = a;
            c->qkv_bias = a->qkv_bias;
            c->qk_norm = a->qk_norm;
            return true;
        }
        err_list(known, sizeof known, a->name);
    }
    return err_set(s->e, EXIT_CONTENT,
                   "%s: architecture '%.80s' is not supported: expected one of %s", s->path, name,
                   known);
}

bool config_check_heads(const struct config *c, const char *path, struct err *e) {
    if (c->head_size % 2 || c->head_size < 2 || c->head_size > MAX_HEAD_SIZE)
        return err_set(e, EXIT_CONTENT, "%s: head size %d: expected an even number from 2 to %d",
                       path, c->head_size, MAX_HEAD_SIZE);
    return true;
}

static bool read_heads(const struct source *s, struct config *c) {
    if (!whole(s, "num_attention_heads", 1, MAX_HEADS, &c->n_heads))
        return false;
    c->n_kv_heads = c->n_heads;
    if (get(s, "num_key_value_heads") &&
        !whole(s, "num_key_value_heads", 1, MAX_HEADS, &c->n_kv_heads))
        return false;
    if (c->n_heads % c->n_kv_heads)
        return wrong(s, "num_key_value_heads", "a divisor of num_attention_heads");
    if (get(s, "head_dim") || c->arch->head_size_explicit) {
        if (!whole(s, "head_dim", 2, MAX_HEAD_SIZE, &c->head_size))
            return false;
    } else {
        if (c->dim % c->n_heads)
            return wrong(s, "hidden_size",
                         "a multiple of num_attention_heads, as head_dim is not given");
        c->head_size = c->dim / c->n_heads;
    }
    return config_check_heads(c, s->path, s->e);
}

static bool read_sizes(const struct source *s, struct config *c) {
    return whole(s, "num_hidden_layers", 1, MAX_LAYERS, &c->n_layers) &&
           whole(s, "hidden_size", 1, MAX_DIM, &c->dim) && read_heads(s, c) &&
           whole(s, "intermediate_size", 1, MAX_FFN, &c->ffn) &&
           whole(s, "vocab_size", 1, MAX_VOCAB, &c->vocab) &&
           whole(s, "max_position_embeddings", 1, MAX_POSITIONS, &c->max_positions) &&
           real(s, "rms_norm_eps", 1e-20, 0.1, &c->rms_eps) &&
           flag(s, "tie_word_embeddings", &c->tied);
}

/* Refuses what would change the arithmetic without our knowing. */
static bool check_variants(const struct source *s, const struct config *c) {
    const struct json *activation = get(s, "hidden_act");
    const char *act = activation ? json_text(activation) : "silu";
    if (!act || strcmp(act, "silu") != 0)
        return wrong(s, "hidden_act", "'silu'");
    if (!must_be_off(s, "mlp_bias", c) || (!c->qkv_bias && !must_be_off(s, "attention_bias", c)))
        return false;
    if (get(s, "quantization_config"))
        return err_set(s->e, EXIT_CONTENT,
                       "%s: quantization_config: quantised weights are not supported", s->path);
    const char *key = get(s, "dtype") ? "dtype" : "torch_dtype";
    const struct json *type = get(s, key);
    const char *name = type ? json_text(type) : "float32";
    if (!name || (strcmp(name, "float32") != 0 && strcmp(name, "float16") != 0 &&
                  strcmp(name, "bfloat16") != 0))
        return wrong(s, key, "float32, float16 or bfloat16");
    return true;
}

/* --- rotary embedding ---------------------------------------------------------- */

static bool read_llama3(const struct source *s, struct config *c) {
    c->rope = ROPE_LLAMA3;
    if (!real(s, "factor", 1, 1e6, &c->rope_factor) ||
        !real(s, "low_freq_factor", 1e-6, 1e6, &c->rope_low) ||
        !real(s, "high_freq_factor", 1e-6, 1e6, &c->rope_high) ||
        !whole(s, "original_max_position_embeddings", 1, MAX_POSITIONS, &c->rope_original))
        return false;
    return c->rope_high > c->rope_low || wrong(s, "high_freq_factor", "more than low_freq_factor");
}

/* `s` is rope_parameters or rope_scaling. */
static bool read_rope_type(const struct source *s, struct config *c) {
    const char *key = get(s, "rope_type") ? "rope_type" : "type";
    const struct json *value = get(s, key);
    const char *type = value ? json_text(value) : "default";
    if (type && strcmp(type, "llama3") == 0)
        return read_llama3(s, c);
    if (type && strcmp(type, "default") == 0)
        return true;
    return wrong(s, key, "'default' or 'llama3' (other kinds of rope scaling are not supported)");
}

static bool check_full_rotation(const struct source *s) {
    float share = 1;
    if (get(s, "partial_rotary_factor") && !real(s, "partial_rotary_factor", 0, 1, &share))
        return false;
    return share == 1 || wrong(s, "partial_rotary_factor", "1");
}

static bool read_theta(const struct source *s, float *theta, bool *found) {
    *found = get(s, "rope_theta") != NULL;
    return !*found || real(s, "rope_theta", 1, 1e12, theta);
}

static bool read_rope_object(const struct source *s, const char *key, struct config *c,
                             bool theta_known) {
    const struct json *object = get(s, key);
    if (!object)
        return true;
    if (json_type(object) != JSON_OBJECT)
        return wrong(s, key, "an object");
    char within[40];
    snprintf(within, sizeof within, "%s.", key);
    struct source inner = {object, s->path, within, s->e};
    float theta = c->rope_theta;
    bool found;
    if (!read_theta(&inner, &theta, &found) || !check_full_rotation(&inner) ||
        !read_rope_type(&inner, c))
        return false;
    if (found && theta_known && theta != c->rope_theta)
        return wrong(&inner, "rope_theta", "the same value as rope_theta beside it");
    if (!found && !get(&inner, "rope_type") && !get(&inner, "type"))
        return wrong(&inner, "rope_type", "a kind of rope");
    c->rope_theta = theta;
    return true;
}

static bool read_rope(const struct source *s, struct config *c) {
    bool found;
    c->rope_theta = 10000; /* what files older than the key mean */
    if (!read_theta(s, &c->rope_theta, &found) || !check_full_rotation(s))
        return false;
    if (get(s, "rope_parameters") && get(s, "rope_scaling"))
        return err_set(s->e, EXIT_CONTENT,
                       "%s: both rope_parameters and rope_scaling: expected one", s->path);
    return read_rope_object(s, "rope_parameters", c, found) &&
           read_rope_object(s, "rope_scaling", c, found);
}

static bool names_sliding_layer(const struct json *layer_types) {
    for (const struct json *t = layer_types ? json_first(layer_types) : NULL; t; t = json_next(t)) {
        const char *text = json_text(t);
        if (!text || strcmp(text, "full_attention") != 0)
            return true;
    }
    return false;
}

void config_cap(struct config *c, int window, const char *path) {
    if (window >= c->max_positions)
        return;
    log_warn("%s: limited to the %d positions of its sliding window (of %d)", path, window,
             c->max_positions);
    c->max_positions = window;
}

static bool read_window(const struct source *s, struct config *c) {
    bool used = false;
    if (c->arch->window == WINDOW_NEVER)
        return true;
    if (!flag(s, "use_sliding_window", &used))
        return false;
    used = used || c->arch->window == WINDOW_ALWAYS || names_sliding_layer(get(s, "layer_types"));
    int window = MISTRAL_WINDOW; /* the family's value where the key is absent */
    const struct json *key = json_get(s->object, "sliding_window");
    if (!used || (key && json_type(key) == JSON_NULL && c->arch->window == WINDOW_ALWAYS))
        return true;
    if ((key || c->arch->window != WINDOW_ALWAYS) &&
        !whole(s, "sliding_window", 1, MAX_POSITIONS, &window))
        return false;
    config_cap(c, window, s->path);
    return true;
}

/* --- end tokens ------------------------------------------------------------------- */

bool config_add_eos(struct config *c, int32_t id) {
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos[i] == id)
            return true;
    if (c->n_eos == (int)(sizeof c->eos / sizeof *c->eos))
        return false;
    c->eos[c->n_eos++] = id;
    return true;
}

static bool add_eos(const struct source *s, const struct json *value, struct config *c) {
    int64_t id;
    if (!json_integer(value, 0, c->vocab - 1, &id))
        return wrong(s, "eos_token_id", "ids below vocab_size");
    return config_add_eos(c, (int32_t)id) || wrong(s, "eos_token_id", "at most 8 different ids");
}

static bool read_special(const struct source *s, struct config *c) {
    const struct json *eos = get(s, "eos_token_id");
    if (eos && json_type(eos) != JSON_ARRAY && !add_eos(s, eos, c))
        return false;
    for (const struct json *v = eos ? json_first(eos) : NULL; v; v = json_next(v))
        if (!add_eos(s, v, c))
            return false;
    int bos = -1;
    if (get(s, "bos_token_id") && !whole(s, "bos_token_id", 0, c->vocab - 1, &bos))
        return false;
    if (c->bos < 0)
        c->bos = bos;
    return true;
}

/* --- files ------------------------------------------------------------------------ */

static bool is_file(const char *path, struct stat *s) {
    return stat(path, s) == 0 && S_ISREG(s->st_mode);
}

static bool read_config(const struct source *s, struct config *c) {
    return read_architecture(s, c) && read_sizes(s, c) && check_variants(s, c) && read_rope(s, c) &&
           read_window(s, c) && read_special(s, c);
}

static bool read_object(const char *path, bool (*read)(const struct source *s, struct config *c),
                        struct config *c, struct err *e) {
    struct json_doc *doc = json_read(path, MAX_CONFIG_BYTES, e);
    if (!doc)
        return false;
    struct source s = {json_root(doc), path, "", e};
    bool ok = json_type(s.object) == JSON_OBJECT
                  ? read(&s, c)
                  : err_set(e, EXIT_CONTENT, "%s: expected a JSON object", path);
    json_free(doc);
    return ok;
}

bool config_read(const char *folder, struct config *out, struct err *e) {
    char path[4200];
    struct stat s;
    *out = (struct config){.bos = -1};
    if (strlen(folder) > 4000)
        return err_set(e, EXIT_USAGE, "%.80s...: path longer than 4000 bytes", folder);
    if (stat(folder, &s) != 0)
        return err_errno(e, errno == EACCES ? EXIT_ENV : EXIT_USAGE, "%s", folder);
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (!is_file(path, &s))
        return err_set(e, EXIT_CONTENT, "%s: expected a model folder with config.json", folder);
    if (!read_object(path, read_config, out, e))
        return false;
    snprintf(path, sizeof path, "%s/generation_config.json", folder);
    return !is_file(path, &s) || read_object(path, read_special, out, e);
}

void config_rope_frequencies(const struct config *c, float *inv_freq) {
    const double two_pi = 6.283185307179586;
    for (int i = 0; i < c->head_size / 2; i++) {
        double f = pow(c->rope_theta, -2.0 * i / c->head_size);
        if (c->rope == ROPE_LLAMA3) {
            /* Llama 3.1: long waves are slowed by `factor`, short ones kept, those between are
             * blended. */
            double turns =
                c->rope_original * f / two_pi; /* of this wave over the original context */
            double keep = (turns - c->rope_low) / (c->rope_high - c->rope_low);
            keep = keep < 0 ? 0 : keep > 1 ? 1 : keep;
            f = (1 - keep) * f / c->rope_factor + keep * f;
        }
        inv_freq[i] = (float)(c->rope == ROPE_DIVIDED ? f / c->rope_divisors[i] : f);
    }
}
