/* raas shadow: what policies do to the next-token distribution, on given ids. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/grid.h"
#include "analysis/results.h"
#include "analysis/stats.h"
#include "base/json.h"
#include "base/log.h"
#include "commands/command.h"
#include "commands/common.h"
#include "experiments/shadow_texts.h"

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
    DB_ROW(struct shadow_param, db, "database of --run"),
    OPTION_END,
#undef FIELD
    // clang-format on
};

static const char usage[] =
    "raas shadow (--run R | --jsonl F | --dataset D) [--policy P]... [--n N] [--json]";
static const char about[] =
    "Feeds given ids under full attention and, the same ids, under policies: KL divergence of the "
    "next-token\ndistribution from full's, agreement of the best id, the first step that "
    "disagrees, and the share of\nfull's attention that goes to tokens which the policy doesn't "
    "attend to. --run takes the answers of a\nrun under full, --jsonl ids from elsewhere, "
    "--dataset gold solutions.";

/* --- what comes out -----------------------------------------------------------------------------
 */

struct tally { /* of one policy; arrays are of its texts */
    double *kl, *agree, *lost, *first;
    int n;
    double kept, kv_bytes;
    int64_t steps;
};
struct report {
    const struct shadow *shadow;
    const struct config *config;
    struct tally *tallies; /* [n_plans] */
    int told;
};

static void tally_open(struct tally *t, int n) {
    t->kl = must_zalloc((size_t)n, sizeof *t->kl);
    t->agree = must_zalloc((size_t)n, sizeof *t->agree);
    t->lost = must_zalloc((size_t)n, sizeof *t->lost);
    t->first = must_zalloc((size_t)n, sizeof *t->first);
}
static void tally_close(struct tally *t) {
    free(t->kl);
    free(t->agree);
    free(t->lost);
    free(t->first);
}

static double mean(const double *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    return n ? sum / n : NAN;
}

static bool take(void *user, const struct shadow_result *r, struct err *e) {
    (void)e;
    struct report *report = user;
    struct tally *t = &report->tallies[r->plan];
    int heads = report->config->n_layers * report->config->n_kv_heads;
    double agreed = 0, lost = 0;
    for (int i = 0; i < r->n_steps; i++)
        agreed += r->agrees[i];
    for (int h = 0; r->lost && h < heads; h++)
        lost += (double)r->lost[h] / heads;
    t->kl[t->n] = mean(r->kl, r->n_steps);
    t->agree[t->n] = agreed / r->n_steps;
    t->lost[t->n] = r->lost ? lost : NAN;
    t->first[t->n++] = r->first_divergence < 0 ? r->n_steps : r->first_divergence;
    t->kept += r->stats.kept_peak, t->kv_bytes += (double)r->stats.kv_bytes_peak;
    t->steps += r->n_steps;
    int all = report->shadow->n_texts * report->shadow->n_plans;
    if (++report->told % 50 == 0 || report->told == all)
        log_info("shadow: %d of %d", report->told, all);
    return true;
}

/* --- printing -----------------------------------------------------------------------------------
 */

static struct interval around(const struct tally *t) {
    return stats_bootstrap(t->kl, (size_t)t->n, 10000, 1);
}

/* Plans by mean divergence, the least first. */
static void order_plans(const struct report *r, int *order) {
    int n = r->shadow->n_plans;
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0; j--) {
            const struct tally *a = &r->tallies[order[j - 1]], *b = &r->tallies[order[j]];
            if (mean(a->kl, a->n) <= mean(b->kl, b->n))
                break;
            int swap = order[j];
            order[j] = order[j - 1], order[j - 1] = swap;
        }
}

static void print_row(struct grid *g, const struct plan *plan, const struct tally *t) {
    struct interval i = around(t);
    grid_cell(g, "%s", plan->name);
    plan->budget ? grid_cell(g, "%d", plan->budget) : grid_cell(g, "%s", "");
    grid_cell(g, "%.0f", t->kept / t->n);
    grid_cell(g, "%.4f", mean(t->kl, t->n));
    grid_cell(g, "%.4f-%.4f", i.lo, i.hi);
    grid_cell(g, "%.2f", 100 * mean(t->agree, t->n));
    grid_cell(g, "%.0f", mean(t->first, t->n));
    isnan(t->lost[0]) ? grid_cell(g, "%s", "") : grid_cell(g, "%.2f", 100 * mean(t->lost, t->n));
    grid_cell(g, "%d", t->n);
    grid_cell(g, "%lld", (long long)t->steps);
}

static void print_text(const struct report *r, const int *order) {
    struct grid g = {0};
    static const char *const heads[] = {"budget", "kept",        "KL (nats)", "95 %",  "agree %",
                                        "first",  "mass lost %", "texts",     "tokens"};
    grid_column(&g, GRID_LEFT, "policy");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        grid_column(&g, GRID_RIGHT, heads[i]);
    for (int i = 0; i < r->shadow->n_plans; i++)
        print_row(&g, &r->shadow->plans[order[i]], &r->tallies[order[i]]);
    grid_print(&g, GRID_TEXT, stdout);
    grid_free(&g);
}

