/* Sessions on the CUDA backend: who joins, leaves, waits, ends and is refused, and that nobody
 * notices the others. Logits are test_cuda_logits's, draws test_cuda_draws's,
 * policies test_cuda_policies's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/gpu.h"
#include "tests/policy_checks.h"

enum { MOST = 40, TOTAL = 256, POISON = 9 };

static struct tiny shape;
static struct model *model, *poisoned; /* of the same weights, but for one embedding */
static struct plan full;

static int open_models(void **state) {
    (void)state;
    shape = TINY_DEFAULT;
    model = tiny_open(shape);
    shape.poisoned = POISON;
    poisoned = tiny_open(shape);
    shape.poisoned = 0;
    full = tiny_plan("full");
    return 0;
}
static int close_models(void **state) {
    (void)state;
    model_close(model);
    model_close(poisoned);
    return 0;
}

/* Requests of all kinds, in static memory: n of them, without the poisoned id. */
static struct request *mixed_requests(int n) {
    static const char *const texts[] = {"full",
                                        "raas:budget=48",
                                        "h2o:budget=48",
                                        "quest:budget=48",
                                        "streaming:budget=48,pos=rank",
                                        "oracle:budget=48",
                                        "random:budget=48"};
    enum { TEXTS = sizeof texts / sizeof *texts };
    static struct plan plans[TEXTS];
    static int32_t prompts[MOST][100];
    static struct request requests[MOST];
    for (int i = 0; i < TEXTS; i++)
        plans[i] = tiny_plan(texts[i]);
    for (int i = 0; i < n; i++) {
        int length = 1 + 29 * i % 97;
        tiny_ids(&shape, (uint64_t)i + 100, prompts[i], length);
        for (int j = 0; j < length; j++)
            prompts[i][j] += prompts[i][j] == POISON;
        requests[i] = (struct request){
            .ids = prompts[i],
            .n_ids = length,
            .plan = &plans[i % TEXTS],
            .max_new = 5 + 23 * i % 90,
            .min_new = i % 4 * 5,
            .ignore_eos = i % 5 > 0,
            .key = (uint64_t)i,
            .sampling = {.temperature = (float)(i % 3) * 0.6f, .top_p = i % 2 ? 1 : 0.85f}};
    }
    return requests;
}

/* One after the other, one pass at a time. */
static void answer_alone(const struct model *m, const struct request *requests, int n,
                         struct answer *out) {
    struct session_params how = tiny_cuda(1, TOTAL);
    how.lockstep = true;
    struct session *session = tiny_open_session(m, how);
    tiny_answer(session, requests, n, 0, out);
    session_close(session);
}

/* --- joining, leaving, ending ----------------------------------------------------------------- */

static void test_cuda_session_answers_do_not_depend_on_who_joins_when(void **state) {
    (void)state;
    gpu_or_skip();
    static struct answer alone[MOST], batch[MOST];
    static const struct {
        int width, stagger;
        bool lockstep;
    } cases[] = {{1, 0, false}, {5, 3, false}, {5, 3, true},
                 {9, 7, false}, {40, 1, true}, {64, 0, false}};
    struct request *requests = mixed_requests(MOST);
    answer_alone(model, requests, MOST, alone);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char where[80];
        struct session_params how = tiny_cuda(cases[i].width, TOTAL);
        how.lockstep = cases[i].lockstep;
        snprintf(where, sizeof where, "width %d, stagger %d, lockstep %d", how.width,
                 cases[i].stagger, how.lockstep);
        struct session *session = tiny_open_session(model, how);
        tiny_answer(session, requests, MOST, cases[i].stagger, batch);
        policy_checks_same(alone, batch, MOST, where);
        struct session_counters counters = session_counters(session);
        assert_true(counters.passes > 0 && counters.launches > 0);
        assert_int_equal(counters.host_syncs > 0, how.lockstep);
        session_close(session);
    }
}

