#include "plots/attention.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/miner_file.h"
#include "plots/parts.h"

enum {
    PIXELS = 760, /* of a heatmap at most, each way */
    SHEET = 1680, /* all panels of a sheet side by side */
    PANEL_LEAST = 48,
    PANEL_MOST = 220,
    TEXTS = 72, /* tokens whose texts fit an axis */
};
#define DARKEST (-4.0) /* log10 of the probability */
#define NOT_ATTENDED (-4.5f)

struct view { /* keys [from, to), queries [first, to) of a file */
    struct attn_reader *reader;
    const struct attn_info *info;
    int from, to, first;
    int width, height; /* of an image, in pixels */
    float *map;        /* [n_steps][n_keys] */
    uint8_t *flags;
    struct miner miner; /* lives of what is drawn */
};

/* --- images ----------------------------------------------------------------------------------- */

static float shade(float p, uint8_t flags) {
    if (isnan(p))
        return NAN;
    if (!(flags & ATTN_ATTENDED))
        return NOT_ATTENDED;
    return p > 1e-4f ? log10f(p) : (float)DARKEST;
}

/* A head as [height][width] shades, the largest of each pixel's cells. */
static bool put_image(struct view *v, int layer, int head, FILE *out, struct err *e) {
    const struct attn_info *i = v->info;
    if (!attn_map(v->reader, ATTN_FULL, layer, head, v->map, e) ||
        !attn_residency(v->reader, layer, head / i->group, v->flags, e))
        return false;
    int keys = v->to - v->from, queries = v->to - v->first;
    float *image = must_alloc((size_t)v->width * (size_t)v->height * sizeof *image);
    for (int k = 0; k < v->width * v->height; k++)
        image[k] = NAN;
    for (int q = v->first; q < v->to; q++)
        for (int k = v->from; k < v->to; k++) {
            size_t at = (size_t)(q - i->first_query) * (size_t)i->n_keys + (size_t)k;
            float x = shade(v->map[at], v->flags[at]);
            float *pixel = &image[(int64_t)(q - v->first) * v->height / queries * v->width +
                                  (int64_t)(k - v->from) * v->width / keys];
            *pixel = isnan(*pixel) || x > *pixel ? x : *pixel;
        }
    fwrite(image, sizeof *image, (size_t)v->width * (size_t)v->height, out);
    free(image);
    return true;
}

/* --- texts and marks -------------------------------------------------------------------------- */

static void put_tics(const struct view *v, FILE *out, const char *axis, int from) {
    const struct attn_tokens *t = &v->info->tokens;
    bool texts = v->to - from <= TEXTS;
    int last = -(1 << 20), n = 0;
    fprintf(out, "set %stics (", axis);
    for (int k = from; k < v->to; k++) {
        char step[16];
        if (texts) {
            fputs(n++ ? ", " : "", out);
            parts_quote(out, t->text[k] + (t->text[k][0] == ' '));
            fprintf(out, " %d", k);
        } else if (parts_step(t, k, step) && k - last >= (v->to - from) / 30) {
            fprintf(out, "%s'%s%s' %d", n++ ? ", " : "", *step == 'a' ? "" : "step ", step, k);
            last = k;
        }
    }
    if (!n) /* every so many positions */
        for (int by = ((v->to - from) / 8 + 9) / 10 * 10, k = (from + by - 1) / by * by; k < v->to;
             k += by)
            fprintf(out, "%s'%d' %d", n++ ? ", " : "", k, k);
    fprintf(out, ")%s\ntexts_%s = %d\n",
            !strcmp(axis, "x") && (texts || t->gold_step) ? " rotate" : "", axis, texts);
}

/* Where lemmas stand (on the diagonal), and where the next token recalls one. */
static int put_gold(const struct view *v, FILE *out) {
    const struct attn_tokens *t = &v->info->tokens;
    int n = 0;
    fputs("key\tquery\tkind\n", out);
    for (int q = v->from; t->gold_lemma && q < v->to; q++) {
        if (t->gold_lemma[q] >= 0 && q >= v->first)
            n += fprintf(out, "%d\t%d\t0\n", q, q) > 0;
        for (int k = v->from; t->gold_source && t->gold_source[q] >= 0 && k < q; k++)
            if (q > v->first && t->gold_lemma[k] == t->gold_source[q])
                n += fprintf(out, "%d\t%d\t1\n", k, q - 1) > 0;
    }
    if (!n)
        fputs("NaN\tNaN\t0\n", out);
    return n;
}

/* Keys that the miner gives a class of its own: kind 10 and the class. `query` is that of the last
 * use. */
static void put_found(const struct view *v, const struct lifecycle *life, FILE *out) {
    for (int k = v->from; k < v->to && k < life->n_keys; k++) {
        enum key_class class = lifecycle_class(life, k, &life->params);
        if (class == KEY_SINK || class >= KEY_PHOENIX)
            fprintf(out, "%d\t%d\t%d\n", k, life->keys[k].last, 10 + (int)class);
    }
}

static void put_thresholds(const struct view *v, FILE *out) {
    const struct lifecycle_params *p = &v->miner.params;
    fprintf(out, "theta = '%g%s'\nwindow = %d\nbudget = %d\n",
            p->relative > 0 ? p->relative : p->theta, p->relative > 0 ? " / held" : "",
            (int)p->window, (int)p->budget);
}

