/* What watchers of attention are told, under every policy: probabilities that sum to 1 over what is
 * resident and selected, the same for any threads, and nothing that a policy doesn't hold. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/session.h"
#include "tests/tiny.h"

enum { PROMPT = 40, TOTAL = 200, HEADS = 2 * 2, GROUP = 2, BUDGET = 64 };

/* What one layer and KV head has told; each is told by one thread at a time. */
struct seen {
    int32_t queries, next, prompts, n_peak;
    float prob[GROUP][TOTAL]; /* of the last query, by position */
    double mass;              /* of all queries, weighted by position: a checksum */
    bool resident[TOTAL];
};
static struct seen seen[HEADS];

static void check_row(void *user, const struct attention_row *r) {
    (void)user;
    assert_in_range(r->layer * 2 + r->kv_head, 0, HEADS - 1);
    struct seen *s = &seen[r->layer * 2 + r->kv_head];
    assert_int_equal(r->group, GROUP);
    assert_int_equal(r->query, s->queries ? s->next : r->prompt ? 0 : PROMPT);
    assert_int_equal(r->prompt, r->query < PROMPT);
    assert_in_range(r->n, 1, r->n_resident);
    memset(s->prob, 0, sizeof s->prob);
    memset(s->resident, 0, sizeof s->resident);
    for (int i = 0; i < r->n_resident; i++) {
        assert_in_range(r->resident[i], 0, r->query);
        assert_false(s->resident[r->resident[i]]);
        s->resident[r->resident[i]] = true;
    }
    for (int g = 0; g < GROUP; g++) {
        double sum = 0;
        for (int i = 0; i < r->n; i++) {
            float p = r->prob[g * r->n + i];
            assert_true(p >= 0 && p <= 1);
            assert_true(s->resident[r->position[i]]);
            s->prob[g][r->position[i]] = p;
            sum += (double)p, s->mass += (double)p * (r->position[i] + 1) * (g + 1);
        }
        assert_true(fabs(sum - 1) < 1e-5);
    }
    assert_true(s->resident[r->query]);
    s->queries++, s->prompts += r->prompt, s->next = r->query + 1;
    s->n_peak = r->n > s->n_peak ? r->n : s->n_peak;
}

static void watch(const struct model *model, const char *policy, int threads, bool prompt) {
    struct tiny shape = TINY_DEFAULT;
    struct plan plan = tiny_plan(policy);
    struct session *session = tiny_session(model, false, threads, 1, TOTAL);
    int32_t ids[TOTAL];
    struct answer answer;
    tiny_ids(&shape, 3, ids, TOTAL);
    struct request request = tiny_forced(&plan, ids, PROMPT, TOTAL, NULL);
    request.on_attention = check_row, request.watch_prompt = prompt;
    memset(seen, 0, sizeof seen);
    tiny_answer(session, &request, 1, 0, &answer);
    session_close(session);
}

static struct model *model;
static int open_model(void **state) {
    (void)state;
    model = tiny_open((struct tiny)TINY_DEFAULT);
    return 0;
}
static int close_model(void **state) {
    (void)state;
    model_close(model);
    return 0;
}

static const char *const policies[] = {
    "full",
    "streaming:budget=64",
    "h2o:budget=64",
    "quest:budget=64",
    "raas:budget=64",
    "oracle:budget=64",
    "random:budget=64,unit=token",
    "streaming:budget=64,pos=rank",
};
enum { N_POLICIES = sizeof policies / sizeof *policies };

static void test_attention_tells_every_query(void **state) {
    (void)state;
    for (int p = 0; p < N_POLICIES; p++)
        for (int prompt = 0; prompt < 2; prompt++) {
            watch(model, policies[p], 2, prompt);
            for (int h = 0; h < HEADS; h++) {
                assert_int_equal(seen[h].queries, TOTAL - PROMPT + (prompt ? PROMPT : 0));
                assert_int_equal(seen[h].prompts, prompt ? PROMPT : 0);
            }
        }
}

/* Of full attention everything is seen; of the others the budget, which a pinned prompt of three
 * pages raises to five. */
static void test_attention_tells_what_is_held(void **state) {
    (void)state;
    for (int p = 0; p < N_POLICIES; p++) {
        bool full = !strcmp(policies[p], "full");
        bool pins = !strncmp(policies[p], "raas", 4) || !strncmp(policies[p], "random", 6);
        watch(model, policies[p], 2, false);
        for (int h = 0; h < HEADS; h++)
            assert_int_equal(seen[h].n_peak, full ? TOTAL : pins ? 5 * PAGE : BUDGET);
    }
}

static void test_attention_is_the_same_for_any_threads(void **state) {
    (void)state;
    for (int p = 0; p < N_POLICIES; p++) {
        struct seen one[HEADS];
        watch(model, policies[p], 1, true);
        memcpy(one, seen, sizeof one);
        watch(model, policies[p], 4, true);
        assert_memory_equal(one, seen, sizeof one);
    }
}

/* Selection leaves tokens resident that get nothing. */
static void test_attention_tells_what_is_resident_beside_a_selection(void **state) {
    (void)state;
    watch(model, "quest:budget=64", 2, false);
    for (int h = 0; h < HEADS; h++) {
        int resident = 0, given = 0;
        for (int i = 0; i < TOTAL; i++) {
            resident += seen[h].resident[i];
            given += seen[h].prob[0][i] > 0 || seen[h].prob[1][i] > 0;
        }
        assert_int_equal(resident, TOTAL);
        assert_in_range(given, 1, BUDGET);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_tells_every_query),
        cmocka_unit_test(test_attention_tells_what_is_held),
        cmocka_unit_test(test_attention_is_the_same_for_any_threads),
        cmocka_unit_test(test_attention_tells_what_is_resident_beside_a_selection),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
