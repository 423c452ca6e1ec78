#include "commands/bench_growth.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "plots/plot.h"
#include "version.h"

enum { WINDOWS = 4, FILE_MAX = 1 << 20, ROOM = 128 };

struct run {
    const struct bench_growth *growth;
    FILE *csv;
};

static void put(const struct run *r, const struct plan *plan, int mark,
                const struct bench_reading *x) {
    const struct bench_growth *g = r->growth;
    double floor = bench_floor(x, g->device);
    fprintf(r->csv, "%s,", plan->name);
    if (plan->budget)
        fprintf(r->csv, "%d", plan->budget);
    fprintf(r->csv, ",%s,%d,%d,%s,%.0f,%.0f,%.6g,%.6g,%.6g,%.6g,%s,%s\n", g->shape, g->batch, mark,
            g->jump ? "filled" : "decoded", x->kept, x->kv_bytes, x->step * 1e3, x->p10 * 1e3,
            x->p90 * 1e3, floor * 1e3, g->device->name, RAAS_COMMIT);
    fprintf(g->table, "%-20s %7d %7.0f %9.1f %9.3f %9.3f %6.3f\n", plan->name, mark, x->kept,
            x->kv_bytes / (1 << 20), x->step * 1e3, floor * 1e3, floor / x->step);
    fflush(g->table);
}

static struct bench_point point_of(const struct bench_growth *g, const struct model *model,
                                   const struct plan *plan) {
    struct bench_point point = {.backend = "cuda",
                                .model = model,
                                .plan = plan,
                                .batch = g->batch,
                                .context = g->marks.items[0],
                                .windows = WINDOWS};
    if (!g->jump)
        point.total = g->marks.items[g->marks.count - 1] + bench_half(&point) + ROOM;
    return point;
}

/* One session from the first mark to the last: every token in between is decoded. */
static bool decode(const struct run *r, const struct bench_point *point, struct err *e) {
    const struct bench_numbers *marks = &r->growth->marks;
    const int half = bench_half(point);
    struct bench_flight *f = bench_flight_open(point, e);
    bool ok = f != NULL;
    for (int i = 0; ok && i < marks->count; i++) {
        struct bench_reading reading;
        log_status(false, "bench: %s to %d tokens", point->plan->name, marks->items[i]);
        ok = bench_flight_reach(f, marks->items[i] - half, e) &&
             bench_flight_measure(f, &reading, e);
        if (ok)
            put(r, point->plan, marks->items[i], &reading);
    }
    bench_flight_close(f);
    return ok;
}

static bool jump(const struct run *r, struct bench_point *point, struct err *e) {
    for (int i = 0; i < r->growth->marks.count; i++) {
        struct bench_reading reading;
        point->context = r->growth->marks.items[i];
        log_status(false, "bench: %s at %d tokens", point->plan->name, point->context);
        if (!bench_measure(point, &reading, NULL, e))
            return false;
        put(r, point->plan, point->context, &reading);
    }
    return true;
}

static bool grow(const struct run *r, const struct model *model, const char *policy,
                 struct err *e) {
    struct plan plan;
    struct bench_point point = point_of(r->growth, model, &plan);
    return policy_parse(policy, &plan, e) &&
           (r->growth->jump ? jump(r, &point, e) : decode(r, &point, e));
}

bool bench_growth_check(const struct bench_growth *g, struct err *e) {
    const struct bench_numbers *marks = &g->marks;
    int span = WINDOWS * BENCH_WINDOW;
    for (int i = 1; i < marks->count; i++)
        if (marks->items[i] - marks->items[i - 1] < span)
            return err_set(e, EXIT_USAGE, "--context %d,%d: expected %d tokens between two",
                           marks->items[i - 1], marks->items[i], span);
    struct model *model = bench_model(g->shape, e);
    if (!model)
        return false;
    struct bench_point point = point_of(g, model, NULL);
    point.context = marks->items[marks->count - 1];
    bool ok = bench_flight_check(&point, e);
    point.context = marks->items[0], point.total = 0;
    ok = ok && bench_flight_check(&point, e);
    model_close(model);
    return ok;
}

int bench_growth_run(const struct bench_growth *g, struct err *e) {
    char *text = NULL;
    size_t size = 0;
    int failed = 0;
    struct model *model = bench_model(g->shape, e);
    if (!model)
        return e->code;
    struct run r = {.growth = g, .csv = open_memstream(&text, &size)};
    CHECK(r.csv);
    fputs("policy,budget,shape,batch,tokens,how,kept,kv_bytes,step_ms,p10_ms,p90_ms,floor_ms,gpu,"
          "commit\n",
          r.csv);
    fprintf(g->table, "%-20s %7s %7s %9s %9s %9s %6s\n", "policy", "tokens", "kept", "KV MiB",
            "step ms", "floor ms", "ratio");
    bool ok = file_folders(g->out, e);
    for (int i = 0; i < g->policies->count && ok; i++) {
        struct err error = {0};
        if (!grow(&r, model, g->policies->items[i], &error)) {
            log_status_end();
            log_error("%s: %s", g->policies->items[i], error.text);
            failed++;
        }
        fflush(r.csv);
        ok = file_write(g->out, text, size, NULL, 0, e);
    }
    log_status_end();
    fclose(r.csv);
    free(text);
    model_close(model);
    return ok ? failed ? EXIT_PARTIAL : EXIT_OK : e->code;
}

bool bench_growth_draw(const char *csv, const char *folder, struct err *e) {
    size_t size;
    char *text = file_read(csv, FILE_MAX, &size, e);
    if (!text)
        return false;
    for (size_t i = 0; i < size; i++) /* no field holds a comma */
        if (text[i] == ',')
            text[i] = '\t';
    bool ok = (!strncmp(text, "policy\tbudget\t", 14) && strchr(text, '\n') != text + size - 1) ||
              err_set(e, EXIT_CONTENT, "%s: no table of `raas bench gpu --growth`", csv);
    ok = ok && plot_draw("gpu_growth", folder, text, size, e);
    free(text);
    return ok;
}
