/* What a CUDA session is refused, what it waits for, how far it narrows, and how it accounts for
 * its pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/cuda_info.h"
#include "engine/cuda_parts.h"
#include "tests/gpu.h"
#include "tests/policy_checks.h"

static struct tiny shape;
static struct model *model;
static struct plan full;

static int open_model(void **state) {
    (void)state;
    shape = TINY_DEFAULT;
    model = tiny_open(shape);
    full = tiny_plan("full");
    return 0;
}
static int close_model(void **state) {
    (void)state;
    model_close(model);
    return 0;
}

static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6};
static struct request request_of(const struct plan *plan, int max_new) {
    return (struct request){
        .ids = prompt, .n_ids = 8, .plan = plan, .max_new = max_new, .ignore_eos = true, .key = 11};
}

/* --- refusals --------------------------------------------------------------------------------- */

static void expect_refusal(const struct model *m, struct session_params how, int code,
                           const char *says) {
    struct err e = {0};
    struct session *session = session_open(m, &how, &e);
    assert_null(session);
    if (e.code != code || !strstr(e.text, says) || strchr(e.text, '\n'))
        fail_msg("exit code %d: %s", e.code, e.text);
}

/* Known before there is a GPU. */
static void test_cuda_open_refuses_shapes(void **state) {
    (void)state;
    const struct config was = model->config;
    struct config *c = &model->config;
    c->n_heads = 17 * c->n_kv_heads;
    expect_refusal(model, tiny_cuda(1, 100), EXIT_CONTENT, "17 q heads per KV head");
    *c = was, c->vocab = (1 << 20) + 1;
    expect_refusal(model, tiny_cuda(1, 100), EXIT_CONTENT, "1048577 ids");
    *c = was, c->max_positions = 1 << 20;
    expect_refusal(model, tiny_cuda(1, 131073), EXIT_USAGE,
                   "131073 tokens a sequence, expected at most 131072");
    *c = was;
}

