/* The CUDA backend against the CPU's bf16 path on the embedded model: the same problems, greedy,
 * under full attention and under policies. RAAS_FIDELITY sets the number of problems (200 by
 * default, which the stated bounds are for). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/gpu.h"
#include "tests/lemmas.h"
#include "tests/tiny.h"

enum { MAX_NEW = 1100, MAX_PROMPT = 400, TOTAL = MAX_PROMPT + MAX_NEW, CPU_ROWS = 64 };

struct trial { /* one problem */
    struct problem problem;
    struct id_list prompt;
};
struct text { /* what was answered */
    int32_t ids[MAX_NEW];
    int n;
};

static struct model *model;
static struct trial *trials;
static int n_trials;

static int open_all(void **state) {
    (void)state;
    const char *asked = getenv("RAAS_FIDELITY");
    if (!(model = lemmas_model()))
        return -1;
    n_trials = asked && atoi(asked) > 1 ? atoi(asked) : 200;
    trials = calloc((size_t)n_trials, sizeof *trials);
    for (int i = 0; i < n_trials; i++) {
        lemmas_problem(model, i, &trials[i].problem, &trials[i].prompt);
        assert_true(trials[i].prompt.count < MAX_PROMPT);
    }
    return 0;
}
static int close_all(void **state) {
    (void)state;
    for (int i = 0; i < n_trials; i++) {
        problem_free(&trials[i].problem);
        id_list_free(&trials[i].prompt);
    }
    free(trials);
    model_close(model);
    return 0;
}

/* Answers the first n problems under each of the plans, in one batch: [n_plans][n]. */
static struct text *answer(struct session_params how, const struct plan *plans, int n_plans,
                           int n) {
    int all = n_plans * n;
    struct text *texts = calloc((size_t)all, sizeof *texts);
    struct event *events = calloc((size_t)how.width, sizeof *events);
    struct session *session = tiny_open_session(model, how);
    assert_true(texts && events);
    for (int next = 0, done = 0; done < all;) {
        struct err e = {0};
        for (; next < all; next++) {
            const struct trial *t = &trials[next % n];
            struct request r = {.ids = t->prompt.ids,
                                .n_ids = (int)t->prompt.count,
                                .plan = &plans[next / n],
                                .max_new = MAX_NEW,
                                .user = &texts[next]};
            if (!session_add(session, &r, &e))
                break;
        }
        assert_int_equal(e.code, 0);
        int told = session_step(session, events, &e);
        if (told <= 0)
            fail_msg("session_step: %s", e.code ? e.text : "nothing is in flight");
        for (int i = 0; i < told; i++) {
            struct text *to = events[i].user;
            to->ids[to->n++] = events[i].id;
            done += events[i].finish != FINISH_NOT;
        }
    }
    free(events);
    session_close(session);
    return texts;
}

static struct session_params cpu(enum precision precision) {
    return (struct session_params){
        .backend = "cpu", .precision = precision, .width = CPU_ROWS, .max_total = TOTAL};
}

static int count_right(const struct text *texts, int n) {
    int right = 0;
    for (int i = 0; i < n; i++)
        right += lemmas_is_right(model, &trials[i].problem, texts[i].ids, texts[i].n);
    return right;
}

/* --- where two answers part ------------------------------------------------------------------- */

/* Index of the first other id, or -1. */
static int first_difference(const struct text *a, const struct text *b) {
    for (int i = 0; i < a->n && i < b->n; i++)
        if (a->ids[i] != b->ids[i])
            return i;
    assert_int_equal(a->n, b->n);
    return -1;
}

struct fork { /* the reference's choice where two answers part */
    int position;
    float gap; /* between its two best logits */
};

static void measure_gap(void *user, int position, const float *logits) {
    struct fork *f = user;
    if (position != f->position)
        return;
    float best = -1e30f, second = -1e30f;
    for (int i = 0; i < model->config.vocab; i++)
        if (logits[i] > best)
            second = best, best = logits[i];
        else if (logits[i] > second)
            second = logits[i];
    f->gap = best - second;
}

