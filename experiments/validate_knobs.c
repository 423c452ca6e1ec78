#include "experiments/validate_knobs.h"

static const char *const knobs[] = {
    "lifetime=1", "lifetime=2",  "lifetime=4",    "lifetime=8",     "lifetime=16",
    "phoenix=0",  "phoenix=0.1", "phoenix=0.25",  "phoenix=0.5",    "phoenix=1",
    "reuse=lru",  "reuse=birth", "reuse=uniform", "reuse=periodic",
};
enum { N_KNOBS = sizeof knobs / sizeof *knobs };

/* Over all lemmas of a survey, from one side. */
static void sum_up(const struct proof_units *u, const struct proof_life *lives, int64_t budget,
                   double *used, double *steps, double *late) {
    int n_used = 0, n_late = 0, sum = 0;
    for (int p = 0; p < u->n_problems; p++)
        for (int i = u->start[p]; i < u->start[p + 1]; i++) {
            n_used += lives[i].used;
            n_late += lives[i].silence > budget;
            sum += lives[i].used ? lives[i].last_step - (i - u->start[p]) : 0;
        }
    *used = (double)n_used / u->n;
    *late = (double)n_late / u->n;
    *steps = n_used ? (double)sum / n_used : 0;
}

static bool run_knob(struct validation *v, const char *knob, struct session *session,
                     const struct plan *plan, struct err *e) {
    const struct validate_params *p = &v->params;
    struct validate_knob *out = &v->knobs[v->n_knobs++];
    const struct verdict *best = &v->best[UNIT_ORIGINAL];
    const struct survey_setting setting = {best->theta, p->life.window};
    struct mine mine;
    struct survey survey;
    snprintf(out->dataset, sizeof out->dataset, "lemmas:steps=%d,seed=%lld,%s", (int)p->steps,
             (long long)p->seed, knob);
    if (!mine_open(&mine, p->model, out->dataset, "auto", p->n_knobs, 0, e))
        return false;
    bool ok = survey_run(&survey, &mine, session, plan, &setting, 1, NULL, e);
    if (ok) {
        const struct proof_life *found = survey_found(&survey, 0, UNIT_ORIGINAL, best->head);
        const struct proof_life *sides[] = {survey.known, found};
        for (int s = 0; s < 2; s++)
            sum_up(&survey.units, sides[s], p->life.budget, &out->used[s], &out->steps[s],
                   &out->late[s]);
        out->rank = proof_score(&survey.units, found).rank;
        survey_close(&survey);
    }
    mine_close(&mine);
    return ok;
}

bool validate_knobs(struct validation *v, struct session *session, const struct plan *plan,
                    struct err *e) {
    for (int i = 0; i < N_KNOBS; i++)
        if (!run_knob(v, knobs[i], session, plan, e))
            return false;
    return true;
}
