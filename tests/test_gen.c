/* `raas gen`: its JSONL holds what the generator said, labels included, and bad arguments are
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "commands/command.h"
#include "datasets/dataset.h"
#include "datasets/lemmas.h"

/* Runs `raas gen ...` in this process; returns what it wrote to stdout. */
static char *gen(int *code, size_t *size, int argc, char **argv) {
    fflush(stdout);
    FILE *file = tmpfile();
    int keep = dup(STDOUT_FILENO);
    assert_true(file && keep >= 0 && dup2(fileno(file), STDOUT_FILENO) >= 0);
    struct err e = {0};
    *code = command_find("gen")->run(argc, argv, &e);
    fflush(stdout);
    dup2(keep, STDOUT_FILENO);
    close(keep);
    *size = (size_t)lseek(fileno(file), 0, SEEK_END);
    char *text = calloc(1, *size + 1);
    assert_int_equal(pread(fileno(file), text, *size, 0), *size);
    fclose(file);
    return text;
}

static void check_row(const struct json *row, int width, const int *expected) {
    assert_int_equal(json_count(row), width);
    for (const struct json *v = json_first(row); v; v = json_next(v)) {
        int64_t value;
        assert_true(json_integer(v, 0, 1 << 30, &value));
        assert_int_equal(value, *expected++);
    }
}

static void check_line(const char *line, size_t size, const struct problem *p) {
    struct err e = {0};
    struct json_doc *doc = json_parse(line, size, "gen", &e);
    if (!doc)
        fail_msg("%s", e.text);
    const struct json *root = json_root(doc), *labels = json_get(root, "labels");
    assert_string_equal(json_text(json_get(root, "prompt")), p->prompt);
    assert_string_equal(json_text(json_get(root, "solution")), p->solution);
    assert_string_equal(json_text(json_get(root, "answer")), p->answer);
    const struct json *deps = json_get(labels, "deps"), *rows = json_get(labels, "lemmas"),
                      *spans = json_get(labels, "spans");
    assert_int_equal(json_count(deps), p->n_steps);
    assert_int_equal(json_count(rows), p->n_lemmas);
    assert_int_equal(json_count(spans), p->n_uses);
    deps = json_first(deps), rows = json_first(rows), spans = json_first(spans);
    for (int i = 0; i < p->n_steps; i++, deps = json_next(deps), rows = json_next(rows)) {
        const struct span *l = &p->lemmas[i];
        check_row(deps, p->dep_start[i + 1] - p->dep_start[i], p->deps + p->dep_start[i]);
        check_row(rows, 3, (int[]){l->from, l->to, l->step});
    }
    for (int i = 0; i < p->n_uses; i++, spans = json_next(spans)) {
        const struct span *u = &p->uses[i];
        check_row(spans, 4, (int[]){u->from, u->to, u->step, u->source});
    }
    json_free(doc);
}

static void test_gen_prints_jsonl_with_labels(void **state) {
    (void)state;
    char *argv[] = {"gen", "lemmas", "--steps", "9", "--lifetime", "2.5",   "--phoenix", "0.25",
                    "--n", "6",      "--seed",  "5", "--reuse",    "birth", NULL};
    int code;
    size_t size;
    char *text = gen(&code, &size, 14, argv), *line = text;
    assert_int_equal(code, EXIT_OK);
    struct lemmas_param param = {9, 2.5, 0.25, REUSE_BIRTH, 5};
    for (int i = 0; i < 6; i++) {
        struct problem p;
        size_t n = strcspn(line, "\n");
        assert_true(dataset_find("lemmas")->get(&param, i, &p, NULL));
        check_line(line, n, &p);
        problem_free(&p);
        line += n + 1;
    }
    assert_int_equal(line - text, size);
    free(text);
}

static void test_gen_refuses_bad_arguments(void **state) {
    (void)state;
    char *lines[][6] = {
        {"gen", NULL},
        {"gen", "gsm8k", NULL},
        {"gen", "lemmas", "--steps", "0", NULL},
        {"gen", "lemmas", "--n", "-1", NULL},
        {"gen", "lemmas", "--reuse", "never", NULL},
        {"gen", "lemmas", "--stepz", "4", NULL},
        {"gen", "lemmas", "extra", NULL},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        int argc = 0, code;
        size_t size;
        while (lines[i][argc])
            argc++;
        char *text = gen(&code, &size, argc, lines[i]);
        assert_int_equal(code, EXIT_USAGE);
        assert_int_equal(size, 0);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gen_prints_jsonl_with_labels),
        cmocka_unit_test(test_gen_refuses_bad_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
