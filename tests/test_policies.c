/* What every registered policy must hold, found through the table: a new policy file is tested by
 * being there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "tests/spellings.h"
#include "tests/tiny.h"

enum { MAX_TOTAL = 400, MOST = 64 };

struct tape { /* logits of a run, as they come */
    float *logits;
    int vocab, n;
};
static void record(void *user, int position, const float *logits) {
    struct tape *tape = user;
    memcpy(tape->logits + (size_t)position * (size_t)tape->vocab, logits,
           (size_t)tape->vocab * sizeof *logits);
    tape->n = position + 1;
}

static struct request forced_request(const struct plan *plan, const int32_t *ids, int n_prompt,
                                     int n, struct tape *tape) {
    return (struct request){.ids = ids,
                            .n_ids = n_prompt,
                            .plan = plan,
                            .forced = ids + n_prompt,
                            .n_forced = n - n_prompt,
                            .key = 7,
                            .user = tape,
                            .on_logits = tape ? record : NULL};
}

static void must_add(struct session *session, const struct request *request) {
    struct err e = {0};
    bool ok = session_add(session, request, &e);
    if (!ok)
        fprintf(stderr, "session_add: %s\n", e.text);
    assert_true(ok);
}

/* Runs to the end; `look` is called after each step while the sequence is in flight. */
static struct sequence_stats run(struct session *session, const struct request *request,
                                 void (*look)(struct session *, const struct request *, int step)) {
    struct event events[MOST];
    must_add(session, request);
    for (int step = 0;; step++) {
        int n = session_step(session, events, NULL);
        assert_int_equal(n, 1);
        if (events[0].finish != FINISH_NOT)
            return events[0].stats;
        if (look)
            look(session, request, step);
    }
}

static const struct tiny *shape_under_test;

static void look_at_tables(struct session *session, const struct request *r, int step) {
    const struct plan *plan = r->plan;
    int32_t at[MAX_TOTAL], now = r->n_ids + step - 1;
    int32_t capacity = plan_capacity(plan, r->n_ids, MAX_TOTAL);
    for (int layer = 0; layer < shape_under_test->n_layers; layer++)
        for (int kv = 0; kv < shape_under_test->n_kv_heads; kv++) {
            int n = session_positions(session, 0, layer, kv, at, MAX_TOTAL);
            assert_true(n <= capacity);
            bool there[MAX_TOTAL] = {false};
            for (int i = 0; i < n; i++) {
                assert_in_range(at[i], 0, now);
                assert_false(there[at[i]]); /* unique */
                there[at[i]] = true;
                if (plan->evict != UNIT_TOKEN && i)
                    assert_true(
                        at[i] >
                        at[i - 1]); /* ascending: slots of token evictors are reused in place */
            }
            assert_true(there[now]);
            for (int32_t p = 0; p < plan->sinks && p <= now; p++)
                assert_true(there[p]);
            for (int32_t p = 0; plan->pin_prompt && plan->evict && p < r->n_ids; p++)
                assert_true(there[p]);
            if (plan->evict == UNIT_NONE)
                assert_int_equal(n, now + 1);
        }
}

static void test_policies_keep_their_capacity_and_pins(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    shape_under_test = &shape;
    struct model *model = tiny_open(shape);
    int32_t ids[MAX_TOTAL];
    tiny_ids(&shape, 3, ids, 300);
    static const int prompts[] = {
        7, 33, 96}; /* shorter and longer than the budget, no multiple of a page */
    for (int i = 0; i < n_spellings; i++)
        for (int j = 0; j < 3; j++) {
            struct plan plan = tiny_plan(spellings[i]);
            struct session *session = tiny_session(model, i & 1, 1, 1, MAX_TOTAL);
            struct request r = forced_request(&plan, ids, prompts[j], 300, NULL);
            struct sequence_stats stats = run(session, &r, look_at_tables);
            if (plan.evict) /* an evictor that never evicted although N > L is a mask */
                assert_true(stats.evictions > 0);
            else
                assert_int_equal(stats.evictions, 0);
            assert_true(stats.kept_peak <= stats.capacity);
            struct session_memory memory = session_memory(session);
            assert_int_equal(memory.pool_peak, stats.kv_bytes_peak);
            assert_int_equal(memory.pool_bytes, 0);
            session_close(session);
        }
    model_close(model);
}

static void test_policies_equal_full_when_the_budget_suffices(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    enum { N = 150 };
    int32_t ids[N];
    tiny_ids(&shape, 4, ids, N);
    float *full = calloc(N * 61, 4), *other = calloc(N * 61, 4);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct session *session = tiny_session(model, bf16, 1, 1, MAX_TOTAL);
        struct tape tape = {.logits = full, .vocab = shape.vocab};
        struct plan plan = tiny_plan("full");
        struct request r = forced_request(&plan, ids, 37, N, &tape);
        run(session, &r, NULL);
        for (int i = 0; i < n_spellings; i++) {
            char text[128];
            const char *rest = strstr(spellings[i], "budget=48");
            if (!rest ||
                strstr(spellings[i], "pos=rank")) /* rank positions are exempt from bit tests */
                continue;
            snprintf(text, sizeof text, "%.*sbudget=160%s", (int)(rest - spellings[i]),
                     spellings[i], rest + strlen("budget=48"));
            memset(other, 0, N * 61 * 4);
            struct tape copy = {.logits = other, .vocab = shape.vocab};
            struct plan limited = tiny_plan(text);
            r = forced_request(&limited, ids, 37, N, &copy);
            run(session, &r, NULL);
            if (memcmp(full, other, N * 61 * 4))
                fprintf(stderr, "%s differs from full\n", text);
            assert_memory_equal(full, other, N * 61 * 4);
        }
        session_close(session);
    }
    free(full);
    free(other);
    model_close(model);
}

