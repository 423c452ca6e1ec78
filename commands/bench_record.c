/* raas bench record: what recording costs. The same samples are forced through the model with
 * nothing recorded, lifecycle, pooled and full, in turns, so that whatever else the machine does
 * meets all. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "commands/bench.h"
#include "commands/common.h"
#include "experiments/record.h"

enum { CASES = 5, MOST_ROUNDS = 64, CHOSEN_HEADS = 32 };

struct bench_flags {
    struct common common;
    const char *dataset, *out, *policy;
    int64_t n, rounds;
    bool json;
};

static const struct option options[] = {
// clang-format off
#define FIELD(name) offsetof(struct bench_flags, name)
    {"dataset", OPTION_TEXT, FIELD(dataset), 0, 0, 0, NULL,
     "NAME: dataset with gold solutions, which are forced (default lemmas:steps=16)"},
    {"policy", OPTION_TEXT, FIELD(policy), 0, 0, 0, NULL, "NAME: cache policy (default full)"},
    {"n", OPTION_INT, FIELD(n), 4, 1, 1000, NULL, "samples of a round, one after the other"},
    {"rounds", OPTION_INT, FIELD(rounds), 5, 1, MOST_ROUNDS, NULL, "rounds; medians are shown"},
    {"out", OPTION_TEXT, FIELD(out), 0, 0, 0, NULL,
     "DIR: where files are written, and removed again (default: results)"},
    COMMON_ROWS(struct bench_flags, common, PRECISION_BF16),
    JSON_ROW(struct bench_flags, json),
    OPTION_END,
#undef FIELD
    // clang-format on
};

struct bench_case {
    const char *name;
    bool taken;
    struct recording_choice choice;
    char layers[32], heads[32];
    int n_heads;                                   /* of all layers */
    double decode[MOST_ROUNDS], wall[MOST_ROUNDS]; /* seconds of a round */
    double decode_median, wall_median;
    struct record_outcome last;
};

static void drop_file(void *user, const char *path, uint64_t bytes) {
    (void)user, (void)bytes;
    unlink(path);
}

/* The cases of a model: no more heads than CHOSEN_HEADS, spread over the layers, and all. */
static void list_cases(const struct config *c, struct bench_case cases[CASES]) {
    int all = c->n_layers * c->n_heads, heads = c->n_heads < 4 ? c->n_heads : 4;
    int layers = CHOSEN_HEADS / heads < c->n_layers ? CHOSEN_HEADS / heads : c->n_layers;
    cases[0] = (struct bench_case){.name = "off", .taken = true};
    cases[1] = (struct bench_case){.name = "pooled", .taken = true, .n_heads = all};
    cases[4] = (struct bench_case){.name = "lifecycle", .taken = true, .n_heads = all};
    cases[2] = (struct bench_case){.name = "full, chosen", .taken = layers * heads < all};
    cases[3] = (struct bench_case){.name = "full", .taken = true, .n_heads = all};
    cases[4].choice.mode = "lifecycle";
    cases[2].n_heads = layers * heads;
    cases[1].choice.mode = "pooled";
    cases[2].choice.mode = cases[3].choice.mode = "full";
    snprintf(cases[2].layers, sizeof cases[2].layers, "%d-%d", c->n_layers - layers,
             c->n_layers - 1);
    snprintf(cases[2].heads, sizeof cases[2].heads, "0-%d", heads - 1);
    cases[2].choice.layers = cases[2].layers, cases[2].choice.heads = cases[2].heads;
}

static bool run_rounds(const struct bench_flags *f, struct record_params *params,
                       struct bench_case cases[CASES], struct err *e) {
    log_quiet(true);
    bool ok = true;
    for (int64_t round = -1; ok && round < f->rounds; round++) /* the first warms up */
        for (int i = 0; ok && i < CASES; i++) {
            struct bench_case *c = &cases[i];
            if (!c->taken)
                continue;
            params->choice = i ? &c->choice : NULL;
            ok = record_samples(params, &c->last, e);
            if (ok && round >= 0)
                c->decode[round] = c->last.decode_seconds, c->wall[round] = c->last.wall_seconds;
        }
    log_quiet(false);
    return ok;
}

