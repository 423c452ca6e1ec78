#include "tests/tiny.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"

struct writer {
    FILE *data;
    char header[16384];
    size_t at;
    struct rng rng;
};

/* Sum of uniforms, close enough to normal, variance 1. */
static float normal(struct rng *r) {
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += rng_real(r);
    return (float)(sum - 6);
}

static void tensor(struct writer *w, const char *name, int rows, int cols, float mean,
                   float spread) {
    size_t n = (size_t)rows * (size_t)(cols ? cols : 1), length = strlen(w->header);
    snprintf(w->header + length, sizeof w->header - length,
             "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%d%s%.0d],\"data_offsets\":[%zu,%zu]}",
             length > 1 ? "," : "", name, rows, cols ? "," : "", cols, w->at, w->at + n * 4);
    w->at += n * 4;
    for (size_t i = 0; i < n; i++) {
        float x = mean + spread * normal(&w->rng);
        fwrite(&x, 4, 1, w->data);
    }
}

/* Of the tensor at the front of the data. */
static void poison_row(FILE *data, int row, int cols) {
    float x = NAN;
    fseek(data, (long)row * cols * 4, SEEK_SET);
    for (int i = 0; i < cols; i++)
        fwrite(&x, 4, 1, data);
    fseek(data, 0, SEEK_END);
}

static void layer(struct writer *w, const struct tiny *t, int i) {
    struct {
        const char *name;
        int rows, cols;
        float mean, spread;
    } parts[] = {
        {"input_layernorm", t->dim, 0, 1, 0.1f},
        {"post_attention_layernorm", t->dim, 0, 1, 0.1f},
        {"self_attn.q_proj", t->n_heads * t->head_size, t->dim, 0, 2.0f / sqrtf((float)t->dim)},
        {"self_attn.k_proj", t->n_kv_heads * t->head_size, t->dim, 0, 2.0f / sqrtf((float)t->dim)},
        {"self_attn.v_proj", t->n_kv_heads * t->head_size, t->dim, 0, 1.0f / sqrtf((float)t->dim)},
        {"self_attn.o_proj", t->dim, t->n_heads * t->head_size, 0, 0.1f},
        {"mlp.gate_proj", t->ffn, t->dim, 0, 1.0f / sqrtf((float)t->dim)},
        {"mlp.up_proj", t->ffn, t->dim, 0, 1.0f / sqrtf((float)t->dim)},
        {"mlp.down_proj", t->dim, t->ffn, 0, 0.1f},
    };
    for (size_t j = 0; j < sizeof parts / sizeof *parts; j++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, parts[j].name);
        tensor(w, name, parts[j].rows, parts[j].cols, parts[j].mean, parts[j].spread);
    }
}

static void write_weights(const char *folder, const struct tiny *t) {
    char path[256], data_path[256];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(data_path, sizeof data_path, "%s/data", folder);
    struct writer w = {.data = fopen(data_path, "w+"), .header = "{", .rng = {.key = t->seed}};
    CHECK(w.data);
    tensor(&w, "model.embed_tokens.weight", t->vocab, t->dim, 0, 1);
    if (t->poisoned)
        poison_row(w.data, t->poisoned, t->dim);
    for (int i = 0; i < t->n_layers; i++)
        layer(&w, t, i);
    tensor(&w, "model.norm.weight", t->dim, 0, t->broken ? NAN : 1, 0.1f);
    tensor(&w, "lm_head.weight", t->vocab, t->dim, 0, 0.3f);
    strcat(w.header, "}");
    FILE *out = fopen(path, "w");
    CHECK(out);
    uint64_t length = strlen(w.header);
    fwrite(&length, 8, 1, out);
    fwrite(w.header, 1, length, out);
    rewind(w.data);
    char copy[65536];
    for (size_t n; (n = fread(copy, 1, sizeof copy, w.data)) > 0;)
        fwrite(copy, 1, n, out);
    fclose(out);
    fclose(w.data);
    unlink(data_path);
}

static void write_config(const char *folder, const struct tiny *t) {
    char path[256];
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *out = fopen(path, "w");
    CHECK(out);
    fprintf(out,
            "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_act\":"
            "\"silu\","
            "\"hidden_size\":%d,\"num_hidden_layers\":%d,\"num_attention_heads\":%d,"
            "\"num_key_value_heads\":%d,\"head_dim\":%d,\"intermediate_size\":%d,\"vocab_size\":%d,"
            "\"max_position_embeddings\":%d,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
            "\"tie_word_embeddings\":false,\"torch_dtype\":\"float32\",\"eos_token_id\":[0,%d]}\n",
            t->dim, t->n_layers, t->n_heads, t->n_kv_heads, t->head_size, t->ffn, t->vocab,
            t->max_positions, t->poisoned);
    fclose(out);
}

struct model *tiny_must_open(const char *path) {
    struct err e = {0};
    struct model *model = model_open(path, &e);
    if (!model)
        fail_msg("%s", e.text);
    return model;
}

