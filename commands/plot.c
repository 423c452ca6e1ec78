/* raas plot: a figure from the database, or of recorded attention, as SVG and PNG. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "commands/command.h"
#include "commands/common.h"
#include "plots/attention.h"
#include "plots/lifelines.h"
#include "plots/plot.h"

struct plot_param {
    const char *db, *out;
    struct plot_choice choice;
    int64_t layer, head, from, to;
    struct lifecycle_params life;
};

// clang-format off
static const struct option options[] = {
    RUN_ROW(struct plot_param, choice.run),
    {"model", OPTION_TEXT, offsetof(struct plot_param, choice.model), 0, 0, 0, NULL,
     "NAME: only this model, spelled as in the table"},
    {"dataset", OPTION_TEXT, offsetof(struct plot_param, choice.dataset), 0, 0, 0, NULL,
     "NAME: only this dataset, spelled as in the table"},
    {"out", OPTION_TEXT, offsetof(struct plot_param, out), 0, 0, 0, NULL,
     "DIR: where the figure, its data and its script go (default: results/plots)"},
    {"layer", OPTION_INT, offsetof(struct plot_param, layer), -1, -1, 1024, NULL,
     "of a file: this layer; -1 with --head -1: a sheet of all heads, lifelines of the best"},
    {"head", OPTION_INT, offsetof(struct plot_param, head), -1, -1, 1024, NULL, "of a file: this q head"},
    {"from", OPTION_INT, offsetof(struct plot_param, from), 0, 0, 1 << 24, NULL,
     "attention: the first position shown"},
    {"to", OPTION_INT, offsetof(struct plot_param, to), 0, 0, 1 << 24, NULL,
     "attention: the position behind the last one shown; 0: all"},
    LIFECYCLE_OPTIONS(struct plot_param, life),
    DB_ROW(struct plot_param, db, "database to read"),
    OPTION_END,
};
// clang-format on

static const char usage[] =
    "raas plot FIGURE [--run R] [--model M] [--dataset D] [--out DIR] [--db F]\n"
    "       raas plot attention FILE [--layer L --head H] [--from A --to B] [--out DIR]\n"
    "       raas plot lifelines FILE [--layer L --head H] [--theta T] [--out DIR]";
static const char about[] =
    "Draws a figure with gnuplot and prints the paths of the SVG and the PNG. `raas list figures`\n"
    "names the figures. A figure shows one model, dataset and settings: those of the newest "
    "result\n"
    "among what is asked for. `raas plot attention FILE` draws what raas record wrote: one head, "
    "with\n"
    "the texts of tokens where they fit (--from, --to), or a sheet of all heads; `raas plot "
    "lifelines\n"
    "FILE` the lives of its lemmas. --theta and below say what these two call detected.";

/* attention or lifelines of one file */
static int draw_file(const struct plot_param *p, const char *figure, const char *path,
                     struct err *e) {
    bool all = p->layer < 0 && p->head < 0, lines = !strcmp(figure, "lifelines");
    const char *out = p->out ? p->out : COMMON_RESULTS "/plots";
    const char *name = all && !lines ? "attention_heads" : figure;
    const struct plot_lifelines life = {path, (int)p->layer, (int)p->head, &p->life};
    const struct plot_attention map = {path,         (int)p->layer, (int)p->head,
                                       (int)p->from, (int)p->to,    &p->life};
    if (!all && (p->layer < 0 || p->head < 0))
        err_set(e, EXIT_USAGE, "--layer and --head: both, or neither");
    else if (lines ? plot_lifelines(&life, out, e) : plot_attention(&map, out, e))
        printf("%s/%s.svg\n%s/%s.png\n", out, name, out, name);
    return e->code;
}

static int run(int argc, char **argv, struct err *e) {
    struct plot_param param;
    int n_args;
    option_defaults(options, &param);
    if (!option_argv(options, &param, usage, about, argc, argv, &n_args, e))
        return e->code;
    bool of_file = n_args && (!strcmp(argv[0], "attention") || !strcmp(argv[0], "lifelines"));
    if (of_file && n_args == 2)
        return draw_file(&param, argv[0], argv[1], e);
    if (of_file)
        return err_set(e, EXIT_USAGE, "%s takes one file that raas record wrote", argv[0]), e->code;
    if (n_args != 1)
        return err_set(e, EXIT_USAGE, "expected one figure, see raas list figures"), e->code;
    const char *out = param.out ? param.out : COMMON_RESULTS "/plots";
    struct db *db = db_open(common_db(param.db), DB_READ, e);
    if (db && plot_figure(db, argv[0], &param.choice, out, e))
        printf("%s/%s.svg\n%s/%s.png\n", out, argv[0], out, argv[0]);
    db_close(db);
    return e->code;
}

const struct command command_plot = {
    .name = "plot",
    .usage = usage,
    .summary = "a figure from stored results",
    .run = run,
};
