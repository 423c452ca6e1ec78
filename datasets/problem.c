#include <stdlib.h>

#include "datasets/dataset.h"

void problem_free(struct problem *problem) {
    free(problem->prompt);
    free(problem->solution);
    free(problem->answer);
    free(problem->lemmas);
    free(problem->uses);
    free(problem->deps);
    free(problem->dep_start);
    *problem = (struct problem){0};
}
