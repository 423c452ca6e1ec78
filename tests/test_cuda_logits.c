/* Logits of the CUDA backend on golden models of every architecture row, teacher-forced: against
 * the CPU's bf16 path and against transformers, and the same bits at every place of every batch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/npy.h"
#include "tests/gpu.h"
#include "tests/tiny.h"

enum { N_IDS = 96, TOTAL = N_IDS + 1 };
static const double allowed = 0.04; /* of the range of a position's logits */

static const char *const names[] = {"llama-g1", "llama-g3", "llama-old", "mistral-g1",
                                    "qwen2-g7", "qwen2-g3", "qwen3-g3"};
enum { N_MODELS = sizeof names / sizeof *names };

struct golden {
    struct model *model;
    struct npy ids, logits;
};

static struct golden open_golden(const char *name) {
    struct err e = {0};
    char path[120];
    struct golden g;
    snprintf(path, sizeof path, "tests/golden/models/%s", name);
    if (!(g.model = model_open(path, &e)))
        fail_msg("%s", e.text);
    snprintf(path, sizeof path, "tests/golden/models/%s/ids.npy", name);
    if (!npy_read(path, &g.ids, &e))
        fail_msg("%s", e.text);
    snprintf(path, sizeof path, "tests/golden/models/%s/logits.npy", name);
    if (!npy_read(path, &g.logits, &e))
        fail_msg("%s", e.text);
    assert_int_equal(g.ids.shape[0], N_IDS);
    assert_int_equal(g.logits.shape[1], g.model->config.vocab);
    return g;
}

static void close_golden(struct golden *g) {
    npy_free(&g->ids);
    npy_free(&g->logits);
    model_close(g->model);
}

/* Logits of the golden ids in the last row of a full batch; the first `prompt` ids are the prompt.
 * The neighbours run along other ids. */
static struct tape forced(const struct golden *g, struct session_params how, int prompt) {
    struct tape tape = tape_new(g->model, N_IDS);
    struct session *session = tiny_open_session(g->model, how);
    struct plan full = tiny_plan("full");
    struct event *events = calloc((size_t)how.width, sizeof *events);
    struct err e = {0};
    const int32_t *ids = g->ids.data;
    assert_non_null(events);
    for (int row = 0; row + 1 < how.width; row++) {
        int32_t others[N_IDS];
        for (int i = 0; i < N_IDS; i++)
            others[i] = ids[(i * 7 + row) % N_IDS];
        struct request r = tiny_forced(&full, others, prompt, N_IDS, NULL);
        tiny_add(session, &r);
    }
    struct request r = tiny_forced(&full, ids, prompt, N_IDS, &tape);
    tiny_add(session, &r);
    for (int n; (n = session_step(session, events, &e)) != 0;)
        if (n < 0)
            fail_msg("session_step: %s", e.text);
    assert_int_equal(tape.n, N_IDS);
    free(events);
    session_close(session);
    return tape;
}

/* Largest difference of a logit, as a share of the range of its position in b. */
static double share_apart(const float *a, const float *b, int vocab) {
    double most = 0;
    for (int p = 0; p < N_IDS; p++, a += vocab, b += vocab) {
        float low = b[0], high = b[0], apart = 0;
        for (int i = 0; i < vocab; i++) {
            float d = fabsf(a[i] - b[i]);
            apart = d <= apart ? apart : isnan(d) ? INFINITY : d;
            low = b[i] < low ? b[i] : low, high = b[i] > high ? b[i] : high;
        }
        most = fmax(most, apart / (high - low));
    }
    return most;
}

static struct session_params cpu(void) {
    return (struct session_params){
        .backend = "cpu", .precision = PRECISION_BF16, .width = 1, .max_total = TOTAL};
}

static void test_cuda_logits_of_the_golden_models(void **state) {
    (void)state;
    gpu_or_skip();
    static const int prompts[] = {1, 17, 48, 96};
    for (int m = 0; m < N_MODELS; m++) {
        struct golden g = open_golden(names[m]);
        double to_cpu = 0, to_golden = 0, cpu_to_golden = 0;
        for (size_t i = 0; i < 2 * sizeof prompts / sizeof *prompts; i++) {
            int prompt = prompts[i / 2], width = i % 2 ? 65 : 1, vocab = g.model->config.vocab;
            struct tape want = forced(&g, cpu(), prompt);
            struct tape got = forced(&g, tiny_cuda(width, TOTAL), prompt);
            to_cpu = fmax(to_cpu, share_apart(got.logits, want.logits, vocab));
            to_golden = fmax(to_golden, share_apart(got.logits, g.logits.data, vocab));
            cpu_to_golden = fmax(cpu_to_golden, share_apart(want.logits, g.logits.data, vocab));
            free(want.logits);
            free(got.logits);
        }
        printf("measured: %s: largest difference of a logit, %% of the range: cuda to cpu bf16 "
               "%.2f, cuda to transformers %.2f, cpu bf16 to transformers %.2f\n",
               names[m], 100 * to_cpu, 100 * to_golden, 100 * cpu_to_golden);
        assert_true(to_cpu <= allowed && to_golden <= allowed);
        close_golden(&g);
    }
}

/* Widths that take every size of a narrow pass, and of wide ones. */
static void test_cuda_logits_are_the_same_in_every_batch(void **state) {
    (void)state;
    gpu_or_skip();
    static const int widths[] = {1, 3, 8, 16, 33, 64, 65, 130, 257};
    for (int m = 0; m < N_MODELS; m++) {
        struct golden g = open_golden(names[m]);
        size_t bytes = N_IDS * (size_t)g.model->config.vocab * sizeof(float);
        struct tape first = {.n = 0};
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            struct tape tape = forced(&g, tiny_cuda(widths[i], TOTAL), 17);
            if (widths[i] == 1 || widths[i] == 65) { /* a family of its own */
                free(first.logits);
                first = tape;
                continue;
            }
            if (memcmp(first.logits, tape.logits, bytes))
                fail_msg("%s: other logits in width %d", names[m], widths[i]);
            free(tape.logits);
        }
        free(first.logits);
        close_golden(&g);
    }
}

static void test_cuda_logits_cover_every_architecture(void **state) {
    (void)state;
    gpu_or_skip();
    bool found[16] = {0};
    for (int m = 0; m < N_MODELS; m++) {
        struct golden g = open_golden(names[m]);
        found[g.model->config.arch - architecture_table] = true;
        close_golden(&g);
    }
    for (const struct architecture *a = architecture_table; a->name; a++)
        if (!found[a - architecture_table])
            fail_msg("no golden model of %s", a->name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_logits_of_the_golden_models),
        cmocka_unit_test(test_cuda_logits_are_the_same_in_every_batch),
        cmocka_unit_test(test_cuda_logits_cover_every_architecture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