static void print_text(const struct bench_flags *f, const struct bench_case cases[CASES]) {
    printf("%-13s %6s %9s %10s %8s %7s %8s %7s %9s\n", "recorded", "heads", "ms/token", "slowdown",
           "wall", "ratio", "MB/smpl", "stalls", "packing");
    for (int i = 0; i < CASES; i++) {
        const struct bench_case *c = &cases[i];
        if (!c->taken)
            continue;
        printf("%-13s %6d %9.3f %+9.1f%% %7.2fs %7.2f %8.2f %7" PRIu64 " %8.2fs\n", c->name,
               c->n_heads, 1e3 * c->decode_median / (double)c->last.tokens,
               100 * (c->decode_median / cases[0].decode_median - 1), c->wall_median,
               c->wall_median / cases[0].wall_median,
               1e-6 * (double)c->last.stats.bytes / (double)f->n, c->last.stats.stalls,
               c->last.stats.finish_seconds);
    }
}

static void print_json(const struct bench_flags *f, const struct bench_case cases[CASES]) {
    struct json_out o = {0};
    json_open(&o, '[');
    for (int i = 0; i < CASES; i++) {
        const struct bench_case *c = &cases[i];
        if (!c->taken)
            continue;
        json_open(&o, '{');
        json_add_text(&o, "recorded", c->name);
        json_add_int(&o, "heads", c->n_heads);
        json_add_real(&o, "ms_per_token", 1e3 * c->decode_median / (double)c->last.tokens);
        json_add_real(&o, "slowdown", c->decode_median / cases[0].decode_median - 1);
        json_add_real(&o, "wall_seconds", c->wall_median);
        json_add_real(&o, "wall_ratio", c->wall_median / cases[0].wall_median);
        json_add_real(&o, "bytes_per_sample", (double)c->last.stats.bytes / (double)f->n);
        json_add_int(&o, "stalls", (int64_t)c->last.stats.stalls);
        json_add_real(&o, "packing_seconds", c->last.stats.finish_seconds);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    puts(o.text);
    free(o.text);
}

static int measure(const struct bench_flags *f, const struct dataset_choice *dataset,
                   const struct plan *plan, struct err *e) {
    struct model *model = common_model(&f->common, e);
    if (!model)
        return e->code;
    struct bench_case *cases = must_zalloc(CASES, sizeof *cases);
    struct common_opener opener = {&f->common, model};
    struct record_params params = {.model = model,
                                   .template = "auto",
                                   .dataset = dataset,
                                   .plan = plan,
                                   .out = f->out ? f->out : COMMON_RESULTS,
                                   .n = f->n,
                                   .gold = true,
                                   .top_p = 1,
                                   .precision = (enum precision)f->common.precision,
                                   .open = common_open,
                                   .context = &opener,
                                   .width = 1,
                                   .done = drop_file};
    list_cases(&model->config, cases);
    if (run_rounds(f, &params, cases, e)) {
        for (int i = 0; i < CASES; i++) {
            cases[i].decode_median = bench_quantile(cases[i].decode, (int)f->rounds, 0.5);
            cases[i].wall_median = bench_quantile(cases[i].wall, (int)f->rounds, 0.5);
        }
        (f->json ? print_json : print_text)(f, cases);
    }
    free(cases);
    model_close(model);
    return e->code;
}

int bench_record(int argc, char **argv, struct err *e) {
    struct bench_flags f;
    struct plan plan;
    struct dataset_choice dataset = {0};
    if (!common_argv(options, &f, "raas bench record [--n N] [--rounds R] [options]",
                     "what recording attention costs: decode step and total wall time at batch 1,\n"
                     "against the same samples with nothing recorded",
                     argc, argv, e))
        return e->code;
    int code = EXIT_USAGE;
    if (policy_parse(f.policy ? f.policy : "full", &plan, e) &&
        dataset_parse(f.dataset ? f.dataset : "lemmas:steps=16", &dataset, e))
        code = measure(&f, &dataset, &plan, e);
    free(dataset.param);
    return code;
}
