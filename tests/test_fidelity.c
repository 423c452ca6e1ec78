/* The fast path against the fp32 reference on the embedded model: the same problems, greedy, under
 * full attention. RAAS_FIDELITY sets the number of problems (12 by default; the stated bounds are
 * for 200). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lemmas.h"
#include "tests/tiny.h"

enum { WIDTH = 32, MAX_NEW = 1100, MAX_PROMPT = 400, MAX_TOTAL = MAX_PROMPT + MAX_NEW };

struct trial { /* one problem */
    struct problem problem;
    struct id_list prompt;
    int32_t ids[MAX_NEW];
    int n;
    float *logits; /* [n][vocab] of the reference, by generated index */
    int vocab;
    int first_difference; /* index of the first other choice of the fast path, or -1 */
    double worst;         /* largest |difference| / range of a position */
    double gap;           /* between the reference's two best logits at the first difference */
};

static struct model *model;
static struct plan full;

static void keep_logits(void *user, int position, const float *logits) {
    struct trial *t = user;
    int i = position - (int)t->prompt.count + 1;
    if (i >= 0 && i < MAX_NEW)
        memcpy(t->logits + (size_t)i * (size_t)t->vocab, logits, (size_t)t->vocab * sizeof *logits);
}

static int best_of(const float *x, int n, int other) {
    int best = other == 0 ? 1 : 0;
    for (int i = 0; i < n; i++)
        if (i != other && x[i] > x[best])
            best = i;
    return best;
}

static void compare_logits(void *user, int position, const float *fast) {
    struct trial *t = user;
    int i = position - (int)t->prompt.count + 1;
    if (i < 0 || i >= t->n)
        return;
    const float *sure = t->logits + (size_t)i * (size_t)t->vocab;
    float low = sure[0], high = sure[0], most = 0;
    for (int j = 0; j < t->vocab; j++) {
        float d = fast[j] > sure[j] ? fast[j] - sure[j] : sure[j] - fast[j];
        most = d > most ? d : most;
        low = sure[j] < low ? sure[j] : low;
        high = sure[j] > high ? sure[j] : high;
    }
    if (most / (high - low) > t->worst)
        t->worst = most / (high - low);
    if (t->first_difference < 0 && best_of(fast, t->vocab, -1) != t->ids[i]) {
        int best = best_of(sure, t->vocab, -1);
        t->first_difference = i;
        t->gap = sure[best] - sure[best_of(sure, t->vocab, best)];
    }
}

/* Decodes trials[0..n) in one batch: freely (ids are stored), or along the stored ids. */
static void decode(bool bf16, struct trial *trials, int n, bool forced,
                   void (*on_logits)(void *, int, const float *)) {
    struct session *session = tiny_session(model, bf16, 0, WIDTH, MAX_TOTAL);
    for (int i = 0; i < n; i++) {
        struct trial *t = &trials[i];
        struct request r = {.ids = t->prompt.ids,
                            .n_ids = (int)t->prompt.count,
                            .plan = &full,
                            .max_new = MAX_NEW,
                            .user = t,
                            .on_logits = on_logits,
                            .forced = forced ? t->ids : NULL,
                            .n_forced = forced ? t->n - 1 : 0};
        struct err e = {0};
        assert_true(session_add(session, &r, &e));
    }
    struct event events[64];
    for (int k; (k = session_step(session, events, NULL)) > 0;)
        while (k-- > 0) {
            struct trial *t = events[k].user;
            if (!forced)
                t->ids[t->n++] = events[k].id;
        }
    session_close(session);
}

static void open_trial(struct trial *t, int64_t number) {
    *t = (struct trial){.first_difference = -1, .vocab = model->config.vocab};
    lemmas_problem(model, number, &t->problem, &t->prompt);
    assert_true(t->prompt.count < MAX_PROMPT);
    t->logits = calloc((size_t)MAX_NEW * (size_t)t->vocab, sizeof *t->logits);
    assert_non_null(t->logits);
}

static bool right(const struct trial *t) {
    return lemmas_is_right(model, &t->problem, t->ids, t->n);
}

static void test_fidelity_of_the_fast_path(void **state) {
    (void)state;
    const char *asked = getenv("RAAS_FIDELITY");
    int total = asked ? atoi(asked) : 12, same = 0, correct = 0, fast_correct = 0;
    double worst = 0, widest_gap = 0;
    long positions = 0;
    for (int done = 0; done < total; done += WIDTH) {
        static struct trial trials[WIDTH], again[WIDTH];
        int n = total - done < WIDTH ? total - done : WIDTH, n_again = 0;
        for (int i = 0; i < n; i++)
            open_trial(&trials[i], done + i);
        decode(false, trials, n, false, keep_logits);
        decode(true, trials, n, true, compare_logits);
        for (int i = 0; i < n; i++) {
            struct trial *t = &trials[i];
            bool ok = right(t);
            correct += ok;
            positions += t->n;
            worst = t->worst > worst ? t->worst : worst;
            if (t->first_difference < 0) {
                same++, fast_correct += ok;
            } else {
                widest_gap = t->gap > widest_gap ? t->gap : widest_gap;
                again[n_again] = *t, again[n_again++].n = 0;
            }
        }
        if (n_again)
            decode(true, again, n_again, false, NULL);
        for (int i = 0; i < n_again; i++)
            fast_correct += right(&again[i]);
        for (int i = 0; i < n; i++) {
            problem_free(&trials[i].problem);
            id_list_free(&trials[i].prompt);
            free(trials[i].logits);
        }
    }
    printf("measured: %d of %d problems with identical greedy ids, %d right by fp32, %d by bf16; "
           "largest logit difference %.3f %% of the range on %ld positions; widest gap at a first "
           "difference %.3f\n",
           same, total, correct, fast_correct, 100 * worst, positions, widest_gap);
    assert_true(same * 100 >= 97 * total - 50); /* 97 %, rounded for small samples */
    assert_true(widest_gap < 0.2);
    assert_true(worst <= 0.01);
    assert_true(abs(correct - fast_correct) <= 1);
}

static int open_embedded(void **state) {
    (void)state;
    model = lemmas_model();
    full = tiny_plan("full");
    return model ? 0 : -1;
}
static int close_embedded(void **state) {
    (void)state;
    model_close(model);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fidelity_of_the_fast_path)};
    return cmocka_run_group_tests(tests, open_embedded, close_embedded);
}
