/* raas bench growth, raas bench breakdown: one sequence that decodes past its end tokens, on any
 * backend: time and memory against decoded tokens, and how a total length splits into prefill and
 * decode. What is told was measured; nothing is computed from shapes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "commands/bench.h"
#include "commands/common.h"
#include "plots/plot.h"
#include "version.h"

#define GROWTH_USAGE "raas bench growth [--policy P]... [--marks 256,512] [options]"
#define GROWTH_ABOUT                                                                             \
    "seconds until the n-th token and KV bytes at it, decoded one sequence at a time with the\n" \
    "end token ignored. Prints CSV (median, least and most over the repeats) and draws it"
#define BREAKDOWN_USAGE "raas bench breakdown [--total 2048] [--prompts 256,512] [options]"
#define BREAKDOWN_ABOUT                                                                          \
    "seconds of prefill and of decode where one total length is split into prompt and answer,\n" \
    "the end token ignored. Prints CSV (median, least and most over the repeats) and draws it"
enum { REPEATS_MAX = 64 };

struct decode_param {
    struct common common;
    struct option_list policies;
    const char *marks, *prompts, *out;
    int64_t prompt, total, repeats, seed;
};

struct decode_bench {
    const struct decode_param *param;
    const struct model *model;
    const char *name; /* of the CSV and the figure */
    FILE *csv;
};

// clang-format off
#define FIELD(name) offsetof(struct decode_param, name)
#define SHARED_ROWS                                                                               \
    COMMON_ROWS(struct decode_param, common, PRECISION_BF16),                                     \
    {"repeats", OPTION_INT, FIELD(repeats), 5, 1, REPEATS_MAX, NULL,                              \
     "measured runs of each point, after one that is not counted"},                               \
    {"out", OPTION_TEXT, FIELD(out), 0, 0, 0, NULL,                                               \
     "DIR: where CSV and figure go (default: " COMMON_RESULTS "/plots)"},                         \
    SEED_ROW(struct decode_param, seed)
static const struct option growth_options[] = {
    SHARED_ROWS,
    {"policy", OPTION_LIST, FIELD(policies), 0, 0, 0, NULL,
     "P: cache policy, may be given several times (default full and four of budget 256)"},
    {"marks", OPTION_TEXT, FIELD(marks), 0, 0, 0, NULL,
     "64,128: decoded tokens at which is read off (default 64 to 2048)"},
    {"prompt", OPTION_INT, FIELD(prompt), 128, 1, 1 << 20, NULL, "tokens of the prompt"},
    OPTION_END};
static const struct option breakdown_options[] = {
    SHARED_ROWS,
    {"policy", OPTION_LIST, FIELD(policies), 0, 0, 0, NULL, "P: cache policy, one (default full)"},
    {"total", OPTION_INT, FIELD(total), 2048, 2, 1 << 20, NULL, "tokens of prompt and answer together"},
    {"prompts", OPTION_TEXT, FIELD(prompts), 0, 0, 0, NULL,
     "256,512: tokens of the prompt (default seven even splits, and the longest prompts)"},
    OPTION_END};
#undef FIELD
// clang-format on

/* What one run read off: at each mark, or of the whole. */
struct reading {
    double seconds[BENCH_NUMBERS], bytes[BENCH_NUMBERS], kept[BENCH_NUMBERS];
    double prefill, decode;
};

/* Where the marks lie that are passed: the first id is decoded token 1. */
static void read_off(struct session *session, const struct event *event, double since, int n,
                     const struct bench_numbers *marks, struct reading *out) {
    for (int i = 0; i < marks->count; i++)
        if (marks->items[i] == n) {
            struct sequence_stats stats =
                event->finish == FINISH_NOT ? session_stats(session, event->row) : event->stats;
            out->seconds[i] = since;
            out->bytes[i] = (double)stats.kv_bytes;
            out->kept[i] = stats.kept;
        }
}