static void put_numbers(const struct view *v, FILE *out) {
    fprintf(out, "width = %d\nheight = %d\nkey_0 = %d\nquery_0 = %d\nend = %d\nn_prompt = %d\n",
            v->width, v->height, v->from, v->first, v->to, v->info->tokens.n_prompt);
}

/* --- figures ---------------------------------------------------------------------------------- */

static bool draw_head(struct view *v, int layer, int head, const char *out, struct err *e) {
    struct parts p;
    char what[60];
    int keys = v->to - v->from, queries = v->to - v->first;
    v->width = keys < PIXELS ? keys : PIXELS;
    v->height = queries < PIXELS ? queries : PIXELS;
    snprintf(what, sizeof what, "layer %d, head %d", layer, head);
    parts_open(&p);
    parts_title(v->reader, p.file[0], what);
    put_numbers(v, p.file[0]);
    put_tics(v, p.file[0], "x", v->from);
    put_tics(v, p.file[0], "y", v->first);
    put_thresholds(v, p.file[0]);
    bool ok = put_image(v, layer, head, p.file[1], e) &&
              miner_read(&v->miner, v->reader, layer, head / v->info->group, e);
    fprintf(p.file[0], "marks = %d\n", put_gold(v, p.file[2]));
    if (ok)
        put_found(v, &v->miner.heads[layer * v->info->n_heads + head].life, p.file[2]);
    return parts_draw(&p, ok, "attention", out, e);
}

/* Of all heads of the sheet, row by row. */
static void put_classes(const struct view *v, FILE *out) {
    const struct attn_info *i = v->info;
    double agree;
    fputs("classes = '", out);
    for (int l = 0; l < i->layers.n; l++)
        for (int h = 0; h < i->heads.n; h++) {
            int at = i->layers.items[l] * i->n_heads + i->heads.items[h];
            fprintf(out, "%s ", head_class_names[miner_head_class(&v->miner.heads[at], &agree)]);
        }
    fputs("'\n", out);
}

static bool draw_sheet(struct view *v, const char *out, struct err *e) {
    const struct attn_info *i = v->info;
    struct parts p;
    char what[80];
    int panel = SHEET / i->heads.n;
    panel = panel > PANEL_MOST ? PANEL_MOST : panel < PANEL_LEAST ? PANEL_LEAST : panel;
    int keys = v->to - v->from, queries = v->to - v->first;
    v->width = keys < panel ? keys : panel;
    v->height = queries < panel ? queries : panel;
    snprintf(what, sizeof what, "%d heads of %d layers", i->heads.n, i->layers.n);
    parts_open(&p);
    parts_title(v->reader, p.file[0], what);
    put_numbers(v, p.file[0]);
    fprintf(p.file[0], "panel = %d\nlayers = '", panel);
    for (int l = 0; l < i->layers.n; l++)
        fprintf(p.file[0], "%d ", i->layers.items[l]);
    fputs("'\nheads = '", p.file[0]);
    for (int h = 0; h < i->heads.n; h++)
        fprintf(p.file[0], "%d ", i->heads.items[h]);
    fputs("'\n", p.file[0]);
    put_gold(v, p.file[2]);
    put_thresholds(v, p.file[0]);
    bool ok = miner_read(&v->miner, v->reader, -1, -1, e);
    if (ok)
        put_classes(v, p.file[0]);
    for (int l = 0; ok && l < i->layers.n; l++)
        for (int h = 0; ok && h < i->heads.n; h++)
            ok = put_image(v, i->layers.items[l], i->heads.items[h], p.file[1], e);
    return parts_draw(&p, ok, "attention_heads", out, e);
}

bool plot_attention(const struct plot_attention *what, const char *out, struct err *e) {
    struct view v = {.reader = attn_open(what->path, e)};
    if (!v.reader)
        return false;
    const struct attn_info *i = v.info = attn_info(v.reader);
    v.from = what->from;
    v.to = what->to && what->to < i->n_keys ? what->to : i->n_keys;
    v.first = v.from > i->first_query ? v.from : i->first_query;
    bool ok = i->full || err_set(e, EXIT_USAGE, "%s: recorded in mode %s, expected full",
                                 what->path, attn_modes(i));
    ok = ok && (v.first < v.to ||
                err_set(e, EXIT_USAGE, "%s: no queries from %d to %d, there are %d to %d",
                        what->path, v.from, v.to, i->first_query, i->n_keys));
    if (ok) {
        size_t cells = (size_t)i->n_steps * (size_t)i->n_keys;
        v.map = must_alloc(cells * sizeof *v.map);
        v.flags = must_alloc(cells);
        miner_open(&v.miner, i->n_layers, i->n_heads, i->n_keys, what->life);
        ok = what->layer < 0 ? draw_sheet(&v, out, e)
                             : draw_head(&v, what->layer, what->head, out, e);
    }
    if (v.miner.heads)
        miner_close(&v.miner);
    free(v.map);
    free(v.flags);
    attn_close(v.reader);
    return ok;
}