struct model *tiny_open(struct tiny shape) {
    char folder[] = "/tmp/raas-tiny-XXXXXX", path[256];
    CHECK(mkdtemp(folder));
    write_config(folder, &shape);
    write_weights(folder, &shape);
    struct err e = {0};
    struct model *model = model_open(folder, &e);
    if (!model)
        fprintf(stderr, "tiny model: %s\n", e.text);
    CHECK(model);
    /* the open files keep the data; the folder need not stay */
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    rmdir(folder);
    return model;
}

void tiny_ids(const struct tiny *shape, uint64_t seed, int32_t *ids, int n) {
    struct rng r = {.key = seed};
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)rng_below(&r, (uint32_t)shape->vocab);
}

struct plan tiny_plan(const char *text) {
    struct plan plan;
    struct err e = {0};
    bool ok = policy_parse(text, &plan, &e);
    if (!ok)
        fprintf(stderr, "%s: %s\n", text, e.text);
    CHECK(ok);
    return plan;
}

struct session *tiny_open_session(const struct model *model, struct session_params params) {
    struct err e = {0};
    struct session *session = session_open(model, &params, &e);
    if (!session)
        fprintf(stderr, "session: %s\n", e.text);
    CHECK(session);
    return session;
}

struct session *tiny_session(const struct model *model, bool bf16, int threads, int width,
                             int max_total) {
    return tiny_open_session(
        model, (struct session_params){.backend = "cpu",
                                       .precision = bf16 ? PRECISION_BF16 : PRECISION_FP32,
                                       .n_threads = threads,
                                       .width = width,
                                       .max_total = max_total});
}

struct session_params tiny_cuda(int width, int max_total) {
    return (struct session_params){
        .backend = "cuda", .precision = PRECISION_BF16, .width = width, .max_total = max_total};
}

struct tape tape_new(const struct model *model, int n) {
    struct tape tape = {.vocab = model->config.vocab};
    tape.logits = calloc((size_t)n * (size_t)tape.vocab, sizeof *tape.logits);
    CHECK(tape.logits);
    return tape;
}

void tape_record(void *user, int position, const float *logits) {
    struct tape *tape = user;
    assert_int_equal(position, tape->n);
    memcpy(tape->logits + (size_t)position * (size_t)tape->vocab, logits,
           (size_t)tape->vocab * sizeof *logits);
    tape->n = position + 1;
}

struct request tiny_forced(const struct plan *plan, const int32_t *ids, int n_prompt, int n,
                           struct tape *tape) {
    if (tape)
        tape->n = 0;
    return (struct request){.ids = ids,
                            .n_ids = n_prompt,
                            .plan = plan,
                            .forced = ids + n_prompt,
                            .n_forced = n - n_prompt,
                            .key = 7,
                            .user = tape,
                            .on_logits = tape ? tape_record : NULL};
}

void tiny_add(struct session *session, const struct request *request) {
    struct err e = {0};
    if (!session_add(session, request, &e))
        fail_msg("session_add: %s", e.code ? e.text : "it would have to wait");
}

/* A request in flight: where its answer goes, and whose its logits are. */
struct asked {
    struct answer *answer;
    const struct request *request;
};

static void pass_on(void *user, int position, const float *logits) {
    const struct asked *asked = user;
    asked->request->on_logits(asked->request->user, position, logits);
}

static bool ask(struct session *session, struct asked *asked) {
    struct request r = *asked->request;
    struct err e = {0};
    r.user = asked;
    r.on_logits = r.on_logits ? pass_on : NULL;
    bool ok = session_add(session, &r, &e);
    if (!ok && e.code)
        fail_msg("session_add: %s", e.text);
    return ok;
}

static void take(const struct event *event) {
    struct answer *a = ((struct asked *)event->user)->answer;
    assert_int_equal(a->finish, FINISH_NOT);
    assert_true(a->n < TINY_ANSWER);
    a->ids[a->n++] = event->id;
    a->finish = event->finish;
    a->stats = event->stats;
}

void tiny_answer(struct session *session, const struct request *requests, int n, int stagger,
                 struct answer *out) {
    struct asked *asked = calloc((size_t)n, sizeof *asked);
    struct event *events = calloc((size_t)n, sizeof *events);
    assert_true(asked && events);
    memset(out, 0, (size_t)n * sizeof *out);
    for (int i = 0; i < n; i++)
        asked[i] = (struct asked){&out[i], &requests[i]};
    for (int next = 0, done = 0, step = 0; done < n; step++) {
        while (next < n && step >= next * stagger && ask(session, &asked[next]))
            next++;
        struct err e = {0};
        int told = session_step(session, events, &e);
        if (told < 0)
            fail_msg("session_step: %s", e.text);
        assert_true(told > 0 || step < next * stagger); /* or nobody would ever come in */
        for (int i = 0; i < told; i++) {
            take(&events[i]);
            done += events[i].finish != FINISH_NOT;
        }
    }
    free(events);
    free(asked);
}
