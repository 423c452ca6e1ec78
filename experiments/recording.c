#include "experiments/recording.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/miner_file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "version.h"

struct recording {
    bool full, pooled, lives, prompt;
    struct lifecycle_params life;
    struct attn_numbers layers, heads;
    const struct model *model;
    const struct chat *chat;
    struct attn_writer *writer;
};

struct recording_file {
    struct recording *recording;
    struct attn_file *file;
    struct miner miner;   /* mode lifecycle */
    bool *layers, *heads; /* whether the miner takes them */
};

/* --- the command line ------------------------------------------------------------------------- */

static bool parse_modes(const char *text, struct recording *out, struct err *e) {
    static const char *const names[] = {"full", "pooled", "lifecycle"};
    bool *const modes[] = {&out->full, &out->pooled, &out->lives};
    out->full = out->pooled = out->lives = false;
    for (const char *at = text ? text : "";; at++) {
        size_t n = strcspn(at, ",");
        int mode = 0;
        while (mode < 3 && (strlen(names[mode]) != n || strncmp(at, names[mode], n) != 0))
            mode++;
        if (mode == 3)
            return err_set(e, EXIT_USAGE,
                           "mode '%.*s': expected lifecycle, pooled, full, or several with commas",
                           (int)n, at);
        *modes[mode] = true;
        at += n;
        if (!*at)
            return true;
    }
}

bool recording_check(const struct recording_choice *choice, struct err *e) {
    struct recording ignored;
    return parse_modes(choice->mode, &ignored, e);
}

/* "0,3,5-8", each below `of`; NULL: all. */
static bool parse_numbers(const char *text, const char *flag, int of, struct attn_numbers *out,
                          struct err *e) {
    bool *taken = must_zalloc((size_t)of, sizeof *taken);
    bool ok = true;
    if (!text)
        memset(taken, true, (size_t)of);
    for (const char *at = text; ok && at; at++) {
        int from, to, size = 0, more = 0;
        ok = *at >= '0' && *at <= '9' && sscanf(at, "%5d%n-%n", &from, &size, &more) == 1;
        to = from;
        at += ok ? size : 0;
        if (ok && more) {
            at++;
            ok = *at >= '0' && *at <= '9' && sscanf(at, "%5d%n", &to, &size) == 1;
            at += ok ? size : 0;
        }
        ok = ok && from <= to && to < of && (!*at || *at == ',');
        for (int i = from; ok && i <= to; i++)
            taken[i] = true;
        if (!ok || !*at)
            break;
    }
    *out = (struct attn_numbers){.items = must_alloc((size_t)of * sizeof *out->items)};
    for (int i = 0; i < of; i++)
        if (taken[i])
            out->items[out->n++] = i;
    free(taken);
    return ok || err_set(e, EXIT_USAGE, "--%s %s: expected numbers from 0 to %d, like 0,3,5-8",
                         flag, text, of - 1);
}

/* --- open and close --------------------------------------------------------------------------- */

static void release(struct recording *r) {
    free(r->layers.items);
    free(r->heads.items);
    free(r);
}

struct recording *recording_open(const struct recording_choice *choice, const struct model *model,
                                 const struct chat *chat, const struct attn_writer_params *writer,
                                 struct err *e) {
    struct recording *r = must_zalloc(1, sizeof *r);
    r->model = model;
    r->chat = chat;
    r->prompt = choice->prompt;
    if (choice->life)
        r->life = *choice->life;
    else
        option_defaults(lifecycle_options, &r->life);
    r->life.rows = r->prompt ? ROWS_ALL : ROWS_DECODE;
    const struct config *c = &model->config;
    if (parse_modes(choice->mode, r, e) &&
        parse_numbers(choice->layers, "layers", c->n_layers, &r->layers, e) &&
        parse_numbers(choice->heads, "heads", c->n_heads, &r->heads, e))
        r->writer = attn_writer_open(writer, e);
    if (r->writer)
        return r;
    release(r);
    return NULL;
}

bool recording_ok(struct recording *r, struct err *e) { return attn_writer_check(r->writer, e); }

bool recording_wait(struct recording *r, struct err *e) { return attn_writer_wait(r->writer, e); }

bool recording_close(struct recording *r, struct attn_stats *stats, struct err *e) {
    struct attn_stats own;
    bool ok = attn_writer_close(r->writer, &own, e);
    log_info("attention of %" PRIu64 " samples recorded, %.1f MB; decoding waited for the disk "
             "%" PRIu64 " times, %.2f s in all; the second passes took %.2f s",
             own.files, 1e-6 * (double)own.bytes, own.stalls, own.stall_seconds,
             own.finish_seconds);
    if (stats)
        *stats = own;
    release(r);
    return ok;
}

