#include "experiments/answer.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "datasets/grade.h"

int answer_loop(const int32_t *ids, int n) {
    if (n < LOOP_WINDOW)
        return 0;
    const int32_t *window = ids + n - LOOP_WINDOW;
    for (int period = 1; period <= LOOP_LONGEST; period++)
        if (!memcmp(window, window + period, sizeof *ids * (size_t)(LOOP_WINDOW - period)))
            return period;
    return 0;
}

uint64_t answer_draws(int64_t seed, int64_t sample, int64_t repeat) {
    return rng_key(rng_key(rng_key(0, (uint64_t)seed), (uint64_t)sample), (uint64_t)repeat);
}

static bool find_sample(const struct workload *w, const struct job *job, struct db *db,
                        struct err *e) {
    struct sample *s = workload_sample(w, job);
    const struct db_sample row = {.dataset = w->sets[w->experiment->cells[job->cell].dataset].id,
                                  .name = s->problem.id,
                                  .position = job->sample,
                                  .prompt = s->problem.prompt,
                                  .gold = s->problem.answer};
    return s->id || db_sample(db, &row, &s->id, e);
}

/* As in view v_result: an answer that was cut short has stated nothing outside a box. */
static bool counts(const char *metric, enum finish finish, const struct grade *grade) {
    if (finish == FINISH_NUMERIC)
        return false;
    return finish == FINISH_CAP || !strcmp(metric, "box") ? grade->boxed : grade->correct;
}

bool answer_store(const struct workload *w, const struct job *job, const struct answer *a,
                  struct db *db, int64_t run, int64_t cell, bool *correct, struct err *e) {
    const struct experiment_cell *c = &w->experiment->cells[job->cell];
    const struct sample *s = workload_sample(w, job);
    int n_text = a->n_ids - (a->finish == FINISH_ANSWER); /* the end token is no text */
    size_t size;
    char *text = tokenizer_decode(w->model->tokenizer, a->ids, (size_t)n_text, true, &size, e);
    if (!text || !find_sample(w, job, db, e)) {
        free(text);
        return false;
    }
    struct grade grade, library;
    grade_answer(GRADE_STRICT, s->problem.answer, text, size, &grade);
    grade_answer(GRADE_MATH_VERIFY, s->problem.answer, text, size, &library);
    struct db_result row = {
        .key = job->key,
        .run = run,
        .cell = cell,
        .sample = s->id,
        .repeat = job->repeat,
        .text = text,
        .text_size = size,
        .ids = a->ids,
        .n_ids = n_text,
        .n_prompt = a->stats.n_prompt,
        .n_new = a->stats.n_new,
        .finish = finish_name(a->finish),
        .loop_period = answer_loop(a->ids, a->n_ids),
        .correct_box = grade.boxed,
        .correct_chain = grade.correct,
        .correct_mv = library.correct,
        .path = grade_path_names[grade.path],
        .extracted = grade.extracted,
        .effective_budget = plan_effective_budget(&c->plan, a->stats.n_prompt),
        .kept_peak = a->stats.kept_peak,
        .kv_bytes_peak = a->stats.kv_bytes_peak,
        .evictions = a->stats.evictions,
        .prefill_seconds = a->stats.prefill_seconds,
        .decode_seconds = a->stats.decode_seconds,
    };
    *correct = counts(w->experiment->datasets[c->dataset].dataset->metric, a->finish, &grade);
    bool ok = db_add_result(db, &row, e);
    free(text);
    return ok;
}
