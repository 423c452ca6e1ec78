/* Grading stored answers again: no model, only texts and gold. */
#pragma once

#include <stdio.h>

#include "store/db.h"

/* Grades every answer of a run (0: of all runs) by both profiles and stores verdicts, path and
 * extracted text where they changed, a few hundred answers a transaction. Prints how many were
 * graded and which verdicts changed, as a line or (json) an object. EXIT_CONTENT where there is no
 * answer. */
bool regrade_all(struct db *db, int64_t run, bool json, FILE *out, struct err *e);

/* Prints the answers whose verdict by the chain or the box differs from math-verify's, those that
 * math-verify has not judged left out: dataset, sample, policy, verdicts, gold, extracted. */
bool regrade_list(struct db *db, int64_t run, bool json, FILE *out, struct err *e);
