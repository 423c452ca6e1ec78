/* raas export: recorded attention in the shapes that other tools read. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/npy.h"
#include "commands/command.h"
#include "commands/common.h"
#include "store/attn.h"

#define USAGE "raas export attention FILE --format npy|bertviz|circuitsvis --out DIR"
#define MOST_NUMBERS (64 << 20) /* of one output file */

enum format { NPY, BERTVIZ, CIRCUITSVIS };

struct export_flags {
    const char *out;
    int64_t layer, head;
    int format;
};

static const char about[] =
    "Writes a file of recorded attention for other tools, with its tokens in tokens.json:\n"
    "  npy          layer-L.npy for each layer: float32 [head, query, key], NaN not yet born\n"
    "  bertviz      bertviz.json: {\"tokens\", \"attention\": [layer][1][head][query][key]},\n"
    "               for head_view(torch.tensor of each layer, tokens)\n"
    "  circuitsvis  layer-L.json: {\"tokens\", \"attention\": [head][query][key]},\n"
    "               for attention_patterns(tokens, attention)\n"
    "The last two are square: a query that was not recorded has zeros, as has a key not yet born.";

static const struct option options[] = {
    {"format", OPTION_CHOICE, offsetof(struct export_flags, format), 0, 0, 0,
     "npy|bertviz|circuitsvis", "whose shape"},
    {"layer", OPTION_INT, offsetof(struct export_flags, layer), -1, -1, 1024, NULL,
     "only this layer; -1: all that were recorded"},
    {"head", OPTION_INT, offsetof(struct export_flags, head), -1, -1, 1024, NULL,
     "only this q head; -1: all that were recorded"},
    {"out", OPTION_TEXT, offsetof(struct export_flags, out), 0, 0, 0, NULL,
     "DIR: where the files go"},
    OPTION_END,
};

struct export {
    const struct export_flags *flags;
    struct attn_reader *reader;
    const struct attn_info *info;
    struct attn_numbers layers, heads; /* chosen, borrowed */
    int32_t layer, head;               /* where one is */
    float *maps;                       /* [heads.n][n_steps][n_keys] of one layer */
};

static size_t map_size(const struct export *x) {
    return (size_t)x->info->n_steps * (size_t)x->info->n_keys;
}

static bool load_layer(struct export *x, int layer, struct err *e) {
    for (int h = 0; h < x->heads.n; h++)
        if (!attn_map(x->reader, ATTN_FULL, layer, x->heads.items[h],
                      x->maps + (size_t)h * map_size(x), e))
            return false;
    return true;
}

