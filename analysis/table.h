/* The results table: accuracy with intervals, outcomes, memory, and paired comparisons against a
 * reference policy, as text for people or data for programs. */
#pragma once

#include <stdio.h>

#include "base/err.h"
#include "store/db.h"

enum table_format { TABLE_TEXT, TABLE_CSV, TABLE_MD, TABLE_LATEX, TABLE_JSON };
#define TABLE_FORMATS "text|csv|md|latex|json" /* in that order, as an OPTION_CHOICE */

/* Prints the cells that run `run` planned (a name, which stands for its latest run, or a number;
 * NULL: all cells of the database). CSV has the columns of view v_accuracy and nothing else; JSON
 * adds the comparison to them. An unknown run is EXIT_USAGE; an empty table is EXIT_CONTENT. */
bool table_print(struct db *db, const char *run, enum table_format format, FILE *out,
                 struct err *e);
