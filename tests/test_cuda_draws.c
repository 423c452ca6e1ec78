/* Draws of a CUDA session: those that the host would make from the same logits, near those of the
 * CPU backend, and as frequent as the softmax says. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/advance.h"
#include "tests/gpu.h"
#include "tests/policy_checks.h"

enum { DRAWERS = 48, TOTAL = 200 };

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

/* Every heat with every nucleus, in static memory. */
static struct request *all_requests(void) {
    static const float heat[] = {0, 0.3f, 0.8f, 2}, nucleus[] = {1, 0.9f, 0.5f, 0.05f};
    static int32_t prompts[DRAWERS][80];
    static struct request requests[DRAWERS];
    for (int i = 0; i < DRAWERS; i++) {
        int n = 3 + 31 * i % 70;
        tiny_ids(&shape, (uint64_t)i + 40, prompts[i], n);
        requests[i] = (struct request){.ids = prompts[i],
                                       .n_ids = n,
                                       .plan = &full,
                                       .max_new = 20 + i,
                                       .min_new = i % 3 * 7,
                                       .ignore_eos = i % 5 == 0,
                                       .key = (uint64_t)i,
                                       .sampling = {heat[i % 4], nucleus[i / 4 % 4]}};
    }
    return requests;
}

/* Plays an answer again on the host, from the logits that the device sampled from; how many ids
 * come out otherwise. */
static int replay(const struct request *r, const struct tape *tape, const struct answer *a) {
    struct sequence q = {.sampling = r->sampling,
                         .max_new = r->max_new,
                         .min_new = r->min_new,
                         .ignore_eos = r->ignore_eos,
                         .key = r->key};
    struct sampler sampler;
    int others = 0;
    sampler_init(&sampler, tape->vocab);
    for (int i = 0; i < a->n; i++) {
        int32_t position = r->n_ids - 1 + i;
        struct standing at = {.sequence = &q, .position = position, .n_new = i};
        float *logits = tape->logits + (size_t)position * (size_t)tape->vocab;
        enum finish finish = advance(&at, &model->config, &sampler, logits);
        if (at.next != a->ids[i])
            others++;
        else
            assert_int_equal(finish, i + 1 < a->n ? FINISH_NOT : a->finish);
    }
    sampler_free(&sampler);
    return others;
}

/* exp() rounds differently on the host: a draw that falls right between two ids may fall on the
 * other side. Logits of the CPU's own are a little apart: most of its draws are the same. */
static void test_cuda_draws_are_the_hosts(void **state) {
    (void)state;
    gpu_or_skip();
    static struct answer told[DRAWERS], untold[DRAWERS], cpu[DRAWERS];
    struct request *requests = all_requests();
    struct tape tapes[DRAWERS];
    int ids = 0, others = 0, same_first = 0;
    for (int i = 0; i < DRAWERS; i++) {
        tapes[i] = tape_new(model, TOTAL);
        requests[i].user = &tapes[i], requests[i].on_logits = tape_record;
    }
    struct session *session = tiny_open_session(model, tiny_cuda(7, TOTAL));
    tiny_answer(session, requests, DRAWERS, 1, told);
    for (int i = 0; i < DRAWERS; i++)
        requests[i].on_logits = NULL;
    tiny_answer(session, requests, DRAWERS, 0, untold);
    policy_checks_same(told, untold, DRAWERS, "without logits");
    session_close(session);
    session = tiny_session(model, true, 0, 8, TOTAL);
    tiny_answer(session, requests, DRAWERS, 0, cpu);
    session_close(session);
    for (int i = 0; i < DRAWERS; i++) {
        ids += told[i].n, others += replay(&requests[i], &tapes[i], &told[i]);
        same_first += told[i].ids[0] == cpu[i].ids[0];
        free(tapes[i].logits);
    }
    printf("measured: %d of %d ids drawn other than the host would; %d of %d first ids as the CPU "
           "backend's\n",
           others, ids, same_first, DRAWERS);
    assert_true(others * 200 <= ids);
    assert_true(same_first * 4 >= 3 * DRAWERS);
}

static void test_cuda_draws_follow_the_softmax(void **state) {
    (void)state;
    gpu_or_skip();
    enum { DRAWS = 4096 };
    struct request r = *all_requests();
    struct tape tape = tape_new(model, TOTAL);
    struct request *requests = calloc(DRAWS, sizeof *requests);
    struct answer *answers = calloc(DRAWS, sizeof *answers);
    int count[64] = {0};
    double p[64], sum = 0;
    r.max_new = 1, r.min_new = 0, r.ignore_eos = false;
    r.sampling = (struct sampling){1, 1};
    for (int i = 0; i < DRAWS; i++)
        requests[i] = r, requests[i].key = (uint64_t)i;
    requests[0].on_logits = tape_record, requests[0].user = &tape;
    struct session *session = tiny_open_session(model, tiny_cuda(500, TOTAL));
    tiny_answer(session, requests, DRAWS, 0, answers);
    session_close(session);
    for (int i = 0; i < DRAWS; i++)
        count[answers[i].ids[0]]++;
    for (int i = 0; i < shape.vocab; i++)
        sum += p[i] = exp(tape.logits[(r.n_ids - 1) * shape.vocab + i]);
    for (int i = 0; i < shape.vocab; i++) { /* within five standard errors */
        double share = p[i] / sum, error = sqrt(share * (1 - share) / DRAWS);
        assert_true(fabs((double)count[i] / DRAWS - share) <= 5 * error + 1e-3);
    }
    free(requests);
    free(answers);
    free(tape.logits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_draws_are_the_hosts),
        cmocka_unit_test(test_cuda_draws_follow_the_softmax),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
