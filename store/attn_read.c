/* Files of attention, read back. What the seal vouches for was written by this program; shapes are
 * checked all the same before memory is taken. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/config.h"
#include "store/attn_h5.h"
#include "store/attn_half.h"
#include "store/attn_private.h"

struct attn_reader {
    char *path;
    hid_t file, full, max, sum, resident; /* -1 where absent */
    struct attn_info info;
};

/* --- open ------------------------------------------------------------------------------------- */

static bool wrong(const struct attn_reader *r, const char *what, struct err *e) {
    return err_set(e, EXIT_CONTENT, "%s: expected %s", r->path, what);
}

static bool read_numbers(const struct attn_reader *r, const char *name, int most,
                         struct attn_numbers *out, struct err *e) {
    out->items = h5_get_list(r->file, name, most, &out->n);
    bool ok = out->items && out->n > 0;
    for (int i = 0; ok && i < out->n; i++)
        ok =
            out->items[i] >= 0 && out->items[i] < most && (!i || out->items[i - 1] < out->items[i]);
    return ok || err_set(e, EXIT_CONTENT, "%s: expected /%s, ascending numbers below %d", r->path,
                         name, most);
}

static bool read_heads(struct attn_reader *r, struct err *e) {
    struct attn_info *info = &r->info;
    int64_t layers, heads, kv, first, n_prompt;
    if (!h5_get_int(r->file, "model_layers", &layers) || layers < 1 || layers > MAX_LAYERS ||
        !h5_get_int(r->file, "model_heads", &heads) || heads < 1 || heads > MAX_HEADS ||
        !h5_get_int(r->file, "model_kv_heads", &kv) || kv < 1 || heads % kv ||
        !h5_get_int(r->file, "first_query", &first) || first < 0 || first > MAX_POSITIONS ||
        !h5_get_int(r->file, "n_prompt", &n_prompt) || n_prompt < 1 || n_prompt > MAX_POSITIONS)
        return wrong(r, "the model's layers and heads, n_prompt and first_query", e);
    info->n_layers = (int)layers, info->n_heads = (int)heads, info->n_kv_heads = (int)kv;
    info->group = info->n_heads / info->n_kv_heads;
    info->first_query = (int32_t)first;
    info->tokens.n_prompt = (int32_t)n_prompt;
    return read_numbers(r, "layer", info->n_layers, &info->layers, e) &&
           read_numbers(r, "head", info->n_heads, &info->heads, e) &&
           read_numbers(r, "kv_head", info->n_kv_heads, &info->kv_heads, e);
}

/* Whether a list over keys, if it is there, has one number for each. */
static bool read_ints(const struct attn_reader *r, const char *name, bool must, int32_t **out,
                      struct err *e) {
    int32_t n = 0;
    *out = h5_get_list(r->file, name, MAX_POSITIONS, &n);
    bool there = H5Lexists(r->file, name, H5P_DEFAULT) > 0;
    return (*out && n == r->info.n_keys) || (!must && !there) || wrong(r, name, e);
}

/* Numbers of steps; -1: none. */
static bool read_gold(const struct attn_reader *r, const char *name, int32_t **out, struct err *e) {
    if (!read_ints(r, name, false, out, e))
        return false;
    for (int32_t k = 0; *out && k < r->info.n_keys; k++)
        if ((*out)[k] < -1 || (*out)[k] >= MAX_POSITIONS)
            return err_set(e, EXIT_CONTENT, "%s: %s: expected -1 to %d, got %d", r->path, name,
                           MAX_POSITIONS - 1, (*out)[k]);
    return true;
}

