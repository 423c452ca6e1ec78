/* What the parts of a report share. */
#pragma once

#include <stdio.h>

#include "analysis/results.h"
#include "plots/report.h"

struct report_query {
    char *title, *sql; /* owned */
};

struct report {
    struct db *db;
    const struct report_choice *choice;
    const char *folder;
    struct results results;
    FILE *out; /* the page, in memory until it is whole */
    struct report_query *queries;
    int n_queries;
    int *pairs; /* [results.n] the query of a row's comparison, noted by report_claims; 0: none */
};

/* Notes a query under "Queries" and in queries.sql; returns the number by which the page links to
 * it (report_link). `sql` is taken over. */
int report_query(struct report *report, const char *title, char *sql);
void report_link(const struct report *report, int query, const char *text); /* <a href="#qN"> */

/* " (1, 2, 3)": ids of the cells from..to - 1 of the results, for IN. free() it. */
char *report_cells(const struct report *report, int from, int to);
/* Whether rows a and b stand in one section: model, dataset, settings, metric. */
bool report_same_section(const struct result_row *a, const struct result_row *b);
/* "raas:alpha=0.1, budget 256", escaped. */
void report_title(const struct result_row *row, FILE *out);

/* Parts of the page. */
void report_claims(struct report *report);
void report_tables(struct report *report);
bool report_figures(struct report *report, struct err *e);
bool report_samples(struct report *report, struct err *e);
