#include "tests/golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct capture {
    float *logits;
    int *seen;
    int n, vocab;
};

static void keep_logits(void *user, int position, const float *logits) {
    struct capture *c = user;
    assert_in_range(position, 0, c->n - 1);
    c->seen[position]++;
    memcpy(c->logits + (size_t)position * (size_t)c->vocab, logits,
           (size_t)c->vocab * sizeof *logits);
}

static void must(bool ok, const struct err *e) {
    if (!ok)
        fail_msg("%s", e->code ? e->text : "refused without an error");
}

float *golden_run(const struct model *model, const char *policy, const int32_t *ids, int n,
                  int prefill) {
    struct err e = {0};
    struct plan plan;
    must(policy_parse(policy, &plan, &e), &e);
    struct session_params params = {.backend = "cpu",
                                    .precision = PRECISION_FP32,
                                    .n_threads = 1,
                                    .width = 1,
                                    .max_total = n + 1};
    struct session *session = session_open(model, &params, &e);
    must(session != NULL, &e);
    struct capture c = {.n = n, .vocab = model->config.vocab};
    c.logits = calloc((size_t)n * (size_t)c.vocab, sizeof *c.logits);
    c.seen = calloc((size_t)n, sizeof *c.seen);
    struct request request = {.ids = ids,
                              .n_ids = prefill,
                              .plan = &plan,
                              .max_new = 1,
                              .ignore_eos = true,
                              .sampling = {.top_p = 1},
                              .forced = prefill < n ? ids + prefill : NULL,
                              .n_forced = n - prefill,
                              .user = &c,
                              .on_logits = keep_logits};
    must(session_add(session, &request, &e), &e);
    struct event event;
    int steps = 0;
    while (session_step(session, &event, &e) > 0)
        assert_true(++steps <= n + 1);
    for (int i = 0; i < n; i++)
        if (c.seen[i] != 1)
            fail_msg("%s: logits of position %d came %d times", policy, i, c.seen[i]);
    free(c.seen);
    session_close(session);
    return c.logits;
}

float golden_apart(const float *a, const float *b, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float d = fabsf(a[i] - b[i]);
        if (!(d <= most))
            most = isnan(d) ? INFINITY : d;
    }
    return most;
}
