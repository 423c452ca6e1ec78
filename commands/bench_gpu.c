/* raas bench gpu: a decode step beside its floor, the bytes that it must move at the read rate that
 * a sweep reaches in the same process. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "commands/bench.h"
#include "commands/bench_growth.h"
#include "commands/bench_shape.h"
#include "commands/bench_suite.h"
#include "commands/bench_sweep.h"
#include "commands/common.h"
#include "version.h"

#define USAGE \
    "raas bench gpu [--shape S]... [--batch 1,32] [--context 2048] [--policy P]... [options]"
#define ABOUT                                                                                     \
    "a decode step beside its floor: weights, attended KV and what the policy must read beside\n" \
    "them, at the read rate of a sweep in the same process. Shapes: qwen2.5-7b, qwen2.5-1.5b,\n"  \
    "llama-8b (random weights), embedded. --suite measures the table of targets, --growth step\n" \
    "time and memory against decoded tokens"
#define REFERENCE COMMON_RESULTS "/reference/"
enum { LEAST_WINDOWS = 4, WINDOWS = 8, MOST_WINDOWS = 64 };

struct gpu {
    struct option_list shapes, policies, cases;
    const char *batches, *contexts, *out, *peers, *draw;
    int64_t windows;
    bool suite, growth, jump, kernels, json, csv;
};

// clang-format off
static const struct option table[] = {
    {"shape", OPTION_LIST, offsetof(struct gpu, shapes), 0, 0, 0, NULL,
     "NAME: may be given several times (default qwen2.5-7b; with --growth qwen2.5-1.5b)"},
    {"batch", OPTION_TEXT, offsetof(struct gpu, batches), 0, 0, 0, NULL,
     "1,32: sequences in flight (default 1; with --growth 16)"},
    {"context", OPTION_TEXT, offsetof(struct gpu, contexts), 0, 0, 0, NULL,
     "2048,8192: tokens of a sequence (default 2048; with --growth 2048 to 32768)"},
    {"policy", OPTION_LIST, offsetof(struct gpu, policies), 0, 0, 0, NULL,
     "P: cache policy, may be given several times (default full; with --growth five)"},
    {"windows", OPTION_INT, offsetof(struct gpu, windows), 0, 0, MOST_WINDOWS, NULL,
     "measured windows of 50 steps, after 20 steps, 4 or more; 0 takes 8"},
    {"kernels", OPTION_BOOL, offsetof(struct gpu, kernels), 0, 0, 1, NULL,
     "times each kernel of a step alone"},
    {"suite", OPTION_BOOL, offsetof(struct gpu, suite), 0, 0, 1, NULL,
     "measures the table of targets"},
    {"case", OPTION_LIST, offsetof(struct gpu, cases), 0, 0, 0, NULL,
     "NAME: with --suite: only this case, may be given several times; others keep their rows"},
    {"peers", OPTION_TEXT, offsetof(struct gpu, peers), 0, 0, 0, NULL,
     "FILE: with --suite: what tests/bench_peers.py wrote"},
    {"growth", OPTION_BOOL, offsetof(struct gpu, growth), 0, 0, 1, NULL,
     "step time and KV bytes against decoded tokens"},
    {"jump", OPTION_BOOL, offsetof(struct gpu, jump), 0, 0, 1, NULL,
     "with --growth: fills the cache up to each point instead of decoding there"},
    {"draw", OPTION_TEXT, offsetof(struct gpu, draw), 0, 0, 0, NULL,
     "FILE: draws what --growth wrote, into the folder --out (default: " COMMON_RESULTS "/plots)"},
    {"out", OPTION_TEXT, offsetof(struct gpu, out), 0, 0, 0, NULL,
     "FILE: CSV of --suite or --growth (default: " REFERENCE "gpu_bench.csv, gpu_growth.csv)"},
    JSON_ROW(struct gpu, json),
    {"csv", OPTION_BOOL, offsetof(struct gpu, csv), 0, 0, 1, NULL, "print comma-separated values"},
    OPTION_END};
// clang-format on

struct result {
    struct bench_step step;
    char policy[220]; /* canonical */
    struct err error; /* code 0: measured */
    struct bench_reading reading;
    double
        overhead; /* seconds beyond full's step less the bytes it has more; NAN: no full beside */
};

