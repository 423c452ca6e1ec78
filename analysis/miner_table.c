/* What was mined, as tables for people and as JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/grid.h"
#include "analysis/miner.h"
#include "base/json.h"

static double estimate_of(const struct tally *tally, const char *curve, int k) {
    int i = portrait_find(curve);
    CHECK(i >= 0);
    return tally_estimate(tally, i + k).mean;
}

/* Of prompt and generated keys together. */
static double both(const struct tally *tally, const char *what, int class) {
    char curve[40];
    snprintf(curve, sizeof curve, "%s.%s.prompt", what, key_class_names[class]);
    double prompt = estimate_of(tally, curve, 0);
    snprintf(curve, sizeof curve, "%s.%s.generated", what, key_class_names[class]);
    return prompt + estimate_of(tally, curve, 0);
}

static void print(struct grid *grid, const char *title, FILE *out) {
    fprintf(out, "\n%s\n\n", title);
    grid_print(grid, GRID_TEXT, out);
    grid_free(grid);
}

static void print_heads(const struct miner *m, FILE *out) {
    struct grid grid = {0};
    grid_column(&grid, GRID_RIGHT, "layer");
    grid_column(&grid, GRID_RIGHT, "head");
    grid_column(&grid, GRID_LEFT, "class");
    grid_column(&grid, GRID_RIGHT, "agree");
    grid_column(&grid, GRID_RIGHT, "window");
    for (int c = 0; c < KEY_CLASSES; c++)
        if (c != KEY_UNUSED && c != KEY_LOCAL)
            grid_column(&grid, GRID_RIGHT, key_class_names[c]);
    grid_column(&grid, GRID_RIGHT, "keys for 0.99");
    for (int i = 0; i < m->n_layers * m->n_heads; i++) {
        const struct miner_head *h = &m->heads[i];
        double agree;
        if (!miner_head_sequences(h))
            continue;
        enum head_class class = miner_head_class(h, &agree);
        grid_cell(&grid, "%d", i / m->n_heads);
        grid_cell(&grid, "%d", i % m->n_heads);
        grid_cell(&grid, "%s", head_class_names[class]);
        grid_cell(&grid, "%.2f", agree);
        grid_cell(&grid, "%.3f", estimate_of(&h->tally, "mass.window", 0));
        for (int c = 0; c < KEY_CLASSES; c++)
            if (c != KEY_UNUSED && c != KEY_LOCAL)
                grid_cell(&grid, "%.3f", both(&h->tally, "mass", c));
        double enough = estimate_of(&h->tally, "enough_mean", 0);
        if (isnan(enough))
            grid_cell(&grid, "%s", "");
        else
            grid_cell(&grid, "%.1f", enough);
    }
    print(&grid, "heads: class, share of sequences that agree, shares of mass", out);
}

static void put_estimate(struct grid *grid, const char *format, struct estimate x) {
    char mean[32], lo[32], hi[32];
    if (!x.n) {
        grid_cell(grid, "%s", "");
        return;
    }
    snprintf(mean, sizeof mean, format, x.mean);
    if (x.n < 2) {
        grid_cell(grid, "%s", mean);
        return;
    }
    snprintf(lo, sizeof lo, format, x.lo);
    snprintf(hi, sizeof hi, format, x.hi);
    grid_cell(grid, "%s [%s, %s]", mean, lo, hi);
}

static void print_classes(const struct miner *m, FILE *out) {
    static const char *const parts[] = {"tokens.%s.prompt", "tokens.%s.generated", "mass.%s.prompt",
                                        "mass.%s.generated"};
    struct grid grid = {0};
    grid_column(&grid, GRID_LEFT, "keys");
    grid_column(&grid, GRID_RIGHT, "tokens, prompt");
    grid_column(&grid, GRID_RIGHT, "generated");
    grid_column(&grid, GRID_RIGHT, "mass, prompt");
    grid_column(&grid, GRID_RIGHT, "generated");
    grid_column(&grid, GRID_RIGHT, "lifetime q1");
    grid_column(&grid, GRID_RIGHT, "median");
    grid_column(&grid, GRID_RIGHT, "q3");
    for (int c = 0; c < KEY_CLASSES; c++) {
        char curve[40];
        const char *name = key_class_names[c];
        grid_cell(&grid, "%s", name);
        for (int k = 0; k < 4; k++) {
            size_t head = strcspn(parts[k], "%");
            snprintf(curve, sizeof curve, "%.*s%s%s", (int)head, parts[k], name,
                     parts[k] + head + 2);
            put_estimate(&grid, "%.4f", tally_estimate(&m->all, portrait_find(curve)));
        }
        snprintf(curve, sizeof curve, "lifetime.%s", name);
        for (int k = 0; k < 3; k++)
            put_estimate(&grid, "%.0f", tally_estimate(&m->all, portrait_find(curve) + k));
    }
    print(&grid, "keys, means over all heads with 95 % intervals over sequences", out);
}