static struct attn_params params_of(const struct recording *r, const struct recorded *s) {
    const struct config *c = &r->model->config;
    return (struct attn_params){
        .path = s->path,
        .full = r->full,
        .pooled = r->pooled,
        .lives = r->lives,
        .prompt = r->prompt,
        .residency = s->plan->evict != UNIT_NONE || s->plan->select != UNIT_NONE,
        .n_layers = c->n_layers,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .layers = r->layers,
        .heads = r->heads,
        .n_prompt = (int32_t)s->prompt->count,
        .max_keys = s->max_fed,
    };
}

uint64_t recording_bytes(const struct recording *r, const struct recorded *s) {
    const struct attn_params params = params_of(r, s);
    return attn_bytes(&params);
}

/* --- one sequence ----------------------------------------------------------------------------- */

static bool *taken_of(const struct attn_numbers *numbers, int of) {
    bool *taken = must_zalloc((size_t)of, sizeof *taken);
    for (int i = 0; i < numbers->n; i++)
        taken[numbers->items[i]] = true;
    return taken;
}

struct recording_file *recording_begin(struct recording *r, const struct recorded *s,
                                       struct err *e) {
    const struct attn_params params = params_of(r, s);
    struct attn_file *file = attn_begin(r->writer, &params, e);
    if (!file)
        return NULL;
    struct recording_file *f = must_zalloc(1, sizeof *f);
    f->recording = r, f->file = file;
    if (r->lives) {
        miner_open(&f->miner, params.n_layers, params.n_heads, params.max_keys, &r->life);
        miner_begin(&f->miner, params.n_prompt);
        f->layers = taken_of(&r->layers, params.n_layers);
        f->heads = taken_of(&r->heads, params.n_heads);
    }
    return f;
}

void recording_watch(void *user, const struct attention_row *row) {
    struct recording_file *f = user;
    attn_watch(f->file, row);
    for (int g = 0; f->layers && f->layers[row->layer] && g < row->group; g++) {
        int head = row->kv_head * row->group + g;
        if (!f->heads[head])
            continue;
        const struct attended a = {row->query,      row->prompt,
                                   row->n_resident, row->n,
                                   row->position,   row->prob + (size_t)g * (size_t)row->n};
        miner_row(&f->miner, row->layer, head, &a, true);
    }
}

static void free_file(struct recording_file *f) {
    if (f->layers)
        miner_close(&f->miner);
    free(f->layers);
    free(f->heads);
    free(f);
}

void recording_abandon(struct recording_file *f) {
    attn_abandon(f->file);
    free_file(f);
}

/* --- tokens and gold labels ------------------------------------------------------------------- */

/* As UTF-8, malloc'd; *size is that of the bytes themselves. */
static char *text_of(const struct recording *r, int32_t id, const char **bytes, size_t *size) {
    bool special;
    *bytes = tokenizer_piece(r->model->tokenizer, id, size, &special);
    *size = *bytes ? *size : 0;
    char *text = must_zalloc(1, 3 * *size + 1);
    if (*size)
        utf8_mend(*bytes, *size, text);
    return text;
}

static bool overlaps(const struct span *s, int32_t from, int32_t to) {
    return from < s->to && to > s->from;
}

/* Labels of one token, bytes [from, to) of the gold solution. */
static void label(const struct problem *p, int32_t from, int32_t to, struct attn_tokens *t,
                  int32_t at) {
    t->gold_step[at] = 0;
    for (int32_t i = 0; i < from; i++) /* a line is a step */
        t->gold_step[at] += p->solution[i] == '\n';
    for (int i = 0; i < p->n_lemmas; i++)
        if (overlaps(&p->lemmas[i], from, to))
            t->gold_lemma[at] = p->lemmas[i].step;
    for (int i = 0; i < p->n_uses; i++)
        if (overlaps(&p->uses[i], from, to))
            t->gold_source[at] = p->uses[i].source;
}

static int32_t *minus_ones(int32_t n) {
    int32_t *list = must_alloc((size_t)n * sizeof *list);
    for (int32_t i = 0; i < n; i++)
        list[i] = -1;
    return list;
}