static bool read_texts(struct attn_reader *r, struct err *e) {
    struct attn_tokens *t = &r->info.tokens;
    hid_t set = H5Dopen2(r->file, "tokens/text", H5P_DEFAULT);
    hid_t type = set < 0 ? -1 : H5Dget_type(set), space = set < 0 ? -1 : H5Dget_space(set);
    size_t size = type < 0 ? 0 : H5Tget_size(type);
    bool ok = type >= 0 && space >= 0 && H5Tget_class(type) == H5T_STRING &&
              H5Tis_variable_str(type) == 0 && size > 0 && size <= 1 << 16 &&
              H5Sget_simple_extent_npoints(space) == t->n;
    char *texts = ok ? must_zalloc((size_t)t->n, size) : NULL;
    ok = ok && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts) >= 0;
    t->text = must_zalloc((size_t)t->n, sizeof *t->text);
    for (int32_t i = 0; i < t->n; i++) {
        size_t n = ok ? strnlen(texts + (size_t)i * size, size) : 0;
        t->text[i] = must_alloc(n + 1);
        memcpy(t->text[i], ok ? texts + (size_t)i * size : "", n);
        t->text[i][n] = 0;
    }
    free(texts);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(set);
    return ok || wrong(r, "/tokens/text", e);
}

static bool read_tokens(struct attn_reader *r, struct err *e) {
    struct attn_info *info = &r->info;
    struct attn_tokens *t = &info->tokens;
    int32_t *steps = h5_get_list(r->file, "step", MAX_POSITIONS, &info->n_steps);
    int32_t *keys = h5_get_list(r->file, "key", MAX_POSITIONS, &info->n_keys);
    bool ok = steps && keys && info->n_steps > 0 &&
              info->first_query + info->n_steps == info->n_keys && t->n_prompt <= info->n_keys;
    free(steps);
    free(keys);
    if (!ok)
        return wrong(r, "/step and /key that end at the same position", e);
    info->n_pages = (info->n_keys + ATTN_PAGE - 1) / ATTN_PAGE;
    t->n = info->n_keys;
    return read_ints(r, "tokens/id", true, &t->id, e) && read_texts(r, e) &&
           read_gold(r, "tokens/gold_step", &t->gold_step, e) &&
           read_gold(r, "tokens/gold_lemma", &t->gold_lemma, e) &&
           read_gold(r, "tokens/gold_source", &t->gold_source, e);
}

static bool open_set(struct attn_reader *r, const char *name, int heads, int32_t keys, hid_t *set,
                     struct err *e) {
    *set = -1;
    if (H5Lexists(r->file, name, H5P_DEFAULT) <= 0)
        return true;
    const struct attn_info *i = &r->info;
    hsize_t size[4],
        want[4] = {(hsize_t)i->layers.n, (hsize_t)heads, (hsize_t)i->n_steps, (hsize_t)keys};
    *set = H5Dopen2(r->file, name, H5P_DEFAULT);
    hid_t space = *set < 0 ? -1 : H5Dget_space(*set);
    bool ok = space >= 0 && H5Sget_simple_extent_ndims(space) == 4 &&
              H5Sget_simple_extent_dims(space, size, NULL) == 4 && !memcmp(size, want, sizeof size);
    H5Sclose(space);
    return ok || wrong(r, name, e);
}

static bool open_sets(struct attn_reader *r, struct err *e) {
    struct attn_info *i = &r->info;
    if (!open_set(r, "attn", i->heads.n, i->n_keys, &r->full, e) ||
        !open_set(r, "attn_page_max", i->heads.n, i->n_pages, &r->max, e) ||
        !open_set(r, "attn_page_sum", i->heads.n, i->n_pages, &r->sum, e) ||
        !open_set(r, "resident", i->kv_heads.n, i->n_keys, &r->resident, e))
        return false;
    i->full = r->full >= 0;
    i->pooled = r->max >= 0 && r->sum >= 0;
    i->residency = r->resident >= 0;
    i->lives = H5Lexists(r->file, "lives", H5P_DEFAULT) > 0;
    return i->full || i->pooled || i->lives ||
           wrong(r, "/attn, /attn_page_max and /attn_page_sum, or /lives", e);
}

