/* raas sweep slurm: an experiment as a Slurm array of shards, with a merge behind it. Only text is
 * made here: the script goes to stdout, and what the user said stands in it in single quotes. */
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "commands/command.h"
#include "commands/common.h"
#include "experiments/experiment.h"

struct sweep_param {
    const char *scale, *model, *out;
    struct option_list set, sbatch;
    int64_t shards, minutes, grace, at_once, cpus, gpus, limit;
};

static const struct option options[] = {
    // clang-format off
    {"shards", OPTION_INT, offsetof(struct sweep_param, shards), 8, 1, 100000, NULL,
     "tasks of the array (clusters allow 1001 unless they say otherwise)"},
    {"time", OPTION_INT, offsetof(struct sweep_param, minutes), 60, 1, 525600, NULL,
     "minutes that a task may take before it stops, stores and queues again"},
    {"grace", OPTION_INT, offsetof(struct sweep_param, grace), 120, 5, 65535, NULL,
     "seconds before that limit at which Slurm asks it to stop (Slurm may ask up to 60 earlier)"},
    {"at-once", OPTION_INT, offsetof(struct sweep_param, at_once), 0, 0, 100000, NULL,
     "tasks that may run at a time; 0: as many as the cluster lets"},
    {"cpus", OPTION_INT, offsetof(struct sweep_param, cpus), 0, 0, 4096, NULL,
     "cores of a task; 0: the cluster's default"},
    {"gpus", OPTION_INT, offsetof(struct sweep_param, gpus), 0, 0, 64, NULL,
     "GPUs of a task, for --backend cuda; 0: the CPU"},
    {"sbatch", OPTION_LIST, offsetof(struct sweep_param, sbatch), 0, 0, 0, NULL,
     "FLAG: a further #SBATCH line, like --partition=short; may be given several times"},
    {"scale", OPTION_TEXT, offsetof(struct sweep_param, scale), 0, 0, 0, NULL,
     "NAME: as raas run takes it"},
    {"set", OPTION_LIST, offsetof(struct sweep_param, set), 0, 0, 0, NULL,
     "KEY=VALUE: as raas run takes it; may be given several times"},
    {"model", OPTION_TEXT, offsetof(struct sweep_param, model), 0, 0, 0, NULL,
     "PATH: model folder or GGUF file (default: the experiment's, else the embedded model)"},
    {"limit", OPTION_INT, offsetof(struct sweep_param, limit), 0, 0, 1e9, NULL,
     "samples per cell at most; 0 takes all that the experiment names"},
    {"out", OPTION_TEXT, offsetof(struct sweep_param, out), 0, 0, 0, NULL,
     "DIR: folder of the results: DIR/raas.db, and the shards in DIR/shards (default: results)"},
    OPTION_END,
    // clang-format on
};

static const char usage[] =
    "raas sweep slurm EXP.json [--shards N] [--time MINUTES] [--at-once K] [--gpus N] [--out DIR]";
static const char about[] =
    "Prints a script for bash: `raas sweep slurm EXP.json > sweep.sh`, then `bash sweep.sh` on a\n"
    "machine that has sbatch. It submits an array of shards and, behind it (afterany), the merge\n"
    "into DIR/raas.db. A task that is asked to stop stores what it has and queues again, and so\n"
    "does one whose node fails. Submitting again goes on with what is missing.\n"
    "Without Slurm the same shards run under GNU parallel:\n\n"
    "  parallel --joblog log --resume-failed ./raas run EXP.json --shard {}/8 --db s{}.db ::: "
    "{0..7}\n"
    "  ./raas merge --db results/raas.db s?.db";

/* --- words for a shell --------------------------------------------------------------------- */

/* Words that bash gets are refused where they hold control characters: a script is read by lines.
 */
static bool check_word(const char *what, const char *word, struct err *e) {
    for (const char *c = word ? word : ""; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return err_set(e, EXIT_USAGE, "%s: a control character, which no script can hold",
                           what);
    return true;
}

static void put_word(const char *word) {
    putchar('\'');
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*word);
    putchar('\'');
}

static void put_flag(const char *flag, const char *value) {
    if (!value)
        return;
    printf(" %s ", flag);
    put_word(value);
}

/* --- the script ------------------------------------------------------------------------------ */

struct script {
    const struct sweep_param *param;
    const char *name; /* of the experiment: letters, digits, '.', '_' and '-' */
    char program[PATH_MAX], experiment[PATH_MAX], folder[PATH_MAX], out[PATH_MAX], model[PATH_MAX];
};