struct run {
    const struct gpu *gpu;
    const struct option_list *shapes, *policies;
    struct bench_numbers batches, contexts;
    int windows;
    struct bench_device device;
    struct result *results;
    int n_results, failed;
};

/* --- the columns ---------------------------------------------------------------------------- */

enum { COLUMNS = 17 };
static const char *const columns[COLUMNS] = {
    "step_ms",      "p10_ms",  "p90_ms",    "floor_ms",       "ratio",
    "tokens_per_s", "gbs",     "weight_mb", "kv_mb",          "beside_mb",
    "overhead_ms",  "kept",    "kv_bytes",  "syncs_per_step", "launches_per_step",
    "read_gbs",     "copy_gbs"};

static void values_of(const struct run *r, const struct result *x, double v[COLUMNS]) {
    const struct bench_reading *y = &x->reading;
    double floor = bench_floor(y, &r->device), bytes = bench_sum(&y->bytes);
    const double all[COLUMNS] = {y->step * 1e3,         y->p10 * 1e3,
                                 y->p90 * 1e3,          floor * 1e3,
                                 floor / y->step,       x->step.batch / y->step,
                                 bytes / y->step / 1e9, y->bytes.weights / 1e6,
                                 y->bytes.kv / 1e6,     y->bytes.beside / 1e6,
                                 x->overhead * 1e3,     y->kept,
                                 y->kv_bytes,           y->syncs,
                                 y->launches,           r->device.read / 1e9,
                                 r->device.copy / 1e9};
    for (int i = 0; i < COLUMNS; i++)
        v[i] = x->error.code ? NAN : all[i];
}

/* --- printing ------------------------------------------------------------------------------- */

static void print_text(const struct run *r) {
    printf("\n%-14s %-24s %5s %7s %8s %8s %8s %8s %5s %8s %7s %7s %9s %5s\n", "shape", "policy",
           "batch", "context", "step ms", "p10", "p90", "floor ms", "ratio", "tokens/s", "GB/s",
           "kept", "KV MiB", "syncs");
    for (int i = 0; i < r->n_results; i++) {
        const struct result *x = &r->results[i];
        double v[COLUMNS];
        values_of(r, x, v);
        printf("%-14s %-24s %5d %7d ", x->step.shape, x->policy, x->step.batch, x->step.context);
        if (x->error.code)
            printf("skipped: %s\n", x->error.text);
        else
            printf("%8.3f %8.3f %8.3f %8.3f %5.3f %8.0f %7.0f %7.0f %9.1f %5.2g\n", v[0], v[1],
                   v[2], v[3], v[4], v[5], v[6], v[11], v[12] / (1 << 20), v[13]);
    }
    for (int i = 0; i < r->n_results; i++)
        if (isfinite(r->results[i].overhead))
            printf("%s, %s, batch %d, context %d: %.3f ms beyond full's step less its bytes\n",
                   r->results[i].step.shape, r->results[i].policy, r->results[i].step.batch,
                   r->results[i].step.context, r->results[i].overhead * 1e3);
}

static void print_csv(const struct run *r) {
    fputs("shape,policy,batch,context,state", stdout);
    for (int i = 0; i < COLUMNS; i++)
        printf(",%s", columns[i]);
    puts(",gpu,commit");
    for (int i = 0; i < r->n_results; i++) {
        const struct result *x = &r->results[i];
        double v[COLUMNS];
        values_of(r, x, v);
        printf("%s,\"%s\",%d,%d,%s", x->step.shape, x->policy, x->step.batch, x->step.context,
               x->error.code ? "skipped" : "measured");
        for (int j = 0; j < COLUMNS; j++)
            if (isfinite(v[j]))
                printf(",%.8g", v[j]);
            else
                putchar(',');
        printf(",%s,%s\n", r->device.name, RAAS_COMMIT);
    }
}

