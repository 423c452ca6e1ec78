/* Paired comparison of a cell with a reference policy, sample by sample. */
#pragma once

#include "analysis/stats.h"
#include "store/db.h"

#define COMPARE_MARGIN 0.03 /* of accuracy, where an experiment says none: 3 points */

struct comparison {
    int64_t pairs;          /* 0: nothing to compare with; then the rest is 0 */
    int64_t problems;       /* that these pairs are about */
    int64_t only_cell;      /* pairs where only the cell was right */
    int64_t only_reference; /* pairs where only the reference was */
    double difference;      /* accuracy of the cell minus the reference's, over the pairs */
    struct interval ci;     /* of the difference: paired or, with repeats, cluster bootstrap */
    double p;               /* exact McNemar; with repeats a sign-flip test over problems */
    double margin;          /* of non-inferiority, in accuracy */
    double p_margin;        /* one-sided, of being worse by the margin or more */
    double p_holm, p_margin_holm; /* filled by the caller, who knows the family */
};

/* Compares cell `cell` with the policy spelled `reference` (without a budget), in its newest
 * version, where all else that decides a result is equal: model, dataset and the whole of
 * cell.config but "policy". Pairs have the same sample and repeat and equal effective budgets; the
 * budget of the reference "full" equals any, and the one answer of a greedy cell any repeat. */
bool compare_cell(struct db *db, int64_t cell, const char *reference, double margin,
                  struct comparison *out, struct err *e);

/* The query of these pairs, to be read and asked by people: pairs, problems, gained, lost. free()
 * it.
 */
char *compare_sql(int64_t cell, const char *reference);

/* "better" or "worse": the sign of the difference where p_holm < 0.05; "comparable": not inferior
 * by the margin, p_margin_holm < 0.025; "worse, within the margin": both; else "not
 * distinguishable", which says that nothing was shown, neither difference nor likeness. */
const char *compare_verdict(const struct comparison *comparison);