struct attn_reader *attn_open(const char *path, struct err *e) {
    int64_t complete = 0;
    if (!attn_check_seal(path, e))
        return NULL;
    h5_begin();
    struct attn_reader *r = must_zalloc(1, sizeof *r);
    r->path = must_strdup(path);
    r->full = r->max = r->sum = r->resident = -1;
    r->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    bool ok = r->file >= 0 || h5_fail(e, EXIT_CONTENT, path, "cannot be opened");
    ok = ok && ((h5_get_int(r->file, "complete", &complete) && complete == 1) ||
                wrong(r, "attribute complete = 1", e));
    if (ok && read_heads(r, e) && read_tokens(r, e) && open_sets(r, e))
        return r;
    attn_close(r);
    return NULL;
}

void attn_close(struct attn_reader *r) {
    if (!r)
        return;
    const hid_t sets[] = {r->full, r->max, r->sum, r->resident};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (sets[i] >= 0)
            H5Dclose(sets[i]);
    if (r->file >= 0)
        H5Fclose(r->file);
    attn_tokens_free(&r->info.tokens);
    free(r->info.layers.items);
    free(r->info.heads.items);
    free(r->info.kv_heads.items);
    free(r->path);
    free(r);
}

const struct attn_info *attn_info(const struct attn_reader *r) { return &r->info; }
const char *attn_path(const struct attn_reader *r) { return r->path; }
char *attn_note(const struct attn_reader *r, const char *name) {
    return h5_get_text(r->file, name);
}

const char *attn_modes(const struct attn_info *i) {
    static const char *const names[] = {
        "nothing",
        "full",
        "pooled",
        "full and pooled",
        "lifecycle",
        "full and lifecycle",
        "pooled and lifecycle",
        "full, pooled and lifecycle",
    };
    return names[i->full | i->pooled << 1 | i->lives << 2];
}

/* --- parts of maps ---------------------------------------------------------------------------- */

/* Steps [step, step + n) of one plane, whole rows of `keys`. */
static bool read_part(const struct attn_reader *r, hid_t set, hid_t type, int layer, int head,
                      int32_t step, int32_t n, int32_t keys, void *out, struct err *e) {
    hsize_t start[4] = {(hsize_t)layer, (hsize_t)head, (hsize_t)step, 0};
    hsize_t count[4] = {1, 1, (hsize_t)n, (hsize_t)keys};
    hid_t space = H5Dget_space(set), memory = H5Screate_simple(4, count, NULL);
    bool ok = space >= 0 && memory >= 0 && type >= 0 &&
              H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
              H5Dread(set, type, memory, space, H5P_DEFAULT, out) >= 0;
    H5Sclose(memory);
    H5Sclose(space);
    return ok || h5_fail(e, EXIT_CONTENT, r->path, "cannot be read");
}

static int place_of(const struct attn_numbers *numbers, int number) {
    for (int i = 0; i < numbers->n; i++)
        if (numbers->items[i] == number)
            return i;
    return -1;
}

static bool find_place(const struct attn_reader *r, int layer, int head,
                       const struct attn_numbers *heads, const char *what, int *l, int *h,
                       struct err *e) {
    *l = place_of(&r->info.layers, layer), *h = place_of(heads, head);
    return (*l >= 0 && *h >= 0) || err_set(e, EXIT_USAGE, "%s: layer %d, %s %d is not recorded",
                                           r->path, layer, what, head);
}

bool attn_map(struct attn_reader *r, enum attn_what what, int layer, int head, float *out,
              struct err *e) {
    const struct attn_info *i = &r->info;
    hid_t set = what == ATTN_FULL ? r->full : what == ATTN_PAGE_MAX ? r->max : r->sum;
    int l, h;
    if (set < 0)
        return err_set(e, EXIT_USAGE, "%s: recorded in mode %s", r->path, attn_modes(i));
    h5_begin();
    return find_place(r, layer, head, &i->heads, "head", &l, &h, e) &&
           read_part(r, set, H5T_NATIVE_FLOAT, l, h, 0, i->n_steps,
                     what == ATTN_FULL ? i->n_keys : i->n_pages, out, e);
}

