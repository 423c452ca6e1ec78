#include "engine/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "engine/gguf_tokenizer.h"

enum scheme { SCHEME_FOLDER, SCHEME_GGUF }; /* of names */
static const char *const layer_prefix[] = {"model.layers.", "blk."};

/* Sizes that shapes are made of. */
enum size { SIZE_NONE, SIZE_VOCAB, SIZE_DIM, SIZE_Q, SIZE_KV, SIZE_HEAD, SIZE_FFN };

static const struct {
    const char *name[2]; /* below layer_prefix "N." when per layer */
    bool per_layer;
    enum size shape[2];
} role_table[TENSOR_ROLES] = {
    // clang-format off
    [TENSOR_EMBED]      = {{"model.embed_tokens.weight", "token_embd.weight"},           false, {SIZE_VOCAB, SIZE_DIM}},
    [TENSOR_HEAD]       = {{"lm_head.weight", "output.weight"},                          false, {SIZE_VOCAB, SIZE_DIM}},
    [TENSOR_FINAL_NORM] = {{"model.norm.weight", "output_norm.weight"},                  false, {SIZE_DIM}},
    [TENSOR_ATTN_NORM]  = {{"input_layernorm.weight", "attn_norm.weight"},               true, {SIZE_DIM}},
    [TENSOR_Q]          = {{"self_attn.q_proj.weight", "attn_q.weight"},                 true, {SIZE_Q, SIZE_DIM}},
    [TENSOR_K]          = {{"self_attn.k_proj.weight", "attn_k.weight"},                 true, {SIZE_KV, SIZE_DIM}},
    [TENSOR_V]          = {{"self_attn.v_proj.weight", "attn_v.weight"},                 true, {SIZE_KV, SIZE_DIM}},
    [TENSOR_Q_BIAS]     = {{"self_attn.q_proj.bias", "attn_q.bias"},                     true, {SIZE_Q}},
    [TENSOR_K_BIAS]     = {{"self_attn.k_proj.bias", "attn_k.bias"},                     true, {SIZE_KV}},
    [TENSOR_V_BIAS]     = {{"self_attn.v_proj.bias", "attn_v.bias"},                     true, {SIZE_KV}},
    [TENSOR_Q_NORM]     = {{"self_attn.q_norm.weight", "attn_q_norm.weight"},            true, {SIZE_HEAD}},
    [TENSOR_K_NORM]     = {{"self_attn.k_norm.weight", "attn_k_norm.weight"},            true, {SIZE_HEAD}},
    [TENSOR_O]          = {{"self_attn.o_proj.weight", "attn_output.weight"},            true, {SIZE_DIM, SIZE_Q}},
    [TENSOR_FFN_NORM]   = {{"post_attention_layernorm.weight", "ffn_norm.weight"},       true, {SIZE_DIM}},
    [TENSOR_GATE]       = {{"mlp.gate_proj.weight", "ffn_gate.weight"},                  true, {SIZE_FFN, SIZE_DIM}},
    [TENSOR_UP]         = {{"mlp.up_proj.weight", "ffn_up.weight"},                      true, {SIZE_FFN, SIZE_DIM}},
    [TENSOR_DOWN]       = {{"mlp.down_proj.weight", "ffn_down.weight"},                  true, {SIZE_DIM, SIZE_FFN}},
    // clang-format on
};

static int64_t size_of(const struct config *c, enum size size) {
    switch (size) {
    case SIZE_VOCAB:
        return c->vocab;
    case SIZE_DIM:
        return c->dim;
    case SIZE_Q:
        return (int64_t)c->n_heads * c->head_size;
    case SIZE_KV:
        return (int64_t)c->n_kv_heads * c->head_size;
    case SIZE_HEAD:
        return c->head_size;
    case SIZE_FFN:
        return c->ffn;
    case SIZE_NONE:
        break;
    }
    return 0;
}

static bool has_role(const struct config *c, enum tensor_role role) {
    switch (role) {
    case TENSOR_Q_BIAS:
    case TENSOR_K_BIAS:
    case TENSOR_V_BIAS:
        return c->qkv_bias;
    case TENSOR_Q_NORM:
    case TENSOR_K_NORM:
        return c->qk_norm;
    default:
        return true;
    }
}

static enum tensor_role resolve(const struct config *c, enum tensor_role role) {
    return role == TENSOR_HEAD && c->tied ? TENSOR_EMBED : role;
}

