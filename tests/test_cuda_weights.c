/* Weights on the device: every element where matrix_at says, for odd sizes and all source types;
 * whole models against weights_read. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/home.h"
#include "engine/bf16.h"
#include "engine/cuda_weights.h"
#include "engine/shape.h"
#include "tests/folder.h"
#include "tests/gpu.h"
#include "tests/tiny.h"

enum { F32, F16, BF16, TYPES };

/* --- packing -------------------------------------------------------------------------------- */

/* A half as the format defines it. */
static float half_value(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    float x =
        exponent ? ldexpf((float)(1024 + fraction), exponent - 25) : ldexpf((float)fraction, -24);
    return h >> 15 ? -x : x;
}

/* A finite number in its source type, and what it is in bf16. */
static uint16_t draw(int type, void *out) {
    if (type == F32) {
        float x = ldexpf(gpu_random_normal(), gpu_random_below(40) - 20);
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        if (gpu_random_below(4) == 0) /* half way between two */
            bits = (bits & 0xffff0000) | 0x8000;
        memcpy(out, &bits, sizeof bits);
        memcpy(&x, &bits, sizeof x);
        return bf16_of(x);
    }
    uint16_t half = (uint16_t)gpu_random(), infinite = type == F16 ? 0x7c00 : 0x7f80;
    if ((half & infinite) == infinite)
        half &= (uint16_t)~infinite;
    memcpy(out, &half, sizeof half);
    return type == F16 ? bf16_of(half_value(half)) : half;
}

/* Packs a random tensor [n][k], in pieces, into `packed` at the same time as into `wanted`. */
static void pack_tensor(uint16_t *packed, uint16_t *wanted, int segment, int at, int interleave,
                        int type, int n, int k) {
    size_t size = type == F32 ? 4 : 2;
    char *rows = malloc((size_t)n * (size_t)k * size);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < k; j++) {
            int to = interleave ? i / 8 * 16 + (interleave - 1) * 8 + i % 8 : at + i;
            wanted[matrix_at(segment, to, j)] =
                draw(type, rows + ((size_t)i * (size_t)k + (size_t)j) * size);
        }
    for (int from = 0, piece; from < n; from += piece) {
        piece = 1 + gpu_random_below(n - from);
        void *device =
            gpu_copy_in(rows + (size_t)from * (size_t)k * size, (size_t)piece * (size_t)k * size);
        cuda_pack(packed, segment, at, interleave, device, type, from, piece, k, NULL);
        gpu_free(device);
    }
    free(rows);
}

static void must_equal(const uint16_t *packed, const uint16_t *wanted, size_t bytes) {
    uint16_t *got = malloc(bytes);
    gpu_copy_out(got, packed, bytes);
    for (size_t i = 0; i < bytes / 2; i++)
        if (got[i] != wanted[i])
            fail_msg("element %zu of fragment %zu: %04x, expected %04x", i % 256, i / 256, got[i],
                     wanted[i]);
    free(got);
}

static void *zeros(size_t bytes) {
    void *zero = calloc(1, bytes), *device = gpu_copy_in(zero, bytes);
    free(zero);
    return device;
}

/* Tensors one below the other, or a gate and its up side by side. */
static void check_packing(const int *parts, int n_parts, bool pair, int type, int k) {
    int segment = cuda_segment(k), rows = 0;
    for (int i = 0; i < n_parts; i++)
        rows += parts[i];
    size_t bytes = cuda_matrix_bytes(pair ? (parts[0] + 7) / 8 * 16 : rows, segment);
    uint16_t *packed = zeros(bytes), *wanted = calloc(1, bytes);
    for (int i = 0, at = 0; i < n_parts; at += parts[i++])
        pack_tensor(packed, wanted, segment, pair ? 0 : at, pair ? i + 1 : 0, type, parts[i], k);
    must_equal(packed, wanted, bytes);
    gpu_free(packed);
    free(wanted);
}

static void test_cuda_weights_pack(void **state) {
    (void)state;
    gpu_or_skip();
    static const int sizes[][2] = {{1, 1},    {3, 2},    {16, 16},  {17, 15},  {7, 130},
                                   {33, 129}, {40, 264}, {50, 256}, {130, 97}, {19, 1003}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int type = 0; type < TYPES; type++) {
            int n = sizes[i][0], below[] = {n, 1 + gpu_random_below(20), 5}, beside[] = {n, n};
            check_packing(below, 3, false, type, sizes[i][1]);
            check_packing(beside, 2, true, type, sizes[i][1]);
        }
}

