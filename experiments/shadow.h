/* Shadow runs: given ids are fed under full attention and then, the same ids, under policies; what
 * each policy's next-token distributions lose against full's is measured after every generated id.
 * It ranks policies in minutes where accuracy needs hundreds of problems.
 *
 * Of full's distribution p all ids with p >= SHADOW_LEAST count by themselves and the others as
 * one, so that a reference is small; the divergence is then at most the true one, and 0 exactly
 * where the logits are the same. */
#pragma once

#include "engine/policy.h"
#include "engine/session.h"

#define SHADOW_LEAST 1e-9      /* probability of an id */
#define SHADOW_LEAST_MASS 1e-5 /* of a token in full's attention; what is less is not counted */

/* A text: prompt, then the generated ids. Borrowed. */
struct shadow_text {
    const int32_t *ids; /* [n] */
    int n_prompt, n;    /* n > n_prompt */
};

/* One text under one policy. Arrays are of its n - n_prompt steps: step i feeds id n_prompt + i. */
struct shadow_result {
    int text, plan; /* their indices */
    int n_steps;
    const double *kl;     /* KL(full || policy) of the next id, in nats */
    const bool *agrees;   /* both have the same best id */
    const float *lost;    /* [n_layers][n_kv_heads] mean over steps of the share of full's
                             attention (mean over the group) that goes to tokens which the policy
                             doesn't attend to; NULL where the backend can't show attention */
    int first_divergence; /* the first step that doesn't agree, -1: all do */
    struct sequence_stats stats;
};

struct shadow {
    const struct model *model;
    struct session *session; /* as wide as memory allows */
    int width;
    const struct plan *plans; /* [n_plans] */
    int n_plans;
    const struct shadow_text *texts; /* [n_texts] */
    int n_texts;
    bool attention; /* watch it: what is lost */
    /* Whether a text is to be replayed under a plan; NULL: all are. */
    bool (*wanted)(void *user, int text, int plan);
    /* Called with each result, in the order of their ends. false ends the run with e. */
    bool (*done)(void *user, const struct shadow_result *result, struct err *e);
    void *user;
};
/* Runs all texts under all plans. Texts go in groups of `width`; references of one group are held
 * at a time. Interrupted: EXIT_SIGNAL. */
bool shadow_run(const struct shadow *shadow, struct err *e);