/* Without a residency in the file: what is born is resident, and was attended to. */
static void born_rows(const struct attn_info *i, int32_t step, int32_t n, uint8_t *out) {
    for (int32_t s = 0; s < n; s++) {
        int32_t born = i->first_query + step + s + 1;
        uint8_t *row = out + (size_t)s * (size_t)i->n_keys;
        memset(row, ATTN_RESIDENT | ATTN_ATTENDED, (size_t)born);
        memset(row + born, 0, (size_t)(i->n_keys - born));
    }
}

static bool resident_rows(const struct attn_reader *r, int l, int kv, int32_t step, int32_t n,
                          uint8_t *out, struct err *e) {
    const struct attn_info *i = &r->info;
    if (r->resident >= 0)
        return read_part(r, r->resident, H5T_NATIVE_UINT8, l, kv, step, n, i->n_keys, out, e);
    born_rows(i, step, n, out);
    return true;
}

bool attn_residency(struct attn_reader *r, int layer, int kv_head, uint8_t *out, struct err *e) {
    int l, kv;
    h5_begin();
    return find_place(r, layer, kv_head, &r->info.kv_heads, "KV head", &l, &kv, e) &&
           resident_rows(r, l, kv, 0, r->info.n_steps, out, e);
}

bool attn_lives_read(struct attn_reader *r, const char *name, enum attn_type type, int32_t n,
                     void *out, struct err *e) {
    const hid_t types[] = {H5T_NATIVE_INT32, H5T_NATIVE_FLOAT, H5T_NATIVE_DOUBLE};
    const struct attn_info *i = &r->info;
    hsize_t size[3],
        want[3] = {(hsize_t)i->layers.n, (hsize_t)i->heads.n, (hsize_t)(n ? n : i->n_keys)};
    char path[80];
    if (!i->lives)
        return err_set(e, EXIT_USAGE, "%s: recorded in mode %s, expected lifecycle", r->path,
                       attn_modes(i));
    h5_begin();
    snprintf(path, sizeof path, "lives/%s", name);
    hid_t set = H5Dopen2(r->file, path, H5P_DEFAULT), space = set < 0 ? -1 : H5Dget_space(set);
    bool ok = space >= 0 && H5Sget_simple_extent_ndims(space) == 3 &&
              H5Sget_simple_extent_dims(space, size, NULL) == 3 &&
              !memcmp(size, want, sizeof size) &&
              H5Dread(set, types[type], H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0;
    H5Sclose(space);
    H5Dclose(set);
    return ok || wrong(r, path, e);
}

/* --- rows ------------------------------------------------------------------------------------- */

struct replay {
    struct attn_reader *r;
    int layer_at, kv_at, first_head, group; /* places, and how many heads of the group there are */
    uint16_t *half;                         /* [group][ATTN_STEPS][n_keys] */
    uint8_t *flags;                         /* [ATTN_STEPS][n_keys] */
    int32_t *attended, *resident;           /* [n_keys] */
    float *prob, *wide;                     /* [group][n_keys], [n_keys] */
};

static bool tell_row(struct replay *p, int32_t step, int32_t at, attention_watch *watch, void *user,
                     struct err *e) {
    const struct attn_info *i = &p->r->info;
    struct attention_row row = {.layer = i->layers.items[p->layer_at],
                                .kv_head = i->kv_heads.items[p->kv_at],
                                .group = p->group,
                                .query = i->first_query + step + at,
                                .position = p->attended,
                                .resident = p->resident,
                                .prob = p->prob};
    const uint8_t *flags = p->flags + (size_t)at * (size_t)i->n_keys;
    row.prompt = row.query < i->tokens.n_prompt;
    for (int32_t k = 0; k <= row.query; k++) {
        if (flags[k] & ATTN_ATTENDED)
            p->attended[row.n++] = k;
        if (flags[k] & ATTN_RESIDENT)
            p->resident[row.n_resident++] = k;
    }
    for (int g = 0; g < p->group; g++) {
        const uint16_t *half = p->half + ((size_t)g * ATTN_STEPS + (size_t)at) * (size_t)i->n_keys;
        half_widen(half, (size_t)row.query + 1, p->wide);
        for (int32_t k = 0; k < row.n; k++) {
            float prob = p->wide[p->attended[k]];
            if (!(prob >= 0 && prob <= 1))
                return err_set(e, EXIT_CONTENT,
                               "%s: /attn of layer %d, KV head %d, query %d, key %d: expected a "
                               "probability, got %g",
                               p->r->path, row.layer, row.kv_head, row.query, p->attended[k],
                               (double)prob);
            p->prob[(size_t)g * (size_t)row.n + (size_t)k] = prob;
        }
    }
    watch(user, &row);
    return true;
}

static bool tell_head(struct replay *p, attention_watch *watch, void *user, struct err *e) {
    const struct attn_info *i = &p->r->info;
    hid_t type = h5_half();
    bool ok = true;
    for (int32_t step = 0; ok && step < i->n_steps; step += ATTN_STEPS) {
        int32_t n = i->n_steps - step < ATTN_STEPS ? i->n_steps - step : ATTN_STEPS;
        for (int g = 0; ok && g < p->group; g++)
            ok = read_part(p->r, p->r->full, type, p->layer_at, p->first_head + g, step, n,
                           i->n_keys, p->half + (size_t)g * ATTN_STEPS * (size_t)i->n_keys, e);
        ok = ok && resident_rows(p->r, p->layer_at, p->kv_at, step, n, p->flags, e);
        for (int32_t at = 0; ok && at < n; at++)
            ok = tell_row(p, step, at, watch, user, e);
    }
    H5Tclose(type);
    return ok;
}

bool attn_replay_head(struct attn_reader *r, int layer, int kv_head, attention_watch *watch,
                      void *user, struct err *e) {
    const struct attn_info *i = &r->info;
    struct replay p = {.r = r};
    h5_begin();
    if (!i->full)
        return err_set(e, EXIT_USAGE, "%s: recorded in mode %s, expected full", r->path,
                       attn_modes(i));
    if (!find_place(r, layer, kv_head, &i->kv_heads, "KV head", &p.layer_at, &p.kv_at, e))
        return false;
    while (i->heads.items[p.first_head] / i->group < kv_head)
        p.first_head++;
    while (p.first_head + p.group < i->heads.n &&
           i->heads.items[p.first_head + p.group] / i->group == kv_head)
        p.group++;
    size_t keys = (size_t)i->n_keys, group = (size_t)p.group;
    p.half = must_alloc(group * ATTN_STEPS * keys * sizeof *p.half);
    p.flags = must_alloc(ATTN_STEPS * keys);
    p.attended = must_alloc(keys * sizeof *p.attended);
    p.resident = must_alloc(keys * sizeof *p.resident);
    p.prob = must_alloc(group * keys * sizeof *p.prob);
    p.wide = must_alloc(keys * sizeof *p.wide);
    bool ok = tell_head(&p, watch, user, e);
    free(p.half), free(p.flags), free(p.attended), free(p.resident), free(p.prob), free(p.wide);
    return ok;
}

bool attn_replay(struct attn_reader *r, attention_watch *watch, void *user, struct err *e) {
    const struct attn_info *i = &r->info;
    for (int l = 0; l < i->layers.n; l++)
        for (int h = 0; h < i->kv_heads.n; h++)
            if (!attn_replay_head(r, i->layers.items[l], i->kv_heads.items[h], watch, user, e))
                return false;
    return true;
}