/* --- random weights --------------------------------------------------------------------------- */

static void must_be_uniform(const uint16_t *device, size_t n, double spread) {
    uint16_t *x = malloc(n * sizeof *x);
    double sum = 0, squares = 0;
    gpu_copy_out(x, device, n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        double v = bf16_to_float(x[i]);
        assert_true(fabs(v) <= 1.004 * spread); /* bf16 rounds by up to 0.4 % */
        sum += v, squares += v * v;
    }
    double five_sigma = 5 / sqrt((double)n);
    assert_true(fabs(sum / (double)n) < five_sigma * spread);
    assert_true(fabs(squares / (double)n - spread * spread / 3) < five_sigma * spread * spread);
    free(x);
}

static void test_cuda_weights_random(void **state) {
    (void)state;
    gpu_or_skip();
    enum { N = 256 * 133 };
    uint16_t *a = gpu_alloc(2 * N), *b = gpu_alloc(2 * N), x[2][2560];
    cuda_pack_random(a, N, 0.25f, 7, NULL);
    cuda_pack_random(b, N, 0.25f, 8, NULL);
    must_be_uniform(a, N, 0.25);
    must_be_uniform(b, N, 0.25);
    gpu_copy_out(x[0], a, sizeof *x);
    gpu_copy_out(x[1], b, sizeof *x);
    assert_memory_not_equal(x[0], x[1], sizeof *x);
    cuda_pack_random(b, 2560, 0.25f, 7, NULL); /* a function of the place, not of the size */
    gpu_copy_out(x[1], b, sizeof *x);
    assert_memory_equal(x[0], x[1], sizeof *x);
}

static void test_cuda_weights_sweep_reads(void **state) {
    (void)state;
    gpu_or_skip();
    static const size_t sizes[] = {16, 4096, 65536, 65552, 1000 * 4096 + 16};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *data = zeros(sizes[i]);
        float *out = gpu_alloc(1024 * sizeof *out), first;
        cuda_sweep(data, sizes[i], out, NULL);
        gpu_copy_out(&first, out, sizeof first);
        assert_true(first == 0);
    }
}

/* --- whole models ----------------------------------------------------------------------------- */

static void check_vector(const struct model *m, enum tensor_role role, int layer, const float *at) {
    const struct tensor *t = model_tensor(m, role, layer);
    size_t n = (size_t)t->shape[0];
    float *wanted = malloc(n * sizeof *wanted), *got = malloc(n * sizeof *got);
    struct err e = {0};
    assert_true(weights_read(m->weights, t, 0, 1, wanted, &e));
    gpu_copy_out(got, at, n * sizeof *got);
    if (memcmp(got, wanted, n * sizeof *got) != 0)
        fail_msg("%s differs", t->name);
    free(wanted);
    free(got);
}

/* Puts a tensor into an image of its matrix. */
static void expect(const struct model *m, uint16_t *image, const struct cuda_matrix *w,
                   enum tensor_role role, int layer, int at, int interleave) {
    const struct tensor *t = model_tensor(m, role, layer);
    float *row = malloc((size_t)w->k * sizeof *row);
    struct err e = {0};
    assert_true(t->shape[1] == w->k);
    for (int i = 0; i < t->shape[0]; i++) {
        assert_true(weights_read(m->weights, t, i, 1, row, &e));
        int to = interleave ? i / 8 * 16 + (interleave - 1) * 8 + i % 8 : at + i;
        for (int j = 0; j < w->k; j++)
            image[matrix_at(w->segment, to, j)] = bf16_of(row[j]);
    }
    free(row);
}

struct source {
    enum tensor_role role;
    int at, interleave;
};

static void check_matrix(const struct model *m, const struct cuda_matrix *w, int layer, int n,
                         const struct source *from, int n_sources) {
    assert_int_equal(w->n, n);
    assert_int_equal(w->segment, cuda_segment(w->k));
    size_t bytes = cuda_matrix_bytes(w->n, w->segment);
    uint16_t *image = calloc(1, bytes);
    for (int i = 0; i < n_sources; i++)
        expect(m, image, w, from[i].role, layer, from[i].at, from[i].interleave);
    must_equal(w->data, image, bytes);
    free(image);
}