/* Decodes `last` tokens behind a prompt of random ids. */
static bool decode(const struct decode_bench *b, const struct plan *plan, int prompt, int last,
                   const struct bench_numbers *marks, struct reading *out, struct err *e) {
    /* one token more than the last mark: a sequence that has left holds nothing */
    int total = prompt + last + 1;
    struct session *session = common_session(&b->param->common, b->model, 1, total, e);
    if (!session)
        return false;
    int32_t *ids = must_alloc((size_t)prompt * sizeof *ids);
    struct rng rng = {.key = (uint64_t)b->param->seed};
    for (int i = 0; i < prompt; i++)
        ids[i] = (int32_t)rng_below(&rng, (uint32_t)b->model->config.vocab);
    struct request request = {.ids = ids,
                              .n_ids = prompt,
                              .plan = plan,
                              .max_new = last + 1,
                              .ignore_eos = true,
                              .sampling = {0, 1}};
    double start = clock_seconds(), first = 0;
    bool ok = session_add(session, &request, e) ||
              (e->code == 0 && err_set(e, EXIT_ENV, "the KV cache holds no such sequence"));
    struct event event = {0};
    for (int n = 0; ok && n < last;) {
        int events = session_step(session, &event, e);
        ok = events >= 0;
        if (events < 1)
            continue;
        double now = clock_seconds();
        n++;
        if (n == 1)
            first = now;
        if (event.finish != FINISH_NOT)
            ok = err_set(e, EXIT_ENV, "the sequence ended after %d tokens", n);
        else if (marks)
            read_off(session, &event, now - start, n, marks, out);
    }
    out->prefill = first - start, out->decode = clock_seconds() - first;
    free(ids);
    session_close(session);
    return ok;
}

/* The first run meets cold caches and is not counted. */
static bool repeat(const struct decode_bench *b, const struct plan *plan, int prompt, int last,
                   const struct bench_numbers *marks, struct reading *out, struct err *e) {
    struct reading cold;
    if (!decode(b, plan, prompt, last < 64 ? last : 64, NULL, &cold, e))
        return false;
    for (int i = 0; i < (int)b->param->repeats; i++)
        if (!decode(b, plan, prompt, last, marks, &out[i], e))
            return false;
    return true;
}

/* ",median,least,most" of what lies `offset` bytes into each reading. */
static void put(const struct decode_bench *b, const struct reading *readings, size_t offset) {
    double values[REPEATS_MAX];
    int n = (int)b->param->repeats;
    for (int i = 0; i < n; i++)
        values[i] = *(const double *)((const char *)&readings[i] + offset);
    fprintf(b->csv, ",%.6g", bench_quantile(values, n, 0.5));
    fprintf(b->csv, ",%.6g,%.6g", values[0], values[n - 1]);
}

/* The spelling without the budget; its commas would end a field. */
static void put_policy(const struct decode_bench *b, const struct plan *plan) {
    for (const char *at = plan->name; *at; at++)
        putc(*at == ',' ? ';' : *at, b->csv);
}

static void put_source(const struct decode_bench *b) {
    const char *model = strrchr(b->model->path, '/');
    char name[100];
    snprintf(name, sizeof name, "%s", model ? model + 1 : b->model->path);
    for (char *at = name; *at; at++)
        if (*at == ',' || *at == '"' || (unsigned char)*at < 0x20)
            *at = '_';
    fprintf(b->csv, ",%d,%s,%s,%s\n", (int)b->param->repeats, name,
            b->param->common.backend ? "cuda" : "cpu", RAAS_COMMIT);
}

/* --- the two -------------------------------------------------------------------------- */

static bool growth(struct decode_bench *b, struct err *e) {
    static const struct option_list standard = {
        5,
        {"full", "raas:budget=256", "streaming:budget=256", "quest:budget=256", "h2o:budget=256"}};
    const struct decode_param *p = b->param;
    const struct option_list *policies = p->policies.count ? &p->policies : &standard;
    struct bench_numbers marks;
    struct plan plans[OPTION_LIST_MAX];
    if (!bench_parse_numbers(p->marks ? p->marks : "64,128,256,512,768,1024,1280,1536,1792,2048",
                             "marks", 1 << 20, &marks, e))
        return false;
    int last = marks.items[marks.count - 1];
    if (p->prompt + last >= b->model->config.max_positions)
        return err_set(e, EXIT_USAGE, "--marks %d: expected less than %d", last,
                       b->model->config.max_positions - (int)p->prompt);
    for (int i = 0; i < policies->count; i++)
        if (!policy_parse(policies->items[i], &plans[i], e))
            return false;
    struct reading *readings = must_zalloc(REPEATS_MAX, sizeof *readings);
    fputs("policy,budget,prompt,tokens,kept,kv_bytes,seconds,lo,hi,repeats,model,backend,commit\n",
          b->csv);
    bool ok = true;
    for (int i = 0; ok && i < policies->count; i++) {
        log_status(false, "bench: %s to %d tokens", policies->items[i], last);
        ok = repeat(b, &plans[i], (int)p->prompt, last, &marks, readings, e);
        for (int m = 0; ok && m < marks.count; m++) {
            put_policy(b, &plans[i]);
            putc(',', b->csv);
            if (plans[i].budget)
                fprintf(b->csv, "%d", plans[i].budget);
            fprintf(b->csv, ",%d,%d,%.0f,%.0f", (int)p->prompt, marks.items[m], readings[0].kept[m],
                    readings[0].bytes[m]);
            put(b, readings, offsetof(struct reading, seconds) + (size_t)m * sizeof(double));
            put_source(b);
        }
    }
    free(readings);
    return ok;
}

