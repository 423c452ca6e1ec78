/* The laws of re-use: what the knobs of the lemmas generator do to the distances between a lemma
 * and its recalls, measured on its labels (test_lemmas.c shows that the labels are true). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "datasets/dataset.h"
#include "tests/lemmas.h"

static const struct dataset *lemmas(void) { return dataset_find("lemmas"); }

/* Mean distance, in steps, between a recall and the lemma's latest statement or recall (gap), and
 * between a recall and the lemma's birth; the share of gaps over 8; the share of births exactly 8
 * steps back. */
struct distances {
    double gap, birth, far, at_eight;
};

static struct distances measure(const char *options) {
    void *param = lemmas_options(options);
    struct distances d = {0};
    int n = 0;
    for (int i = 0; i < 300; i++) {
        struct problem p;
        int last[200];
        assert_true(lemmas()->get(param, i, &p, NULL));
        for (int step = 0; step < p.n_steps; step++)
            last[step] = step;
        for (int u = 0; u < p.n_uses; u++) {
            int step = p.uses[u].step, source = p.uses[u].source;
            if (step < p.n_steps / 2) /* early steps have no choice */
                continue;
            d.gap += step - last[source];
            d.birth += step - source;
            d.far += step - last[source] > 8;
            d.at_eight += step - source == 8;
            last[source] = step;
            n++;
        }
        problem_free(&p);
    }
    free(param);
    return (struct distances){d.gap / n, d.birth / n, d.far / n, d.at_eight / n};
}

static void test_reuse_knobs_move_the_distances(void **state) {
    (void)state;
    struct distances short_life = measure("steps=32,phoenix=0,lifetime=1"),
                     middle = measure("steps=32,phoenix=0,lifetime=4"),
                     long_life = measure("steps=32,phoenix=0,lifetime=16"),
                     some = measure("steps=32,phoenix=0.1,lifetime=1"),
                     many = measure("steps=32,phoenix=0.5,lifetime=1"),
                     birth = measure("steps=32,phoenix=0,reuse=birth,lifetime=4"),
                     uniform = measure("steps=32,phoenix=0,reuse=uniform,lifetime=4"),
                     periodic = measure("steps=32,phoenix=0,reuse=periodic,lifetime=4");
    printf("measured: mean gap of re-use, lifetime 1, 4, 16: %.2f %.2f %.2f steps; share of gaps "
           "over 8 at "
           "phoenix 0, 0.1, 0.5: %.3f %.3f %.3f\n",
           short_life.gap, middle.gap, long_life.gap, short_life.far, some.far, many.far);
    printf("measured: mean distance to birth, lru %.2f, birth %.2f, uniform %.2f, periodic %.2f "
           "steps; share "
           "8 steps from birth: %.3f %.3f %.3f %.3f\n",
           middle.birth, birth.birth, uniform.birth, periodic.birth, middle.at_eight,
           birth.at_eight, uniform.at_eight, periodic.at_eight);
    assert_true(short_life.gap * 1.5 < middle.gap && middle.gap * 1.3 < long_life.gap);
    assert_true(short_life.far < 0.02 && some.far > 3 * short_life.far && many.far > 3 * some.far);
    assert_true(birth.birth * 1.2 < middle.birth && middle.birth * 1.2 < uniform.birth);
    assert_true(periodic.at_eight > 3 * uniform.at_eight);
}

static void test_reuse_phoenix_one_is_uniform(void **state) {
    (void)state;
    struct distances all = measure("steps=32,phoenix=1,lifetime=1"),
                     uniform = measure("steps=32,phoenix=0,reuse=uniform");
    assert_true(all.birth > 0.95 * uniform.birth && all.birth < 1.05 * uniform.birth);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reuse_knobs_move_the_distances),
        cmocka_unit_test(test_reuse_phoenix_one_is_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
