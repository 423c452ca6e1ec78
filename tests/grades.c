#include "tests/grades.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/id_list.h"
#include "base/json.h"
#include "tests/cli.h"

int grades_table(const char *name, void (*take)(char *fields[GRADE_FIELDS], int n, void *context),
                 void *context) {
    char path[200], *line = NULL;
    size_t room = 0;
    int lines = 0;
    snprintf(path, sizeof path, "tests/golden/grade/%s", name);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("%s is missing", path);
    while (getline(&line, &room, f) > 0) {
        char *fields[GRADE_FIELDS], *rest = line;
        int n = 0;
        line[strcspn(line, "\n")] = 0;
        if (*line == '#' || !*line)
            continue;
        for (char *field; n < GRADE_FIELDS && (field = strsep(&rest, "\t"));)
            fields[n++] = field;
        take(fields, n, context);
        lines++;
    }
    free(line);
    fclose(f);
    return lines;
}

static const char *folder(const char *variable, const char *standard) {
    const char *said = getenv(variable);
    return said && *said ? said : standard;
}

/* --- gold ------------------------------------------------------------------------------------- */

/* The file's problems, counted. */
static struct dataset_choice problems(const char *name, int64_t *count) {
    struct dataset_choice choice;
    struct err e = {0};
    char spec[300];
    snprintf(spec, sizeof spec, "%s:path=%s/%s/test.jsonl", name,
             folder("RAAS_DATA", "../shared/datasets"), strcmp(name, "aime") ? name : "aime24");
    assert_true(dataset_parse(spec, &choice, &e));
    *count = dataset_count(&choice, &e);
    if (*count < 0 && e.code == EXIT_USAGE) {
        printf("skipped: no file of %s: %s\n", name, e.text);
        free(choice.param);
        skip();
    }
    assert_int_equal(e.code, 0);
    return choice;
}

struct dataset_choice grades_problems(const char *name) {
    int64_t count;
    return problems(name, &count);
}

struct golds grades_golds(const char *name) {
    struct golds golds = {0};
    struct err e = {0};
    int64_t count;
    struct dataset_choice choice = problems(name, &count);
    int n = count > 0 && count < 1 << 20 ? (int)count : 0;
    golds.gold = calloc((size_t)n + 1, sizeof *golds.gold);
    for (; golds.n < n; golds.n++) {
        struct problem problem = {0};
        assert_true(dataset_get(&choice, golds.n, &problem, &e));
        golds.gold[golds.n] = strdup(problem.answer);
        problem_free(&problem);
    }
    free(choice.param);
    return golds;
}

void golds_free(struct golds *golds) {
    for (int i = 0; i < golds->n; i++)
        free(golds->gold[i]);
    free(golds->gold);
}

/* --- answers ---------------------------------------------------------------------------------- */

/* `xz -dc from`, into a file; false: no such file, or no xz. */
static bool unpack(const char *from, const char *to) {
    if (access(from, R_OK))
        return false;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int file = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (file >= 0 && dup2(file, STDOUT_FILENO) >= 0)
            execlp("xz", "xz", "-dc", from, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int32_t *take_ids(const struct json *array, int *n) {
    struct id_list list = {0};
    struct err e = {0};
    assert_true(id_list_read(&list, array, &e) && list.count > 0);
    *n = (int)list.count;
    return list.ids;
}

static void take_answer(struct answers *a, const char *line, size_t size) {
    struct err e = {0};
    struct json_doc *doc = json_parse(line, size, "answers", &e);
    if (!doc)
        fail_msg("%s", e.text);
    const struct json *root = json_root(doc);
    int64_t index, prompt_tokens;
    size_t length;
    const char *output = json_bytes(json_get(root, "output"), &length);
    assert_true(output && json_integer(json_get(root, "index"), 0, 100000, &index) &&
                json_integer(json_get(root, "prompt_tokens"), 1, 100000, &prompt_tokens));
    size_t n = (size_t)a->n + 1;
    a->text = realloc(a->text, n * sizeof *a->text);
    a->index = realloc(a->index, n * sizeof *a->index);
    a->mv = realloc(a->mv, n * sizeof *a->mv);
    a->prompt_tokens = realloc(a->prompt_tokens, n * sizeof *a->prompt_tokens);
    a->n_ids = realloc(a->n_ids, n * sizeof *a->n_ids);
    a->ids = realloc(a->ids, n * sizeof *a->ids);
    a->text[a->n] = strdup(output);
    a->prompt_tokens[a->n] = (int)prompt_tokens;
    a->ids[a->n] = take_ids(json_get(root, "ids"), &a->n_ids[a->n]);
    a->index[a->n] = (int)index;
    a->mv[a->n++] = json_is_true(json_get(root, "math_verify"));
    json_free(doc);
}

struct answers grades_answers(const char *dataset) {
    struct answers a = {0};
    char from[300], packed[304], *line = NULL;
    const char *to = cli_path("answers.jsonl");
    size_t room = 0;
    snprintf(from, sizeof from, "%s/qwen2.5-coder-1.5b.%s.jsonl",
             folder("RAAS_ANSWERS", "../shared/answers"), dataset);
    snprintf(packed, sizeof packed, "%s.xz", from);
    bool plain = access(from, R_OK) == 0;
    if (!plain && !unpack(packed, to)) {
        printf("skipped: no answers to read (%s, xz -dc %s)\n", from, packed);
        skip();
    }
    FILE *f = fopen(plain ? from : to, "r");
    assert_non_null(f);
    for (ssize_t n; (n = getline(&line, &room, f)) > 0;)
        take_answer(&a, line, (size_t)n);
    free(line);
    fclose(f);
    if (!plain)
        unlink(to);
    return a;
}

void answers_free(struct answers *a) {
    for (int i = 0; i < a->n; i++) {
        free(a->text[i]);
        free(a->ids[i]);
    }
    free(a->text);
    free(a->ids);
    free(a->n_ids);
    free(a->prompt_tokens);
    free(a->index);
    free(a->mv);
}
