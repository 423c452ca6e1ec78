/* What every registered policy must hold on the CUDA backend: what test_policies holds the CPU to,
 * and that neither neighbours nor the place in the batch nor its width change a bit. */
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
#include "tests/spellings.h"

/* Heads of unusual sizes lie padded in the cache; 9 q heads a group take two tiles. */
static struct tiny shapes[3];
static struct model *models[3]; /* [0] is the default */

static int open_models(void **state) {
    for (int i = 0; i < 3; i++)
        shapes[i] = TINY_DEFAULT;
    shapes[1].head_size = 40, shapes[1].n_heads = 6, shapes[1].dim = 72, shapes[1].ffn = 100;
    shapes[2].head_size = 128, shapes[2].n_heads = 9, shapes[2].n_kv_heads = 1;
    for (int i = 0; i < 3; i++)
        models[i] = tiny_open(shapes[i]);
    return list_spellings(state);
}
static int close_models(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        model_close(models[i]);
    return 0;
}

/* Keys by rank are rotated in attention, which the backend does for whole cache heads only. */
static bool is_possible(const struct tiny *shape, const char *spelling) {
    int n = shape->head_size;
    return n == 32 || n == 64 || n == 128 || n == 256 || tiny_plan(spelling).keys != KEYS_RANK;
}

static void test_cuda_policies_keep_their_capacity_and_pins(void **state) {
    (void)state;
    gpu_or_skip();
    static const int every[] = {3, 31, 31}; /* looking at tables takes long */
    for (int m = 0; m < 3; m++)
        for (int i = 0; i < n_spellings; i++)
            if (is_possible(&shapes[m], spellings[i]))
                policy_checks_tables(models[m], &shapes[m], tiny_cuda(1, 0), spellings[i],
                                     every[m]);
}

static void test_cuda_policies_equal_full_when_the_budget_suffices(void **state) {
    (void)state;
    gpu_or_skip();
    for (int m = 0; m < 3; m++)
        policy_checks_full(models[m], &shapes[m], tiny_cuda(1, 0));
    policy_checks_full(models[0], &shapes[0], tiny_cuda(70, 0));
}

static void test_cuda_policies_do_not_depend_on_neighbours(void **state) {
    (void)state;
    gpu_or_skip();
    static struct answer alone[256], batch[256];
    static const struct {
        int width, stagger;
        bool lockstep;
    } cases[] = {{2, 0, false}, {7, 2, false}, {32, 0, true}, {32, 1, false}, {64, 0, false}};
    for (int m = 0; m < 3; m += 2) {
        struct session_params how = tiny_cuda(1, 0);
        how.lockstep = true;
        policy_checks_decode(models[m], &shapes[m], how, 0, alone);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char where[64];
            how = tiny_cuda(cases[i].width, 0);
            how.lockstep = cases[i].lockstep;
            snprintf(where, sizeof where, "model %d, width %d, stagger %d", m, how.width,
                     cases[i].stagger);
            policy_checks_decode(models[m], &shapes[m], how, cases[i].stagger, batch);
            policy_checks_same(alone, batch, n_spellings, where);
        }
    }
}

static int count_same_ids(const struct answer *a, const struct answer *b, int n) {
    int same = 0;
    for (int i = 0; i < n; i++)
        same += !memcmp(a[i].ids, b[i].ids, sizeof a[i].ids);
    return same;
}

static void test_cuda_policies_do_not_depend_on_neighbours_when_wide(void **state) {
    (void)state;
    gpu_or_skip();
    static struct answer narrow[256], first[256], other[256];
    policy_checks_decode(models[0], &shapes[0], tiny_cuda(1, 0), 0, narrow);
    policy_checks_decode(models[0], &shapes[0], tiny_cuda(128, 0), 0, first);
    policy_checks_decode(models[0], &shapes[0], tiny_cuda(300, 0), 0, other);
    policy_checks_same(first, other, n_spellings, "width 300");
    policy_checks_decode(models[0], &shapes[0], tiny_cuda(65, 0), 3, other);
    policy_checks_same(first, other, n_spellings, "width 65, stagger 3");
    printf("measured: wide sessions give the ids of narrow ones in %d of %d cells of about 100 "
           "tokens (may differ in long ones only)\n",
           count_same_ids(narrow, first, n_spellings), n_spellings);
}

