/* raas table: results with intervals, outcomes and paired comparisons. */
#include <stddef.h>

#include "analysis/table.h"
#include "commands/command.h"
#include "commands/common.h"

struct table_param {
    const char *db, *run, *reference;
    int format; /* enum table_format */
    bool json;
};

// clang-format off
static const struct option options[] = {
    RUN_ROW(struct table_param, run),
    {"format", OPTION_CHOICE, offsetof(struct table_param, format), 0, 0, 0, TABLE_FORMATS,
     "csv has the columns of view v_accuracy, json the comparison as well"},
    JSON_ROW(struct table_param, json),
    {"reference", OPTION_TEXT, offsetof(struct table_param, reference), 0, 0, 0, NULL,
     "POLICY: what the others are compared with, at equal effective budgets (default: full)"},
    DB_ROW(struct table_param, db, "database to read"),
    OPTION_END,
};
// clang-format on

static const char usage[] =
    "raas table [--run R] [--format text|csv|md|latex|json] [--reference POLICY] [--db F]";
static const char about[] =
    "Accuracy with 95 % Wilson intervals over problems; outcomes, each answer under the first "
    "that\n"
    "holds: right, numeric, looped, truncated (cut at max_new), unboxed (ended without an answer\n"
    "where one is looked for), wrong; decode length; and the mean over problems of each "
    "sequence's\n"
    "own peak of kept tokens (per layer and KV head) and KV bytes. Costs are what all answers "
    "took,\n"
    "over the right ones. Comparisons are paired problem by problem: difference with its "
    "bootstrap\n"
    "interval (problems are drawn, with all repeats), exact McNemar (with repeats a sign-flip "
    "test),\n"
    "p (margin) of losing the experiment's margin or more (Tango's score test), the last two by "
    "Holm\n"
    "over all pairs of a model and dataset.";

static int run(int argc, char **argv, struct err *e) {
    struct table_param param;
    if (!common_argv(options, &param, usage, about, argc, argv, e))
        return e->code;
    struct db *db = common_answers(param.db, e);
    if (!db)
        return e->code;
    enum table_format format = param.json ? TABLE_JSON : (enum table_format)param.format;
    table_print_against(db, param.run, param.reference ? param.reference : "full", format, stdout,
                        e);
    db_close(db);
    return e->code;
}

const struct command command_table = {
    .name = "table",
    .usage = usage,
    .summary = "results with intervals and comparisons",
    .run = run,
};
