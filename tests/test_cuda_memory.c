/* Memory of a CUDA session: all of it is taken at open. What the device has free and what the
 * process holds are looked at from outside, while sequences decode, join and leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <cuda_runtime_api.h>

#include "tests/gpu.h"
#include "tests/spellings.h"
#include "tests/tiny.h"

struct held {
    size_t device_free;
    long resident; /* of the process */
    uint64_t kv;
};

static struct held look(const struct session *session) {
    struct held held = {.kv = session_memory(session).pool_bytes};
    long total = 0;
    size_t all;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &total, &held.resident), 2);
    fclose(f);
    held.resident *= sysconf(_SC_PAGESIZE);
    assert_int_equal(cudaMemGetInfo(&held.device_free, &all), cudaSuccess);
    return held;
}

static void expect_nothing_taken(const struct held *before, const struct held *after) {
    assert_int_equal(before->device_free, after->device_free);
    assert_true(after->resident - before->resident < 1 << 20);
}

/* Steps of one sequence to its end; what was held after step `from`, and at the end but for the
 * last steps. */
static void decode(struct session *session, const struct plan *plan, int from, int to,
                   struct held *before, struct held *after) {
    static const int32_t prompt[] = {1, 2, 3, 4};
    struct request r = {
        .ids = prompt, .n_ids = 4, .plan = plan, .max_new = to + 2, .ignore_eos = true};
    struct event event;
    struct err e = {0};
    tiny_add(session, &r);
    for (int step = 0; step <= to; step++) {
        if (session_step(session, &event, &e) != 1)
            fail_msg("step %d: %s", step, e.code ? e.text : "no event");
        assert_int_equal(event.finish, FINISH_NOT);
        if (step == from)
            *before = look(session);
    }
    *after = look(session);
}

static void test_cuda_memory_is_not_taken_while_decoding(void **state) {
    (void)state;
    gpu_or_skip();
    enum { FROM = 1000, TO = 8000 };
    struct tiny shape = TINY_DEFAULT;
    shape.n_layers = 1, shape.n_heads = shape.n_kv_heads = 1, shape.vocab = 16;
    shape.head_size = 128;
    struct model *model = tiny_open(shape);
    static const char *const more[] = {"random:budget=128,unit=token", "fifo:budget=128,unit=token",
                                       "raas:budget=128,score=prob", "full"};
    char texts[32][64];
    int n = 0;
    for (const struct policy *const *p = all_policies; *p && n < 24; p++)
        if ((*p)->has_budget)
            snprintf(texts[n++], sizeof texts[0], "%.32s:budget=128", (*p)->name);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        snprintf(texts[n++], sizeof texts[0], "%s", more[i]);
    for (int i = 0; i < n; i++) {
        struct plan plan = tiny_plan(texts[i]);
        if (!plan.evict && strcmp(texts[i], "full"))
            continue; /* selectors hold what full holds */
        struct session *session = tiny_open_session(model, tiny_cuda(1, 9000));
        struct held before, after;
        decode(session, &plan, FROM, TO, &before, &after);
        printf("measured: %s: from step %d to %d the device has %zd bytes less free, the process "
               "holds %ld KiB more, the cache %lld KiB more\n",
               texts[i], FROM, TO, (ssize_t)(before.device_free - after.device_free),
               (after.resident - before.resident) / 1024, (long long)(after.kv - before.kv) / 1024);
        expect_nothing_taken(&before, &after);
        if (plan.evict)
            assert_int_equal(before.kv, after.kv);
        else
            assert_true(after.kv - before.kv > 3 << 20); /* 7,000 tokens of 512 bytes */
        session_close(session);
    }
    model_close(model);
}

/* Sequences of every spelling come and go: as many as `rounds` times all of them. */
static void come_and_go(struct session *session, const struct tiny *shape, struct plan *plans,
                        int rounds) {
    static struct request requests[256];
    static struct answer answers[256];
    int32_t ids[60];
    tiny_ids(shape, 3, ids, 60);
    for (int i = 0; i < n_spellings; i++)
        requests[i] = (struct request){.ids = ids,
                                       .n_ids = 3 + 7 * (i % 8),
                                       .plan = &plans[i],
                                       .max_new = 20 + i % 50,
                                       .ignore_eos = true};
    for (int round = 0; round < rounds; round++)
        tiny_answer(session, requests, n_spellings, 1, answers);
}

static void test_cuda_memory_is_not_taken_by_those_who_come_and_go(void **state) {
    (void)state;
    gpu_or_skip();
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    static struct plan plans[256];
    for (int i = 0; i < n_spellings; i++)
        plans[i] = tiny_plan(spellings[i]);
    struct session *session = tiny_open_session(model, tiny_cuda(16, 200));
    come_and_go(session, &shape, plans, 3); /* every graph is made now */
    struct held before = look(session);
    come_and_go(session, &shape, plans, 20);
    struct held after = look(session);
    printf("measured: %d sequences later the device has %zd bytes less free, the process holds %ld "
           "KiB more\n",
           20 * n_spellings, (ssize_t)(before.device_free - after.device_free),
           (after.resident - before.resident) / 1024);
    expect_nothing_taken(&before, &after);
    assert_int_equal(after.kv, 0);
    session_close(session);
    model_close(model);
}

/* What a closed session held is free again. */
static void test_cuda_memory_is_given_back(void **state) {
    (void)state;
    gpu_or_skip();
    enum { SESSIONS = 30 };
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    struct plan full = tiny_plan("full");
    struct held first = {0}, last = {0};
    for (int i = 0; i < SESSIONS; i++) {
        struct held before;
        struct session *session = tiny_open_session(model, tiny_cuda(4, 200));
        decode(session, &full, 5, 20, &before, &last); /* closed while it is in flight */
        if (i == 4)
            first = last;
        session_close(session);
    }
    printf("measured: %d sessions later the device has %zd bytes less free, the process holds %ld "
           "KiB more\n",
           SESSIONS - 5, (ssize_t)(first.device_free - last.device_free),
           (last.resident - first.resident) / 1024);
    assert_true(last.device_free + (2 << 20) >= first.device_free);
    assert_true(last.resident - first.resident < 8 << 20);
    model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_memory_is_not_taken_while_decoding),
        cmocka_unit_test(test_cuda_memory_is_not_taken_by_those_who_come_and_go),
        cmocka_unit_test(test_cuda_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, list_spellings, NULL);
}