static void check_layer(const struct model *m, const struct cuda_layer *y, int i) {
    const struct config *c = &m->config;
    int q = c->n_heads * c->head_size, kv = c->n_kv_heads * c->head_size;
    const struct source qkv[] = {{TENSOR_Q, 0, 0}, {TENSOR_K, q, 0}, {TENSOR_V, q + kv, 0}};
    const struct source gate_up[] = {{TENSOR_GATE, 0, 1}, {TENSOR_UP, 0, 2}};
    check_vector(m, TENSOR_ATTN_NORM, i, y->attn_norm);
    check_vector(m, TENSOR_FFN_NORM, i, y->ffn_norm);
    assert_true(!c->qk_norm == !y->q_norm && !c->qk_norm == !y->k_norm);
    if (c->qk_norm) {
        check_vector(m, TENSOR_Q_NORM, i, y->q_norm);
        check_vector(m, TENSOR_K_NORM, i, y->k_norm);
    }
    assert_true(!c->qkv_bias == !y->qkv_bias);
    if (c->qkv_bias) {
        check_vector(m, TENSOR_Q_BIAS, i, y->qkv_bias);
        check_vector(m, TENSOR_K_BIAS, i, y->qkv_bias + q);
        check_vector(m, TENSOR_V_BIAS, i, y->qkv_bias + q + kv);
    }
    check_matrix(m, &y->qkv, i, q + 2 * kv, qkv, 3);
    check_matrix(m, &y->o, i, c->dim, &(struct source){TENSOR_O, 0, 0}, 1);
    check_matrix(m, &y->gate_up, i, (c->ffn + 7) / 8 * 16, gate_up, 2);
    check_matrix(m, &y->down, i, c->dim, &(struct source){TENSOR_DOWN, 0, 0}, 1);
}

static void check_model(const struct model *m) {
    const struct config *c = &m->config;
    struct cuda_weights w;
    struct err e = {0};
    if (!cuda_weights_load(&w, m, &e))
        fail_msg("%s: %s", m->path, e.text);
    assert_true(w.bytes == cuda_weights_bytes(c));
    check_vector(m, TENSOR_FINAL_NORM, 0, w.final_norm);
    for (int i = 0; i < c->n_layers; i++)
        check_layer(m, &w.layers[i], i);
    check_matrix(m, &w.head, 0, c->vocab, &(struct source){TENSOR_HEAD, 0, 0}, 1);
    check_matrix(m, &w.embedding, 0, c->vocab, &(struct source){TENSOR_EMBED, 0, 0}, 1);
    assert_true((w.head.data == w.embedding.data) == c->tied);
    assert_true((const char *)w.embedding.data + cuda_matrix_bytes(c->vocab, w.head.segment) <=
                (const char *)w.arena + w.bytes);
    cuda_weights_free(&w);
    assert_null(w.layers);
    gpu_check();
}

static void check_folder(const char *path) {
    struct err e = {0};
    struct model *m = model_open(path, &e);
    if (!m)
        fail_msg("%s", e.text);
    check_model(m);
    model_close(m);
}

static void test_cuda_weights_load_the_embedded_model(void **state) {
    (void)state;
    gpu_or_skip();
    char path[4096];
    assert_true(home_find("models/lemmas-4.5m", path, sizeof path));
    check_folder(path);
}

static void test_cuda_weights_load_every_kind(void **state) {
    (void)state;
    gpu_or_skip();
    struct tiny shape = TINY_DEFAULT;
    shape.dim = 30, shape.n_heads = 3, shape.n_kv_heads = 1, shape.head_size = 10, shape.ffn = 21;
    struct model *m = tiny_open(shape);
    check_model(m);
    model_close(m);
    static const char *const golden[] = {"models/llama-g1",    "models/llama-g3",
                                         "models/qwen2-g7",    "models/qwen3-g3",
                                         "gguf/llama-g1.gguf", "gguf/qwen3-g3.gguf"};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        char path[80];
        snprintf(path, sizeof path, "tests/golden/%s", golden[i]);
        if (access(path, R_OK) == 0)
            check_folder(path);
        else
            printf("skipped: no %s\n", path);
    }
}

/* A tensor of more than one piece: its pieces meet without a seam. */
static void test_cuda_weights_load_in_pieces(void **state) {
    (void)state;
    gpu_or_skip();
    struct tiny shape = TINY_DEFAULT;
    shape.vocab = 20011, shape.dim = 1000, shape.n_layers = 1;
    struct model *m = tiny_open(shape);
    check_model(m);
    model_close(m);
}