static void print_directives(const struct script *s) {
    const struct sweep_param *p = s->param;
    printf("#SBATCH --job-name=raas-%s\n#SBATCH --array=0-%lld", s->name, (long long)p->shards - 1);
    if (p->at_once)
        printf("%%%lld", (long long)p->at_once);
    printf("\n#SBATCH --time=%lld\n#SBATCH --requeue\n#SBATCH --open-mode=append\n"
           "#SBATCH --signal=B:USR1@%lld\n",
           (long long)p->minutes, (long long)p->grace);
    if (p->cpus)
        printf("#SBATCH --cpus-per-task=%lld\n", (long long)p->cpus);
    if (p->gpus)
        printf("#SBATCH --gres=gpu:%lld\n", (long long)p->gpus);
    for (int i = 0; i < p->sbatch.count; i++)
        printf("#SBATCH %s\n", p->sbatch.items[i]);
}

static void print_command(const struct script *s) {
    const struct sweep_param *p = s->param;
    fputs("command=(", stdout);
    put_word(s->program);
    fputs(" run ", stdout);
    put_word(s->experiment);
    put_flag("--scale", p->scale);
    for (int i = 0; i < p->set.count; i++)
        put_flag("--set", p->set.items[i]);
    put_flag("--model", *s->model ? s->model : NULL);
    if (p->limit)
        printf(" --limit %lld", (long long)p->limit);
    if (p->gpus)
        printf(" --backend cuda --gpus %lld", (long long)p->gpus);
    fputs(" --quiet)\n", stdout);
}

/* Run by hand the script submits itself and the merge; as a task of the array it does its shard. */
static void print_submit(const struct script *s) {
    fputs(
        "if [ -z \"${SLURM_ARRAY_TASK_ID:-}\" ]; then # by hand: submits; arguments go to sbatch\n"
        "    mkdir -p \"$out/shards\" || exit 1\n"
        "    array=$(sbatch --parsable --output=\"$out/shards/%a.log\" \"$@\" \"$script\") || exit "
        "1\n"
        "    array=${array%%;*}\n"
        "    merge=$(sbatch --parsable --dependency=\"afterany:$array\" --open-mode=append \\\n"
        "        --requeue --output=\"$out/shards/merge.log\" \"$@\" <<'END OF MERGE'\n"
        "#!/bin/bash\n",
        stdout);
    printf("#SBATCH --job-name=raas-%s-merge\n", s->name);
    for (int i = 0; i < s->param->sbatch.count; i++)
        printf("#SBATCH %s\n", s->param->sbatch.items[i]);
    fputs("cd -- ", stdout);
    put_word(s->folder);
    fputs(" || exit 1\nout=", stdout);
    put_word(s->out);
    fputs("\nexec ", stdout);
    put_word(s->program);
    fputs(" merge --db \"$out/raas.db\" \"$out\"/shards/*.db\n"
          "END OF MERGE\n"
          "    ) || exit 1\n"
          "    echo \"array $array, merge ${merge%%;*}: results go to $out/raas.db\"\n"
          "    exit 0\n"
          "fi\n\n",
          stdout);
}

static void print_task(void) {
    fputs("shard=$SLURM_ARRAY_TASK_ID\n"
          "mkdir -p \"$out/shards\" || exit 1\n"
          "\"${command[@]}\" --shard \"$shard/$shards\" \\\n"
          "    --db \"$out/shards/$shard-of-$shards.db\" \\\n"
          "    ${SLURM_CPUS_PER_TASK:+--threads \"$SLURM_CPUS_PER_TASK\"} &\n"
          "child=$!\n"
          "limit= signalled= code=1\n"
          "trap 'limit=1 signalled=1; kill -USR1 \"$child\" 2>/dev/null' USR1\n"
          "trap 'signalled=1; kill -TERM \"$child\" 2>/dev/null' TERM\n"
          "while :; do # a signal ends the wait, not the child\n"
          "    signalled=\n"
          "    wait \"$child\"\n"
          "    now=$?\n"
          "    [ \"$now\" = 127 ] || code=$now\n"
          "    [ -n \"$signalled\" ] || break\n"
          "done\n"
          "if [ -n \"$limit\" ] && [ \"$code\" = 75 ]; then # the time is over, the work is not\n"
          "    echo \"shard $shard: stopped at its limit, queued again\"\n"
          /* not SLURM_JOB_ID, which for one of the tasks names the whole array */
          "    scontrol requeue \"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\"\n"
          "fi\n"
          "exit \"$code\"\n",
          stdout);
}

