/* raas run: flags become --set layers of the experiment; the rest is the runner's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "commands/command.h"
#include "commands/common.h"
#include "engine/cuda_info.h"
#include "experiments/run.h"
#include "experiments/stop.h"
#include "experiments/worker.h"

static const char usage[] =
    "raas run EXP.json [--scale smoke,full] [--set k=v]... [--out DIR] "
    "[--limit N] [--shard i/n] [--gpus N] [--isolated] [--dry-run] [--quiet]";
static const char summary[] = "plans, runs and resumes an experiment, prints its table";
static const char about[] = "plans, runs and resumes an experiment, prints its table\n\n"
                            "A list as a value multiplies into cells: --set "
                            "'policy=[\"full\",\"raas\"]' --set budget=[256,512].\n"
                            "Interrupt it at any time: the same command goes on. Exit codes: 0 "
                            "done, 4 done but some answers\n"
                            "failed or are missing, 75 stopped by a signal.";

struct run_flags {
    const char *scale, *out, *db, *shard, *gpus, *model, *isa;
    const char *precision, *backend, *seed, *width, *template; /* short for --set */
    struct recording_choice record;
    struct option_list set;
    int64_t limit, threads, kv_bytes;
    bool isolated, dry_run, quiet, json;
};

static const struct option options[] = {
    // clang-format off
    {"scale", OPTION_TEXT, offsetof(struct run_flags, scale), 0, 0, 0, NULL,
     "NAME: overrides of the experiment file to apply: smoke, full"},
    {"set", OPTION_LIST, offsetof(struct run_flags, set), 0, 0, 0, NULL,
     "KEY=VALUE: overrides one key; JSON or plain text; may be given several times"},
    {"model", OPTION_TEXT, offsetof(struct run_flags, model), 0, 0, 0, NULL,
     "PATH: model folder or GGUF file (default: the experiment's, else the embedded model)"},
    {"precision", OPTION_TEXT, offsetof(struct run_flags, precision), 0, 0, 0, NULL,
     "NAME: fp32 or bf16 (on cuda always bf16), as --set precision=NAME"},
    {"backend", OPTION_TEXT, offsetof(struct run_flags, backend), 0, 0, 0, NULL,
     "NAME: cpu or cuda, as --set backend=NAME"},
    {"seed", OPTION_TEXT, offsetof(struct run_flags, seed), 0, 0, 0, NULL,
     "N: as --set seed=N"},
    {"width", OPTION_TEXT, offsetof(struct run_flags, width), 0, 0, 0, NULL,
     "N: sequences in flight, as --set width=N"},
    {"template", OPTION_TEXT, offsetof(struct run_flags, template), 0, 0, 0, NULL,
     "NAME: chat template around prompts: auto, none or a name, as --set template=NAME"},
    {"threads", OPTION_INT, offsetof(struct run_flags, threads), 0, 0, 1024, NULL,
     "threads of the CPU; 0 takes all cores"},
    {"isa", OPTION_TEXT, offsetof(struct run_flags, isa), 0, 0, 0, NULL,
     "NAME: avx2, avx512, avx512bf16, amx (default: the best here)"},
    {"kv-bytes", OPTION_INT, offsetof(struct run_flags, kv_bytes), 0, 0, 0x1p53, NULL,
     "bytes of the KV cache, positions, bounds and columns of its pages included; sequences wait for "
     "room; 0: as memory allows"},
    {"limit", OPTION_INT, offsetof(struct run_flags, limit), 0, 0, 1e9, NULL,
     "samples per cell at most; 0 takes all that the experiment names"},
    {"shard", OPTION_TEXT, offsetof(struct run_flags, shard), 0, 0, 0, NULL,
     "I/N: does part I of N, from 0; parts do not overlap"},
    {"gpus", OPTION_TEXT, offsetof(struct run_flags, gpus), 0, 0, 0, NULL,
     "N: GPUs of this host that work on it, each with a batch of --width; or all"},
    {"isolated", OPTION_BOOL, offsetof(struct run_flags, isolated), 0, 0, 1, NULL,
     "times: one cell at a time, warmed up, at least 5 repeats"},
    {"record", OPTION_TEXT, offsetof(struct run_flags, record.mode), 0, 0, 0, NULL,
     "MODE: attention of all that is decoded, lifecycle, pooled, full, or several with commas, to attn/ "
     "beside the database"},
    {"record-layers", OPTION_TEXT, offsetof(struct run_flags, record.layers), 0, 0, 0, NULL,
     "LIST: layers to record, like 0,3,5-8 (default: all)"},
    {"record-heads", OPTION_TEXT, offsetof(struct run_flags, record.heads), 0, 0, 0, NULL,
     "LIST: q heads to record of each of these layers (default: all)"},
    DB_ROW(struct run_flags, db, "results"),
    {"out", OPTION_TEXT, offsetof(struct run_flags, out), 0, 0, 0, NULL,
     "DIR: folder of the results, for DIR/raas.db"},
    {"dry-run", OPTION_BOOL, offsetof(struct run_flags, dry_run), 0, 0, 1, NULL,
     "prints the plan and what is stored already; decodes nothing"},
    {"quiet", OPTION_BOOL, offsetof(struct run_flags, quiet), 0, 0, 1, NULL,
     "no progress on stderr"},
    JSON_ROW(struct run_flags, json),
    OPTION_END,
    // clang-format on
};

