/* The results table: accuracy with intervals, outcomes, memory, speed, and paired comparisons
 * against a reference policy, as text for people or data for programs. */
#pragma once

#include <stdio.h>

#include "base/err.h"
#include "store/db.h"

enum table_format { TABLE_TEXT, TABLE_CSV, TABLE_MD, TABLE_LATEX, TABLE_JSON };
#define TABLE_FORMATS "text|csv|md|latex|json" /* in that order, as an OPTION_CHOICE */

/* Prints the cells that run `run` planned (a name, which stands for its latest run, or a number;
 * NULL: all cells of the database), compared with full. CSV has the columns of view v_accuracy and
 * the hashes of dataset and weights; JSON adds the comparison to them. EXIT_USAGE for an unknown
 * run; EXIT_CONTENT when there is no result yet. */
bool table_print(struct db *db, const char *run, enum table_format format, FILE *out,
                 struct err *e);

/* The same, compared with the policy spelled `reference`: pairs have equal effective budgets
 * (that of the reference full equals any). */
bool table_print_against(struct db *db, const char *run, const char *reference,
                         enum table_format format, FILE *out, struct err *e);
