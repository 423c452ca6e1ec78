/* raas bench cpu: decode speed as a ratio of what the machine could do at best in the same minute.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/rng.h"
#include "commands/bench.h"
#include "commands/bench_bytes.h"
#include "commands/common.h"
#include "commands/floor.h"

#define USAGE "raas bench cpu [--batch 1,8] [--context 256] [--policy P]... [options]"
#define ABOUT                                                                                     \
    "decode speed beside its floor: the products' operations at the rate that the same kernels\n" \
    "reach on their best shape, plus weights and attended KV at the measured read bandwidth"

enum { WINDOW = 4, WARM = 1, LARGEST_PROMPT = 96, FIRST_PROMPT = 100 };

struct bench {
    struct common common;
    const char *batches, *contexts;
    struct option_list policies;
    int64_t windows, seed;
    bool json, csv;
};

// clang-format off
static const struct option table[] = {
    COMMON_ROWS(struct bench, common, PRECISION_BF16),
    {"batch", OPTION_TEXT, offsetof(struct bench, batches), 0, 0, 0, NULL,
     "1,8: sequences in flight (default 1,8,32,64)"},
    {"context", OPTION_TEXT, offsetof(struct bench, contexts), 0, 0, 0, NULL,
     "256,1000: tokens before the measured one (default 256,1000)"},
    {"policy", OPTION_LIST, offsetof(struct bench, policies), 0, 0, 0, NULL,
     "P: cache policy, may be given several times (default full and raas:budget=256)"},
    {"windows", OPTION_INT, offsetof(struct bench, windows), 9, 5, 1000, NULL,
     "measured windows of 4 steps, each beside its own floor; medians are printed"},
    SEED_ROW(struct bench, seed),
    JSON_ROW(struct bench, json),
    {"csv", OPTION_BOOL, offsetof(struct bench, csv), 0, 0, 1, NULL, "print comma-separated values"},
    OPTION_END};
// clang-format on

struct result {
    char policy[160];
    int batch, context, kept;  /* kept: tokens a KV head holds while it is measured */
    double step, floor, ratio; /* seconds; medians over the windows, as below */
    double matmul, read;       /* FLOP/s and bytes/s, measured beside it */
    double weight_bytes, kv_bytes;
};

struct run {
    const struct bench *bench;
    const struct model *model;
    const struct cpu_kernels *kernels;
    struct floor *floor;
    struct bench_numbers batches, contexts;
    int threads;
    struct result *results;
    int n_results;
    double load, first; /* seconds: to open model and session; of a prompt of FIRST_PROMPT ids */
};

/* Steps around a context: half before it, half after it, so that its mean is the context. */
static int span_of(const struct bench *b) { return (int)b->windows * (WARM + WINDOW); }

static bool check_contexts(const struct run *r, struct err *e) {
    int span = span_of(r->bench), before = 1;
    for (int i = 0; i < r->contexts.count; i++) {
        int context = r->contexts.items[i], limit = r->model->config.max_positions - span;
        if (context - span / 2 <= before || context > limit)
            return err_set(e, EXIT_USAGE,
                           "context %d: expected %d to %d, and %d between two of them", context,
                           2 + span / 2, limit, span);
        before = context + span / 2;
    }
    return true;
}

/* --- a case -------------------------------------------------------------------------- */

/* What a step must read of the cache: the pages that it attends to, and all bounds where the policy
 * reads those. */
static double kv_read(const struct run *r, const struct plan *plan, int batch, int kept,
                      int prompt) {
    const struct config *c = &r->model->config;
    int pages = pages_of(kept), attended = pages;
    if (plan->select != UNIT_NONE && pages_of(plan_effective_budget(plan, prompt)) < pages)
        attended = pages_of(plan_effective_budget(plan, prompt));
    bool bounds =
        signal_is_bound(plan->observe) || (plan->select != UNIT_NONE && signal_is_bound(plan->by));
    double head = (double)attended * (double)cpu_page_bytes(r->kernels, c->head_size);
    if (bounds)
        head += (double)pages * (double)cpu_bounds_bytes(r->kernels, c->head_size);
    return (double)batch * c->n_layers * c->n_kv_heads * head;
}