/* The fp32 reference along the ids before every fork; the widest gap. */
static float widest_gap(const struct text *along, const int *first, int n) {
    struct fork *forks = calloc((size_t)n, sizeof *forks);
    struct session *session = tiny_open_session(model, cpu(PRECISION_FP32));
    struct plan full = tiny_plan("full");
    struct event events[CPU_ROWS];
    struct err e = {0};
    float widest = 0;
    for (int next = 0; next < n || session_active(session);) {
        for (; next < n; next++) {
            const struct trial *t = &trials[next];
            forks[next] = (struct fork){(int)t->prompt.count - 1 + first[next], -1};
            struct request r = {.ids = t->prompt.ids,
                                .n_ids = (int)t->prompt.count,
                                .plan = &full,
                                .forced = along[next].ids,
                                .n_forced = first[next],
                                .user = &forks[next],
                                .on_logits = measure_gap};
            if (first[next] >= 0 && !session_add(session, &r, &e))
                break;
        }
        assert_int_equal(e.code, 0);
        assert_true(session_step(session, events, &e) >= 0);
    }
    for (int i = 0; i < n; i++)
        if (first[i] >= 0) {
            assert_true(forks[i].gap >= 0);
            widest = forks[i].gap > widest ? forks[i].gap : widest;
        }
    session_close(session);
    free(forks);
    return widest;
}

/* --- the tests -------------------------------------------------------------------------------- */

static void compare(const struct text *want, const struct text *got, int width) {
    int n = n_trials, same = 0, right = count_right(want, n), got_right = count_right(got, n);
    int *first = test_malloc((size_t)n * sizeof *first);
    for (int i = 0; i < n; i++) {
        first[i] = first_difference(&want[i], &got[i]);
        same += first[i] < 0;
    }
    float gap = widest_gap(want, first, n);
    test_free(first);
    printf("measured: width %d: %d of %d problems with the greedy ids of the CPU's bf16 path, %d "
           "right by cuda, %d by cpu; widest gap of the reference at a first difference %.3f\n",
           width, same, n, got_right, right, (double)gap);
    assert_true(same * 100 >= 95 * n - 50); /* 95 %, rounded for small samples */
    assert_true(gap < 0.2f);
    assert_true(abs(right - got_right) <= 2);
}

static void test_cuda_fidelity_of_full_attention(void **state) {
    (void)state;
    gpu_or_skip();
    struct plan full = tiny_plan("full");
    struct text *want = answer(cpu(PRECISION_BF16), &full, 1, n_trials);
    static const int widths[] = {64, 512};
    for (int i = 0; i < 2; i++) {
        struct text *got = answer(tiny_cuda(widths[i], TOTAL), &full, 1, n_trials);
        compare(want, got, widths[i]);
        free(got);
    }
    free(want);
}

static void test_cuda_fidelity_under_policies(void **state) {
    (void)state;
    gpu_or_skip();
    enum { N_PLANS = 4 };
    static const char *const texts[N_PLANS] = {"raas:budget=512", "quest:budget=256",
                                               "h2o:budget=512", "streaming:budget=512"};
    int n = n_trials, apart[N_PLANS];
    struct plan plans[N_PLANS];
    for (int i = 0; i < N_PLANS; i++)
        plans[i] = tiny_plan(texts[i]);
    struct text *want = answer(cpu(PRECISION_BF16), plans, N_PLANS, n);
    struct text *got = answer(tiny_cuda(512, TOTAL), plans, N_PLANS, n);
    for (int i = 0; i < N_PLANS; i++) {
        int same = 0, a = count_right(want + i * n, n), b = count_right(got + i * n, n);
        for (int j = 0; j < n; j++)
            same += first_difference(&want[i * n + j], &got[i * n + j]) < 0;
        printf("measured: %s: %d right by cuda, %d by cpu, of %d; %d with the same ids\n", texts[i],
               b, a, n, same);
        apart[i] = abs(a - b);
    }
    free(want);
    free(got);
    for (int i = 0; i < N_PLANS; i++)
        assert_true(apart[i] * 20 <= n + 10); /* 5 %, rounded for small samples */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_fidelity_of_full_attention),
        cmocka_unit_test(test_cuda_fidelity_under_policies),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
