/* raas shadow: what policies do to the next-token distribution, on given ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/results.h"
#include "analysis/shadow_table.h"
#include "base/log.h"
#include "base/machine.h"
#include "commands/command.h"
#include "commands/common.h"
#include "experiments/shadow_store.h"
#include "experiments/stop.h"

struct shadow_param {
    struct common common;
    const char *run, *jsonl, *dataset, *template, *db;
    struct option_list policies;
    int64_t n, batch;
    bool json;
};

static const struct option options[] = {
// clang-format off
#define FIELD(name) offsetof(struct shadow_param, name)
    {"policy", OPTION_LIST, FIELD(policies), 0, 0, 0, NULL,
     "P...: cache policy, may be given several times (default streaming, h2o, quest and raas)"},
    RUN_ROW(struct shadow_param, run),
    {"jsonl", OPTION_TEXT, FIELD(jsonl), 0, 0, 0, NULL,
     "FILE: a line {\"prompt\" or \"prompt_ids\", \"ids\"}, or with --dataset {\"index\", \"ids\"}"},
    {"dataset", OPTION_TEXT, FIELD(dataset), 0, 0, 0, NULL,
     "D: its problems with their gold solutions, or the prompts of --jsonl"},
    {"n", OPTION_INT, FIELD(n), 50, 0, 1 << 20, NULL, "texts at most; 0 takes all"},
    {"template", OPTION_TEXT, FIELD(template), 0, 0, 0, NULL,
     "NAME: chat template around prompts: auto (the model's), none, or one of raas list templates"},
    {"batch", OPTION_INT, FIELD(batch), 16, 1, 64, NULL, "texts in flight"},
    COMMON_ROWS(struct shadow_param, common, PRECISION_BF16),
    JSON_ROW(struct shadow_param, json),
    DB_ROW(struct shadow_param, db, "database of --run, for the results, and of accuracies beside them"),
    OPTION_END,
#undef FIELD
    // clang-format on
};

static const char usage[] =
    "raas shadow (--run R | --jsonl F | --dataset D) [--policy P]... [--n N] [--json]";
static const char about[] =
    "Feeds given ids under full attention and, the same ids, under policies: KL divergence of\n"
    "the next-token distribution from full's, agreement of the best id, the first step that\n"
    "disagrees, and the share of full's attention that goes to tokens which the policy doesn't\n"
    "attend to. --run takes the answers of a run under full, --jsonl ids from elsewhere,\n"
    "--dataset gold solutions. Results go to the database (views v_shadow, v_shadow_text,\n"
    "v_shadow_head, v_shadow_step); what stands there is not computed again. Where it has\n"
    "accuracies of the same model, dataset and policies, both rankings are printed side by side.";

struct work { /* one invocation */
    struct model *model;
    struct plan *plans; /* [n_plans] */
    int n_plans;
    struct shadow_texts texts;
    struct db *db;
    int64_t run;
};

/* --- the run ---------------------------------------------------------------------------------- */

static bool read_texts(const struct shadow_param *p, struct db *db, struct shadow_texts *texts,
                       struct err *e) {
    struct dataset_choice from = {0};
    if (p->dataset && !dataset_parse(p->dataset, &from, e))
        return false;
    const struct dataset_choice *dataset = p->dataset ? &from : NULL;
    int64_t run;
    bool ok;
    if (p->run)
        ok = results_run(db, p->run, &run, e) && shadow_texts_run(texts, db, run, p->n, e);
    else if (p->jsonl)
        ok = shadow_texts_lines(texts, p->jsonl, dataset, p->n, e);
    else
        ok = shadow_texts_gold(texts, dataset, p->n, e);
    free(from.param);
    const char *source = p->run ? db_path(db) : p->jsonl ? p->jsonl : p->dataset;
    return ok && (texts->n || err_set(e, EXIT_CONTENT, "%s: no texts", source));
}

/* The dataset that all texts are of; NULL where there is none. */
static const char *dataset_of(const struct shadow_texts *texts) {
    for (int i = 1; i < texts->n; i++)
        if (strcmp(texts->origins[i].dataset, texts->origins[0].dataset) != 0)
            return NULL;
    return texts->origins[0].dataset;
}