/* Blocks of 163 KiB (8.0), 99 KiB (8.6, 8.9) and 227 KiB (9.0). */
static void test_cuda_open_refuses_blocks_that_do_not_fit(void **state) {
    (void)state;
    enum { SM_80 = 166912, SM_86 = 101376, SM_90 = 232448, MOST = 131072 };
    static const struct {
        int group, head, tokens, block_bytes;
        const char *says; /* NULL: it fits */
    } cases[] = {
        {16, 256, MOST, SM_90, NULL},
        {16, 256, MOST, SM_80, NULL},
        {16, 256, 64, SM_86, "101376 bytes of shared memory a block, expected 152880 for 16 q"},
        {10, 256, 64, SM_86, "expected 103344 for 10 q heads per KV head, head size 256"},
        {9, 256, 64, SM_86, NULL},
        {8, 256, MOST, SM_86, "expected 108840 for 8 q heads per KV head, head size 256, 131072"},
        {8, 256, 65536, SM_86, NULL},
        {16, 128, MOST, SM_86, "expected 107816 for 16 q heads per KV head, head size 128"},
        {8, 128, MOST, SM_86, NULL},
        {16, 64, MOST, SM_86, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct cuda b;
        struct err e = {0};
        b.params.max_total = cases[i].tokens, b.pass.cache.room = pages_of(cases[i].tokens) + 1;
        b.pass.shape.group = cases[i].group;
        b.pass.shape.head_size = b.pass.shape.cache_head = cases[i].head;
        bool fits = cuda_fits_block(&b, cases[i].block_bytes, &e);
        if (fits != !cases[i].says || (!fits && !strstr(e.text, cases[i].says)))
            fail_msg("case %zu: \"%s\", expected \"%s\"", i, e.text, cases[i].says);
        assert_int_equal(e.code, fits ? 0 : EXIT_ENV);
    }
}

static void test_cuda_open_refuses_what_it_cannot_do(void **state) {
    (void)state;
    gpu_or_skip();
    struct err e = {0};
    struct session_params how = tiny_cuda(1, 100);
    int devices = cuda_device_count(&e);
    char says[64];
    how.precision = PRECISION_FP32;
    expect_refusal(model, how, EXIT_USAGE, "bf16");
    how = tiny_cuda(1, 100), how.isa = "avx2";
    expect_refusal(model, how, EXIT_USAGE, "--isa avx2");
    how = tiny_cuda(SESSION_WIDTH + 1, 100);
    expect_refusal(model, how, EXIT_USAGE, "expected 1 to 8192 sequences in flight on cuda");
    how = tiny_cuda(1, shape.max_positions + 1);
    expect_refusal(model, how, EXIT_USAGE, "the limit of ");
    how = tiny_cuda(1, 100), how.kv_bytes = session_kv_bytes(model, PRECISION_BF16, 16) / 4 - 1;
    expect_refusal(model, how, EXIT_USAGE, "2311 bytes of KV cache, expected at least the 2312 of");
    how = tiny_cuda(1, 100), how.device = devices;
    snprintf(says, sizeof says, "GPU %d, expected 0 to %d", devices, devices - 1);
    expect_refusal(model, how, EXIT_USAGE, says);
    how = tiny_cuda(1, 100), how.kv_bytes = session_kv_bytes(model, PRECISION_BF16, 32);
    struct session *session = tiny_open_session(model, how); /* nothing is left of the refusals */
    struct request r = request_of(&full, 26);                /* 33 tokens are fed, 32 fit */
    assert_false(session_add(session, &r, &e));
    assert_int_equal(e.code, EXIT_ENV);
    assert_non_null(strstr(e.text, "the pool holds 8"));
    static struct answer answer;
    r.max_new = 25;
    tiny_answer(session, &r, 1, 0, &answer);
    assert_int_equal(answer.n, 25);
    session_close(session);
}

/* So many sequences of so many tokens, scored for so many heads, need more than any GPU has. */
static void test_cuda_open_narrows_to_what_memory_holds(void **state) {
    (void)state;
    gpu_or_skip();
    struct tiny wide = shape;
    wide.n_kv_heads = 8, wide.n_heads = 128, wide.max_positions = 65536;
    struct model *many = tiny_open(wide);
    struct session_params how = tiny_cuda(SESSION_WIDTH, wide.max_positions);
    struct err e = {0};
    static struct answer answer, want;
    struct request r = request_of(&full, 20);
    expect_refusal(many, how, EXIT_ENV, "GPU memory: ");
    struct session *session = session_open_fitting(many, &how, &e);
    if (!session)
        fail_msg("%s", e.text);
    assert_in_range(how.width, 1, SESSION_WIDTH / 2);
    printf("measured: %d sequences of %d tokens in flight instead of %d\n", how.width,
           how.max_total, SESSION_WIDTH);
    tiny_answer(session, &r, 1, 0, &answer);
    session_close(session);
    session = tiny_open_session(many, tiny_cuda(how.width > 64 ? 65 : 1, 100));
    tiny_answer(session, &r, 1, 0, &want);
    policy_checks_same(&want, &answer, 1, "narrowed");
    session_close(session);
    model_close(many);
}

/* --- the pool --------------------------------------------------------------------------------- */

static void test_cuda_open_makes_sequences_wait_for_memory(void **state) {
    (void)state;
    gpu_or_skip();
    enum { N = 9 };
    static struct answer free_run[N], waited[N];
    struct request requests[N];
    struct plan raas = tiny_plan("raas:budget=48");
    for (int i = 0; i < N; i++) {
        requests[i] = request_of(i % 2 ? &raas : &full, 20 + 10 * (i % 4));
        requests[i].key = (uint64_t)i, requests[i].sampling = (struct sampling){0.8f, 0.9f};
    }
    struct session_params how = tiny_cuda(N, 100);
    struct session *session = tiny_open_session(model, how);
    tiny_answer(session, requests, N, 0, free_run);
    session_close(session);
    how.kv_bytes = session_kv_bytes(model, PRECISION_BF16, 8 * PAGE); /* two or three of them */
    session = tiny_open_session(model, how);
    tiny_answer(session, requests, N, 0, waited);
    policy_checks_same(free_run, waited, N, "having waited");
    struct event events[N];
    struct err e = {0};
    int n = 0;
    while (session_add(session, &requests[0], &e))
        n++;
    assert_int_equal(e.code, 0);
    assert_int_equal(n, 4); /* of 27 tokens each: two pages */
    while (session_step(session, events, &e) > 0)
        ;
    assert_int_equal(e.code, 0);
    assert_int_equal(session_active(session), 0);
    session_close(session);
}

/* Bytes that the rows in flight held after this pass, those that ended with it included. */
static uint64_t sum_rows(uint64_t *bytes, const struct event *events, int n) {
    uint64_t sum = 0;
    for (int i = 0; i < n; i++)
        bytes[events[i].row] = events[i].stats.kv_bytes;
    for (int row = 0; row < 8; row++)
        sum += bytes[row];
    for (int i = 0; i < n; i++)
        if (events[i].finish != FINISH_NOT)
            bytes[events[i].row] = 0;
    return sum;
}

static void test_cuda_open_accounts_for_the_pool(void **state) {
    (void)state;
    gpu_or_skip();
    enum { N = 30, WIDTH = 8 };
    static const char *const texts[] = {"full", "raas:budget=48", "h2o:budget=48",
                                        "quest:budget=48", "streaming:budget=48"};
    struct plan plans[5];
    struct event events[WIDTH];
    struct err e = {0};
    uint64_t bytes[WIDTH] = {0}, peak = 0, end[5][2] = {{0}};
    for (int i = 0; i < 5; i++)
        plans[i] = tiny_plan(texts[i]);
    struct session *session = tiny_open_session(model, tiny_cuda(WIDTH, 300));
    for (int next = 0, done = 0; done < N;) {
        struct request r = request_of(&plans[next % 5], next % 2 ? 250 : 100);
        uint64_t *out = &end[next % 5][next % 2];
        r.user = out;
        while (next < N && session_add(session, &r, &e)) {
            next++;
            r = request_of(&plans[next % 5], next % 2 ? 250 : 100);
            out = &end[next % 5][next % 2];
            r.user = out;
        }
        int n = session_step(session, events, &e);
        assert_in_range(n, 1, WIDTH);
        uint64_t sum = sum_rows(bytes, events, n);
        peak = sum > peak ? sum : peak;
        assert_int_equal(session_memory(session).pool_peak, peak);
        for (int i = 0; i < n; i++)
            if (events[i].finish != FINISH_NOT) {
                done++;
                *(uint64_t *)events[i].user = events[i].stats.kv_bytes_peak;
                assert_int_equal(events[i].stats.kept_peak <= events[i].stats.capacity, 1);
            }
    }
    assert_int_equal(session_memory(session).pool_bytes, 0);
    session_close(session);
    for (int i = 0; i < 5; i++)
        if (plans[i].evict) /* flat, however long the answer */
            assert_int_equal(end[i][0], end[i][1]);
        else
            assert_true(end[i][1] > 2 * end[i][0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_open_refuses_shapes),
        cmocka_unit_test(test_cuda_open_refuses_blocks_that_do_not_fit),
        cmocka_unit_test(test_cuda_open_refuses_what_it_cannot_do),
        cmocka_unit_test(test_cuda_open_narrows_to_what_memory_holds),
        cmocka_unit_test(test_cuda_open_makes_sequences_wait_for_memory),
        cmocka_unit_test(test_cuda_open_accounts_for_the_pool),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
