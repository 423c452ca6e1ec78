/* Probabilities of attention against transformers' output_attentions, on the golden models: as told
 * by the engine (fp32) and as they come out of a file. tests/golden/README.md says how they were
 * made. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/npy.h"
#include "store/attn.h"
#include "tests/folder.h"
#include "tests/tiny.h"

enum { N = 24, PREFILL = 7 };
static const char *const models[] = {"llama-g1", "llama-g3", "llama-old", "mistral-g1",
                                     "qwen2-g7", "qwen2-g3", "qwen3-g3"};

struct golden {
    struct npy want; /* [layer][head][N][N] */
    int n_heads;
    double worst;
    int rows;
    struct attn_file *file;
};

static const float *golden_row(const struct golden *g, int layer, int head, int query) {
    return (const float *)g->want.data +
           (((size_t)layer * (size_t)g->n_heads + (size_t)head) * N + (size_t)query) * N;
}

static void compare(void *user, const struct attention_row *r) {
    struct golden *g = user;
    for (int h = 0; h < r->group; h++) {
        const float *want = golden_row(g, r->layer, r->kv_head * r->group + h, r->query);
        assert_int_equal(r->n, r->query + 1);
        for (int i = 0; i < r->n; i++) {
            double apart = fabs((double)(r->prob[h * r->n + i] - want[r->position[i]]));
            g->worst = apart > g->worst || isnan(apart) ? apart : g->worst;
        }
    }
    g->rows++;
    if (g->file)
        attn_watch(g->file, r);
}

static struct npy read_npy(const char *name, const char *file) {
    char path[120];
    struct err e = {0};
    struct npy npy;
    snprintf(path, sizeof path, "tests/golden/models/%s/%s", name, file);
    if (!npy_read(path, &npy, &e))
        fail_msg("%s", e.text);
    return npy;
}

static void run(const struct model *model, struct golden *g, const int32_t *ids, int prefill) {
    struct plan plan = tiny_plan("full");
    struct session *session = tiny_session(model, false, 1, 1, N);
    struct request request = tiny_forced(&plan, ids, prefill, N, NULL);
    struct event event;
    struct err e = {0};
    request.on_attention = compare, request.watch_prompt = true, request.user = g;
    if (prefill == N) /* nothing to force: one id is sampled */
        request.forced = NULL, request.max_new = 1;
    tiny_add(session, &request);
    do
        assert_int_equal(session_step(session, &event, &e), 1);
    while (event.finish == FINISH_NOT);
    session_close(session);
}

static struct attn_file *begin(struct attn_writer *writer, const struct model *model,
                               const char *path, int prefill) {
    int32_t numbers[64];
    const struct config *c = &model->config;
    for (int i = 0; i < 64; i++)
        numbers[i] = i;
    struct err e = {0};
    struct attn_file *file = attn_begin(writer,
                                        &(struct attn_params){.path = path,
                                                              .full = true,
                                                              .prompt = true,
                                                              .n_layers = c->n_layers,
                                                              .n_heads = c->n_heads,
                                                              .n_kv_heads = c->n_kv_heads,
                                                              .layers = {c->n_layers, numbers},
                                                              .heads = {c->n_heads, numbers},
                                                              .n_prompt = prefill,
                                                              .max_keys = N},
                                        &e);
    if (!file)
        fail_msg("%s", e.text);
    return file;
}

static double of_file(const struct model *model, struct golden *g, const int32_t *ids) {
    struct folder folder;
    struct err e = {0};
    char *texts[N];
    for (int i = 0; i < N; i++)
        texts[i] = "x";
    folder_make(&folder);
    const char *path = folder_path(&folder, "golden.h5");
    struct attn_writer *writer = attn_writer_open(&(struct attn_writer_params){0}, &e);
    assert_non_null(writer);
    g->file = begin(writer, model, path, PREFILL);
    run(model, g, ids, PREFILL);
    attn_end(g->file,
             &(struct attn_tokens){
                 .n = N, .n_prompt = PREFILL, .id = (int32_t *)(uintptr_t)ids, .text = texts},
             NULL, 0);
    assert_true(attn_writer_close(writer, NULL, &e));
    g->file = NULL, g->worst = 0, g->rows = 0;
    struct attn_reader *reader = attn_open(path, &e);
    if (!reader || !attn_replay(reader, compare, g, &e))
        fail_msg("%s", e.text);
    attn_close(reader);
    folder_remove(&folder);
    return g->worst;
}

static void test_attn_golden_is_what_transformers_give(void **state) {
    (void)state;
    double worst = 0, worst_of_file = 0;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        char path[100];
        struct err e = {0};
        snprintf(path, sizeof path, "tests/golden/models/%s", models[m]);
        struct model *model = model_open(path, &e);
        if (!model)
            fail_msg("%s", e.text);
        struct golden g = {.want = read_npy(models[m], "attention.npy")};
        struct npy ids = read_npy(models[m], "ids.npy");
        g.n_heads = (int)g.want.shape[1];
        assert_int_equal(g.n_heads, model->config.n_heads);
        for (int prefill = 1; prefill <= N;
             prefill += prefill < PREFILL ? PREFILL - 1 : N - PREFILL) {
            g.rows = 0;
            run(model, &g, ids.data, prefill);
            assert_int_equal(g.rows, model->config.n_layers * model->config.n_kv_heads * N);
        }
        worst = g.worst > worst ? g.worst : worst;
        double from_file = of_file(model, &g, ids.data);
        worst_of_file = from_file > worst_of_file ? from_file : worst_of_file;
        npy_free(&ids);
        npy_free(&g.want);
        model_close(model);
    }
    printf("measured: largest |probability - transformers| %.1e (allowed 1e-5), from a file %.1e\n",
           worst, worst_of_file);
    assert_true(worst <= 1e-5);
    assert_true(worst_of_file <= 0x1p-12 + 1e-5); /* half a unit of the last place below 1 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attn_golden_is_what_transformers_give),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