static void print_json(const struct run *r) {
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_text(&o, "gpu", r->device.name);
    json_add_text(&o, "commit", RAAS_COMMIT);
    json_name(&o, "cases"), json_open(&o, '[');
    for (int i = 0; i < r->n_results; i++) {
        const struct result *x = &r->results[i];
        double v[COLUMNS];
        values_of(r, x, v);
        json_open(&o, '{');
        json_add_text(&o, "shape", x->step.shape);
        json_add_text(&o, "policy", x->policy);
        json_add_int(&o, "batch", x->step.batch);
        json_add_int(&o, "context", x->step.context);
        json_add_text(&o, "error", x->error.code ? x->error.text : NULL);
        for (int j = 0; j < COLUMNS; j++)
            json_add_real(&o, columns[j], v[j]);
        json_close(&o, '}');
    }
    json_close(&o, ']'), json_close(&o, '}');
    puts(o.text);
    free(o.text);
}

static void describe(const struct bench_device *d, FILE *out) {
    fprintf(out, "%s, %.1f of %.1f GiB free, at most %.0f / %.0f MHz (cores / memory), %s\n",
            d->name, d->free / (1 << 30), d->memory / (1 << 30), d->clock / 1e6,
            d->memory_clock / 1e6, RAAS_COMMIT);
    fprintf(out, "read sweep %.0f GB/s, copy %.0f GB/s (read and written)\n", d->read / 1e9,
            d->copy / 1e9);
}

/* Alone, each kernel meets weights that are not in the L2 cache and waits for nobody. */
static void print_kernels(const struct bench_kernels *k, const struct bench_reading *reading,
                          const struct bench_device *d, FILE *out) {
    double sum = 0;
    fprintf(out, "\n%-24s %8s %9s %9s %8s %6s %9s\n", "kernel", "per step", "us", "MB", "GB/s",
            "ratio", "us a step");
    for (int i = 0; i < k->count; i++) {
        const struct kernel_time *x = &k->items[i];
        fprintf(out, "%-24s %8d %9.2f ", x->name, x->per_pass, x->seconds * 1e6);
        if (x->bytes > 0)
            fprintf(out, "%9.3f %8.0f %6.3f", x->bytes / 1e6, x->bytes / x->seconds / 1e9,
                    x->bytes / x->seconds / d->read);
        else
            fprintf(out, "%9s %8s %6s", "", "", "");
        fprintf(out, " %9.1f\n", x->seconds * x->per_pass * 1e6);
        sum += x->seconds * x->per_pass;
    }
    if (k->count)
        fprintf(out, "all kernels alone %.3f ms, the step %.3f ms\n", sum * 1e3,
                reading->step * 1e3);
    else
        fprintf(out, "no kernels to time alone\n");
}

/* --- points --------------------------------------------------------------------------------- */

static const struct result *full_beside(const struct run *r, const struct result *x) {
    for (const struct result *y = r->results; y < x; y++)
        if (!y->error.code && !strcmp(y->policy, "full") && y->step.shape == x->step.shape &&
            y->step.batch == x->step.batch && y->step.context == x->step.context)
            return y;
    return NULL;
}