static void print_phoenix(const struct miner *m, FILE *out) {
    static const char *const curves[] = {"phoenix.prompt", "phoenix.generated",
                                         "phoenix_birth.prompt", "phoenix_birth.generated"};
    struct grid grid = {0};
    grid_column(&grid, GRID_RIGHT, "silence >");
    grid_column(&grid, GRID_RIGHT, "prompt keys");
    grid_column(&grid, GRID_RIGHT, "generated keys");
    grid_column(&grid, GRID_RIGHT, "only after birth, prompt");
    grid_column(&grid, GRID_RIGHT, "generated");
    int first = portrait_find(curves[0]);
    for (int b = 0; portrait_find(curves[1]) > first + b; b++) {
        grid_cell(&grid, "%.0f", portrait_point(first + b).x);
        for (int k = 0; k < 4; k++)
            put_estimate(&grid, "%.1f", tally_estimate(&m->all, portrait_find(curves[k]) + b));
    }
    print(&grid, "phoenix keys of a head and sequence against the budget", out);
}

void miner_table(const struct miner *m, FILE *out) {
    const struct lifecycle_params *p = &m->params;
    int heads = 0;
    for (int i = 0; i < m->n_layers * m->n_heads; i++)
        heads += miner_head_sequences(&m->heads[i]) > 0;
    fprintf(out,
            "%d sequences, %" PRId64 " rows in each of %d heads; used: a >= %g%s, more than %d "
            "tokens back;\ngap %d, budget %d, settle %d; rows: %s\n",
            m->n_sequences, m->n_rows, heads, p->relative > 0 ? p->relative : p->theta,
            p->relative > 0 ? " / tokens held" : "", (int)p->window, (int)p->gap, (int)p->budget,
            (int)p->settle, p->rows == ROWS_ALL ? "all" : "decode only");
    print_heads(m, out);
    print_classes(m, out);
    print_phoenix(m, out);
}

/* --- JSON --------------------------------------------------------------------------------- */

static void json_curves(struct json_out *o, const struct tally *tally) {
    char last[40] = "";
    json_name(o, "curves");
    json_open(o, '{');
    for (int i = 0, n = portrait_size(); i < n; i++) {
        struct portrait_point point = portrait_point(i);
        struct estimate x = tally_estimate(tally, i);
        if (strcmp(point.curve, last)) {
            if (*last)
                json_close(o, ']');
            json_name(o, point.curve);
            json_open(o, '[');
            memcpy(last, point.curve, sizeof last);
        }
        if (!x.n)
            continue;
        json_open(o, '[');
        json_put_real(o, point.x);
        json_put_real(o, x.mean);
        json_put_real(o, x.lo);
        json_put_real(o, x.hi);
        json_close(o, ']');
    }
    json_close(o, ']');
    json_close(o, '}');
}

static void json_head(struct json_out *o, const struct miner *m, int i) {
    double agree;
    enum head_class class = miner_head_class(&m->heads[i], &agree);
    json_open(o, '{');
    json_add_int(o, "layer", i / m->n_heads);
    json_add_int(o, "head", i % m->n_heads);
    json_add_text(o, "class", head_class_names[class]);
    json_add_real(o, "agree", agree);
    json_curves(o, &m->heads[i].tally);
    json_close(o, '}');
}

char *miner_json(const struct miner *m) {
    struct json_out o = {0};
    char params[400];
    option_json(lifecycle_options, &m->params, params, sizeof params);
    json_open(&o, '{');
    json_add_raw(&o, "params", params);
    json_add_int(&o, "sequences", m->n_sequences);
    json_add_int(&o, "rows", m->n_rows);
    json_name(&o, "heads");
    json_open(&o, '[');
    for (int i = 0; i < m->n_layers * m->n_heads; i++)
        if (miner_head_sequences(&m->heads[i]))
            json_head(&o, m, i);
    json_close(&o, ']');
    json_curves(&o, &m->all);
    json_close(&o, '}');
    return o.text;
}
