/* raas analyze: lives of tokens under every head, and the proof that they are found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "commands/command.h"
#include "commands/common.h"
#include "engine/cpu_kernels.h"
#include "experiments/mine_files.h"
#include "experiments/mine_run.h"
#include "experiments/stop.h"
#include "experiments/validate.h"

enum solution { SOLUTION_FREE, SOLUTION_GOLD };
static const char *const solution_names[] = {"free", "gold"};

struct analyze_param {
    struct common common;
    const char *dataset, *template, *db, *run;
    struct option_list policy;
    int64_t n, seed, steps, train, knobs, max_new;
    int solution;
    bool json, validate, sweep;
    struct lifecycle_params life;
};

static const struct option options[] = {
// clang-format off
#define FIELD(name) offsetof(struct analyze_param, name)
    {"dataset", OPTION_TEXT, FIELD(dataset), 0, 0, 0, NULL,
     "NAME: problems to decode, with options: lemmas:steps=16"},
    {"run", OPTION_TEXT, FIELD(run), 0, 0, 0, NULL,
     "NAME: what a run recorded (raas run --record), its number or a name: its latest run"},
    {"n", OPTION_INT, FIELD(n), 20, 1, 1 << 20, NULL, "problems"},
    {"policy", OPTION_LIST, FIELD(policy), 0, 0, 0, NULL,
     "NAME: cache policy to decode under; may be given several times (default full)"},
    {"solution", OPTION_CHOICE, FIELD(solution), SOLUTION_FREE, 0, 0, "free|gold",
     "gold: teacher-forced on the dataset's solutions"},
    {"max-new", OPTION_INT, FIELD(max_new), 1100, 1, 1 << 24, NULL, "new tokens at most, running freely"},
    {"template", OPTION_TEXT, FIELD(template), 0, 0, 0, NULL, "NAME: chat template: auto, none or a name"},
    {"validate", OPTION_BOOL, FIELD(validate), 0, 0, 1, NULL,
     "prove the miner on lemmas, whose milestones are known"},
    {"steps", OPTION_INT, FIELD(steps), 16, 2, 200, NULL, "steps of the problems of --validate"},
    {"train", OPTION_INT, FIELD(train), 50, 1, 1 << 20, NULL,
     "other problems, on which --validate chooses heads and thresholds"},
    {"sweep", OPTION_BOOL, FIELD(sweep), 0, 0, 1, NULL,
     "with --validate: other thresholds, and other settings of the generator"},
    {"knobs", OPTION_INT, FIELD(knobs), 20, 1, 1 << 20, NULL, "problems for each of these settings"},
    LIFECYCLE_OPTIONS(struct analyze_param, life),
    {"seed", OPTION_INT, FIELD(seed), 1, 0, 1e9, NULL, "seed of generated problems"},
    COMMON_ROWS(struct analyze_param, common, PRECISION_BF16),
    DB_ROW(struct analyze_param, db, "database for the results"),
    JSON_ROW(struct analyze_param, json),
    OPTION_END,
#undef FIELD
    // clang-format on
};

struct analysis { /* one invocation */
    const struct analyze_param *param;
    char **files; /* [n_files] */
    int n_files;
    struct model *model;
    struct db *db;
    int64_t run;
};

/* --- the database --------------------------------------------------------------------------- */

static bool begin_run(struct analysis *a, int argc, char **argv, struct err *e) {
    const struct analyze_param *p = a->param;
    bool fp32 = p->common.precision == PRECISION_FP32;
    const struct cpu_kernels *kernels = cpu_kernels_find(fp32 ? "fp32" : p->common.isa, e);
    if (!kernels)
        return false;
    struct db_run run = {
        .name = p->validate ? "validate" : "analyze",
        .argc = argc,
        .argv = argv,
        .threads = machine_threads(p->common.threads),
        .isa = kernels->isa,
    };
    a->db = db_open(common_db(p->db), DB_WRITE, e);
    return a->db && db_run_start(a->db, &run, &a->run, e);
}

/* --- lives ------------------------------------------------------------------------------------ */

/* Tables of what was mined, or an object of the list that --json prints. */
static void show(const struct miner *miner, const char *policy, const char *dataset,
                 struct json_out *json) {
    if (!json) {
        printf("%s on %s\n", policy, dataset);
        miner_table(miner, stdout);
        return;
    }
    char *text = miner_json(miner);
    json_open(json, '{');
    json_add_text(json, "policy", policy);
    json_add_raw(json, "analysis", text);
    json_close(json, '}');
    free(text);
}

static bool mine_policy(struct analysis *a, struct mine *mine, struct session *session,
                        const char *policy, struct json_out *json, struct err *e) {
    const struct analyze_param *p = a->param;
    struct plan plan;
    struct miner miner;
    char name[240];
    if (!policy_parse(policy, &plan, e))
        return false;
    policy_spell(plan.name, plan.budget, name, sizeof name);
    miner_open(&miner, a->model->config.n_layers, a->model->config.n_heads, mine->longest,
               &p->life);
    struct mine_sink sink = mine_into(&miner);
    struct miner_source source = {
        .run = a->run, .policy = name, .solution = solution_names[p->solution]};
    bool ok = mine_run(mine, session, &plan, &sink, e) && mine_register(mine, a->db, &source, e) &&
              miner_store(&miner, a->db, &source, e);
    if (ok)
        show(&miner, name, mine->dataset.name, p->json ? json : NULL);
    miner_close(&miner);
    return ok;
}