static void measure_point(struct run *r, const char *shape, const char *policy, int batch,
                          int context) {
    struct result *x = &r->results[r->n_results++];
    struct bench_kernels kernels = {0};
    struct plan plan;
    struct err e = {0};
    x->step = (struct bench_step){shape, policy, batch, context, 0, r->windows};
    x->overhead = NAN;
    CHECK(policy_parse(policy, &plan, &e)); /* as before */
    policy_spell(plan.name, plan.budget, x->policy, sizeof x->policy);
    log_status(false, "bench: %s, %s, batch %d, context %d", shape, x->policy, batch, context);
    bool ok =
        bench_measure_step(&x->step, &x->reading, r->gpu->kernels ? &kernels : NULL, &x->error);
    const struct result *full = full_beside(r, x);
    if (ok && full)
        x->overhead = x->reading.step - full->reading.step +
                      bench_floor(&full->reading, &r->device) -
                      bench_floor(&x->reading, &r->device);
    r->failed += !ok;
    if (ok && r->gpu->kernels) {
        log_status_end();
        print_kernels(&kernels, &x->reading, &r->device,
                      r->gpu->json || r->gpu->csv ? stderr : stdout);
    }
}

static int measure_points(struct run *r) {
    const struct gpu *g = r->gpu;
    const struct option_list *shapes = r->shapes, *policies = r->policies;
    r->results = must_zalloc(
        (size_t)(shapes->count * policies->count * r->batches.count * r->contexts.count),
        sizeof *r->results);
    describe(&r->device, g->json || g->csv ? stderr : stdout);
    for (int s = 0; s < shapes->count; s++)
        for (int b = 0; b < r->batches.count; b++)
            for (int c = 0; c < r->contexts.count; c++)
                for (int p = 0; p < policies->count; p++)
                    measure_point(r, shapes->items[s], policies->items[p], r->batches.items[b],
                                  r->contexts.items[c]);
    log_status_end();
    (g->json ? print_json : g->csv ? print_csv : print_text)(r);
    free(r->results);
    return r->failed ? EXIT_PARTIAL : EXIT_OK;
}

/* --- suite and growth ----------------------------------------------------------------------- */

static bool measure_step(const struct bench_step *step, struct bench_reading *out, struct err *e) {
    return bench_measure_step(step, out, NULL, e);
}

static struct bench_suite suite_of(const struct run *r) {
    return (struct bench_suite){.device = &r->device,
                                .only = &r->gpu->cases,
                                .peers = r->gpu->peers,
                                .out = r->gpu->out ? r->gpu->out : REFERENCE "gpu_bench.csv",
                                .table = stdout,
                                .measure = measure_step,
                                .sweep = bench_sweep};
}

static struct bench_growth growth_of(const struct run *r) {
    return (struct bench_growth){.device = &r->device,
                                 .shape = r->shapes->items[0],
                                 .policies = r->policies,
                                 .marks = r->contexts,
                                 .batch = r->batches.items[0],
                                 .jump = r->gpu->jump,
                                 .out = r->gpu->out ? r->gpu->out : REFERENCE "gpu_growth.csv",
                                 .table = stdout};
}

static int run_draw(const struct gpu *g, struct err *e) {
    const char *folder = g->out ? g->out : COMMON_RESULTS "/plots";
    if (bench_growth_draw(g->draw, folder, e))
        printf("%s/gpu_growth.svg\n%s/gpu_growth.png\n", folder, folder);
    return e->code;
}

/* --- the command line: all of it is checked before a device is touched ----------------------- */

/* What a mode would pass over in silence is refused. */
static bool check_mode(const struct gpu *g, struct err *e) {
    const char *mode = g->suite ? "suite" : g->growth ? "growth" : g->draw ? "draw" : NULL;
    const bool names = g->shapes.count || g->policies.count || g->batches || g->contexts;
    if (g->suite + g->growth + (g->draw != NULL) > 1)
        return err_set(e, EXIT_USAGE, "--suite, --growth and --draw: expected one of them");
    if ((g->cases.count || g->peers) && !g->suite)
        return err_set(e, EXIT_USAGE, "--case and --peers belong to --suite");
    if (g->jump && !g->growth)
        return err_set(e, EXIT_USAGE, "--jump belongs to --growth");
    if (g->out && !mode)
        return err_set(e, EXIT_USAGE, "--out belongs to --suite, --growth or --draw");
    if (mode && !g->growth && names)
        return err_set(e, EXIT_USAGE, "--%s: expected no --shape, --batch, --context or --policy",
                       mode);
    if (mode && (g->json || g->csv || g->kernels || g->windows))
        return err_set(e, EXIT_USAGE, "--%s: expected no --windows, --kernels, --json or --csv",
                       mode);
    return !(g->json && g->csv) || err_set(e, EXIT_USAGE, "--json and --csv: expected one of them");
}

