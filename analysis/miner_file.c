#include "analysis/miner_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

/* --- mode full -------------------------------------------------------------------------------- */

struct reading {
    struct miner *miner;
    const struct attn_info *info;
};

/* A row's group holds the recorded heads alone: they are told one by one, by their own numbers. */
static void take_row(void *user, const struct attention_row *row) {
    const struct reading *r = user;
    int g = 0;
    for (int i = 0; i < r->info->heads.n && g < row->group; i++) {
        if (r->info->heads.items[i] / r->info->group != row->kv_head)
            continue;
        const struct attended a = {.query = row->query,
                                   .prompt = row->prompt,
                                   .held = row->n_resident,
                                   .n = row->n,
                                   .position = row->position,
                                   .prob = row->prob + (size_t)g++ * (size_t)row->n};
        miner_row(r->miner, row->layer, r->info->heads.items[i], &a, true);
    }
}

/* --- mode lifecycle --------------------------------------------------------------------------- */

enum { INTS = 5, SUMS = 3 };
static const char *const int_names[INTS] = {"first", "last", "touched", "uses", "gap"};

struct lives { /* arrays of all recorded heads, head by head */
    size_t n_keys;
    int32_t *ints[INTS];
    float *peak;
    double *mass, *sums, *points;
};

static struct lives lives_open(size_t heads, size_t n_keys) {
    struct lives l = {.n_keys = n_keys};
    for (int k = 0; k < INTS; k++)
        l.ints[k] = must_alloc(heads * n_keys * sizeof *l.ints[k]);
    l.peak = must_alloc(heads * n_keys * sizeof *l.peak);
    l.mass = must_alloc(heads * n_keys * sizeof *l.mass);
    l.sums = must_alloc(heads * SUMS * sizeof *l.sums);
    l.points = must_alloc(heads * (size_t)portrait_size() * sizeof *l.points);
    return l;
}

static void lives_close(struct lives *l) {
    for (int k = 0; k < INTS; k++)
        free(l->ints[k]);
    free(l->peak);
    free(l->mass);
    free(l->sums);
    free(l->points);
}

static void put_head(struct lives *l, size_t at, const struct lifecycle *life) {
    for (size_t j = 0; j < l->n_keys; j++) {
        const struct key_life *key = &life->keys[j];
        const int32_t ints[INTS] = {key->first, key->last, key->touched, key->uses, key->gap};
        size_t place = at * l->n_keys + j;
        for (int k = 0; k < INTS; k++)
            l->ints[k][place] = ints[k];
        l->peak[place] = key->peak;
        l->mass[place] = key->mass;
    }
    const double sums[SUMS] = {life->mass, life->listed, life->near_by};
    memcpy(l->sums + at * SUMS, sums, sizeof sums);
}

static void get_head(const struct lives *l, size_t at, struct lifecycle *life) {
    for (size_t j = 0; j < l->n_keys; j++) {
        size_t place = at * l->n_keys + j;
        life->keys[j] = (struct key_life){l->ints[0][place], l->ints[1][place], l->ints[2][place],
                                          l->ints[3][place], l->ints[4][place], l->peak[place],
                                          l->mass[place]};
    }
    life->mass = l->sums[at * SUMS], life->listed = l->sums[at * SUMS + 1];
    life->near_by = l->sums[at * SUMS + 2];
}

char *miner_params_note(const struct lifecycle_params *params) {
    char text[400];
    option_json(lifecycle_options, params, text, sizeof text);
    return must_strdup(text);
}

char *miner_curves_note(void) {
    struct json_out o = {0};
    json_open(&o, '[');
    for (int i = 0, n = portrait_size(); i < n; i++) {
        struct portrait_point at = portrait_point(i);
        json_open(&o, '[');
        json_put_text(&o, at.curve);
        json_put_real(&o, at.x);
        json_close(&o, ']');
    }
    json_close(&o, ']');
    return o.text;
}

void miner_write(const struct miner *m, struct attn_file *file, const struct attn_numbers *layers,
                 const struct attn_numbers *heads) {
    int n_points = portrait_size();
    int32_t n_keys = m->heads[layers->items[0] * m->n_heads + heads->items[0]].life.n_keys;
    struct lives l = lives_open((size_t)layers->n * (size_t)heads->n, (size_t)n_keys);
    size_t at = 0;
    for (int i = 0; i < layers->n; i++)
        for (int k = 0; k < heads->n; k++, at++) {
            const struct miner_head *h = &m->heads[layers->items[i] * m->n_heads + heads->items[k]];
            put_head(&l, at, &h->life);
            portrait_fill(&h->life, h->pruned ? NULL : &h->scores,
                          l.points + at * (size_t)n_points);
        }
    struct attn_array arrays[INTS + 4] = {{"peak", ATTN_FLOAT32, 0, l.peak},
                                          {"mass", ATTN_FLOAT64, 0, l.mass},
                                          {"sums", ATTN_FLOAT64, SUMS, l.sums},
                                          {"points", ATTN_FLOAT64, n_points, l.points}};
    for (int k = 0; k < INTS; k++)
        arrays[4 + k] = (struct attn_array){int_names[k], ATTN_INT32, 0, l.ints[k]};
    attn_lives(file, arrays, INTS + 4, n_keys);
    lives_close(&l);
}

