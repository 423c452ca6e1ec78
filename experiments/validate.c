#include "experiments/validate.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "experiments/validate_knobs.h"

const char *const validate_baseline_names[VALIDATE_BASELINES] = {
    "every_lemma", "every_digit", "recency", "accumulated", "accumulated_all", "random",
};
static const double thetas[VALIDATE_THETAS] = {0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15,
                                               0.2,   0.3,   0.4,  0.5,  0.6,  0.7};
static const int64_t windows[] = {4, 8, 32, 64};
enum { N_WINDOWS = sizeof windows / sizeof *windows };

struct work {
    const struct validate_params *params;
    struct session *session;
    struct plan plan;
    struct survey_setting settings[VALIDATE_SETTINGS];
    int n_settings, n_thetas; /* the first n_thetas have the window that was asked for */
    int at_theta;             /* the setting that was asked for */
    struct survey train, test;
    struct survey_classes classes;
};

/* --- settings ------------------------------------------------------------------------------- */

static bool same(double a, double b) { return !(a < b) && !(a > b); }

/* Every theta of the list and the one asked for, ascending; then other windows. */
static void make_settings(struct work *w) {
    const struct lifecycle_params *life = &w->params->life;
    double all[VALIDATE_THETAS + 1];
    int n = 0;
    for (int i = 0; i < VALIDATE_THETAS; i++)
        if (!same(thetas[i], life->theta))
            all[n++] = thetas[i];
    int at = n++;
    for (; at > 0 && all[at - 1] > life->theta; at--)
        all[at] = all[at - 1];
    all[at] = life->theta;
    w->at_theta = at, w->n_thetas = n;
    for (int i = 0; i < n; i++)
        w->settings[w->n_settings++] = (struct survey_setting){all[i], life->window};
    for (int k = 0; w->params->sweep && k < N_WINDOWS; k++)
        for (int i = 0; windows[k] != life->window && i < n; i++)
            w->settings[w->n_settings++] = (struct survey_setting){all[i], windows[k]};
    CHECK(w->n_settings <= VALIDATE_SETTINGS);
}

static void make_variants(struct validation *v) {
    static const int64_t gaps[] = {32, 64, 128, 256}, budgets[] = {64, 128, 256, 512, 1024},
                         settles[] = {16, 32, 64, 128};
    const struct lifecycle_params *life = &v->params.life;
    v->variant[v->n_variants++] = *life;
    for (int i = 0; i < 13; i++) {
        struct lifecycle_params p = *life;
        int64_t *field = i < 4 ? &p.gap : i < 9 ? &p.budget : &p.settle;
        int64_t value = i < 4 ? gaps[i] : i < 9 ? budgets[i - 4] : settles[i - 9];
        if (*field == value)
            continue;
        *field = value;
        v->variant[v->n_variants++] = p;
    }
}

/* --- choosing and judging --------------------------------------------------------------------- */

static bool better(const struct proof_score *a, const struct proof_score *b) {
    return a->f1 > b->f1 || (same(a->f1, b->f1) && a->rank > b->rank);
}

/* The best of settings [from, to) and heads [first, last) on the training split. */
static struct verdict choose(const struct work *w, enum unit_scoring scoring, int from, int to,
                             int first, int last, int *setting) {
    struct verdict best = {.head = first, .theta = w->settings[from].theta, .train = {.f1 = -1}};
    *setting = from;
    for (int h = first; h < last; h++)
        for (int k = from; k < to; k++) {
            struct proof_score score =
                proof_score(&w->train.units, survey_found(&w->train, k, scoring, h));
            if (better(&score, &best.train))
                best = (struct verdict){.head = h, .theta = w->settings[k].theta, .train = score},
                *setting = k;
        }
    return best;
}

static void judge(const struct work *w, enum unit_scoring scoring, int setting, int draws,
                  struct verdict *verdict) {
    const struct proof_life *found = survey_found(&w->test, setting, scoring, verdict->head);
    verdict->score = proof_score(&w->test.units, found);
    verdict->interval = proof_bootstrap(&w->test.units, found, draws, 1);
}

/* --- baselines -------------------------------------------------------------------------------- */

static int positives_of(const struct proof_units *units) {
    int n = 0;
    for (int i = 0; i < units->n; i++)
        n += units->known[i].used;
    return n;
}

