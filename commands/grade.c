/* raas grade: verdicts on answers, from JSONL or on those that are stored. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/results.h"
#include "commands/command.h"
#include "commands/common.h"
#include "commands/lines.h"
#include "datasets/dataset.h"
#include "datasets/grade.h"
#include "experiments/regrade.h"

struct grade_param {
    const char *jsonl, *dataset, *run, *db;
    int profile; /* enum grade_profile */
    bool disagreements, json;
};

// clang-format off
static const struct option options[] = {
    {"jsonl", OPTION_TEXT, offsetof(struct grade_param, jsonl), 0, 0, 0, NULL,
     "FILE: grade its lines {\"answer\", \"output\", \"dataset\"} (- is stdin)"},
    {"profile", OPTION_CHOICE, offsetof(struct grade_param, profile), GRADE_STRICT, 0, 0,
     GRADE_PROFILES, "whose rules judge; math-verify are those of the Python library"},
    {"dataset", OPTION_TEXT, offsetof(struct grade_param, dataset), 0, 0, 0, NULL,
     "NAME: of lines that name none"},
    RUN_ROW(struct grade_param, run),
    {"disagreements", OPTION_BOOL, offsetof(struct grade_param, disagreements), 0, 0, 1, NULL,
     "list stored answers on which the verdicts differ, and change nothing"},
    JSON_ROW(struct grade_param, json),
    DB_ROW(struct grade_param, db, "database whose answers are graded"),
    OPTION_END,
};
// clang-format on

static const char usage[] = "raas grade [--run R] [--disagreements] [--db F] | raas grade --jsonl "
                            "IN [--profile P] [--dataset D]";
static const char about[] =
    "Grades stored answers again, by both profiles, without a model: what a newer grader sees "
    "otherwise\nis changed in the database. With --jsonl each line gives {\"correct\", "
    "\"extracted\", \"path\", \"boxed\"}:\ncorrect is the verdict by the whole chain (box, ####, "
    "\"answer is\", last number), path the link that\nfound the answer, boxed the verdict on a box "
    "alone. A line that fails gives {\"error\": ...} in its\nplace, and exit code 4 at the end.";

/* --- JSONL ------------------------------------------------------------------------------------ */

static bool find_output(const struct json *line, const char **text, size_t *size, struct err *e) {
    const struct json *value = json_get(line, "output");
    *text = value ? json_bytes(value, size) : NULL;
    return *text || err_set(e, EXIT_CONTENT, "expected \"output\": a string");
}

/* Why a value is no answer. */
static bool refuse_gold(const struct json *value, struct err *e) {
    size_t size;
    double number;
    if (value && json_bytes(value, &size))
        return err_set(e, EXIT_CONTENT, "\"answer\" holds U+0000, which no gold can");
    if (value && json_number(value, &number))
        return err_set(e, EXIT_CONTENT,
                       "\"answer\": expected a whole number below 2^53; write others as a string");
    return err_set(e, EXIT_CONTENT, "expected \"answer\": a string or a whole number");
}

/* Gold, malloc'd; a whole number is one as well. NULL on error. */
static char *find_gold(const struct json *line, const struct dataset *dataset, struct err *e) {
    const struct json *value = json_get(line, "answer");
    const char *text = value ? json_text(value) : NULL;
    char digits[32];
    int64_t whole;
    if (value && json_integer(value, INT64_MIN, INT64_MAX, &whole)) {
        snprintf(digits, sizeof digits, "%" PRId64, whole);
        text = digits;
    }
    if (!text) {
        refuse_gold(value, e);
        return NULL;
    }
    char *gold = dataset ? dataset_gold(dataset, text) : must_strdup(text);
    const char *rest = gold + strspn(gold, " \t\r\n");
    if (!strncmp(rest, "####", 4))
        rest += 4 + strspn(rest + 4, " \t\r\n");
    if (*rest)
        return gold;
    free(gold);
    err_set(e, EXIT_CONTENT, "\"answer\" is empty: nothing would equal it");
    return NULL;
}

/* With options or without: they are checked, and change nothing of the verdict. */
static const struct dataset *parse_dataset(const char *name, struct err *e) {
    struct dataset_choice choice;
    if (!dataset_parse(name, &choice, e))
        return NULL;
    free(choice.param);
    return choice.dataset;
}

static bool find_dataset(const struct json *line, const char *standard, const struct dataset **out,
                         struct err *e) {
    const struct json *value = json_get(line, "dataset");
    const char *name = value ? json_text(value) : standard;
    *out = NULL;
    if (!name)
        return !value || err_set(e, EXIT_CONTENT, "expected \"dataset\": a string");
    *out = parse_dataset(name, e);
    if (!*out)
        e->code = EXIT_CONTENT;
    return *out;
}

static bool grade_line(const void *context, const struct json *line, struct json_out *o,
                       struct err *e) {
    const struct grade_param *param = context;
    const char *output;
    size_t size;
    const struct dataset *dataset;
    struct grade grade;
    if (!find_dataset(line, param->dataset, &dataset, e) || !find_output(line, &output, &size, e))
        return false;
    char *gold = find_gold(line, dataset, e);
    if (!gold)
        return false;
    grade_answer((enum grade_profile)param->profile, gold, output, size, &grade);
    free(gold);
    json_open(o, '{');
    json_add_bool(o, "correct", grade.correct);
    json_add_text(o, "extracted", grade.extracted);
    json_add_text(o, "path", grade_path_names[grade.path]);
    json_add_bool(o, "boxed", grade.boxed);
    json_close(o, '}');
    return true;
}

/* --- stored answers --------------------------------------------------------------------------- */

static int grade_stored(const struct grade_param *param, struct err *e) {
    const char *path = common_db(param->db);
    struct db *db = db_open(path, DB_READ, e);
    int64_t run = 0;
    bool ok = db && results_run(db, param->run, &run, e);
    if (ok && param->disagreements)
        regrade_list(db, run, param->json, stdout, e);
    if (ok && !param->disagreements) {
        db_close(db); /* only one that exists is opened for writing, which would make it */
        db = db_open(path, DB_WRITE, e);
        if (db)
            regrade_all(db, run, param->json, stdout, e);
    }
    db_close(db);
    return e->code;
}

static int run(int argc, char **argv, struct err *e) {
    struct grade_param param;
    if (!common_argv(options, &param, usage, about, argc, argv, e))
        return e->code;
    if (param.dataset && !parse_dataset(param.dataset, e))
        return e->code;
    if (param.jsonl && (param.run || param.db || param.disagreements || param.json))
        return err_set(e, EXIT_USAGE,
                       "--jsonl grades a file: it takes no --run, --db, --json or --disagreements"),
               e->code;
    return param.jsonl ? lines_answer(grade_line, &param, param.jsonl, e) : grade_stored(&param, e);
}

const struct command command_grade = {
    .name = "grade",
    .usage = usage,
    .summary = "verdicts on answers, stored ones or from JSONL",
    .run = run,
};