static bool add_sequences(const struct run *r, struct session *session, const struct plan *plan,
                          int batch, int prompt, int total, struct err *e) {
    struct rng rng = {.key = (uint64_t)r->bench->seed};
    int32_t *ids = must_alloc((size_t)total * sizeof *ids);
    bool ok = true;
    for (int i = 0; i < batch && ok; i++) {
        for (int j = 0; j < total; j++)
            ids[j] = (int32_t)rng_below(&rng, (uint32_t)r->model->config.vocab);
        struct request request = {.ids = ids,
                                  .n_ids = prompt,
                                  .plan = plan,
                                  .forced = ids + prompt,
                                  .n_forced = total - prompt};
        ok = session_add(session, &request, e);
        if (!ok && !e->code)
            err_set(e, EXIT_ENV, "the KV pool holds %d of %d sequences", i, batch);
    }
    free(ids);
    return ok;
}

static bool steps(struct session *session, int n, struct err *e) {
    struct event events[64]; /* the widest batch */
    for (int i = 0; i < n; i++)
        if (session_step(session, events, e) < 0)
            return false;
    return true;
}

/* Each window is measured next to its own floor, so that what else the machine does weighs on both.
 */
static bool measure(struct run *r, struct session *session, const struct plan *plan, int prompt,
                    struct result *out, struct err *e) {
    const int n = (int)r->bench->windows;
    const double weights = bench_weights(&r->model->config);
    double *all = must_alloc(5 * (size_t)n * sizeof *all), *step = all, *floor = all + n,
           *ratio = all + 2 * n;
    double *matmul = all + 3 * n, *read = all + 4 * n;
    bool ok = true;
    for (int w = 0; ok && w < n; w++) {
        ok = steps(session, WARM, e); /* the floor has taken the caches */
        double start = clock_seconds();
        ok = ok && steps(session, WINDOW, e);
        step[w] = (clock_seconds() - start) / WINDOW;
        out->kept = w <= n / 2 ? session_positions(session, 0, 0, 0, NULL, 0) : out->kept;
        out->kv_bytes = kv_read(r, plan, out->batch, out->kept, prompt);
        double bytes = out->weight_bytes + out->kv_bytes;
        matmul[w] = floor_matmul(r->floor);
        read[w] = floor_read(r->floor, (size_t)bytes);
        floor[w] = 2 * weights * out->batch / matmul[w] + bytes / read[w];
        ratio[w] = floor[w] / step[w];
    }
    out->step = bench_quantile(step, n, 0.5), out->floor = bench_quantile(floor, n, 0.5);
    out->ratio = bench_quantile(ratio, n, 0.5);
    out->matmul = bench_quantile(matmul, n, 0.5), out->read = bench_quantile(read, n, 0.5);
    free(all);
    return ok;
}

/* Decodes forced ids through all contexts, and measures around each. */
static bool run_batch(struct run *r, const struct plan *plan, int batch, struct err *e) {
    const struct bench *b = r->bench;
    const int *contexts = r->contexts.items;
    int span = span_of(b), half = span / 2, total = contexts[r->contexts.count - 1] + span;
    int prompt = contexts[0] - half < LARGEST_PROMPT ? contexts[0] - half : LARGEST_PROMPT;
    struct session_params params = {.precision = (enum precision)b->common.precision,
                                    .n_threads = r->threads,
                                    .width = batch,
                                    .max_total = total,
                                    .isa = b->common.isa};
    struct session *session = session_open(r->model, &params, e);
    bool ok = session && add_sequences(r, session, plan, batch, prompt, total, e);
    ok = ok && steps(session, 1, e); /* tells the ids that prefill gave, and computes nothing */
    for (int i = 0, at = prompt; ok && i < r->contexts.count; at = contexts[i++] - half + span) {
        struct result *out = &r->results[r->n_results++];
        *out = (struct result){.batch = batch, .context = contexts[i]};
        policy_spell(plan->name, plan->budget, out->policy, sizeof out->policy);
        out->weight_bytes = bench_weights(&r->model->config) * (double)r->kernels->cache_size;
        log_status(false, "bench: %s, batch %d, context %d", out->policy, batch, contexts[i]);
        ok =
            steps(session, contexts[i] - half - at, e) && measure(r, session, plan, prompt, out, e);
    }
    session_close(session);
    return ok;
}