static bool write_out(const struct export *x, const char *name, const void *data, size_t size,
                      struct err *e) {
    char *path = file_join(x->flags->out, name);
    bool ok = file_write(path, data, size, NULL, 0, e);
    if (ok)
        puts(path);
    free(path);
    return ok;
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void put_texts(struct json_out *o, const struct attn_tokens *t) {
    json_name(o, "tokens");
    json_open(o, '[');
    for (int32_t i = 0; i < t->n; i++)
        json_put_text(o, t->text[i]);
    json_close(o, ']');
}

static void put_list(struct json_out *o, const char *name, const int32_t *items, int32_t n) {
    if (!items)
        return;
    json_name(o, name);
    json_put_ids(o, items, (size_t)n);
}

static bool write_tokens(const struct export *x, struct err *e) {
    const struct attn_info *i = x->info;
    struct json_out o = {0};
    json_open(&o, '{');
    put_texts(&o, &i->tokens);
    put_list(&o, "ids", i->tokens.id, i->tokens.n);
    json_add_int(&o, "n_prompt", i->tokens.n_prompt);
    json_add_int(&o, "first_query", i->first_query);
    put_list(&o, "layers", x->layers.items, x->layers.n);
    put_list(&o, "heads", x->heads.items, x->heads.n);
    put_list(&o, "gold_step", i->tokens.gold_step, i->tokens.n);
    put_list(&o, "gold_lemma", i->tokens.gold_lemma, i->tokens.n);
    put_list(&o, "gold_source", i->tokens.gold_source, i->tokens.n);
    json_close(&o, '}');
    bool ok = write_out(x, "tokens.json", o.text, o.size, e);
    free(o.text);
    return ok;
}

/* --- arrays ----------------------------------------------------------------------------------- */

static bool write_npy(struct export *x, int layer, struct err *e) {
    const size_t shape[3] = {(size_t)x->heads.n, (size_t)x->info->n_steps, (size_t)x->info->n_keys};
    char name[40];
    snprintf(name, sizeof name, "layer-%d.npy", layer);
    char *path = file_join(x->flags->out, name);
    bool ok = load_layer(x, layer, e) && npy_write_f32(path, 3, shape, x->maps, e);
    if (ok)
        puts(path);
    free(path);
    return ok;
}

/* [query][key] of one head, square. */
static void put_square(FILE *out, const struct export *x, const float *map) {
    const struct attn_info *i = x->info;
    for (int32_t q = 0; q < i->n_keys; q++) {
        const float *row = map + (size_t)(q - i->first_query) * (size_t)i->n_keys;
        for (int32_t k = 0; k < i->n_keys; k++) {
            double p = q < i->first_query || k > q ? 0 : (double)row[k];
            fprintf(out, k ? ",%.4g" : q ? "],[%.4g" : "[[%.4g", p);
        }
    }
    fputs("]]", out);
}

static void put_layer(FILE *out, const struct export *x) {
    for (int h = 0; h < x->heads.n; h++) {
        putc(h ? ',' : '[', out);
        put_square(out, x, x->maps + (size_t)h * map_size(x));
    }
    putc(']', out);
}

/* One JSON file of layers [from, to): `nested` as bertviz has it. */
static bool write_json(struct export *x, const char *name, int from, int to, bool nested,
                       struct err *e) {
    struct json_out head = {0};
    char *text = NULL;
    size_t size;
    bool ok = true;
    json_open(&head, '{');
    put_texts(&head, &x->info->tokens);
    FILE *out = open_memstream(&text, &size);
    CHECK(out);
    fprintf(out, "%s,\"attention\":%s", head.text, nested ? "[" : "");
    for (int l = from; ok && l < to; l++) {
        ok = load_layer(x, x->layers.items[l], e);
        fputs(nested && l > from ? ",[" : nested ? "[" : "", out);
        if (ok)
            put_layer(out, x);
        fputs(nested ? "]" : "", out);
    }
    fprintf(out, "%s}\n", nested ? "]" : "");
    CHECK(fclose(out) == 0);
    ok = ok && write_out(x, name, text, size, e);
    free(head.text);
    free(text);
    return ok;
}

/* --- the command ------------------------------------------------------------------------------ */

static bool check_size(const struct export *x, struct err *e) {
    uint64_t keys = (uint64_t)x->info->n_keys, n = keys * keys * (uint64_t)x->heads.n;
    if (x->flags->format == BERTVIZ)
        n *= (uint64_t)x->layers.n;
    return x->flags->format == NPY || n <= MOST_NUMBERS ||
           err_set(e, EXIT_USAGE,
                   "a JSON file of %.0f million numbers, at most %d: choose with --layer and "
                   "--head, or --format npy",
                   1e-6 * (double)n, MOST_NUMBERS >> 20);
}

static bool write_all(struct export *x, struct err *e) {
    x->maps = must_alloc((size_t)x->heads.n * map_size(x) * sizeof *x->maps);
    if (x->flags->format == BERTVIZ)
        return write_json(x, "bertviz.json", 0, x->layers.n, true, e);
    for (int l = 0; l < x->layers.n; l++) {
        char name[40];
        snprintf(name, sizeof name, "layer-%d.json", x->layers.items[l]);
        if (!(x->flags->format == NPY ? write_npy(x, x->layers.items[l], e)
                                      : write_json(x, name, l, l + 1, false, e)))
            return false;
    }
    return true;
}

static int export_attention(const char *path, const struct export_flags *flags, struct err *e) {
    struct export x = {
        .flags = flags, .layer = (int32_t)flags->layer, .head = (int32_t)flags->head};
    char inside[PATH_MAX];
    x.reader = attn_open(path, e);
    if (!x.reader)
        return e->code;
    x.info = attn_info(x.reader);
    x.layers = flags->layer >= 0 ? (struct attn_numbers){1, &x.layer} : x.info->layers;
    x.heads = flags->head >= 0 ? (struct attn_numbers){1, &x.head} : x.info->heads;
    snprintf(inside, sizeof inside, "%s/x", flags->out);
    if (!x.info->full)
        err_set(e, EXIT_USAGE, "%s: recorded in mode %s, expected full", path, attn_modes(x.info));
    else if (check_size(&x, e) && file_folders(inside, e) && write_tokens(&x, e))
        write_all(&x, e);
    free(x.maps);
    attn_close(x.reader);
    return e->code;
}

static int export_run(int argc, char **argv, struct err *e) {
    struct export_flags flags;
    int n_args;
    option_defaults(options, &flags);
    if (!option_argv(options, &flags, USAGE, about, argc, argv, &n_args, e))
        return e->code;
    if (n_args != 2 || strcmp(argv[0], "attention") != 0)
        err_set(e, EXIT_USAGE, "expected attention and a file; usage: " USAGE);
    else if (!flags.out)
        err_set(e, EXIT_USAGE, "--out is missing; usage: " USAGE);
    else
        export_attention(argv[1], &flags, e);
    return e->code;
}

const struct command command_export = {
    .name = "export",
    .usage = USAGE,
    .summary = "recorded attention for other tools",
    .run = export_run,
};