static bool breakdown(struct decode_bench *b, struct err *e) {
    const struct decode_param *p = b->param;
    struct bench_numbers prompts = {0};
    struct plan plan;
    int total = (int)p->total;
    if (p->policies.count > 1)
        return err_set(e, EXIT_USAGE, "--policy: expected one");
    if (!policy_parse(p->policies.count ? p->policies.items[0] : "full", &plan, e))
        return false;
    if (p->prompts && !bench_parse_numbers(p->prompts, "prompts", total - 1, &prompts, e))
        return false;
    if (total >= b->model->config.max_positions)
        return err_set(e, EXIT_USAGE, "--total %d: expected less than %d", total,
                       b->model->config.max_positions);
    for (int i = 1; !p->prompts && i < 10; i++) { /* 1/8 to 7/8, then 15/16 and 31/32 */
        int of = i < 8 ? total * i / 8 : total - total / (i == 8 ? 16 : 32);
        if (of > 0 && of < total && (!prompts.count || prompts.items[prompts.count - 1] < of))
            prompts.items[prompts.count++] = of;
    }
    struct reading *readings = must_zalloc(REPEATS_MAX, sizeof *readings);
    fputs("policy,total,prompt,tokens,prefill,prefill_lo,prefill_hi,decode,decode_lo,decode_hi,"
          "repeats,model,backend,commit\n",
          b->csv);
    bool ok = true;
    for (int i = 0; ok && i < prompts.count; i++) {
        int prompt = prompts.items[i];
        log_status(false, "bench: %d + %d tokens", prompt, total - prompt);
        ok = repeat(b, &plan, prompt, total - prompt, NULL, readings, e);
        put_policy(b, &plan);
        fprintf(b->csv, ",%d,%d,%d", total, prompt, total - prompt);
        put(b, readings, offsetof(struct reading, prefill));
        put(b, readings, offsetof(struct reading, decode));
        put_source(b);
    }
    free(readings);
    return ok;
}

/* The CSV goes to stdout and into the folder, and is drawn there. */
static bool publish(const struct decode_bench *b, char *text, size_t size, struct err *e) {
    char path[600];
    const char *out = b->param->out ? b->param->out : COMMON_RESULTS "/plots";
    if (snprintf(path, sizeof path, "%s/%s.csv", out, b->name) >= (int)sizeof path)
        return err_set(e, EXIT_USAGE, "--out: path too long");
    fputs(text, stdout);
    if (!file_folders(path, e) || !file_write(path, text, size, NULL, 0, e))
        return false;
    for (size_t i = 0; i < size; i++) /* no field holds a comma */
        if (text[i] == ',')
            text[i] = '\t';
    return plot_draw(b->name, out, text, size, e);
}

static int run(struct decode_bench *b, bool (*measure)(struct decode_bench *b, struct err *e),
               struct err *e) {
    char *text = NULL;
    size_t size = 0;
    struct model *model = common_model(&b->param->common, e);
    if (!model)
        return e->code;
    b->model = model;
    b->csv = open_memstream(&text, &size);
    CHECK(b->csv);
    bool ok = measure(b, e);
    log_status_end();
    CHECK(fclose(b->csv) == 0);
    if (ok)
        publish(b, text, size, e);
    free(text);
    model_close(model);
    return e->code;
}

int bench_growth(int argc, char **argv, struct err *e) {
    struct decode_param p;
    struct decode_bench b = {.param = &p, .name = "growth"};
    if (!common_argv(growth_options, &p, GROWTH_USAGE, GROWTH_ABOUT, argc, argv, e))
        return e->code;
    return run(&b, growth, e);
}

int bench_breakdown(int argc, char **argv, struct err *e) {
    struct decode_param p;
    struct decode_bench b = {.param = &p, .name = "breakdown"};
    if (!common_argv(breakdown_options, &p, BREAKDOWN_USAGE, BREAKDOWN_ABOUT, argc, argv, e))
        return e->code;
    return run(&b, breakdown, e);
}
