/* The order of work: samples whose answers will be long go first, each with all its cells. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "analysis/power.h"
#include "engine/model.h"
#include "experiments/detectable.h"
#include "experiments/workload.h"
#include "tests/folder.h"

static const char file[] =
    "{\"name\": \"order\", \"dataset\": [\"lemmas:steps=4\", \"lemmas:steps=12\"], \"n\": 5, "
    "\"policy\": [\"full\", \"raas\"], \"budget\": [64, 128], \"max_new\": 100}";
enum { CELLS = 3, SAMPLES = 5, DATASETS = 2, JOBS = CELLS * SAMPLES * DATASETS };

struct order {
    struct model *model;
    struct experiment experiment;
    struct workload work;
};

static struct order open_order(const struct folder *folder) {
    struct err e = {0};
    struct order o = {.model = model_open("models/lemmas-4.5m", &e)};
    folder_text(folder, "order.json", file);
    if (!o.model || !experiment_read(folder_path(folder, "order.json"),
                                     &(struct experiment_options){0}, &o.experiment, &e))
        fail_msg("%s", e.text);
    return o;
}

/* The workload points to the experiment where it lies. */
static void plan(struct order *o, struct db *db) {
    struct err e = {0};
    if (!o->work.sets && !workload_open(&o->experiment, o->model, 0, false, &o->work, &e))
        fail_msg("%s", e.text);
    o->work.isa = "fp32";
    if (!workload_plan(&o->work, db, 0, 1, &e))
        fail_msg("%s", e.text);
}

static void close_order(struct order *o) {
    workload_close(&o->work);
    experiment_free(&o->experiment);
    model_close(o->model);
}

static void test_workload_long_prompts_go_first(void **state) {
    struct order o = open_order(*state);
    plan(&o, NULL);
    assert_int_equal(o.work.n_jobs, JOBS);
    size_t before = SIZE_MAX;
    for (int i = 0; i < JOBS; i++) {
        const struct sample *sample = workload_sample(&o.work, &o.work.jobs[i]);
        assert_true(sample->prompt.count <= before);
        before = sample->prompt.count;
        /* all cells of a sample are neighbours */
        const struct sample *first = workload_sample(&o.work, &o.work.jobs[i - i % CELLS]);
        assert_ptr_equal(sample, first);
    }
    close_order(&o);
}

static void store(struct order *o, struct db *db, int64_t run, const int64_t *cells,
                  const struct job *job, int n_new) {
    struct err e = {0};
    const struct sample *sample = workload_sample(&o->work, job);
    struct db_sample s = {.dataset = o->work.sets[o->experiment.cells[job->cell].dataset].id,
                          .name = sample->problem.id,
                          .position = job->sample,
                          .prompt = sample->problem.prompt,
                          .gold = sample->problem.answer};
    struct db_result result = {.key = job->key,
                               .run = run,
                               .cell = cells[job->cell],
                               .text = "",
                               .n_prompt = 10,
                               .n_new = n_new,
                               .finish = "cap",
                               .path = "none",
                               .extracted = "",
                               .kept_peak = 1};
    assert_true(db_sample(db, &s, &result.sample, &e) && db_add_result(db, &result, &e));
}

/* The sample with the shortest prompt took long, the one with the longest hardly any time: they
 * change places, and the jobs that are done are none. */
static void test_workload_stored_lengths_are_believed(void **state) {
    struct order o = open_order(*state);
    plan(&o, NULL);
    struct err e = {0};
    struct db *db = db_open(folder_path(*state, "order.db"), DB_WRITE, &e);
    assert_non_null(db);
    struct job longest = o.work.jobs[0], shortest = o.work.jobs[JOBS - 1];
    int64_t cells[2 * CELLS], run;
    char *argv[] = {"raas"};
    struct db_run r = {.name = "order", .argc = 1, .argv = argv, .threads = 1, .isa = "fp32"};
    assert_true(db_run_start(db, &r, &run, &e) && workload_register(&o.work, db, cells, &e));
    store(&o, db, run, cells, &longest, 1);
    store(&o, db, run, cells, &shortest, 90000);
    plan(&o, db);
    int n = o.work.n_jobs;
    assert_int_equal(n, JOBS - 2);
    for (int i = 0; i < CELLS - 1; i++) {
        assert_ptr_equal(workload_sample(&o.work, &o.work.jobs[i]),
                         workload_sample(&o.work, &shortest));
        assert_ptr_equal(workload_sample(&o.work, &o.work.jobs[n - 1 - i]),
                         workload_sample(&o.work, &longest));
    }
    db_close(db);
    close_order(&o);
}

static void test_workload_knows_what_a_whole_plan_asks(void **state) {
    struct order o = open_order(*state);
    plan(&o, NULL);
    for (int c = 0; c < o.experiment.n_cells; c++)
        assert_int_equal(workload_answers(&o.work, c), SAMPLES);
    struct err e = {0};
    assert_true(
        workload_plan(&o.work, NULL, 1, 3, &e)); /* a shard plans less, and knows the whole */
    assert_true(o.work.n_jobs < JOBS);
    assert_int_equal(workload_answers(&o.work, 0), SAMPLES);
    close_order(&o);
}

/* Only what full is beside of can be compared, and only so many problems tell so much. */
static void test_workload_says_what_can_be_told_apart(void **state) {
    struct order o = open_order(*state);
    plan(&o, NULL);
    struct detectable few = detectable_in(&o.work, 0);
    assert_int_equal(few.problems, SAMPLES);
    assert_int_equal(few.comparisons, CELLS - 1);
    assert_true(isnan(few.least[0]) && isnan(few.found[1][0]));
    workload_close(&o.work);
    o.experiment.n = 60;
    plan(&o, NULL);
    struct detectable many = detectable_in(&o.work, 1);
    assert_true(many.least[0] == 6. / 60 && many.least[1] == 7. / 60);
    assert_true(many.found[1][0] == power_detectable(60, 0.3, 0.05, 0.8));
    assert_true(many.found[1][1] > many.found[1][0]); /* Holm asks more */
    o.experiment.n_cells = 1;                         /* full alone */
    assert_int_equal(detectable_in(&o.work, 0).comparisons, 0);
    o.experiment.n_cells = CELLS * DATASETS;
    close_order(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_workload_long_prompts_go_first, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_workload_stored_lengths_are_believed, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_workload_says_what_can_be_told_apart, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_workload_knows_what_a_whole_plan_asks, folder_setup,
                                        folder_teardown),
    };
    return cmocka_run_group_tests_name("workload", tests, NULL, NULL);
}