static enum scheme scheme_of(const struct model *model) {
    return weights_gguf(model->weights) ? SCHEME_GGUF : SCHEME_FOLDER;
}

const struct tensor *model_tensor(const struct model *model, enum tensor_role role, int layer) {
    char name[96];
    enum scheme scheme = scheme_of(model);
    role = resolve(&model->config, role);
    if (!has_role(&model->config, role))
        return NULL;
    if (!role_table[role].per_layer)
        return weights_find(model->weights, role_table[role].name[scheme]);
    snprintf(name, sizeof name, "%s%d.%s", layer_prefix[scheme], layer,
             role_table[role].name[scheme]);
    return weights_find(model->weights, name);
}

/* --- the tensor list against the config --------------------------------------------- */

/* Differences, equal ones of neighbouring layers as one entry: a list of hundreds must fit one
 * line. */
struct report {
    enum scheme scheme;
    char text[800];
    int listed, unlisted; /* entries */
    char pending[160];    /* what is wrong with layers from..to of the role at hand */
    int from, to;
};

static void flush(struct report *r, enum tensor_role role) {
    if (!*r->pending)
        return;
    char layers[40] = "", entry[300];
    if (role_table[role].per_layer && r->from == r->to)
        snprintf(layers, sizeof layers, "%s%d.", layer_prefix[r->scheme], r->from);
    else if (role_table[role].per_layer)
        snprintf(layers, sizeof layers, "%s{%d-%d}.", layer_prefix[r->scheme], r->from, r->to);
    snprintf(entry, sizeof entry, "%s%s%s %s", r->listed ? "; " : "", layers,
             role_table[role].name[r->scheme], r->pending);
    size_t used = strlen(r->text);
    if (used + strlen(entry) < sizeof r->text && !r->unlisted) {
        strcpy(r->text + used, entry);
        r->listed++;
    } else
        r->unlisted++;
    *r->pending = 0;
}

static void add(struct report *r, enum tensor_role role, int layer, const char *problem) {
    if (strcmp(r->pending, problem) != 0 || r->to != layer - 1) {
        flush(r, role);
        snprintf(r->pending, sizeof r->pending, "%s", problem);
        r->from = layer;
    }
    r->to = layer;
}

static void spell_shape(char *out, size_t size, int rank, const int64_t *shape) {
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < rank && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (n < size)
        snprintf(out + n, size - n, "]");
}

/* Writes what is wrong with the tensor; "" if nothing. */
static void compare(const struct config *c, const struct tensor *t, enum tensor_role role,
                    char *out, size_t size) {
    int64_t shape[2] = {size_of(c, role_table[role].shape[0]),
                        size_of(c, role_table[role].shape[1])};
    int rank = shape[1] ? 2 : 1;
    char want[48], got[96];
    *out = 0;
    if (!t)
        snprintf(out, size, "missing");
    else if (t->rank != rank || memcmp(t->shape, shape, (size_t)rank * sizeof *shape) != 0) {
        spell_shape(want, sizeof want, rank, shape);
        spell_shape(got, sizeof got, t->rank, t->shape);
        snprintf(out, size, "is %s, expected %s", got, want);
    } else if (t->type == DTYPE_OTHER)
        snprintf(out, size, "is %s, expected F32, F16 or BF16", t->type_name);
}

/* Old Llama files carry the rotary frequencies, which follow from the config; in GGUF files what
 * scales them is part of the config. */
static bool is_known_extra(const char *name) {
    const char *tail = ".rotary_emb.inv_freq";
    size_t n = strlen(name), m = strlen(tail);
    return strcmp(name, "rope_freqs.weight") == 0 || (n > m && strcmp(name + n - m, tail) == 0);
}

/* A folder's config.json says how its tensors are used. In a GGUF file their presence says it, so
 * one that nobody reads would have changed the arithmetic. */
static bool check_extra(const struct model *model, const bool *used, struct err *e) {
    size_t extra = 0, first = 0;
    for (size_t i = 0; i < weights_count(model->weights); i++) {
        const char *name = weights_at(model->weights, i)->name;
        if (used[i] || is_known_extra(name))
            continue;
        if (model->config.tied && strcmp(name, role_table[TENSOR_HEAD].name[0]) == 0) {
            log_warn("%s: lm_head.weight is ignored: config.json ties it to the embedding",
                     model->path);
            continue;
        }
        if (extra++ == 0)
            first = i;
    }
    if (!extra)
        return true;
    const char *name = weights_at(model->weights, first)->name;
    if (scheme_of(model) == SCHEME_GGUF)
        return err_set(e, EXIT_CONTENT, "%s: %zu tensors have no place in %s, the first is '%s'",
                       model->path, extra, model->config.arch->name, name);
    log_warn("%s: %zu tensors are not used, the first is '%s'", model->path, extra, name);
    return true;
}