static void test_cuda_weights_invented(void **state) {
    (void)state;
    gpu_or_skip();
    struct err e = {0};
    struct model *m = model_of_shape("qwen2.5-1.5b", &e);
    assert_non_null(m);
    struct config *c = &m->config;
    c->n_layers = 2, c->dim = 96, c->ffn = 160, c->vocab = 301, c->head_size = 16;
    struct cuda_weights w;
    assert_true(cuda_weights_load(&w, m, &e));
    const struct cuda_layer *y = &w.layers[1];
    float norm[96], bias[16 * (12 + 2 * 2)];
    gpu_copy_out(norm, y->ffn_norm, sizeof norm);
    gpu_copy_out(bias, y->qkv_bias, sizeof bias);
    for (int i = 0; i < 96; i++)
        assert_true(norm[i] == 1);
    for (size_t i = 0; i < sizeof bias / sizeof *bias; i++)
        assert_true(bias[i] == 0);
    must_be_uniform(y->down.data, cuda_matrix_bytes(y->down.n, y->down.segment) / 2,
                    sqrt(3.0 / 160));
    must_be_uniform(w.head.data, cuda_matrix_bytes(w.head.n, w.head.segment) / 2, sqrt(3.0 / 96));
    cuda_weights_free(&w);
    model_close(m);
}

/* A model of one layer whose last tensor in the file is that of the down product. */
static void write_model(const struct folder *f) {
    static const struct {
        const char *name;
        int rows, cols;
    } tensors[] = {{"lm_head", 4, 8},
                   {"model.embed_tokens", 4, 8},
                   {"model.norm", 8, 0},
                   {"model.layers.0.input_layernorm", 8, 0},
                   {"model.layers.0.post_attention_layernorm", 8, 0},
                   {"model.layers.0.self_attn.q_proj", 8, 8},
                   {"model.layers.0.self_attn.k_proj", 8, 8},
                   {"model.layers.0.self_attn.v_proj", 8, 8},
                   {"model.layers.0.self_attn.o_proj", 8, 8},
                   {"model.layers.0.mlp.gate_proj", 8, 8},
                   {"model.layers.0.mlp.up_proj", 8, 8},
                   {"model.layers.0.mlp.down_proj", 8, 8}};
    char header[4000] = "{";
    int at = 0;
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        size_t n = strlen(header);
        int bytes = 2 * tensors[i].rows * (tensors[i].cols ? tensors[i].cols : 1);
        snprintf(
            header + n, sizeof header - n,
            "%s\"%s.weight\":{\"dtype\":\"BF16\",\"shape\":[%d%s%.0d],\"data_offsets\":[%d,%d]}",
            i ? "," : "", tensors[i].name, tensors[i].rows, tensors[i].cols ? "," : "",
            tensors[i].cols, at, at + bytes);
        at += bytes;
    }
    strcat(header, "}");
    folder_tensors(f, "model.safetensors", header, (size_t)at);
    folder_text(f, "config.json",
                "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,\"vocab_size\":4,"
                "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"intermediate_size\":8,"
                "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5}");
}

static void test_cuda_weights_report_a_file_cut_in_use(void **state) {
    const struct folder *f = *state;
    gpu_or_skip();
    write_model(f);
    struct err e = {0};
    struct model *m = model_open(f->path, &e);
    if (!m)
        fail_msg("%s", e.text);
    check_model(m);
    const struct tensor *down = model_tensor(m, TENSOR_DOWN, 0);
    assert_int_equal(truncate(folder_path(f, "model.safetensors"), (off_t)(down->offset + 100)), 0);
    struct cuda_weights w;
    assert_false(cuda_weights_load(&w, m, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "tensor 'model.layers.0.mlp.down_proj.weight'"));
    assert_true(!w.layers && !w.arena);
    model_close(m);
    gpu_check();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_weights_pack),
        cmocka_unit_test(test_cuda_weights_random),
        cmocka_unit_test(test_cuda_weights_sweep_reads),
        cmocka_unit_test(test_cuda_weights_load_the_embedded_model),
        cmocka_unit_test(test_cuda_weights_load_every_kind),
        cmocka_unit_test(test_cuda_weights_load_in_pieces),
        cmocka_unit_test(test_cuda_weights_invented),
        cmocka_unit_test_setup_teardown(test_cuda_weights_report_a_file_cut_in_use, folder_setup,
                                        folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, gpu_teardown);
}
