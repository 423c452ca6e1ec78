/* raas explain: why an answer is wrong. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/cause_table.h"
#include "analysis/results.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "commands/command.h"
#include "commands/common.h"
#include "engine/cpu_kernels.h"
#include "experiments/explain.h"
#include "experiments/stop.h"
#include "experiments/validate.h"

struct explain_param {
    const char *model, *run, *policy, *db;
    int64_t threads, batch;
    double f1;
    bool json;
};

static const struct option options[] = {
// clang-format off
#define FIELD(name) offsetof(struct explain_param, name)
    RUN_ROW(struct explain_param, run),
    {"policy", OPTION_TEXT, FIELD(policy), 0, 0, 0, NULL,
     "P: only answers under it: raas (any budget), raas:budget=256"},
    {"f1", OPTION_REAL, FIELD(f1), 0.9, 0, 1, NULL,
     "heads are validated whose F1 in the proof (raas analyze --validate) is at least this"},
    {"batch", OPTION_INT, FIELD(batch), 16, 1, 64, NULL, "answers in flight"},
    {"model", OPTION_TEXT, FIELD(model), 0, 0, 0, NULL,
     "PATH: model folder or GGUF file (default: the embedded model)"},
    {"threads", OPTION_INT, FIELD(threads), 0, 0, 1024, NULL, "threads of the CPU; 0 takes all cores"},
    JSON_ROW(struct explain_param, json),
    DB_ROW(struct explain_param, db, "database of the answers, and for the results"),
    OPTION_END,
#undef FIELD
    // clang-format on
};

static const char usage[] = "raas explain [SAMPLE] [--run R] [--policy P] [--json]";
static const char about[] =
    "Says why stored answers to `lemmas` are wrong: the first step that differs from the gold\n"
    "solution, and its cause. The answer's ids are fed again under its policy, so that what was\n"
    "held is known.\n"
    "  source_evicted     a value that was needed was gone, and every restatement of it, from\n"
    "                     at least half of the KV heads that serve validated heads (those that\n"
    "                     the proof finds)\n"
    "  statement_evicted  what the prompt says was gone from them\n"
    "  working_evicted    computing: what the step itself had written was gone, from half of\n"
    "                     all KV heads\n"
    "  unread             all was there, and every validated head gave it less than its\n"
    "                     threshold\n"
    "  arithmetic         it was there, and what was written is wrong\n"
    "  cut                no step is wrong: the answer was cut\n"
    "With SAMPLE (lemmas-16-1-3) an account of its answers, without it counts per policy and\n"
    "budget; `raas plot causes` draws them. Results go to the database (views v_causes,\n"
    "v_explain); what stands there is not computed again.";

struct work { /* one invocation */
    const struct explain_param *param;
    struct model *model;
    struct db *db;
    int64_t run;
    struct explain_choice choice;
    struct plan plan; /* of --policy */
    struct explain_heads heads;
    char *params;
};

/* --- validated heads -------------------------------------------------------------------------- */

static bool prove(struct work *w, struct err *e) {
    struct validation v;
    struct validate_params params = {
        .model = w->model,
        .session = {.precision = PRECISION_BF16, .n_threads = (int)w->param->threads},
        .steps = 16,
        .n = 20,
        .n_train = 50,
        .n_knobs = 20,
        .seed = 1};
    option_defaults(lifecycle_options, &params.life);
    log_info("no proof of this model is stored: looking for the heads that read lemmas, as raas "
             "analyze --validate does");
    if (!validate_run(&params, &v, e))
        return false;
    char *json = validate_json(&v);
    bool ok = validate_store(&v, w->model, json, w->db, w->run, e);
    free(json);
    validate_close(&v);
    return ok;
}

static bool find_heads(struct work *w, struct err *e) {
    bool found;
    double least = w->param->f1;
    if (!explain_heads_load(&w->heads, w->db, w->model, least, &found, e))
        return false;
    if (!found &&
        (!prove(w, e) || !explain_heads_load(&w->heads, w->db, w->model, least, &found, e)))
        return false;
    w->params = explain_heads_json(&w->heads);
    return true;
}

/* --- answers ---------------------------------------------------------------------------------- */

/* What the answer is, and all that its explanation rests on. */
static void make_key(const struct work *w, struct explain_answer *a, const char *isa) {
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_int(&o, "explain_version", EXPLAIN_VERSION);
    json_add_raw(&o, "heads", w->params);
    json_add_text(&o, "isa", isa);
    json_add_text(&o, "result", a->result_key);
    json_close(&o, '}');
    hash_bytes(o.text, o.size, a->key);
    free(o.text);
}