/* "2/8": from 0, so at most 7/8. */
static bool parse_shard(const char *text, int *shard, int *n_shards, struct err *e) {
    int end = 0;
    *shard = 0, *n_shards = 1;
    if (!text)
        return true;
    bool digits = text[strspn(text, "0123456789/")] == 0 && strlen(text) < 16;
    if (digits && sscanf(text, "%d/%d%n", shard, n_shards, &end) == 2 && !text[end] &&
        *n_shards >= 1 && *shard < *n_shards)
        return true;
    return err_set(e, EXIT_USAGE, "--shard '%s': expected I/N with I from 0 to N - 1", text);
}

/* GPUs of this host. A child asks: a process that has spoken to the driver cannot fork workers. */
static int count_gpus(struct err *e) {
    struct {
        int n;
        struct err e;
    } said = {0};
    int ends[2];
    if (pipe(ends) != 0)
        return err_errno(e, EXIT_ENV, "--gpus: no pipe"), 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        said.n = cuda_device_count(&said.e);
        _exit(write(ends[1], &said, sizeof said) != sizeof said);
    }
    close(ends[1]);
    bool ok = child > 0 && read(ends[0], &said, sizeof said) == sizeof said;
    close(ends[0]);
    if (child > 0)
        waitpid(child, NULL, 0);
    if (!ok)
        err_set(e, EXIT_ENV, "--gpus: the driver does not answer");
    else if (!said.n)
        err_set(e, said.e.code, "--gpus: %s", said.e.text);
    return ok ? said.n : 0;
}

/* --gpus: workers, one a GPU; none where one GPU is enough for this process. */
static bool parse_gpus(const struct run_flags *f, const char *backend, int *n_workers,
                       struct err *e) {
    bool all = f->gpus && !strcmp(f->gpus, "all");
    *n_workers = 0;
    if (!f->gpus)
        return true;
    size_t digits = strspn(f->gpus, "0123456789");
    int n = all ? WORKERS_MAX : digits && digits < 4 && !f->gpus[digits] ? atoi(f->gpus) : 0;
    if (n < 1 || n > WORKERS_MAX)
        return err_set(e, EXIT_USAGE, "--gpus '%s': expected a number from 1 to %d, or all",
                       f->gpus, WORKERS_MAX);
    if (strcmp(backend, "cuda") != 0)
        return err_set(e, EXIT_USAGE, "--gpus %s: expected --backend cuda", f->gpus);
    if (f->isolated && (all || n > 1))
        return err_set(e, EXIT_USAGE, "--gpus %s: --isolated times one GPU", f->gpus);
    if (f->dry_run)
        return true;
    int count = count_gpus(e);
    if (!count)
        return false;
    if (!all && n > count)
        return err_set(e, EXIT_USAGE, "--gpus %d: this host has %d", n, count);
    n = n < count ? n : count;
    *n_workers = n > 1 ? n : 0;
    return true;
}