/* Labels hold until the text departs from the gold solution. */
static struct attn_tokens tokens_of(const struct recording *r, const struct recorded *s,
                                    const int32_t *ids, int32_t n) {
    const struct problem *p = s->problem;
    int32_t n_prompt = (int32_t)s->prompt->count, all = n_prompt + n, at = 0;
    struct attn_tokens t = {.n = all, .n_prompt = n_prompt};
    t.id = must_alloc((size_t)all * sizeof *t.id);
    t.text = must_alloc((size_t)all * sizeof *t.text);
    bool same = p->n_lemmas > 0;
    if (same)
        t.gold_step = minus_ones(all), t.gold_lemma = minus_ones(all),
        t.gold_source = minus_ones(all);
    for (int32_t i = 0; i < all; i++) {
        size_t size;
        const char *bytes;
        t.id[i] = i < n_prompt ? s->prompt->ids[i] : ids[i - n_prompt];
        t.text[i] = text_of(r, t.id[i], &bytes, &size);
        if (i < n_prompt || !same)
            continue;
        same = size && size <= strlen(p->solution + at) && !memcmp(p->solution + at, bytes, size);
        if (same)
            label(p, at, at + (int32_t)size, &t, i);
        at += (int32_t)size;
    }
    return t;
}

/* --- the end ---------------------------------------------------------------------------------- */

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static void end_with_notes(const struct recording *r, struct attn_file *file,
                           const struct recorded *s, const struct attn_tokens *tokens,
                           enum finish finish) {
    const struct model *m = r->model;
    const struct config *c = &m->config;
    int32_t effective = plan_effective_budget(s->plan, (int32_t)s->prompt->count);
    char gold[8], *life = NULL, *curves = NULL;
    if (r->lives)
        life = miner_params_note(&r->life), curves = miner_curves_note();
    snprintf(gold, sizeof gold, "%s", s->gold ? "gold" : "model");
    const struct attn_note notes[] = {
        {"model", last_part(m->path), 0},
        {"model_sha256", m->hash, 0},
        {"tokenizer_sha256", m->tokenizer_hash, 0},
        {"architecture", c->arch->name, 0},
        {"template", chat_name(r->chat), 0},
        {"template_sha256", r->chat->sha256, 0},
        {"dataset", s->dataset, 0},
        {"dataset_sha256", s->dataset_sha256, 0},
        {"sample", s->problem->id, 0},
        {"sample_number", NULL, (double)s->number},
        {"solution", gold, 0}, /* whose tokens were fed */
        {"policy", s->plan->name, 0},
        {"policy_options", s->plan->json, 0},
        {"policy_version", NULL, s->plan->policy->version},
        {"budget", NULL, s->plan->match ? 0 : s->plan->budget},
        {"effective_budget", NULL, effective},
        {"finish", s->gold ? "forced" : finish_name(finish), 0},
        {"precision", precision_name(s->precision), 0},
        {"isa", s->isa, 0},
        {"head_size", NULL, c->head_size},
        {"softmax_scale", NULL, 1 / sqrt(c->head_size)},
        {"rope_theta", NULL, (double)c->rope_theta},
        {"rope", s->plan->keys == KEYS_RANK ? "rank" : "absolute", 0},
        {"seed", NULL, (double)s->seed},
        {"repeat", NULL, s->repeat},
        {"temperature", NULL, s->temperature},
        {"top_p", NULL, s->top_p},
        {"git_commit", RAAS_COMMIT, 0},
        {"hdf5", attn_library(), 0},
        {"lives_params", life, 0}, /* the last two of mode lifecycle alone */
        {"lives_curves", curves, 0},
    };
    attn_end(file, tokens, notes, sizeof notes / sizeof *notes - (r->lives ? 0 : 2));
    free(life);
    free(curves);
}

void recording_end(struct recording_file *f, const struct recorded *s, const int32_t *ids,
                   int32_t n, enum finish finish) {
    const struct recording *r = f->recording;
    if (finish == FINISH_NUMERIC || (n < 1 && !r->prompt)) {
        log_warn("sample %s: %s, so its attention is not kept", s->problem->id,
                 finish == FINISH_NUMERIC ? "ended in numbers that are not finite"
                                          : "ended with its first token");
        recording_abandon(f);
        return;
    }
    struct attn_tokens tokens = tokens_of(r, s, ids, n);
    if (r->lives)
        miner_write(&f->miner, f->file, &r->layers, &r->heads);
    end_with_notes(r, f->file, s, &tokens, finish);
    attn_tokens_free(&tokens);
    free_file(f);
}
