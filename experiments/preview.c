#include "experiments/preview.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "experiments/detectable.h"

/* A batch full of the longest sequences of the hungriest cell. */
static uint64_t largest_batch(const struct workload *w) {
    uint64_t largest = 0;
    for (int c = 0; c < w->experiment->n_cells; c++) {
        uint64_t bytes = workload_kv_bytes(w, &w->experiment->cells[c]);
        largest = bytes > largest ? bytes : largest;
    }
    return largest * (uint64_t)w->experiment->width;
}

static void print_text(const struct workload *w, const struct session_memory *m) {
    const struct experiment *x = w->experiment;
    int64_t planned = 0, done = 0;
    printf("%8s %8s %8s %12s  %s\n", "answers", "stored", "max_new", "KV bytes", "cell");
    for (int c = 0; c < x->n_cells; c++) {
        char title[300];
        cell_title(x, &x->cells[c], title, sizeof title);
        printf("%8d %8d %8lld %12llu  %s\n", w->planned[c], w->done[c],
               (long long)x->cells[c].max_new,
               (unsigned long long)workload_kv_bytes(w, &x->cells[c]), title);
        planned += w->planned[c];
        done += w->done[c];
    }
    printf("%d cells, %lld answers, %lld stored, %lld to do; %lld in flight on %s\n", x->n_cells,
           (long long)planned, (long long)done, (long long)(planned - done), (long long)x->width,
           w->isa);
    printf("memory: weights %.1f MB, KV at most %.1f MB, workspace %.1f MB\n",
           (double)m->weight_bytes / 1e6, (double)largest_batch(w) / 1e6,
           (double)m->workspace_bytes / 1e6);
    detectable_print(w);
}

static void put_steps(struct json_out *o, const char *name, const double steps[2]) {
    json_name(o, name), json_open(o, '[');
    for (int step = 0; step < 2; step++)
        if (isnan(steps[step]))
            json_put_null(o);
        else
            json_put_real(o, steps[step]);
    json_close(o, ']');
}

/* Each pair: by itself, and under Holm. */
static void put_detectable(const struct workload *w, struct json_out *o) {
    json_name(o, "detectable"), json_open(o, '[');
    for (int i = 0; i < w->experiment->n_datasets; i++) {
        struct detectable d = detectable_in(w, i);
        if (!d.comparisons)
            continue;
        json_open(o, '{');
        json_add_text(o, "dataset", w->experiment->datasets[i].name);
        json_add_int(o, "problems", d.problems);
        json_add_int(o, "comparisons", d.comparisons);
        put_steps(o, "least", d.least);
        put_steps(o, "found_where_0.1_differ", d.found[0]);
        put_steps(o, "found_where_0.3_differ", d.found[1]);
        json_close(o, '}');
    }
    json_close(o, ']');
}

static void print_json(const struct workload *w, const struct session_memory *m) {
    const struct experiment *x = w->experiment;
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_text(&o, "name", x->name);
    json_add_raw(&o, "experiment", x->json);
    json_add_text(&o, "isa", w->isa);
    json_name(&o, "cells"), json_open(&o, '[');
    for (int c = 0; c < x->n_cells; c++) {
        json_open(&o, '{');
        json_add_text(&o, "dataset", x->datasets[x->cells[c].dataset].name);
        json_add_raw(&o, "policy", x->cells[c].plan.json);
        json_add_int(&o, "planned", w->planned[c]);
        json_add_int(&o, "done", w->done[c]);
        json_add_int(&o, "kv_bytes", (int64_t)workload_kv_bytes(w, &x->cells[c]));
        json_add_raw(&o, "config", w->configs[c]);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    put_detectable(w, &o);
    json_add_int(&o, "weight_bytes", (int64_t)m->weight_bytes);
    json_add_int(&o, "kv_bytes", (int64_t)largest_batch(w));
    json_add_int(&o, "workspace_bytes", (int64_t)m->workspace_bytes);
    json_close(&o, '}');
    puts(o.text);
    free(o.text);
}

void preview_print(const struct workload *w, const struct session_memory *memory, bool json) {
    (json ? print_json : print_text)(w, memory);
}
