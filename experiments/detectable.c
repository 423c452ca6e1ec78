#include "experiments/detectable.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/power.h"
#include "base/log.h"

const double detectable_shares[DETECTABLE_SHARES] = {0.1, 0.3};

struct detectable detectable_in(const struct workload *w, int dataset) {
    const struct experiment *x = w->experiment;
    struct detectable d = {.problems = w->sets[dataset].n};
    int references = 0;
    for (int c = 0; c < x->n_cells; c++)
        if (x->cells[c].dataset == dataset) {
            bool full = !strcmp(x->cells[c].plan.name, "full");
            references += full;
            d.comparisons += !full;
        }
    if (!references || !d.problems)
        d.comparisons = 0;
    for (int step = 0; d.comparisons && step < 2; step++) {
        double level = DETECTABLE_LEVEL / (step ? d.comparisons : 1);
        d.least[step] = power_least(d.problems, level);
        for (int s = 0; s < DETECTABLE_SHARES; s++)
            d.found[s][step] =
                power_detectable(d.problems, detectable_shares[s], level, DETECTABLE_POWER);
    }
    return d;
}

/* In points; "none" where nothing is found. */
static const char *points(double difference, char out[16]) {
    if (isnan(difference))
        snprintf(out, 16, "none");
    else
        snprintf(out, 16, "%.1f", 100 * difference);
    return out;
}

void detectable_print(const struct workload *w) {
    bool headed = false;
    for (int i = 0; i < w->experiment->n_datasets; i++) {
        struct detectable d = detectable_in(w, i);
        if (!d.comparisons)
            continue;
        if (!headed)
            printf("\nMinimum detectable difference from full, in points of accuracy (exact "
                   "McNemar at 5 %%, 80 %% power;\nsmaller than the least is never seen; Holm: "
                   "as the first of all comparisons):\n%8s %8s %8s %12s %12s  %s\n",
                   "problems", "compared", "least", "10 % differ", "30 % differ", "dataset");
        headed = true;
        for (int step = 0; step < (d.comparisons > 1 ? 2 : 1); step++) {
            char a[16], b[16], c[16];
            printf("%8d %8d %8s %12s %12s  %s%s\n", d.problems, d.comparisons,
                   points(d.least[step], a), points(d.found[0][step], b),
                   points(d.found[1][step], c), w->experiment->datasets[i].name,
                   step ? ", Holm" : "");
        }
    }
}

void detectable_log(const struct workload *w) {
    for (int i = 0; i < w->experiment->n_datasets; i++) {
        struct detectable d = detectable_in(w, i);
        char a[16], b[16], c[16], h[16];
        if (d.comparisons && isnan(d.least[0]))
            log_info("%s: %d problems can show no difference from full",
                     w->experiment->datasets[i].name, d.problems);
        else if (d.comparisons)
            log_info("%s: %d problems can show differences from full of %s points or more; found "
                     "with 80 %% power: %s where 10 %% of problems differ, %s where 30 %% do (%s "
                     "by Holm over %d)",
                     w->experiment->datasets[i].name, d.problems, points(d.least[0], a),
                     points(d.found[0][0], b), points(d.found[1][0], c), points(d.found[1][1], h),
                     d.comparisons);
    }
}