/* --- every place in the batch ----------------------------------------------------------------- */

enum { MOST_ROWS = 300, LONG = 2040, LONG_TOTAL = 2100 };

/* The same request in every row of a session; what the first row answers. */
static struct answer fill_rows(struct session *session, int width, const struct request *r,
                               const char *what) {
    static struct request requests[MOST_ROWS];
    static struct answer answers[MOST_ROWS];
    char where[160];
    for (int i = 0; i < width; i++)
        requests[i] = *r;
    tiny_answer(session, requests, width, 0, answers);
    for (int i = 1; i < width; i++) {
        snprintf(where, sizeof where, "%.90s: row %d of %d", what, i, width);
        policy_checks_same(&answers[0], &answers[i], 1, where);
    }
    return answers[0];
}

static void test_cuda_policies_do_not_depend_on_the_row(void **state) {
    (void)state;
    gpu_or_skip();
    enum { N_WIDTHS = 4 };
    static const int widths[N_WIDTHS] = {5, 64, 128, 300};
    static struct answer answers[N_WIDTHS][256];
    int32_t ids[150];
    tiny_ids(&shapes[0], 8, ids, 150);
    for (int w = 0; w < N_WIDTHS; w++) {
        struct session *session = tiny_open_session(models[0], tiny_cuda(widths[w], CHECK_TOTAL));
        for (int i = 0; i < n_spellings; i++) {
            struct plan plan = tiny_plan(spellings[i]);
            struct request r = {.ids = ids,
                                .n_ids = 140 - i, /* often more than a chunk of attention */
                                .plan = &plan,
                                .max_new = 24,
                                .ignore_eos = true,
                                .key = 5,
                                .sampling = {.temperature = 0.7f, .top_p = 0.9f}};
            answers[w][i] = fill_rows(session, widths[w], &r, spellings[i]);
        }
        session_close(session);
    }
    policy_checks_same(answers[0], answers[1], n_spellings, "width 64");
    policy_checks_same(answers[2], answers[3], n_spellings, "width 300");
}

/* Chunks of attention grow with what is attended: from 128 pages on in narrow sessions, which the
 * answers cross; a wide session's chunks are 64 pages. Rows that select sit beside rows that attend
 * to all of a layer. */
static void test_cuda_policies_do_not_depend_on_neighbours_when_long(void **state) {
    (void)state;
    gpu_or_skip();
    enum { N = 12 };
    static const char *const texts[N] = {"full",
                                         "quest:budget=2048",
                                         "quest:budget=1024",
                                         "h2o:budget=1024",
                                         "raas:budget=512",
                                         "oracle:budget=1024",
                                         "streaming:budget=1024",
                                         "full",
                                         "quest:budget=512,dense_layers=1",
                                         "tova:budget=1500",
                                         "snapkv:budget=1024,every=16",
                                         "rkv:budget=1024,every=12"};
    static const int widths[] = {1, 3, 8, 64, 65, 130};
    static int32_t ids[LONG];
    static struct plan plans[N];
    static struct request requests[N];
    static struct answer narrow[N], wide[N], other[N];
    tiny_ids(&shapes[0], 9, ids, LONG);
    for (int i = 0; i < N; i++) {
        plans[i] = tiny_plan(texts[i]);
        requests[i] = (struct request){.ids = ids,
                                       .n_ids = LONG - 37 * (i / 3),
                                       .plan = &plans[i],
                                       .max_new = 30,
                                       .ignore_eos = true};
    }
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        struct session *session = tiny_open_session(models[0], tiny_cuda(widths[w], LONG_TOTAL));
        struct answer *first = widths[w] == 1 ? narrow : widths[w] == 65 ? wide : other;
        tiny_answer(session, requests, N, (int)w % 2, first);
        if (first == other)
            policy_checks_same(widths[w] < 65 ? narrow : wide, other, N, "a wider session");
        session_close(session);
    }
    printf("measured: wide sessions give the ids of narrow ones in %d of %d cells of about 2,000 "
           "tokens\n",
           count_same_ids(narrow, wide, N), N);
}