/* Thresholds of silence may differ from the recorder's; what decides a use may not. */
static bool check_params(const struct miner *m, const struct attn_reader *r, struct err *e) {
    struct lifecycle_params same = m->params;
    struct err why = {0};
    char *params = attn_note(r, "lives_params"), *curves = attn_note(r, "lives_curves");
    char *own = miner_curves_note(), *wanted;
    bool ok = params && curves && !strcmp(curves, own);
    if (!ok)
        err_set(e, EXIT_CONTENT, "%s: its lives were recorded by another version of this program",
                attn_path(r));
    struct json_doc *doc = ok ? json_parse(params, strlen(params), attn_path(r), &why) : NULL;
    const struct json *root = doc ? json_root(doc) : NULL;
    int64_t *const free_ones[] = {&same.gap, &same.budget, &same.settle};
    static const char *const names[] = {"gap", "budget", "settle"};
    for (int i = 0; i < 3; i++)
        json_integer(json_get(root, names[i]), 0, 1 << 24, free_ones[i]);
    json_free(doc);
    wanted = miner_params_note(&same);
    if (ok && strcmp(wanted, params) != 0)
        ok = err_set(e, EXIT_USAGE,
                     "%s: its lives were recorded under %s; of these only gap, budget and settle "
                     "can be chosen later",
                     attn_path(r), params);
    free(params), free(curves), free(own), free(wanted);
    return ok;
}

static bool read_lives(struct attn_reader *r, struct lives *l, struct err *e) {
    bool ok = true;
    for (int k = 0; ok && k < INTS; k++)
        ok = attn_lives_read(r, int_names[k], ATTN_INT32, 0, l->ints[k], e);
    return ok && attn_lives_read(r, "peak", ATTN_FLOAT32, 0, l->peak, e) &&
           attn_lives_read(r, "mass", ATTN_FLOAT64, 0, l->mass, e) &&
           attn_lives_read(r, "sums", ATTN_FLOAT64, SUMS, l->sums, e) &&
           attn_lives_read(r, "points", ATTN_FLOAT64, portrait_size(), l->points, e);
}

static bool is_amount(double x) { return x >= 0 && isfinite(x); }

/* Whether the lives of head `at` can be what a pass remembers. */
static bool is_sound(const struct lives *l, size_t at, int32_t n_rows) {
    int32_t n_keys = (int32_t)l->n_keys;
    bool ok = true;
    for (size_t j = at * l->n_keys; ok && j < (at + 1) * l->n_keys; j++) {
        for (int k = 0; k < 3; k++) /* first, last, touched */
            ok = ok && l->ints[k][j] >= -1 && l->ints[k][j] < n_keys;
        for (int k = 3; k < INTS; k++) /* uses, gap */
            ok = ok && l->ints[k][j] >= 0 && l->ints[k][j] <= n_rows;
        ok = ok && is_amount((double)l->peak[j]) && is_amount(l->mass[j]);
    }
    for (int k = 0; k < SUMS; k++)
        ok = ok && is_amount(l->sums[at * SUMS + (size_t)k]);
    for (size_t k = 0, n = (size_t)portrait_size(); k < n; k++) /* NaN: nothing is said */
        ok = ok && !isinf(l->points[at * n + k]);
    return ok;
}

static bool take_lives(struct miner *m, struct attn_reader *r, struct err *e) {
    const struct attn_info *info = attn_info(r);
    if (!check_params(m, r, e))
        return false;
    struct lives l =
        lives_open((size_t)info->layers.n * (size_t)info->heads.n, (size_t)info->n_keys);
    bool ok = read_lives(r, &l, e);
    size_t at = 0;
    for (int i = 0; ok && i < info->layers.n; i++)
        for (int k = 0; k < info->heads.n; k++, at++) {
            struct miner_head *h =
                &m->heads[info->layers.items[i] * m->n_heads + info->heads.items[k]];
            ok = is_sound(&l, at, info->n_steps) ||
                 err_set(e, EXIT_CONTENT, "%s: /lives of layer %d, head %d: no such lives can be",
                         attn_path(r), info->layers.items[i], info->heads.items[k]);
            if (!ok)
                break;
            get_head(&l, at, &h->life);
            h->life.first_query = info->first_query;
            h->life.n_rows = info->n_steps;
            h->life.n_keys = info->n_keys;
            h->shape = l.points + at * (size_t)portrait_size();
        }
    if (ok)
        miner_end(m);
    lives_close(&l);
    return ok;
}

/* --- a file ----------------------------------------------------------------------------------- */

static bool check(const struct miner *m, const struct attn_reader *r, struct err *e) {
    const struct attn_info *i = attn_info(r);
    if (i->n_layers != m->n_layers || i->n_heads != m->n_heads)
        return err_set(e, EXIT_USAGE, "%s: %d layers of %d heads, expected %d of %d as before",
                       attn_path(r), i->n_layers, i->n_heads, m->n_layers, m->n_heads);
    if (!i->full && !i->lives)
        return err_set(e, EXIT_USAGE, "%s: recorded in mode %s, expected full or lifecycle",
                       attn_path(r), attn_modes(i));
    return m->params.rows == ROWS_DECODE || !i->first_query ||
           err_set(e, EXIT_USAGE, "%s: has no queries of the prompt, for --rows all record so",
                   attn_path(r));
}

bool miner_read(struct miner *m, struct attn_reader *r, int layer, int kv_head, struct err *e) {
    const struct attn_info *info = attn_info(r);
    struct reading reading = {m, info};
    if (!check(m, r, e))
        return false;
    miner_fit(m, info->n_keys);
    miner_begin(m, info->tokens.n_prompt);
    if (!info->full)
        return take_lives(m, r, e);
    if (!(kv_head < 0 ? attn_replay(r, take_row, &reading, e)
                      : attn_replay_head(r, layer, kv_head, take_row, &reading, e)))
        return false;
    miner_end(m);
    return true;
}