/* Fills in what was not said. */
static bool read_lists(struct run *r, struct err *e) {
    static const struct option_list full = {1, {"full"}};
    static const struct option_list large = {1, {"qwen2.5-7b"}}, small = {1, {"qwen2.5-1.5b"}};
    static const struct option_list five = {5,
                                            {"full", "raas:budget=1024", "streaming:budget=1024",
                                             "quest:budget=1024", "h2o:budget=1024"}};
    const struct gpu *g = r->gpu;
    const char *batches = g->growth ? "16" : "1";
    const char *contexts = g->growth ? "2048,4096,6144,8192,10240,12288,14336,16384,18432,20480,"
                                       "22528,24576,26624,28672,30720,32768"
                                     : "2048";
    r->shapes = g->shapes.count ? &g->shapes : g->growth ? &small : &large;
    r->policies = g->policies.count ? &g->policies : g->growth ? &five : &full;
    r->windows = g->windows ? (int)g->windows : WINDOWS;
    if (r->windows < LEAST_WINDOWS)
        return err_set(e, EXIT_USAGE, "--windows %d: expected %d to %d", r->windows, LEAST_WINDOWS,
                       MOST_WINDOWS);
    return bench_parse_numbers(g->batches ? g->batches : batches, "batch", 4096, &r->batches, e) &&
           bench_parse_numbers(g->contexts ? g->contexts : contexts, "context", 1 << 20,
                               &r->contexts, e);
}

static bool check_shape(const struct run *r, const char *shape, struct err *e) {
    struct model *model = bench_model(shape, e);
    bool ok = model != NULL;
    for (int i = 0; ok && i < r->contexts.count; i++) {
        const struct bench_point point = {
            .model = model, .context = r->contexts.items[i], .windows = r->windows};
        ok = bench_flight_check(&point, e);
    }
    model_close(model);
    return ok;
}

static bool check(struct run *r, struct err *e) {
    struct plan plan;
    if (!check_mode(r->gpu, e) || !read_lists(r, e))
        return false;
    for (int i = 0; i < r->policies->count; i++)
        if (!policy_parse(r->policies->items[i], &plan, e))
            return false;
    const struct bench_suite suite = suite_of(r);
    const struct bench_growth growth = growth_of(r);
    if (r->gpu->suite)
        return bench_suite_check(&suite, e);
    if (r->gpu->growth && (r->shapes->count > 1 || r->batches.count > 1))
        return err_set(e, EXIT_USAGE, "--growth: expected one --shape and one --batch");
    if (r->gpu->growth)
        return bench_growth_check(&growth, e);
    for (int i = 0; !r->gpu->draw && i < r->shapes->count; i++)
        if (!check_shape(r, r->shapes->items[i], e))
            return false;
    return true;
}

int bench_gpu(int argc, char **argv, struct err *e) {
    struct gpu g;
    struct run r = {.gpu = &g};
    if (!common_argv(table, &g, USAGE, ABOUT, argc, argv, e) || !check(&r, e))
        return e->code;
    if (g.draw)
        return run_draw(&g, e);
    if (!bench_device_measure(&r.device, e))
        return e->code;
    if (!g.suite && !g.growth)
        return measure_points(&r);
    describe(&r.device, stdout);
    const struct bench_suite suite = suite_of(&r);
    const struct bench_growth growth = growth_of(&r);
    return g.suite ? bench_suite_run(&suite, e) : bench_growth_run(&growth, e);
}