static bool check_tensors(const struct model *model, struct err *e) {
    const struct config *c = &model->config;
    struct report report = {.scheme = scheme_of(model)};
    bool *used = must_zalloc(weights_count(model->weights), sizeof *used);
    for (enum tensor_role role = 0; role < TENSOR_ROLES; role++) {
        if (!has_role(c, role) || resolve(c, role) != role)
            continue;
        for (int layer = 0; layer < (role_table[role].per_layer ? c->n_layers : 1); layer++) {
            const struct tensor *t = model_tensor(model, role, layer);
            char problem[sizeof report.pending];
            compare(c, t, role, problem, sizeof problem);
            if (*problem)
                add(&report, role, layer, problem);
            if (t)
                used[t - weights_at(model->weights, 0)] = true;
        }
        flush(&report, role);
    }
    bool ok = report.listed || check_extra(model, used, e);
    free(used);
    if (report.unlisted)
        return err_set(e, EXIT_CONTENT,
                       "%s: tensors do not fit the config: %s; and %d more entries", model->path,
                       report.text, report.unlisted);
    return report.listed ? err_set(e, EXIT_CONTENT, "%s: tensors do not fit the config: %s",
                                   model->path, report.text)
                         : ok;
}

/* --- opening -------------------------------------------------------------------------- */

static bool check_ids(const struct model *model, const char *path, struct err *e) {
    int ids = tokenizer_vocab(model->tokenizer);
    return ids <= model->config.vocab ||
           err_set(e, EXIT_CONTENT,
                   "%s: highest id %d, expected less than the %d rows of the embedding", path,
                   ids - 1, model->config.vocab);
}

static bool read_tokenizer(struct model *model, struct err *e) {
    char *path = file_join(model->path, "tokenizer.json");
    bool ok = true;
    if (access(path, F_OK) == 0) {
        model->tokenizer = tokenizer_read(path, e);
        ok = model->tokenizer && hash_file(path, model->tokenizer_hash, e) &&
             check_ids(model, path, e);
    }
    free(path);
    return ok;
}

static bool hash_model(struct model *model, struct err *e) {
    char all[3 * (HASH_HEX - 1) + 1];
    char *config = file_join(model->path, "config.json");
    char *generation = file_join(model->path, "generation_config.json"); /* may add end tokens */
    bool ok = hash_file(config, all, e) && weights_hash(model->weights, all + HASH_HEX - 1, e) &&
              (access(generation, F_OK) != 0 || hash_file(generation, all + 2 * (HASH_HEX - 1), e));
    free(config);
    free(generation);
    if (ok)
        hash_bytes(all, strlen(all), model->hash);
    return ok;
}

static bool open_folder(struct model *model, struct err *e) {
    if (!config_read(model->path, &model->config, e))
        return false;
    model->weights = weights_open(model->path, e);
    return model->weights && check_tensors(model, e) && read_tokenizer(model, e) &&
           hash_model(model, e);
}

static bool open_gguf(struct model *model, struct err *e) {
    model->weights = weights_open(model->path, e);
    if (!model->weights || !config_of_gguf(model->weights, &model->config, e) ||
        !check_tensors(model, e))
        return false;
    const struct gguf *gguf = weights_gguf(model->weights);
    if (gguf_find(gguf, "tokenizer.ggml.model")) {
        model->tokenizer = tokenizer_of_gguf(gguf, e);
        if (!model->tokenizer || !check_ids(model, model->path, e))
            return false;
        hash_bytes(gguf->image, gguf->metadata, model->tokenizer_hash);
    }
    return weights_hash(model->weights, model->hash, e);
}

struct model *model_open(const char *path, struct err *e) {
    struct model *model = must_zalloc(1, sizeof *model);
    model->path = must_strdup(path);
    struct stat s;
    bool is_file = stat(path, &s) == 0 && S_ISREG(s.st_mode);
    if (is_file ? open_gguf(model, e) : open_folder(model, e))
        return model;
    model_close(model);
    return NULL;
}

void model_close(struct model *model) {
    if (!model)
        return;
    tokenizer_free(model->tokenizer);
    weights_close(model->weights);
    free(model->path);
    free(model);
}
