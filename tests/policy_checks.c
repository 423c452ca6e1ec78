#include "tests/policy_checks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/spellings.h"

/* --- tables ----------------------------------------------------------------------------------- */

/* The table of one head, `now` being the newest position. */
static void check_table(const struct request *r, const int32_t *at, int n, int32_t now) {
    const struct plan *plan = r->plan;
    bool there[CHECK_TOTAL] = {false};
    assert_true(n <= plan_capacity(plan, r->n_ids, CHECK_TOTAL));
    for (int i = 0; i < n; i++) {
        assert_in_range(at[i], 0, now);
        assert_false(there[at[i]]); /* unique */
        there[at[i]] = true;
        if (plan->evict != UNIT_TOKEN && i)
            assert_true(at[i] >
                        at[i - 1]); /* ascending: slots of token evictors are reused in place */
    }
    /* what is cut after prefill may be the newest, where nothing exempts it */
    if (now >= r->n_ids || plan->recent || plan->recent_share > 0 || plan->evict != UNIT_TOKEN)
        assert_true(there[now]);
    for (int32_t p = 0; p < plan->sinks && p <= now; p++)
        assert_true(there[p]);
    for (int32_t p = 0; plan->pin_prompt && plan->evict && p < r->n_ids; p++)
        assert_true(there[p]);
    if (plan->evict == UNIT_NONE)
        assert_int_equal(n, now + 1);
}

static void look_at_tables(struct session *session, const struct tiny *shape,
                           const struct request *r, int32_t now) {
    int32_t at[CHECK_TOTAL];
    for (int layer = 0; layer < shape->n_layers; layer++)
        for (int kv = 0; kv < shape->n_kv_heads; kv++)
            check_table(r, at, session_positions(session, 0, layer, kv, at, CHECK_TOTAL), now);
}

/* Runs to the end; every: 0 looks at no table. */
static struct sequence_stats run(struct session *session, const struct tiny *shape,
                                 const struct request *request, int every) {
    struct event event;
    struct err e = {0};
    tiny_add(session, request);
    for (int step = 0;; step++) {
        if (session_step(session, &event, &e) != 1)
            fail_msg("session_step: %s", e.code ? e.text : "no event");
        if (event.finish != FINISH_NOT)
            return event.stats;
        if (every && step % every == 0)
            look_at_tables(session, shape, request, request->n_ids + step - 1);
    }
}

/* peak: the highest of the session so far. */
static void check_stats(const struct session *session, const struct plan *plan,
                        const struct sequence_stats *stats, uint64_t *peak) {
    if (plan->evict) /* an evictor that never evicted although N > L is a mask */
        assert_true(stats->evictions > 0);
    else
        assert_int_equal(stats->evictions, 0);
    assert_true(stats->kept_peak <= stats->capacity);
    *peak = stats->kv_bytes_peak > *peak ? stats->kv_bytes_peak : *peak;
    struct session_memory memory = session_memory(session);
    assert_int_equal(memory.pool_peak, *peak);
    assert_int_equal(memory.pool_bytes, 0);
}

void policy_checks_tables(const struct model *model, const struct tiny *shape,
                          struct session_params how, const char *spelling, int every) {
    static const int prompts[] = {7, 33, 96}; /* and no multiple of a page */
    enum { N = 300 };
    struct plan plan = tiny_plan(spelling);
    int32_t ids[N];
    uint64_t peak = 0;
    tiny_ids(shape, 3, ids, N);
    how.width = 1, how.max_total = CHECK_TOTAL, how.lockstep = true;
    struct session *session = tiny_open_session(model, how);
    for (int i = 0; i < 3; i++) {
        struct request r = tiny_forced(&plan, ids, prompts[i], N, NULL);
        struct sequence_stats stats = run(session, shape, &r, every);
        check_stats(session, &plan, &stats, &peak);
    }
    session_close(session);
}

/* --- a budget that suffices ------------------------------------------------------------------- */

