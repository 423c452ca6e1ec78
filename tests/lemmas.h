/* The generator with options of a test, the embedded model, and what it is asked. */
#pragma once

#include "datasets/dataset.h"
#include "engine/model.h"

/* Parameters of the generator: "steps=4,seed=2"; free() them. Aborts the test on failure. */
void *lemmas_options(const char *text);

/* NULL, with one line on stderr, where it is not there. */
struct model *lemmas_model(void);

/* A problem of 16 steps and the ids of its prompt; both are the caller's. Aborts the test on
 * failure. */
void lemmas_problem(const struct model *model, int64_t number, struct problem *problem,
                    struct id_list *prompt);
/* The verdict on the ids of an answer. */
bool lemmas_is_right(const struct model *model, const struct problem *problem, const int32_t *ids,
                     int n);
