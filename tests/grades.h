/* What tests of the grader share: tables of pairs, gold of the datasets, answers of a real model.
 * What is absent gives one printed line, and skips the test. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "datasets/dataset.h"

enum { GRADE_FIELDS = 64 };

/* Calls `take` for each line of tests/golden/grade/NAME that is no comment, cut at its tabs. Fails
 * the test if there is no such file. Returns the number of lines. */
int grades_table(const char *name, void (*take)(char *fields[GRADE_FIELDS], int n, void *context),
                 void *context);

struct golds {
    char **gold;
    int n;
};
/* math500, gsm8k or aime, from $RAAS_DATA or ../shared/datasets. */
struct dataset_choice grades_problems(const char *dataset); /* free its param */
struct golds grades_golds(const char *dataset);
void golds_free(struct golds *golds);

struct answers { /* of Qwen2.5-Coder-1.5B-Instruct, from $RAAS_ANSWERS or ../shared/answers:
                    qwen2.5-coder-1.5b.DATASET.jsonl, or that with .xz */
    char **text;
    int *index; /* line of the dataset */
    int *mv;    /* verdict of math-verify 0.9.0 */
    int *prompt_tokens, *n_ids;
    int32_t **ids; /* generated, end token included */
    int n;
};
struct answers grades_answers(const char *dataset);
void answers_free(struct answers *answers);