/* --- what the CPU keeps ----------------------------------------------------------------------- */

struct drift { /* of one spelling, on its own forced ids */
    int tables, other_tables, positions, other_positions;
};

static int ascending(const void *a, const void *b) {
    return *(const int32_t *)a - *(const int32_t *)b;
}

/* Positions of a that b lacks; both hold n. */
static int count_other(const int32_t *a, const int32_t *b, int n) {
    int other = 0;
    for (int i = 0, j = 0; i < n; i++) {
        while (j < n && b[j] < a[i])
            j++;
        other += j == n || b[j] != a[i];
    }
    return other;
}

static void compare_tables(struct session *const both[2], struct drift *drift) {
    for (int layer = 0; layer < shapes[0].n_layers; layer++)
        for (int kv = 0; kv < shapes[0].n_kv_heads; kv++) {
            int32_t at[2][CHECK_TOTAL];
            int n[2];
            for (int i = 0; i < 2; i++) {
                n[i] = session_positions(both[i], 0, layer, kv, at[i], CHECK_TOTAL);
                qsort(at[i], (size_t)n[i], sizeof *at[i], ascending);
            }
            assert_int_equal(n[0], n[1]);
            int other = count_other(at[0], at[1], n[0]);
            drift->tables++, drift->positions += n[0];
            drift->other_tables += other > 0, drift->other_positions += other;
        }
}

static struct drift compare_with_cpu(const struct plan *plan) {
    enum { N = 300, EVERY = 7 };
    struct drift drift = {0};
    struct session_params how = tiny_cuda(1, CHECK_TOTAL);
    how.lockstep = true;
    struct session *both[2] = {tiny_session(models[0], true, 1, 1, CHECK_TOTAL),
                               tiny_open_session(models[0], how)};
    int32_t ids[N];
    tiny_ids(&shapes[0], 12, ids, N);
    struct request r = tiny_forced(plan, ids, 45, N, NULL);
    for (int i = 0; i < 2; i++)
        tiny_add(both[i], &r);
    for (int step = 0;; step++) {
        struct event events[2];
        for (int i = 0; i < 2; i++)
            assert_int_equal(session_step(both[i], &events[i], NULL), 1);
        assert_int_equal(events[0].finish, events[1].finish);
        assert_int_equal(events[0].stats.kept, events[1].stats.kept);
        assert_int_equal(events[0].stats.evictions, events[1].stats.evictions);
        if (events[0].finish != FINISH_NOT)
            break;
        if (step % EVERY == 0)
            compare_tables(both, &drift);
    }
    session_close(both[0]);
    session_close(both[1]);
    return drift;
}

/* Policies that look at no numbers keep what the CPU keeps. The others see bf16 scores that were
 * added in another order: what they keep is near, and listed. */
static void test_cuda_policies_keep_what_the_cpu_keeps(void **state) {
    (void)state;
    gpu_or_skip();
    for (int i = 0; i < n_spellings; i++) {
        struct plan plan = tiny_plan(spellings[i]);
        struct drift drift = compare_with_cpu(&plan);
        bool looks = plan.policy->observe != NULL;
        if (drift.other_tables && !looks)
            fail_msg("%s: %d of %d tables hold other positions than the CPU's", spellings[i],
                     drift.other_tables, drift.tables);
        if (plan.evict && looks)
            printf("measured: %s: %d of %d tables, %d of %d positions other than the CPU's\n",
                   spellings[i], drift.other_tables, drift.tables, drift.other_positions,
                   drift.positions);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_policies_keep_their_capacity_and_pins),
        cmocka_unit_test(test_cuda_policies_equal_full_when_the_budget_suffices),
        cmocka_unit_test(test_cuda_policies_do_not_depend_on_neighbours),
        cmocka_unit_test(test_cuda_policies_do_not_depend_on_neighbours_when_wide),
        cmocka_unit_test(test_cuda_policies_do_not_depend_on_the_row),
        cmocka_unit_test(test_cuda_policies_do_not_depend_on_neighbours_when_long),
        cmocka_unit_test(test_cuda_policies_keep_what_the_cpu_keeps),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