static void print_script(const struct script *s) {
    printf("#!/bin/bash\n# %s in %lld shards, made by `raas sweep slurm`. Submit it with bash, not "
           "sbatch.\n",
           s->name, (long long)s->param->shards);
    print_directives(s);
    fputs("set -u\ncase $0 in /*) script=$0 ;; *) script=$PWD/$0 ;; esac\ncd -- ", stdout);
    put_word(s->folder);
    fputs(" || exit 1\nout=", stdout);
    put_word(s->out);
    printf("\nshards=%lld\n", (long long)s->param->shards);
    print_command(s);
    putchar('\n');
    print_submit(s);
    print_task();
}

/* --- the command ------------------------------------------------------------------------------ */

/* A path from the root: tasks run on other machines, but see the same folders. */
static bool absolute(const struct script *s, const char *path, char out[PATH_MAX], struct err *e) {
    int n = *path == '/' ? snprintf(out, PATH_MAX, "%s", path)
                         : snprintf(out, PATH_MAX, "%s/%s", s->folder, path);
    return n < PATH_MAX || err_set(e, EXIT_USAGE, "%s: path too long", path);
}

static bool check_words(const struct script *s, struct err *e) {
    const struct sweep_param *p = s->param;
    bool ok = check_word("--scale", p->scale, e) && check_word("--out", s->out, e) &&
              check_word("the experiment's path", s->experiment, e) &&
              check_word("--model", s->model, e) &&
              check_word("the program's path", s->program, e) &&
              check_word("the working folder", s->folder, e);
    for (int i = 0; ok && i < p->set.count; i++)
        ok = check_word("--set", p->set.items[i], e);
    for (int i = 0; ok && i < p->sbatch.count; i++)
        ok = check_word("--sbatch", p->sbatch.items[i], e) &&
             (*p->sbatch.items[i] == '-' ||
              err_set(e, EXIT_USAGE, "--sbatch '%s': expected a flag of sbatch",
                      p->sbatch.items[i]));
    if (ok && strpbrk(s->out, "%\\"))
        return err_set(e, EXIT_USAGE, "--out %s: Slurm would read '%%' and '\\' as its own",
                       s->out);
    return ok;
}

static bool find_paths(struct script *s, const char *experiment, struct err *e) {
    const struct sweep_param *p = s->param;
    ssize_t n = readlink("/proc/self/exe", s->program, sizeof s->program - 1);
    s->program[n > 0 ? n : 0] = '\0';
    if (n <= 0 || !getcwd(s->folder, sizeof s->folder))
        return err_errno(e, EXIT_ENV, "the program or the working folder can't be told");
    if (p->model && access(p->model, F_OK) != 0)
        return err_errno(e, EXIT_USAGE, "%s", p->model);
    return absolute(s, experiment, s->experiment, e) &&
           absolute(s, p->out ? p->out : COMMON_RESULTS, s->out, e) &&
           (!p->model || absolute(s, p->model, s->model, e));
}

static int run(int argc, char **argv, struct err *e) {
    struct sweep_param param;
    int n;
    option_defaults(options, &param);
    if (!option_argv(options, &param, usage, about, argc, argv, &n, e))
        return e->code;
    if (n != 2 || strcmp(argv[0], "slurm"))
        return err_set(e, EXIT_USAGE, "expected slurm and one experiment file; usage: %s", usage),
               e->code;
    if (param.minutes * 60 <= param.grace)
        return err_set(e, EXIT_USAGE, "--grace %lld: expected less than the %lld minutes of --time",
                       (long long)param.grace, (long long)param.minutes),
               e->code;
    struct script *s = must_zalloc(1, sizeof *s);
    struct experiment x;
    const struct experiment_options said = {param.scale, param.set.items, param.set.count};
    s->param = &param;
    if (experiment_read(argv[1], &said, &x, e)) {
        s->name = x.name;
        if (find_paths(s, argv[1], e) && check_words(s, e)) {
            print_script(s);
            log_info("%s: %d cells in %lld shards; submit the script with bash", x.name, x.n_cells,
                     (long long)param.shards);
        }
        experiment_free(&x);
    }
    free(s);
    return e->code;
}

const struct command command_sweep = {
    .name = "sweep",
    .usage = usage,
    .summary = "an experiment as a Slurm array of shards, with a merge behind it",
    .run = run,
};