/* Those who ask for logits get their own, and the others notice nothing. */
static void test_cuda_session_tells_logits_beside_those_who_do_not_ask(void **state) {
    (void)state;
    gpu_or_skip();
    enum { N = 12, ASKS = 5 };
    static struct answer alone[N], batch[N];
    struct request *requests = mixed_requests(N), *r = &requests[ASKS];
    struct tape a = tape_new(model, TOTAL), b = tape_new(model, TOTAL);
    r->on_logits = tape_record, r->user = &a;
    answer_alone(model, requests, N, alone);
    r->user = &b;
    struct session *session = tiny_open_session(model, tiny_cuda(4, TOTAL));
    tiny_answer(session, requests, N, 4, batch);
    session_close(session);
    policy_checks_same(alone, batch, N, "a batch with logits");
    assert_int_equal(a.n, r->n_ids + alone[ASKS].n - 1);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.logits, b.logits, (size_t)(a.n * a.vocab) * sizeof(float));
    free(a.logits);
    free(b.logits);
}

static void test_cuda_session_ends_at_the_cap_and_at_the_end_token(void **state) {
    (void)state;
    gpu_or_skip();
    static struct answer free_run[1], got[4];
    struct request r = {
        .ids = (const int32_t[]){3, 1, 4, 1, 5}, .n_ids = 5, .plan = &full, .max_new = 30};
    struct config *c = &model->config, old = *c;
    c->n_eos = 0;
    answer_alone(model, &r, 1, free_run);
    assert_int_equal(free_run->n, 30);
    assert_int_equal(free_run->finish, FINISH_CAP);
    assert_int_equal(free_run->stats.kept_peak, 5 + 30 - 1); /* the last id is never fed */
    int first = 0;
    while (free_run->ids[first] != free_run->ids[5])
        first++;
    c->eos[0] = free_run->ids[5], c->n_eos = 1;
    struct request requests[4] = {r, r, r, r};
    requests[1].min_new = first + 2;
    requests[2].ignore_eos = true;
    requests[3].max_new = 1;
    answer_alone(model, requests, 4, got);
    assert_int_equal(got[0].n, first + 1);
    assert_int_equal(got[0].finish, FINISH_ANSWER);
    assert_memory_equal(got[0].ids, free_run->ids, (size_t)(first + 1) * sizeof(int32_t));
    assert_true(got[1].n >= first + 2);
    for (int i = 0; i <= first; i++)
        assert_int_not_equal(got[1].ids[i], c->eos[0]);
    assert_int_equal(got[2].n, 30);
    for (int i = 0; i < 30; i++)
        assert_int_not_equal(got[2].ids[i], c->eos[0]);
    assert_int_equal(got[3].n, 1);
    assert_int_equal(got[3].finish, FINISH_CAP);
    *c = old;
}

/* --- dropping --------------------------------------------------------------------------------- */

struct party { /* requests in one session, driven by hand */
    struct session *session;
    struct request *requests;
    struct answer answers[MOST];
    int row[MOST];
};

static void join(struct party *p, int i) {
    struct request r = p->requests[i];
    r.user = &p->answers[i];
    tiny_add(p->session, &r);
}

static bool step(struct party *p) {
    struct event events[8];
    int n = session_step(p->session, events, NULL);
    assert_in_range(n, 0, 8);
    for (int i = 0; i < n; i++) {
        struct answer *a = events[i].user;
        p->row[a - p->answers] = events[i].row;
        assert_int_equal(a->finish, FINISH_NOT);
        a->ids[a->n++] = events[i].id;
        a->finish = events[i].finish;
        a->stats = events[i].stats;
    }
    return n > 0;
}