/* What a user waits for: weights, and the first id of a prompt. The files are in memory if they
 * were read before. */
static bool time_start(struct run *r, double opened, struct err *e) {
    const struct config *c = &r->model->config;
    int prompt = c->max_positions < FIRST_PROMPT ? c->max_positions : FIRST_PROMPT;
    struct session_params params = {.precision = (enum precision)r->bench->common.precision,
                                    .n_threads = r->threads,
                                    .width = 1,
                                    .max_total = prompt,
                                    .isa = r->bench->common.isa};
    struct plan plan;
    double start = clock_seconds();
    struct session *session = session_open(r->model, &params, e);
    r->load = opened + clock_seconds() - start;
    start = clock_seconds();
    bool ok = session && policy_parse("full", &plan, e) &&
              add_sequences(r, session, &plan, 1, prompt, prompt, e) && steps(session, 1, e);
    r->first = clock_seconds() - start;
    session_close(session);
    return ok;
}

/* --- printing -------------------------------------------------------------------------- */

static void print_text(const struct run *r, double peak) {
    double rates[BENCH_NUMBERS * BENCH_NUMBERS * OPTION_LIST_MAX];
    for (int i = 0; i < r->n_results; i++)
        rates[i] = r->results[i].matmul;
    printf("%s: %.1f M weights in products, %s, %d threads\n", r->model->path,
           bench_weights(&r->model->config) / 1e6, r->kernels->isa, r->threads);
    printf("loaded in %.2f s, first token of a prompt of %d after %.3f s\n", r->load, FIRST_PROMPT,
           r->first);
    printf("products at best %.1f GFLOP/s, the bare units %.1f GFLOP/s\n\n",
           bench_quantile(rates, r->n_results, 0.5) / 1e9, peak / 1e9);
    printf("%-24s %5s %7s %5s %9s %8s %8s %5s %7s %6s %-10s %s\n", "policy", "batch", "context",
           "kept", "tokens/s", "step ms", "floor ms", "ratio", "read MB", "GB/s", "isa", "threads");
    for (int i = 0; i < r->n_results; i++) {
        const struct result *x = &r->results[i];
        printf("%-24s %5d %7d %5d %9.0f %8.3f %8.3f %5.2f %7.1f %6.1f %-10s %d\n", x->policy,
               x->batch, x->context, x->kept, x->batch / x->step, x->step * 1e3, x->floor * 1e3,
               x->ratio, (x->weight_bytes + x->kv_bytes) / 1e6, x->read / 1e9, r->kernels->isa,
               r->threads);
    }
}

static void print_csv(const struct run *r) {
    puts("policy,batch,context,kept,tokens_per_s,step_ms,floor_ms,ratio,weight_mb,kv_mb,"
         "matmul_gflops,read_gbs,isa,threads");
    for (int i = 0; i < r->n_results; i++) {
        const struct result *x = &r->results[i];
        printf("\"%s\",%d,%d,%d,%.1f,%.5f,%.5f,%.4f,%.3f,%.3f,%.2f,%.2f,%s,%d\n", x->policy,
               x->batch, x->context, x->kept, x->batch / x->step, x->step * 1e3, x->floor * 1e3,
               x->ratio, x->weight_bytes / 1e6, x->kv_bytes / 1e6, x->matmul / 1e9, x->read / 1e9,
               r->kernels->isa, r->threads);
    }
}