static bool replay(const struct shadow_param *p, struct work *w, struct err *e) {
    const struct shadow_texts *texts = &w->texts;
    struct shadow_store store = {0};
    struct shadow shadow = {.model = w->model,
                            .width = (int)p->batch,
                            .plans = w->plans,
                            .n_plans = w->n_plans,
                            .texts = texts->texts,
                            .n_texts = texts->n,
                            .attention = p->common.backend == 0,
                            .wanted = shadow_store_wanted,
                            .done = shadow_store_add,
                            .user = &store};
    shadow.session = common_session(&p->common, w->model, (int)p->batch, texts->longest, e);
    bool ok = shadow.session && shadow_store_open(&store, w->db, w->run, &shadow, texts,
                                                  (enum precision)p->common.precision,
                                                  session_backend(p->common.backend), e);
    if (ok && store.n_done_first)
        log_info("shadow: %d of %d stored already", store.n_done_first,
                 shadow.n_texts * shadow.n_plans);
    ok = ok && shadow_run(&shadow, e);
    log_status_end();
    struct shadow_rows rows = {store.cells, shadow.n_plans, store.texts, shadow.n_texts,
                               dataset_of(texts)};
    if (ok)
        (p->json ? shadow_json : shadow_table)(w->db, &rows, stdout, e);
    shadow_store_close(&store);
    session_close(shadow.session);
    return !e->code;
}

static bool begin(const struct shadow_param *p, struct work *w, int argc, char **argv,
                  struct err *e) {
    struct db_run run = {
        .name = "shadow",
        .argc = argc,
        .argv = argv,
        .threads = machine_threads(p->common.threads),
        .isa = p->common.isa ? p->common.isa : "auto", /* each cell has its own */
    };
    if (p->run && !common_db_exists(p->db, e))
        return false;
    w->db = db_open(common_db(p->db), DB_WRITE, e);
    return w->db && read_texts(p, w->db, &w->texts, e) && db_run_start(w->db, &run, &w->run, e);
}

/* A policy that is named twice is one. */
static bool parse_plans(const struct shadow_param *p, struct plan *plans, int *n, struct err *e) {
    static const struct option_list standard = {4, {"streaming", "h2o", "quest", "raas"}};
    const struct option_list *list = p->policies.count ? &p->policies : &standard;
    for (int i = 0; i < list->count; i++) {
        if (!policy_parse(list->items[i], &plans[*n], e))
            return false;
        int k = 0;
        while (strcmp(plans[k].json, plans[*n].json) != 0)
            k++;
        *n += k == *n;
    }
    return true;
}

static bool check_param(const struct shadow_param *p, struct err *e) {
    int sources = !!p->run + !!p->jsonl + (p->dataset && !p->jsonl);
    if (sources != 1 || (p->run && p->dataset))
        return err_set(e, EXIT_USAGE, "expected one of --run, --jsonl and --dataset; usage: %s",
                       usage);
    return chat_check(p->template ? p->template : "auto", e);
}

static int shadow_command(int argc, char **argv, struct err *e) {
    struct shadow_param param;
    struct work w = {.plans = must_zalloc(OPTION_LIST_MAX, sizeof *w.plans)};
    struct chat chat;
    char **given = must_alloc((size_t)argc * sizeof *given); /* option_argv moves them */
    memcpy(given, argv, (size_t)argc * sizeof *given);
    bool ok = common_argv(options, &param, usage, about, argc, argv, e) && check_param(&param, e) &&
              parse_plans(&param, w.plans, &w.n_plans, e) &&
              (w.model = common_model(&param.common, e)) &&
              chat_open(w.model, param.template ? param.template : "auto", &chat, e);
    w.texts = (struct shadow_texts){.model = w.model, .chat = &chat};
    stop_install();
    if (ok && begin(&param, &w, argc, given, e))
        replay(&param, &w, e);
    common_run_end(w.db, w.run, e);
    db_close(w.db);
    shadow_texts_free(&w.texts);
    model_close(w.model);
    free(w.plans);
    free(given);
    return e->code;
}

const struct command command_shadow = {
    .name = "shadow",
    .usage = usage,
    .summary = "replays given ids under policies: divergence from full attention",
    .run = shadow_command,
};