/* Those of [from, n) that go into one session, and aren't explained yet, to the front. */
static int choose(struct work *w, struct explain_answer *items, int n, const char *isa,
                  struct err *e) {
    int left = 0;
    for (int i = 0; i < n; i++) {
        bool done;
        make_key(w, &items[i], isa);
        if (!db_explained(w->db, items[i].key, &done, e))
            return -1;
        if (done)
            continue;
        struct explain_answer swap = items[left];
        items[left++] = items[i], items[i] = swap;
    }
    return left;
}

static bool store(struct work *w, struct explanation *x, int n, struct err *e) {
    bool ok = db_begin(w->db, e);
    for (int i = 0; i < n; i++) {
        ok = ok && explain_store(&x[i], w->model, w->db, w->run, w->params, e);
        explanation_free(&x[i]);
    }
    if (ok && db_commit(w->db, e))
        return true;
    db_rollback(w->db);
    return false;
}

static bool explain_all(struct work *w, struct explain_answer *items, int n,
                        struct session_params *params, struct err *e) {
    struct explanation *x = must_alloc(EXPLAIN_GROUP * sizeof *x);
    struct session *session = session_open_fitting(w->model, params, e);
    bool ok = session != NULL;
    for (int i = 0; ok && i < n; i += EXPLAIN_GROUP) {
        int here = n - i < EXPLAIN_GROUP ? n - i : EXPLAIN_GROUP;
        ok = explain_run(w->model, session, params->width, &w->heads, items + i, here, x, e) &&
             store(w, x, here, e);
        log_status(false, "explain: %d of %d", i + here, n);
    }
    log_status_end();
    session_close(session);
    free(x);
    return ok;
}

/* Answers of one precision and instruction set: where this machine lacks that one, its best. */
static bool explain_alike(struct work *w, const struct explain_answers *all, int from, int n,
                          struct err *e) {
    struct explain_answer *items = all->items + from;
    struct err lacks = {0};
    bool same = !strcmp(items->backend, "cpu") && cpu_kernels_find(items->isa, &lacks);
    const char *isa = same && items->precision == PRECISION_BF16 ? items->isa : NULL;
    const struct cpu_kernels *kernels =
        cpu_kernels_find(items->precision == PRECISION_FP32 ? "fp32" : isa, e);
    int left = kernels ? choose(w, items, n, kernels->isa, e) : -1;
    if (left <= 0)
        return left == 0;
    if (!same)
        log_warn("%d answers were made by %s (%s), which isn't here: they are replayed by %s", left,
                 items->isa, items->backend, kernels->isa);
    int longest = all->longest + EXPLAIN_STEP, most = w->model->config.max_positions;
    struct session_params params = {.backend = "cpu",
                                    .precision = items->precision,
                                    .n_threads = (int)w->param->threads,
                                    .width = (int)w->param->batch,
                                    .max_total = longest < most ? longest : most,
                                    .isa = isa};
    return explain_all(w, items, left, &params, e);
}

static bool explain_answers(struct work *w, struct explain_answers *all, struct err *e) {
    bool ok = true;
    for (int from = 0, to; ok && from < all->n; from = to) {
        const struct explain_answer *first = &all->items[from];
        for (to = from; to < all->n && all->items[to].precision == first->precision &&
                        !strcmp(all->items[to].isa, first->isa) &&
                        !strcmp(all->items[to].backend, first->backend);
             to++)
            ;
        ok = explain_alike(w, all, from, to - from, e);
    }
    return ok;
}

/* --- printing --------------------------------------------------------------------------------- */

static void put_account(struct json_out *o, const struct db_query *q) {
    json_open(o, '{');
    for (int c = 0; c < db_columns(q); c++)
        db_put_json(q, c, o);
    json_close(o, '}');
}

