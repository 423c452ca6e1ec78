/* raas record: attention of fresh decodes, one HDF5 file a sample. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/command.h"
#include "commands/common.h"
#include "experiments/record.h"
#include "experiments/stop.h"

struct record_flags {
    struct common common;
    const char *dataset, *policy, *mode, *layers, *heads, *out, *template;
    int solution;
    struct lifecycle_params life; /* its rows: of all modes */
    int64_t n, first, seed, max_new, batch;
    double temperature, top_p;
};

static const char usage[] = "raas record --dataset D --mode lifecycle,pooled,full [--layers L] "
                            "[--heads H] [--n N] [--seed K] "
                            "[--policy P] [--solution gold] --out DIR";
static const char about[] =
    "Decodes samples of a dataset and records their attention: OUT/SAMPLE.h5, an HDF5 file that\n"
    "h5py, xarray and HDFView open as it is. Prints the path of each file that is whole.\n"
    "Mode full keeps every probability (float16), pooled the max and sum of each page, lifecycle\n"
    "what raas analyze remembers of each key under its thresholds (--theta and below), and no map.";

static const struct option options[] = {
// clang-format off
#define FIELD(name) offsetof(struct record_flags, name)
    {"dataset", OPTION_TEXT, FIELD(dataset), 0, 0, 0, NULL,
     "NAME: dataset and its options, e.g. lemmas:steps=16"},
    {"mode", OPTION_TEXT, FIELD(mode), 0, 0, 0, NULL,
     "NAME: lifecycle, pooled, full, or several with commas"},
    {"layers", OPTION_TEXT, FIELD(layers), 0, 0, 0, NULL,
     "LIST: layers to record, from 0, like 0,3,5-8 (default: all)"},
    {"heads", OPTION_TEXT, FIELD(heads), 0, 0, 0, NULL,
     "LIST: q heads to record of each of these layers (default: all)"},
    {"n", OPTION_INT, FIELD(n), 1, 1, 1e6, NULL, "samples"},
    {"first", OPTION_INT, FIELD(first), 0, 0, 1e9, NULL, "number of the first sample, from 0"},
    {"policy", OPTION_TEXT, FIELD(policy), 0, 0, 0, NULL,
     "NAME: cache policy and its options, e.g. raas:budget=256 (default full)"},
    {"solution", OPTION_CHOICE, FIELD(solution), 0, 0, 0, "model|gold",
     "whose tokens are fed: what the model says, or the gold solution (teacher-forced)"},
    {"max-new", OPTION_INT, FIELD(max_new), 0, 0, 1 << 24, NULL,
     "new tokens at most; 0 is the model's limit"},
    {"temperature", OPTION_REAL, FIELD(temperature), 0, 0, 100, NULL, "0 is greedy"},
    {"top-p", OPTION_REAL, FIELD(top_p), 1, 1e-6, 1, NULL,
     "sample from the likeliest tokens that hold this share; 1 is all"},
    {"seed", OPTION_INT, FIELD(seed), 0, 0, 0x1p53, NULL,
     "seed of sampling, and of a generator's problems where --dataset names none"},
    {"template", OPTION_TEXT, FIELD(template), 0, 0, 0, NULL,
     "NAME: chat template around prompts: auto, none, or one of raas list templates"},
    {"batch", OPTION_INT, FIELD(batch), 1, 1, SESSION_WIDTH, NULL, "sequences in flight"},
    {"out", OPTION_TEXT, FIELD(out), 0, 0, 0, NULL, "DIR: where the files go"},
    LIFECYCLE_OPTIONS(struct record_flags, life),
    COMMON_ROWS(struct record_flags, common, PRECISION_BF16),
    OPTION_END,
#undef FIELD
    // clang-format on
};

static void print_path(void *user, const char *path, uint64_t bytes) {
    (void)user, (void)bytes;
    puts(path);
    fflush(stdout);
}

static bool parse_dataset(const struct record_flags *f, struct dataset_choice *out, struct err *e) {
    char text[300];
    common_seeded(f->dataset, f->seed, text, sizeof text);
    return dataset_parse(f->seed ? text : f->dataset, out, e); /* 0: none was given */
}

static int record(const struct record_flags *f, struct dataset_choice *dataset,
                  const struct plan *plan, struct err *e) {
    const struct recording_choice choice = {f->mode, f->layers, f->heads, f->life.rows == ROWS_ALL,
                                            &f->life};
    struct model *model = common_model(&f->common, e);
    if (!model)
        return e->code;
    struct common_opener opener = {&f->common, model};
    const struct record_params params = {
        .model = model,
        .template = f->template ? f->template : "auto",
        .dataset = dataset,
        .plan = plan,
        .choice = &choice,
        .out = f->out,
        .first = f->first,
        .n = f->n,
        .gold = f->solution == 1,
        .max_new = f->max_new,
        .seed = f->seed,
        .temperature = f->temperature,
        .top_p = f->top_p,
        .precision = (enum precision)f->common.precision,
        .open = common_open,
        .context = &opener,
        .width = (int)f->batch,
        .done = print_path,
        .stopped = stop_requested,
    };
    struct record_outcome outcome;
    stop_install();
    bool ok = record_samples(&params, &outcome, e);
    model_close(model);
    bool all = outcome.stats.files == (uint64_t)outcome.samples;
    return !ok ? e->code : outcome.stopped ? EXIT_SIGNAL : all ? EXIT_OK : EXIT_PARTIAL;
}

static int record_run(int argc, char **argv, struct err *e) {
    struct record_flags f;
    struct plan plan;
    struct dataset_choice dataset = {0};
    if (!common_argv(options, &f, usage, about, argc, argv, e))
        return e->code;
    if (!f.dataset || !f.out)
        return err_set(e, EXIT_USAGE, "--%s is missing; usage: %s", f.dataset ? "out" : "dataset",
                       usage),
               e->code;
    const struct recording_choice choice = {.mode = f.mode ? f.mode : ""};
    int code = EXIT_USAGE;
    if (recording_check(&choice, e) && policy_parse(f.policy ? f.policy : "full", &plan, e) &&
        chat_check(f.template ? f.template : "auto", e) && parse_dataset(&f, &dataset, e))
        code = record(&f, &dataset, &plan, e);
    free(dataset.param);
    return code;
}

const struct command command_record = {
    .name = "record",
    .usage = usage,
    .summary = "attention of fresh decodes, as HDF5 files",
    .run = record_run,
};
