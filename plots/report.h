/* The report: what a database says, as one HTML page that needs no network, and as tables for
 * papers and programs. Every number stands beside the query that gives it. */
#pragma once

#include "store/db.h"

struct report_choice {
    const char *run;       /* a name or number as results_run takes it; NULL: everything */
    const char *reference; /* policy that the others are compared with */
    int64_t samples;       /* problems of each dataset in the browser; 0: all */
};

/* Writes into the folder `out`, made where missing: report.html; results.csv, .md, .tex (booktabs)
 * and .json; queries.sql, which gives the page's numbers in sqlite3; and figures/. A plan that is
 * not finished marks page and tables as partial. A figure that can't be drawn is left out and said.
 * The same database gives the same bytes. Errors: EXIT_USAGE for an unknown
 * run, EXIT_CONTENT without any result, EXIT_ENV where a file can't be written. */
bool report_write(struct db *db, const struct report_choice *choice, const char *out,
                  struct err *e);