/* Ids of every spelling when decoding freely in a batch of `width` with `threads`. */
static void decode_all(const struct model *model, const struct tiny *shape, bool bf16, int threads,
                       int width, int32_t (*out)[64]) {
    struct session *session = tiny_session(model, bf16, threads, width, MAX_TOTAL);
    static struct plan plans[256];
    static int lengths[256];
    memset(lengths, 0, sizeof lengths);
    for (int next = 0, done = 0; done < n_spellings;) {
        for (; next < n_spellings; next++) {
            int32_t ids[128];
            int n = 5 + 13 * (next % 8);
            tiny_ids(shape, (uint64_t)next, ids, n);
            plans[next] = tiny_plan(spellings[next]);
            struct request r = {.ids = ids,
                                .n_ids = n,
                                .plan = &plans[next],
                                .max_new = 40 + next % 20,
                                .ignore_eos = true,
                                .key = (uint64_t)next,
                                .sampling = {.temperature = next % 3 ? 0.8f : 0, .top_p = 0.9f},
                                .user = &lengths[next]};
            struct err e = {0};
            if (!session_add(session, &r, &e)) {
                assert_int_equal(e.code, 0);
                break;
            }
        }
        struct event events[MOST];
        for (int i = session_step(session, events, NULL); i-- > 0;) {
            int *length = events[i].user, which = (int)(length - lengths);
            out[which][(*length)++] = events[i].id;
            done += events[i].finish != FINISH_NOT;
        }
    }
    session_close(session);
}

static void test_policies_do_not_depend_on_neighbours_or_threads(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    static int32_t alone[256][64], batch[256][64];
    for (int bf16 = 0; bf16 < 2; bf16++) {
        memset(alone, 0, sizeof alone);
        decode_all(model, &shape, bf16, 1, 1, alone);
        static const int widths[] = {2, 7, 32}, threads[] = {2, 1, 2};
        for (int i = 0; i < 3; i++) {
            memset(batch, 0, sizeof batch);
            decode_all(model, &shape, bf16, threads[i], widths[i], batch);
            assert_memory_equal(alone, batch, sizeof alone);
        }
    }
    model_close(model);
}

static void test_policies_report_bad_spellings(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"rass:budget=64", "unknown policy 'rass'"},
        {"raas:budget=100", "multiple of 16"},
        {"quest:budget=40", "multiple of 16"},
        {"raas:budget=0", "budget"},
        {"raas:bugdet=64", "bugdet"},
        {"raas:budget=64,budget=64", "budget"},
        {"raas:budget=64,r=2", "r"},
        {"raas:budget=64,alpha=-0.5", "alpha"},
        {"streaming:budget=4", "budget"},
        {"full:budget=64", "budget"},
        {"", "unknown policy"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct plan plan;
        struct err e = {0};
        assert_false(policy_parse(bad[i].text, &plan, &e));
        assert_int_equal(e.code, EXIT_USAGE);
        if (!strstr(e.text, bad[i].says))
            fprintf(stderr, "%s: %s\n", bad[i].text, e.text);
        assert_non_null(strstr(e.text, bad[i].says));
    }
}

static void test_policies_budget_match_gives_the_pinned_capacity(void **state) {
    (void)state;
    struct plan raas = tiny_plan("raas:budget=64"), h2o = tiny_plan("h2o:budget=64,match=1"),
                floor = tiny_plan("streaming:budget=match"),
                quest = tiny_plan("quest:budget=64,match=1");
    for (int n = 1; n < 200; n += 7) {
        int32_t capacity = plan_capacity(&raas, n, 1000), least = (pages_of(n) + 2) * PAGE;
        assert_int_equal(capacity, least > 64 ? least : 64);
        assert_int_equal(plan_capacity(&h2o, n, 1000), capacity);
        assert_int_equal(plan_capacity(&floor, n, 1000), least);
        assert_int_equal(plan_effective_budget(&quest, n), capacity);
        assert_int_equal(plan_capacity(&quest, n, 1000), 1000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies_keep_their_capacity_and_pins),
        cmocka_unit_test(test_policies_equal_full_when_the_budget_suffices),
        cmocka_unit_test(test_policies_do_not_depend_on_neighbours_or_threads),
        cmocka_unit_test(test_policies_report_bad_spellings),
        cmocka_unit_test(test_policies_budget_match_gives_the_pinned_capacity),
    };
    return cmocka_run_group_tests(tests, list_spellings, NULL);
}