static void print_json(const struct run *r, double peak) {
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_text(&o, "model", r->model->path);
    json_add_text(&o, "isa", r->kernels->isa);
    json_add_int(&o, "threads", r->threads);
    json_add_real(&o, "peak_gflops", peak / 1e9);
    json_add_real(&o, "load_s", r->load);
    json_add_real(&o, "first_token_s", r->first);
    json_name(&o, "cases"), json_open(&o, '[');
    for (int i = 0; i < r->n_results; i++) {
        const struct result *x = &r->results[i];
        json_open(&o, '{');
        json_add_text(&o, "policy", x->policy);
        json_add_int(&o, "batch", x->batch);
        json_add_int(&o, "context", x->context);
        json_add_int(&o, "kept", x->kept);
        json_add_real(&o, "tokens_per_s", x->batch / x->step);
        json_add_real(&o, "step_ms", x->step * 1e3);
        json_add_real(&o, "floor_ms", x->floor * 1e3);
        json_add_real(&o, "ratio", x->ratio);
        json_add_real(&o, "weight_mb", x->weight_bytes / 1e6);
        json_add_real(&o, "kv_mb", x->kv_bytes / 1e6);
        json_add_real(&o, "matmul_gflops", x->matmul / 1e9);
        json_add_real(&o, "read_gbs", x->read / 1e9);
        json_close(&o, '}');
    }
    json_close(&o, ']'), json_close(&o, '}');
    puts(o.text);
    free(o.text);
}

/* --- the command -------------------------------------------------------------------------- */

static bool run_all(struct run *r, double opened, struct err *e) {
    static const struct option_list standard = {2, {"full", "raas:budget=256"}};
    const struct bench *b = r->bench;
    const struct option_list *policies = b->policies.count ? &b->policies : &standard;
    struct plan plans[OPTION_LIST_MAX];
    for (int i = 0; i < policies->count; i++)
        if (!policy_parse(policies->items[i], &plans[i], e))
            return false;
    r->kernels =
        cpu_kernels_find(b->common.precision == PRECISION_FP32 ? "fp32" : b->common.isa, e);
    if (!r->kernels || !check_contexts(r, e))
        return false;
    r->threads = machine_threads(b->common.threads);
    if (!time_start(r, opened, e))
        return false;
    r->results = must_zalloc((size_t)(policies->count * r->batches.count * r->contexts.count),
                             sizeof *r->results);
    r->floor = floor_open(r->kernels, r->threads);
    double peak = floor_peak(r->floor);
    bool ok = true;
    for (int i = 0; i < policies->count && ok; i++)
        for (int j = 0; j < r->batches.count && ok; j++)
            ok = run_batch(r, &plans[i], r->batches.items[j], e);
    log_status_end();
    if (ok && b->json)
        print_json(r, peak);
    else if (ok && b->csv)
        print_csv(r);
    else if (ok)
        print_text(r, peak);
    floor_close(r->floor);
    free(r->results);
    return ok;
}

int bench_cpu(int argc, char **argv, struct err *e) {
    struct bench bench;
    if (!common_argv(table, &bench, USAGE, ABOUT, argc, argv, e))
        return e->code;
    struct run r = {.bench = &bench};
    if (bench.common.backend != 0)
        return err_set(e, EXIT_USAGE, "bench cpu: --backend must be cpu"), e->code;
    if (!bench_parse_numbers(bench.batches ? bench.batches : "1,8,32,64", "batch", 64, &r.batches,
                             e) ||
        !bench_parse_numbers(bench.contexts ? bench.contexts : "256,1000", "context", 1 << 20,
                             &r.contexts, e))
        return e->code;
    double start = clock_seconds();
    struct model *model = common_model(&bench.common, e);
    r.model = model;
    if (model)
        run_all(&r, clock_seconds() - start, e);
    model_close(model);
    return e->code;
}