static void print_json(const struct report *r, const int *order) {
    struct json_out o = {0};
    json_open(&o, '[');
    for (int i = 0; i < r->shadow->n_plans; i++) {
        const struct plan *plan = &r->shadow->plans[order[i]];
        const struct tally *t = &r->tallies[order[i]];
        struct interval band = around(t);
        json_open(&o, '{');
        json_add_text(&o, "policy", plan->name);
        json_name(&o, "budget");
        plan->budget ? json_put_int(&o, plan->budget) : json_put_null(&o);
        json_add_real(&o, "kept", t->kept / t->n);
        json_add_real(&o, "kv_bytes", t->kv_bytes / t->n);
        json_add_real(&o, "kl", mean(t->kl, t->n));
        json_add_real(&o, "lo", band.lo);
        json_add_real(&o, "hi", band.hi);
        json_add_real(&o, "agreement", mean(t->agree, t->n));
        json_add_real(&o, "first_divergence", mean(t->first, t->n));
        json_add_real(&o, "mass_lost", mean(t->lost, t->n));
        json_add_int(&o, "texts", t->n);
        json_add_int(&o, "tokens", t->steps);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    puts(o.text);
    free(o.text);
}

/* --- the run ------------------------------------------------------------------------------------
 */

static bool read_texts(const struct shadow_param *p, struct shadow_texts *texts, struct err *e) {
    struct dataset_choice from = {0};
    if (p->dataset && !dataset_parse(p->dataset, &from, e))
        return false;
    const struct dataset_choice *dataset = p->dataset ? &from : NULL;
    bool ok;
    if (p->run) {
        int64_t run;
        struct db *db = db_open(common_db(p->db), DB_READ, e);
        ok = db && results_run(db, p->run, &run, e) && shadow_texts_run(texts, db, run, p->n, e);
        db_close(db);
    } else if (p->jsonl) {
        ok = shadow_texts_lines(texts, p->jsonl, dataset, p->n, e);
    } else {
        ok = shadow_texts_gold(texts, dataset, p->n, e);
    }
    free(from.param);
    return ok && (texts->n || err_set(e, EXIT_CONTENT, "no texts"));
}

static bool replay(const struct shadow_param *p, const struct model *model,
                   const struct shadow_texts *texts, struct plan *plans, int n_plans,
                   struct err *e) {
    struct report report = {.config = &model->config};
    report.tallies = must_zalloc((size_t)n_plans, sizeof *report.tallies);
    for (int i = 0; i < n_plans; i++)
        tally_open(&report.tallies[i], texts->n);
    struct shadow shadow = {.model = model,
                            .width = (int)p->batch,
                            .plans = plans,
                            .n_plans = n_plans,
                            .texts = texts->texts,
                            .n_texts = texts->n,
                            .attention = p->common.backend == 0,
                            .done = take,
                            .user = &report};
    shadow.session = common_session(&p->common, model, (int)p->batch, texts->longest, e);
    report.shadow = &shadow;
    bool ok = shadow.session && shadow_run(&shadow, e);
    int order[OPTION_LIST_MAX];
    if (ok) {
        order_plans(&report, order);
        (p->json ? print_json : print_text)(&report, order);
    }
    for (int i = 0; i < n_plans; i++)
        tally_close(&report.tallies[i]);
    free(report.tallies);
    session_close(shadow.session);
    return ok;
}

static bool parse_plans(const struct shadow_param *p, struct plan *plans, int *n, struct err *e) {
    static const struct option_list standard = {4, {"streaming", "h2o", "quest", "raas"}};
    const struct option_list *list = p->policies.count ? &p->policies : &standard;
    *n = list->count;
    for (int i = 0; i < list->count; i++)
        if (!policy_parse(list->items[i], &plans[i], e))
            return false;
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
    struct plan *plans = must_zalloc(OPTION_LIST_MAX, sizeof *plans);
    int n_plans = 0;
    struct model *model = NULL;
    struct chat chat;
    bool ok = common_argv(options, &param, usage, about, argc, argv, e) && check_param(&param, e) &&
              parse_plans(&param, plans, &n_plans, e) && (model = common_model(&param.common, e)) &&
              chat_open(model, param.template ? param.template : "auto", &chat, e);
    struct shadow_texts texts = {.model = model, .chat = &chat};
    if (ok && read_texts(&param, &texts, e))
        replay(&param, model, &texts, plans, n_plans, e);
    shadow_texts_free(&texts);
    model_close(model);
    free(plans);
    return e->code;
}

const struct command command_shadow = {
    .name = "shadow",
    .usage = usage,
    .summary = "replays given ids under policies: divergence from full attention",
    .run = shadow_command,
};