static bool print_accounts(struct work *w, struct err *e) {
    const struct explain_choice *choice = &w->choice;
    struct db_query *q = db_query(
        w->db,
        "SELECT account, model, dataset, sample, policy, budget, repeat, cause, step, part, "
        "source_step, gold, written, kv_heads, holders, query, evicted_at, evicted_step, "
        "given, theta, agreement, full_right FROM v_explain WHERE sample = ?1 "
        "AND (?2 = 0 OR cell_id IN (SELECT cell_id FROM run_cell WHERE run_id = ?2)) "
        "AND (?3 IS NULL OR policy = ?3) AND (?4 = 0 OR budget = ?4) "
        "ORDER BY policy, budget, cell_id, repeat",
        e);
    if (!q)
        return false;
    db_bind_text(q, 1, choice->sample);
    db_bind_int(q, 2, choice->run);
    db_bind_text(q, 3, choice->policy);
    db_bind_int(q, 4, choice->budget);
    struct json_out o = {0};
    json_open(&o, '[');
    for (int i = 0; db_next(q, e); i++)
        if (w->param->json)
            put_account(&o, q);
        else
            printf("%s%s", i ? "\n" : "", db_text(q, 0));
    json_close(&o, ']');
    if (w->param->json)
        puts(o.text);
    free(o.text);
    return db_query_end(q);
}

/* --- the command ------------------------------------------------------------------------------ */

/* What can't be explained because there is nothing wrong. */
static bool check_sample(struct work *w, const struct explain_answers *all, struct err *e) {
    if (all->n || all->other)
        return true;
    struct db_query *q = db_query(
        w->db, "SELECT count(*), sum(correct) FROM v_result WHERE ?1 IS NULL OR sample = ?1", e);
    if (!q)
        return false;
    db_bind_text(q, 1, w->choice.sample);
    int64_t n = db_next(q, e) ? db_int(q, 0) : 0;
    if (!db_query_end(q))
        return false;
    const char *what = w->choice.sample ? w->choice.sample : "the database";
    return n ? err_set(e, EXIT_CONTENT,
                       "%s: %s: none of its %lld answers is a wrong one of this model to `lemmas` "
                       "among those asked for",
                       db_path(w->db), what, (long long)n)
             : err_set(e, EXIT_USAGE, "%s: %s: no answers", db_path(w->db), what);
}

static bool explain(struct work *w, struct err *e) {
    struct explain_answers all;
    if (!explain_answers_load(&all, w->db, w->model, &w->choice, e))
        return false;
    bool ok = (!w->choice.sample || check_sample(w, &all, e)) && find_heads(w, e) &&
              explain_answers(w, &all, e);
    if (ok && w->choice.sample)
        ok = print_accounts(w, e);
    else if (ok)
        ok = (w->param->json ? cause_json : cause_table)(w->db, w->choice.run, stdout, e);
    if (ok && all.other)
        ok = err_set(e, EXIT_PARTIAL,
                     "%d answers left out: their policy is another version than this program's",
                     all.other);
    explain_answers_free(&all);
    return ok;
}

static bool begin(struct work *w, int argc, char **argv, struct err *e) {
    const struct explain_param *p = w->param;
    struct db_run run = {.name = "explain",
                         .argc = argc,
                         .argv = argv,
                         .threads = machine_threads(p->threads),
                         .isa = "the answers'"};
    if ((p->policy && !policy_parse(p->policy, &w->plan, e)) || !common_db_exists(p->db, e))
        return false;
    w->choice.policy = p->policy ? w->plan.name : NULL;
    w->choice.budget =
        p->policy && !w->plan.match && strstr(p->policy, "budget=") ? w->plan.budget : 0;
    w->db = db_open(common_db(p->db), DB_WRITE, e);
    return w->db && results_run(w->db, p->run, &w->choice.run, e) &&
           db_run_start(w->db, &run, &w->run, e);
}

static int explain_command(int argc, char **argv, struct err *e) {
    struct explain_param param;
    struct work w = {.param = &param};
    int n_args;
    char **given = must_alloc((size_t)argc * sizeof *given); /* option_argv moves them */
    memcpy(given, argv, (size_t)argc * sizeof *given);
    option_defaults(options, &param);
    bool ok =
        option_argv(options, &param, usage, about, argc, argv, &n_args, e) &&
        (n_args <= 1 || err_set(e, EXIT_USAGE, "expected one sample at most; usage: %s", usage));
    w.choice.sample = ok && n_args ? argv[0] : NULL;
    struct common common = {.model = param.model};
    ok =
        ok && (w.model = common_model(&common, e)) &&
        (w.model->tokenizer || err_set(e, EXIT_CONTENT, "%s: expected a tokenizer", w.model->path));
    stop_install();
    if (ok && begin(&w, argc, given, e))
        explain(&w, e);
    common_run_end(w.db, w.run, e);
    db_close(w.db);
    model_close(w.model);
    free(w.params);
    free(given);
    return e->code;
}

const struct command command_explain = {
    .name = "explain",
    .usage = usage,
    .summary = "why answers to lemmas are wrong: the first wrong step and its cause",
    .run = explain_command,
};
