/* raas report: one HTML page of what a database says, with tables beside it. */
#include <stddef.h>
#include <stdio.h>

#include "commands/command.h"
#include "commands/common.h"
#include "plots/report.h"

struct report_param {
    const char *db, *out, *reference;
    struct report_choice choice;
};

static const struct option options[] = {
    // clang-format off
    RUN_ROW(struct report_param, choice.run),
    {"reference", OPTION_TEXT, offsetof(struct report_param, reference), 0, 0, 0, NULL,
     "POLICY: what the others are compared with, at equal effective budgets (default: full)"},
    {"samples", OPTION_INT, offsetof(struct report_param, choice.samples), 100, 0, 1e9, NULL,
     "problems of each dataset whose answers the page holds; 0 takes all"},
    {"out", OPTION_TEXT, offsetof(struct report_param, out), 0, 0, 0, NULL,
     "DIR: where the page and its tables go (default: results/report)"},
    DB_ROW(struct report_param, db, "database to read"),
    OPTION_END,
    // clang-format on
};

static const char usage[] =
    "raas report [--run R] [--reference POLICY] [--samples N] [--out DIR] [--db F]";
static const char about[] =
    "Writes DIR/report.html, one page that needs no network: claims with the tests behind them,\n"
    "figures, sortable tables, and a browser of prompts, answers and verdicts. Every number names\n"
    "the query that gives it (all of them: DIR/queries.sql). Beside it the tables as results.csv,\n"
    ".md, .tex (booktabs) and .json. What a plan still lacks marks the report as partial.";

static int run(int argc, char **argv, struct err *e) {
    struct report_param param;
    if (!common_argv(options, &param, usage, about, argc, argv, e))
        return e->code;
    const char *out = param.out ? param.out : COMMON_RESULTS "/report";
    param.choice.reference = param.reference ? param.reference : "full";
    struct db *db = common_answers(param.db, e);
    if (db && report_write(db, &param.choice, out, e))
        printf("%s/report.html\n", out);
    db_close(db);
    return e->code;
}

const struct command command_report = {
    .name = "report",
    .usage = usage,
    .summary = "one HTML page of results, with tables beside it",
    .run = run,
};