static void test_cuda_session_drops_a_sequence(void **state) {
    (void)state;
    gpu_or_skip();
    enum { N = 8 };
    static struct answer alone[N];
    static struct party p;
    struct request *requests = mixed_requests(N);
    for (int i = 0; i < N; i++)
        requests[i].max_new = 60 + i, requests[i].ignore_eos = true;
    answer_alone(model, requests, N, alone);
    for (int lockstep = 0; lockstep < 2; lockstep++) {
        struct session_params how = tiny_cuda(4, TOTAL);
        struct sequence_stats stats;
        how.lockstep = lockstep;
        p = (struct party){.session = tiny_open_session(model, how), .requests = requests};
        for (int i = 0; i < 4; i++)
            join(&p, i);
        while (p.answers[1].n < 9)
            assert_true(step(&p));
        session_drop(p.session, p.row[1], &stats);
        assert_int_equal(stats.n_new, p.answers[1].n);
        join(&p, 4); /* the only free row; gone before it was fed */
        session_drop(p.session, p.row[1], &stats);
        assert_int_equal(stats.n_new, 0);
        join(&p, 5);
        while (step(&p))
            if (p.answers[3].n == 30 && p.row[3] >= 0) {
                session_drop(p.session, p.row[3], NULL);
                p.row[3] = -1;
                join(&p, 6);
            }
        assert_int_equal(session_active(p.session), 0);
        assert_int_equal(session_memory(p.session).pool_bytes, 0);
        static const int whole[] = {0, 2, 5, 6}, cut[] = {1, 3};
        for (int i = 0; i < 4; i++)
            policy_checks_same(&alone[whole[i]], &p.answers[whole[i]], 1, "beside dropped ones");
        for (int i = 0; i < 2; i++)
            assert_memory_equal(alone[cut[i]].ids, p.answers[cut[i]].ids,
                                (size_t)p.answers[cut[i]].n * sizeof(int32_t));
        assert_int_equal(p.answers[4].n, 0);
        session_close(p.session);
    }
}

/* --- numbers that are none -------------------------------------------------------------------- */

static void test_cuda_session_stops_a_sequence_with_numeric_logits(void **state) {
    (void)state;
    gpu_or_skip();
    struct tiny broken = shape;
    broken.broken = true;
    struct model *bad = tiny_open(broken);
    static struct answer got[5];
    struct session *session = tiny_open_session(bad, tiny_cuda(2, TOTAL));
    tiny_answer(session, mixed_requests(5), 5, 0, got);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(got[i].finish, FINISH_NUMERIC);
        assert_int_equal(got[i].ids[0], -1);
        assert_int_equal(got[i].stats.n_new, 0);
    }
    session_close(session);
    model_close(bad);
}

/* Every third request feeds an id whose embedding is NaN: in its prompt, or forced later. The
 * others share passes with it, and then take the pages that it leaves. */
static void test_cuda_session_neighbours_of_numeric_logits_go_on(void **state) {
    (void)state;
    gpu_or_skip();
    enum { N = 36 };
    static struct answer alone[N], batch[N];
    static int32_t bad[64];
    struct request *requests = mixed_requests(N);
    tiny_ids(&shape, 77, bad, 64);
    bad[30] = POISON;
    for (int i = 0; i < N; i++)
        requests[i].ignore_eos = true; /* so that nobody samples the poisoned id, an end token */
    for (int i = 1; i < N; i += 3) {
        requests[i].ids = bad, requests[i].n_ids = i % 2 ? 40 : 20;
        if (i % 2 == 0)
            requests[i].forced = bad + 20, requests[i].n_forced = 44;
    }
    struct config old = model->config;
    model->config.eos[model->config.n_eos++] = POISON;
    answer_alone(model, requests, N, alone);
    model->config = old;
    struct session *session = tiny_open_session(poisoned, tiny_cuda(6, TOTAL));
    tiny_answer(session, requests, N, 2, batch);
    session_close(session);
    for (int i = 0; i < N; i++) {
        bool in_prompt = i % 3 == 1 && i % 2;
        if (i % 3 != 1) {
            policy_checks_same(&alone[i], &batch[i], 1, "beside NaN");
            continue;
        }
        assert_int_equal(batch[i].finish, in_prompt ? FINISH_NUMERIC : FINISH_CAP);
        assert_int_equal(batch[i].n, in_prompt ? 1 : 45);
        assert_int_equal(batch[i].ids[batch[i].n - 1], -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_session_answers_do_not_depend_on_who_joins_when),
        cmocka_unit_test(test_cuda_session_tells_logits_beside_those_who_do_not_ask),
        cmocka_unit_test(test_cuda_session_ends_at_the_cap_and_at_the_end_token),
        cmocka_unit_test(test_cuda_session_drops_a_sequence),
        cmocka_unit_test(test_cuda_session_stops_a_sequence_with_numeric_logits),
        cmocka_unit_test(test_cuda_session_neighbours_of_numeric_logits_go_on),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
