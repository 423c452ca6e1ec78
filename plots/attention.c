#include "plots/attention.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "plots/plot.h"
#include "store/attn.h"

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

/* Single-quoted for gnuplot: nothing in it is special then but the quote. */
static void put_quoted(FILE *out, const char *text) {
    putc('\'', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n')
            fputs("\\n", out);
        else if (c == '\'')
            fputs("''", out);
        else
            putc(c < 0x20 || c == 0x7f ? '?' : c, out);
    }
    putc('\'', out);
}

static void put_tics(const struct view *v, FILE *out, const char *axis, int from) {
    const struct attn_tokens *t = &v->info->tokens;
    bool texts = v->to - from <= TEXTS;
    int last = -9, n = 0;
    fprintf(out, "set %stics (", axis);
    for (int k = from; k < v->to; k++) {
        bool begins = t->gold_step && k && t->gold_step[k] != t->gold_step[k - 1];
        char step[24];
        if (texts) {
            fputs(n++ ? ", " : "", out);
            put_quoted(out, t->text[k] + (t->text[k][0] == ' '));
            fprintf(out, " %d", k);
        } else if (begins && k - last >= (v->to - from) / 30) {
            snprintf(step, sizeof step, "step %d", t->gold_step[k] + 1);
            fprintf(out, "%s'%s' %d", n++ ? ", " : "", step, last = k);
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
static int put_marks(const struct view *v, FILE *out) {
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

static void put_title(const struct view *v, FILE *out, const char *what) {
    static const char *const names[] = {"model", "sample", "policy", "budget", "solution"};
    char text[700], *notes[5];
    for (int i = 0; i < 5; i++) {
        notes[i] = attn_note(v->reader, names[i]);
        notes[i] = notes[i] ? notes[i] : must_strdup("?");
    }
    bool budget = strcmp(notes[3], "0") != 0;
    snprintf(text, sizeof text, "%s on %s, %s%s%s%s: %s", notes[0], notes[1], notes[2],
             budget ? " budget " : "", budget ? notes[3] : "",
             strcmp(notes[4], "gold") ? "" : ", gold solution forced", what);
    fputs("title = ", out);
    put_quoted(out, text);
    putc('\n', out);
    for (int i = 0; i < 5; i++)
        free(notes[i]);
}

static void put_numbers(const struct view *v, FILE *out) {
    fprintf(out, "width = %d\nheight = %d\nkey_0 = %d\nquery_0 = %d\nend = %d\nn_prompt = %d\n",
            v->width, v->height, v->from, v->first, v->to, v->info->tokens.n_prompt);
}

/* --- figures ---------------------------------------------------------------------------------- */

struct parts { /* what a script reads: NAME_data.gp, NAME.bin, NAME.tsv */
    FILE *file[3];
    char *bytes[3];
    size_t size[3];
};

static void open_parts(struct parts *p) {
    for (int i = 0; i < 3; i++)
        CHECK((p->file[i] = open_memstream(&p->bytes[i], &p->size[i])));
}

static bool draw_parts(struct parts *p, bool ok, const char *name, const char *out, struct err *e) {
    static const char *const endings[] = {"_data.gp", ".bin"};
    char path[PATH_MAX];
    for (int i = 0; i < 3; i++)
        CHECK(fclose(p->file[i]) == 0);
    for (int i = 0; ok && i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s%s", out, name, endings[i]);
        ok = file_folders(path, e) && file_write(path, p->bytes[i], p->size[i], NULL, 0, e);
    }
    ok = ok && plot_draw(name, out, p->bytes[2], p->size[2], e);
    for (int i = 0; i < 3; i++)
        free(p->bytes[i]);
    return ok;
}

static bool draw_head(struct view *v, int layer, int head, const char *out, struct err *e) {
    struct parts p;
    char what[60];
    int keys = v->to - v->from, queries = v->to - v->first;
    v->width = keys < PIXELS ? keys : PIXELS;
    v->height = queries < PIXELS ? queries : PIXELS;
    snprintf(what, sizeof what, "layer %d, head %d", layer, head);
    open_parts(&p);
    put_title(v, p.file[0], what);
    put_numbers(v, p.file[0]);
    put_tics(v, p.file[0], "x", v->from);
    put_tics(v, p.file[0], "y", v->first);
    bool ok = put_image(v, layer, head, p.file[1], e);
    fprintf(p.file[0], "marks = %d\n", put_marks(v, p.file[2]));
    return draw_parts(&p, ok, "attention", out, e);
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
    open_parts(&p);
    put_title(v, p.file[0], what);
    put_numbers(v, p.file[0]);
    fprintf(p.file[0], "panel = %d\nlayers = '", panel);
    for (int l = 0; l < i->layers.n; l++)
        fprintf(p.file[0], "%d ", i->layers.items[l]);
    fputs("'\nheads = '", p.file[0]);
    for (int h = 0; h < i->heads.n; h++)
        fprintf(p.file[0], "%d ", i->heads.items[h]);
    fputs("'\n", p.file[0]);
    put_marks(v, p.file[2]);
    bool ok = true;
    for (int l = 0; ok && l < i->layers.n; l++)
        for (int h = 0; ok && h < i->heads.n; h++)
            ok = put_image(v, i->layers.items[l], i->heads.items[h], p.file[1], e);
    return draw_parts(&p, ok, "attention_heads", out, e);
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
        ok = what->layer < 0 ? draw_sheet(&v, out, e)
                             : draw_head(&v, what->layer, what->head, out, e);
    }
    free(v.map);
    free(v.flags);
    attn_close(v.reader);
    return ok;
}
