#include "tests/lemmas.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "datasets/grade.h"
#include "engine/model_path.h"

void *lemmas_options(const char *text) {
    const struct dataset *lemmas = dataset_find("lemmas");
    void *param = calloc(1, lemmas->param_size);
    struct err e = {0};
    option_defaults(lemmas->options, param);
    if (!option_parse(lemmas->options, param, "dataset lemmas", text, &e))
        fail_msg("%s", e.text);
    return param;
}

struct model *lemmas_model(void) {
    struct err e = {0};
    char path[4096];
    struct model *model = model_default_path(path, sizeof path, &e) ? model_open(path, &e) : NULL;
    if (!model)
        fprintf(stderr, "%s\n", e.text);
    return model;
}

void lemmas_problem(const struct model *model, int64_t number, struct problem *problem,
                    struct id_list *prompt) {
    struct err e = {0};
    void *param = lemmas_options("steps=16,seed=4242");
    assert_true(dataset_find("lemmas")->get(param, number, problem, &e));
    free(param);
    assert_true(tokenizer_encode(model->tokenizer, problem->prompt, strlen(problem->prompt), true,
                                 prompt, &e));
}

bool lemmas_is_right(const struct model *model, const struct problem *problem, const int32_t *ids,
                     int n) {
    struct err e = {0};
    struct grade grade;
    size_t size;
    char *text = tokenizer_decode(model->tokenizer, ids, (size_t)n, true, &size, &e);
    assert_non_null(text);
    grade_answer(GRADE_STRICT, problem->answer, text, size, &grade);
    free(text);
    return grade.correct;
}