void policy_checks_full(const struct model *model, const struct tiny *shape,
                        struct session_params how) {
    enum { N = 150, PROMPT = 37 };
    int32_t ids[N];
    struct tape full = tape_new(model, N), other = tape_new(model, N);
    size_t bytes = N * (size_t)full.vocab * sizeof *full.logits;
    struct plan plan = tiny_plan("full");
    struct request r = tiny_forced(&plan, ids, PROMPT, N, &full);
    tiny_ids(shape, 4, ids, N);
    how.max_total = CHECK_TOTAL;
    struct session *session = tiny_open_session(model, how);
    run(session, shape, &r, 0);
    for (int i = 0; i < n_spellings; i++) {
        char text[128];
        const char *rest = strstr(spellings[i], "budget=48");
        if (!rest || strstr(spellings[i], "pos=rank"))
            continue;
        snprintf(text, sizeof text, "%.*sbudget=160%s", (int)(rest - spellings[i]), spellings[i],
                 rest + strlen("budget=48"));
        memset(other.logits, 0, bytes);
        struct plan limited = tiny_plan(text);
        r = tiny_forced(&limited, ids, PROMPT, N, &other);
        run(session, shape, &r, 0);
        if (memcmp(full.logits, other.logits, bytes))
            fprintf(stderr, "%s differs from full\n", text);
        assert_memory_equal(full.logits, other.logits, bytes);
    }
    session_close(session);
    free(full.logits);
    free(other.logits);
}

/* --- neighbours ------------------------------------------------------------------------------- */

void policy_checks_decode(const struct model *model, const struct tiny *shape,
                          struct session_params how, int stagger, struct answer *out) {
    static struct plan plans[256];
    static struct request requests[256];
    static int32_t prompts[256][128];
    for (int i = 0; i < n_spellings; i++) {
        int n = 5 + 13 * (i % 8);
        tiny_ids(shape, (uint64_t)i, prompts[i], n);
        plans[i] = tiny_plan(spellings[i]);
        requests[i] =
            (struct request){.ids = prompts[i],
                             .n_ids = n,
                             .plan = &plans[i],
                             .max_new = 40 + i % 20,
                             .ignore_eos = true,
                             .key = (uint64_t)i,
                             .sampling = {.temperature = i % 3 ? 0.8f : 0, .top_p = 0.9f}};
    }
    how.max_total = CHECK_TOTAL;
    struct session *session = tiny_open_session(model, how);
    tiny_answer(session, requests, n_spellings, stagger, out);
    assert_int_equal(session_memory(session).pool_bytes, 0);
    session_close(session);
}

static bool same(const struct answer *a, const struct answer *b) {
    const struct sequence_stats *x = &a->stats, *y = &b->stats;
    return a->n == b->n && a->finish == b->finish && !memcmp(a->ids, b->ids, sizeof a->ids) &&
           x->n_prompt == y->n_prompt && x->n_new == y->n_new && x->capacity == y->capacity &&
           x->kept == y->kept && x->kept_peak == y->kept_peak && x->kv_bytes == y->kv_bytes &&
           x->kv_bytes_peak == y->kv_bytes_peak && x->evictions == y->evictions;
}

static void tell_difference(const struct answer *a, const struct answer *b, const char *where,
                            int number) {
    const struct sequence_stats *x = &a->stats, *y = &b->stats;
    int i = 0;
    while (i < a->n && i < b->n && a->ids[i] == b->ids[i])
        i++;
    fail_msg(
        "%s: number %d differs: %d and %d ids, the first %d are equal; finish %d, %d; kept %d, "
        "%d (peak %d, %d); KV %llu, %llu; evictions %llu, %llu",
        where, number, a->n, b->n, i, (int)a->finish, (int)b->finish, x->kept, y->kept,
        x->kept_peak, y->kept_peak, (unsigned long long)x->kv_bytes_peak,
        (unsigned long long)y->kv_bytes_peak, (unsigned long long)x->evictions,
        (unsigned long long)y->evictions);
}

void policy_checks_same(const struct answer *a, const struct answer *b, int n, const char *where) {
    for (int i = 0; i < n; i++)
        if (!same(&a[i], &b[i]))
            tell_difference(&a[i], &b[i], where, i);
}