static bool check_record(const struct run_flags *f, struct err *e) {
    if (f->record.mode && f->isolated)
        return err_set(e, EXIT_USAGE, "--record: --isolated times what is not recorded");
    return !f->record.mode || recording_check(&f->record, e);
}

/* The sets of the command line, and behind them the flags that are short for one. */
enum { SHORT_SETS = 5 };

struct sets {
    const char *items[OPTION_LIST_MAX + SHORT_SETS];
    char text[SHORT_SETS][80];
    int n;
};

static void collect_sets(const struct run_flags *f, struct sets *out) {
    const char *const names[SHORT_SETS] = {"precision", "backend", "seed", "width", "template"};
    const char *const values[SHORT_SETS] = {f->precision, f->backend, f->seed, f->width,
                                            f->template};
    for (; out->n < f->set.count; out->n++)
        out->items[out->n] = f->set.items[out->n];
    for (int i = 0; i < SHORT_SETS; i++)
        if (values[i]) {
            snprintf(out->text[i], sizeof out->text[i], "%s=%s", names[i], values[i]);
            out->items[out->n++] = out->text[i];
        }
}

static int run_with_model(const struct run_flags *f, struct run_params *p, struct err *e) {
    const struct common common = {.model = f->model ? f->model : p->experiment->model};
    struct model *model = common_model(&common, e);
    if (!model)
        return e->code;
    p->model = model;
    int code = run_experiment(p, e);
    model_close(model);
    return code;
}

static int run_file(const char *path, const struct run_flags *f, struct run_params *p,
                    struct err *e) {
    struct experiment experiment;
    struct sets sets = {.n = 0};
    collect_sets(f, &sets);
    if (!experiment_read(path, &(struct experiment_options){f->scale, sets.items, sets.n},
                         &experiment, e))
        return e->code;
    char db[4096], folder[4096];
    snprintf(db, sizeof db, "%s/raas.db", f->out ? f->out : COMMON_RESULTS);
    p->experiment = &experiment;
    p->db = f->db ? f->db : db;
    const char *slash = strrchr(p->db, '/');
    snprintf(folder, sizeof folder, "%.*s/attn", slash ? (int)(slash - p->db) : 1,
             slash ? p->db : ".");
    p->record = f->record.mode ? &f->record : NULL;
    p->record_folder = folder;
    p->isa = f->isa;
    p->n_threads = (int)f->threads;
    p->kv_bytes = (uint64_t)f->kv_bytes;
    p->limit = f->limit;
    p->isolated = f->isolated;
    p->dry_run = f->dry_run;
    p->json = f->json;
    log_quiet(f->quiet);
    if (!f->dry_run) /* before the model loads: a signal then is as good as one later */
        stop_install();
    bool ok = check_record(f, e) && parse_gpus(f, experiment.backend, &p->n_workers, e);
    if (p->record) /* the backend says that it can't */
        p->n_workers = 0;
    int code = ok ? run_with_model(f, p, e) : e->code;
    experiment_free(&experiment);
    return code;
}

static int run_run(int argc, char **argv, struct err *e) {
    struct run_flags f;
    int n_args, code = EXIT_USAGE;
    char **given = must_alloc((size_t)argc * sizeof *given); /* option_argv moves them */
    memcpy(given, argv, (size_t)argc * sizeof *given);
    struct run_params p = {.argc = argc, .argv = given};
    option_defaults(options, &f);
    if (option_argv(options, &f, usage, about, argc, argv, &n_args, e) &&
        (n_args == 1 || err_set(e, EXIT_USAGE, "expected one experiment file; usage: %s", usage)) &&
        parse_shard(f.shard, &p.shard, &p.n_shards, e))
        code = run_file(argv[0], &f, &p, e);
    free(given);
    return code;
}

const struct command command_run = {
    .name = "run",
    .usage = usage,
    .summary = summary,
    .run = run_run,
};