/* An early lemma has more time to be used again: `used` where it was born long enough before the
 * end; how long is learnt. */
static double recency(const struct work *w) {
    const struct survey *surveys[] = {&w->train, &w->test};
    double *values[2], threshold = 0, f1;
    for (int s = 0; s < 2; s++) {
        const struct proof_units *u = &surveys[s]->units;
        values[s] = must_alloc((size_t)(u->n + 1) * sizeof(double));
        for (int p = 0; p < u->n_problems; p++)
            for (int i = u->start[p]; i < u->start[p + 1]; i++)
                values[s][i] = u->start[p + 1] - i;
        if (s == 0)
            threshold = proof_threshold(u, values[s], &f1);
        else
            f1 = proof_threshold_f1(u, values[s], threshold);
    }
    free(values[0]);
    free(values[1]);
    return f1;
}

/* All attention that a lemma's digits ever got, as H2O sums it; head and threshold are learnt. */
static double accumulated(const struct work *w, int n_heads) {
    size_t train_room = (size_t)w->train.room, test_room = (size_t)w->test.room;
    double best = -1, threshold = 0;
    size_t head = 0;
    for (size_t h = 0; h < (size_t)n_heads; h++) {
        double f1, t = proof_threshold(&w->train.units, w->train.mass + h * train_room, &f1);
        if (f1 > best)
            best = f1, threshold = t, head = h;
    }
    return proof_threshold_f1(&w->test.units, w->test.mass + head * test_room, threshold);
}

/* The same of all heads together, for whom nobody has chosen one. */
static double accumulated_all(const struct work *w, int n_heads) {
    const struct survey *surveys[] = {&w->train, &w->test};
    double threshold = 0, f1 = 0;
    for (int s = 0; s < 2; s++) {
        const struct survey *x = surveys[s];
        double *sum = must_zalloc((size_t)x->room + 1, sizeof *sum);
        for (size_t h = 0; h < (size_t)n_heads; h++)
            for (int i = 0; i < x->room; i++)
                sum[i] += x->mass[h * (size_t)x->room + (size_t)i];
        if (s == 0)
            threshold = proof_threshold(&x->units, sum, &f1);
        else
            f1 = proof_threshold_f1(&x->units, sum, threshold);
        free(sum);
    }
    return f1;
}

/* `used` with the training split's share, by lot. */
static double random_lot(const struct work *w) {
    const struct proof_units *u = &w->test.units;
    double share = (double)positives_of(&w->train.units) / w->train.units.n, sum = 0;
    struct rng rng = {.key = 2};
    for (int d = 0; d < VALIDATE_DRAWS; d++) {
        int tp = 0, fp = 0, missed = 0;
        for (int i = 0; i < u->n; i++) {
            bool lot = rng_real(&rng) < share, used = u->known[i].used;
            tp += lot && used, fp += lot && !used, missed += !lot && used;
        }
        sum += proof_f1(tp, fp, missed) / VALIDATE_DRAWS;
    }
    return sum;
}

/* --- the run ---------------------------------------------------------------------------------- */