static bool lives(struct analysis *a, struct err *e) {
    const struct analyze_param *p = a->param;
    struct option_list policies = p->policy;
    struct mine mine;
    struct json_out json = {0};
    char dataset[300];
    if (!policies.count)
        policies.items[policies.count++] = "full";
    common_seeded(p->dataset, p->seed, dataset, sizeof dataset);
    if (!mine_open(&mine, a->model, dataset, p->template ? p->template : "auto", p->n,
                   p->solution == SOLUTION_GOLD ? 0 : (int)p->max_new, e))
        return false;
    struct session *session = common_session(&p->common, a->model, 1, mine.longest, e);
    bool ok = session != NULL;
    json_open(&json, '[');
    for (int i = 0; ok && i < policies.count; i++)
        ok = mine_policy(a, &mine, session, policies.items[i], &json, e);
    json_close(&json, ']');
    if (ok && p->json)
        puts(json.text);
    free(json.text);
    session_close(session);
    mine_close(&mine);
    return ok;
}

static bool mine_recorded(struct analysis *a, char *const *paths, int n, struct json_out *json,
                          struct err *e) {
    struct mine_files files;
    struct miner_source source = {.run = a->run};
    if (!mine_files(&files, paths, n, &a->param->life, e))
        return false;
    bool ok = mine_files_register(&files, a->db, &source, e) &&
              miner_store(&files.miner, a->db, &source, e);
    if (ok)
        show(&files.miner, files.policy, files.dataset, json);
    mine_files_close(&files);
    return ok;
}

/* Files that were named, or those of a run: each of its cells by itself. */
static bool recorded(struct analysis *a, struct err *e) {
    const struct analyze_param *p = a->param;
    struct mine_run_files files = {0};
    struct json_out json = {0}, *out = p->json ? &json : NULL;
    bool ok = !p->run || mine_run_files(a->db, p->run, &files, e);
    json_open(&json, '[');
    if (ok && !p->run)
        ok = mine_recorded(a, a->files, a->n_files, out, e);
    for (int i = 0; ok && i < files.n; i++)
        ok = mine_recorded(a, files.cells[i].paths, files.cells[i].n, out, e);
    json_close(&json, ']');
    if (ok && p->json)
        puts(json.text);
    free(json.text);
    mine_run_files_free(&files);
    return ok;
}

/* --- the proof -------------------------------------------------------------------------------- */

static bool proof(struct analysis *a, struct err *e) {
    const struct analyze_param *p = a->param;
    struct validation v;
    struct validate_params params = {
        .model = a->model,
        .session = {.backend = session_backend(p->common.backend),
                    .precision = (enum precision)p->common.precision,
                    .n_threads = (int)p->common.threads,
                    .isa = p->common.isa},
        .steps = p->steps,
        .n = p->n,
        .n_train = p->train,
        .n_knobs = p->knobs,
        .seed = p->seed,
        .life = p->life,
        .sweep = p->sweep,
    };
    if (!validate_run(&params, &v, e))
        return false;
    char *json = validate_json(&v);
    bool ok = validate_store(&v, a->model, json, a->db, a->run, e);
    if (ok && p->json)
        puts(json);
    else if (ok)
        validate_table(&v, stdout);
    free(json);
    validate_close(&v);
    return ok;
}

/* --- the command ------------------------------------------------------------------------------ */

static const char usage[] =
    "raas analyze (FILE... | --run R | --dataset D [--policy P]... | --validate) [options]";
static const char about[] =
    "Follows every token under every attention head: sinks, milestones that fade, phoenix tokens\n"
    "that come back after a silence, classes of heads, how few keys are enough. Takes files that\n"
    "raas record or raas run --record wrote (mode full or lifecycle), or decodes problems (on the\n"
    "CPU). --validate: teacher-forced on `lemmas`, how well what is found agrees with what is\n"
    "known. Results go to the database (tables analysis, analysis_head, analysis_point).";

static bool check(const struct analyze_param *p, int n_files, struct err *e) {
    if (p->validate + !!p->dataset + !!p->run + (n_files > 0) != 1)
        return err_set(e, EXIT_USAGE,
                       "expected one of recorded files, --run, --dataset, --validate; usage: %s",
                       usage);
    if ((n_files || p->run) && (p->policy.count || p->common.model || p->template))
        return err_set(e, EXIT_USAGE,
                       "files say themselves what was decoded: --policy, --model and --template "
                       "take --dataset");
    if (p->validate && (p->policy.count || p->life.rows != ROWS_DECODE || p->life.relative > 0))
        return err_set(e, EXIT_USAGE,
                       "--validate takes no --policy, --rows all or --relative: it is about full "
                       "attention of decoded tokens");
    return !p->sweep || p->validate || err_set(e, EXIT_USAGE, "--sweep takes --validate");
}

static int analyze_run(int argc, char **argv, struct err *e) {
    struct analyze_param param;
    char **given = must_alloc((size_t)argc * sizeof *given); /* option_argv moves them */
    memcpy(given, argv, (size_t)argc * sizeof *given);
    struct analysis a = {.param = &param};
    option_defaults(options, &param);
    bool ok = option_argv(options, &param, usage, about, argc, argv, &a.n_files, e) &&
              check(&param, a.n_files, e) &&
              (a.n_files || param.run || (a.model = common_model(&param.common, e)));
    a.files = argv;
    stop_install();
    if (ok && begin_run(&a, argc, given, e)) {
        if (param.validate)
            (void)proof(&a, e);
        else
            (void)(param.dataset ? lives(&a, e) : recorded(&a, e));
        log_status_end();
        common_run_end(a.db, a.run, e);
    }
    db_close(a.db);
    model_close(a.model);
    free(given);
    return e->code;
}

const struct command command_analyze = {
    .name = "analyze",
    .usage = usage,
    .summary = "lives of tokens under every head: milestones, phoenixes, sinks; and the proof",
    .run = analyze_run,
};