static void judge_all(const struct work *w, struct validation *v, int setting,
                      const struct verdict *best) {
    int heads = v->n_layers * v->n_heads, k;
    v->best[UNIT_ORIGINAL] = *best;
    judge(w, UNIT_ORIGINAL, setting, VALIDATE_DRAWS, &v->best[UNIT_ORIGINAL]);
    v->shuffled =
        proof_shuffled(&w->test.units, survey_found(&w->test, setting, UNIT_ORIGINAL, best->head),
                       VALIDATE_DRAWS, 3);
    v->best[UNIT_RESTATED] = choose(w, UNIT_RESTATED, 0, w->n_thetas, 0, heads, &k);
    judge(w, UNIT_RESTATED, k, VALIDATE_DRAWS, &v->best[UNIT_RESTATED]);
    for (int s = 0; s < UNIT_SCORINGS; s++) {
        v->at_theta[s] = choose(w, s, w->at_theta, w->at_theta + 1, 0, heads, &k);
        judge(w, s, k, VALIDATE_DRAWS, &v->at_theta[s]);
    }
    double *peaks = must_alloc((size_t)(w->test.units.n + 1) * sizeof *peaks);
    for (int h = 0; h < heads; h++) {
        v->heads[h] = choose(w, UNIT_ORIGINAL, 0, w->n_thetas, h, h + 1, &k);
        judge(w, UNIT_ORIGINAL, k, VALIDATE_DRAWS_HEAD, &v->heads[h]);
        const struct proof_life *found = survey_found(&w->test, 0, UNIT_ORIGINAL, h);
        for (int i = 0; i < w->test.units.n; i++)
            peaks[i] = (double)found[i].peak;
        proof_threshold(&w->test.units, peaks, &v->bound[h]);
    }
    free(peaks);
    v->units = w->test.units.n;
    v->positives = positives_of(&w->test.units);
    v->baseline[0] = proof_f1(v->positives, v->units - v->positives, 0);
    v->baseline[1] =
        proof_f1((int)w->test.digits_used, (int)(w->test.digits - w->test.digits_used), 0);
    v->baseline[2] = recency(w);
    v->baseline[3] = accumulated(w, heads);
    v->baseline[4] = accumulated_all(w, heads);
    v->baseline[5] = random_lot(w);
    for (int i = 0; v->params.sweep && i < w->n_settings; i++)
        v->sweep[v->n_sweep++] = (struct validate_sweep){
            w->settings[i].theta, w->settings[i].window,
            proof_score(&w->test.units, survey_found(&w->test, i, UNIT_ORIGINAL, best->head))};
}

static bool split_open(struct mine *mine, const struct validate_params *p, int64_t n, int64_t seed,
                       struct err *e) {
    char dataset[120];
    snprintf(dataset, sizeof dataset, "lemmas:steps=%d,seed=%lld", (int)p->steps, (long long)seed);
    return mine_open(mine, p->model, dataset, "auto", n, 0, e);
}

static bool run_splits(struct work *w, struct validation *v, struct mine *train, struct mine *test,
                       struct err *e) {
    struct session_params session = w->params->session;
    int longest = 2 * (train->longest > test->longest ? train->longest : test->longest);
    int most = train->model->config.max_positions, setting;
    session.width = 1, session.max_total = longest < most ? longest : most;
    w->session = session_open_fitting(train->model, &session, e);
    if (!w->session ||
        !survey_run(&w->train, train, w->session, &w->plan, w->settings, w->n_settings, NULL, e))
        return false;
    int heads = w->train.n_layers * w->train.n_heads;
    struct verdict best = choose(w, UNIT_ORIGINAL, 0, w->n_thetas, 0, heads, &setting);
    w->classes = (struct survey_classes){.params = v->variant,
                                         .n = v->params.sweep ? v->n_variants : 0,
                                         .setting = w->at_theta,
                                         .head = best.head,
                                         .all = v->all,
                                         .lemmas = v->lemmas};
    if (!survey_run(&w->test, test, w->session, &w->plan, w->settings, w->n_settings, &w->classes,
                    e))
        return false;
    v->n_layers = w->train.n_layers, v->n_heads = w->train.n_heads;
    v->heads = must_zalloc((size_t)heads, sizeof *v->heads);
    v->bound = must_zalloc((size_t)heads, sizeof *v->bound);
    judge_all(w, v, setting, &best);
    return !v->params.sweep || validate_knobs(v, w->session, &w->plan, e);
}

bool validate_run(const struct validate_params *p, struct validation *v, struct err *e) {
    struct work w = {.params = p};
    struct mine train = {0}, test = {0};
    *v = (struct validation){.params = *p};
    make_settings(&w);
    make_variants(v);
    bool ok = policy_parse("full", &w.plan, e) &&
              split_open(&train, p, p->n_train, p->seed + VALIDATE_TRAIN_SEED, e) &&
              split_open(&test, p, p->n, p->seed, e) && run_splits(&w, v, &train, &test, e);
    survey_close(&w.train);
    survey_close(&w.test);
    session_close(w.session);
    mine_close(&train);
    mine_close(&test);
    if (!ok)
        validate_close(v);
    return ok;
}

void validate_close(struct validation *v) {
    free(v->heads);
    free(v->bound);
    v->heads = NULL, v->bound = NULL;
}
