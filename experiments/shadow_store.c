#include "experiments/shadow_store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"

static bool put_model(struct db *db, const struct shadow_texts *texts, int64_t *id, struct err *e) {
    const struct model *m = texts->model;
    const char *slash = strrchr(m->path, '/');
    struct db_model row = {.name = slash && slash[1] ? slash + 1 : m->path,
                           .weights_sha256 = m->hash,
                           .tokenizer_sha256 = m->tokenizer_hash,
                           .template_sha256 = *texts->chat->sha256 ? texts->chat->sha256 : NULL};
    return db_model(db, &row, id, e);
}

/* Canonical JSON: keys are sorted. The template shows in the texts' ids. */
static char *config_of(const struct shadow *s, const struct plan *plan, enum precision precision,
                       const char *backend) {
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_bool(&o, "attention", s->attention);
    json_add_text(&o, "backend", backend);
    json_add_text(&o, "isa", session_isa(s->session));
    json_add_text(&o, "model_sha256", s->model->hash);
    json_add_raw(&o, "policy", plan->json);
    json_add_text(&o, "precision", precision_name(precision));
    json_add_int(&o, "shadow_version", SHADOW_VERSION);
    json_add_text(&o, "tokenizer_sha256", s->model->tokenizer_hash);
    json_close(&o, '}');
    return o.text;
}

static bool put_cell(struct shadow_store *store, int plan, int64_t model, const char *config,
                     enum precision precision, const char *backend, struct err *e) {
    const struct plan *p = &store->shadow->plans[plan];
    struct db_shadow_cell row = {.config = config,
                                 .model = model,
                                 .policy = p->name,
                                 .policy_options = p->json,
                                 .policy_version = p->policy->version,
                                 .budget = p->match ? 0 : p->budget,
                                 .precision = precision_name(precision),
                                 .backend = backend,
                                 .isa = session_isa(store->shadow->session)};
    return db_shadow_cell(store->db, &row, &store->cells[plan], e);
}

static bool put_text(struct shadow_store *store, const struct shadow_texts *texts, int text,
                     char sha256[HASH_HEX], struct err *e) {
    const struct shadow_text *t = &texts->texts[text];
    const struct shadow_origin *from = &texts->origins[text];
    struct json_out o = {0};
    json_open(&o, '[');
    json_put_text(&o, texts->source);
    json_put_text(&o, from->dataset);
    json_put_text(&o, from->sample);
    json_put_int(&o, t->n_prompt);
    json_put_ids(&o, t->ids, (size_t)t->n);
    json_close(&o, ']');
    hash_bytes(o.text, o.size, sha256);
    free(o.text);
    struct db_shadow_text row = {.sha256 = sha256,
                                 .source = texts->source,
                                 .dataset = from->dataset,
                                 .sample = from->sample,
                                 .n_prompt = t->n_prompt,
                                 .n_new = t->n - t->n_prompt};
    return db_shadow_text(store->db, &row, &store->texts[text], e);
}

static void make_key(const char *config, const char *text_sha256, char key[HASH_HEX]) {
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_raw(&o, "cell", config);
    json_add_text(&o, "text", text_sha256);
    json_close(&o, '}');
    hash_bytes(o.text, o.size, key);
    free(o.text);
}

/* A text that came before needs no second replay. */
static bool is_second(const struct shadow_store *store, int text) {
    for (int t = 0; t < text; t++)
        if (store->texts[t] == store->texts[text])
            return true;
    return false;
}

static bool put_all(struct shadow_store *store, const struct shadow_texts *texts,
                    enum precision precision, const char *backend, char (*sha256)[HASH_HEX],
                    struct err *e) {
    const struct shadow *s = store->shadow;
    int64_t model;
    if (!put_model(store->db, texts, &model, e))
        return false;
    for (int t = 0; t < s->n_texts; t++)
        if (!put_text(store, texts, t, sha256[t], e))
            return false;
    bool ok = true;
    for (int p = 0; ok && p < s->n_plans; p++) {
        char *config = config_of(s, &s->plans[p], precision, backend);
        ok = put_cell(store, p, model, config, precision, backend, e);
        for (int t = 0; ok && t < s->n_texts; t++) {
            int at = t * s->n_plans + p;
            make_key(config, sha256[t], store->keys[at]);
            ok = db_shadow_done(store->db, store->keys[at], &store->done[at], e);
            store->done[at] = store->done[at] || is_second(store, t);
            store->n_done += store->done[at];
        }
        free(config);
    }
    store->n_done_first = store->n_done;
    return ok;
}

bool shadow_store_open(struct shadow_store *store, struct db *db, int64_t run,
                       const struct shadow *s, const struct shadow_texts *texts,
                       enum precision precision, const char *backend, struct err *e) {
    size_t n = (size_t)s->n_texts, all = n * (size_t)s->n_plans;
    *store = (struct shadow_store){.db = db, .run = run, .shadow = s};
    store->cells = must_zalloc((size_t)s->n_plans, sizeof *store->cells);
    store->texts = must_zalloc(n, sizeof *store->texts);
    store->keys = must_zalloc(all, sizeof *store->keys);
    store->done = must_zalloc(all, sizeof *store->done);
    char(*sha256)[HASH_HEX] = must_zalloc(n, sizeof *sha256);
    bool ok =
        db_begin(db, e) && put_all(store, texts, precision, backend, sha256, e) && db_commit(db, e);
    free(sha256);
    if (ok)
        return true;
    db_rollback(db);
    shadow_store_close(store);
    return false;
}

void shadow_store_close(struct shadow_store *store) {
    free(store->cells);
    free(store->texts);
    free(store->keys);
    free(store->done);
    *store = (struct shadow_store){0};
}

bool shadow_store_wanted(void *user, int text, int plan) {
    const struct shadow_store *store = user;
    return !store->done[text * store->shadow->n_plans + plan];
}

static char *steps_json(const struct shadow_result *r) {
    struct json_out o = {0};
    json_open(&o, '[');
    for (int i = 0; i < r->n_steps; i++) {
        char number[32];
        snprintf(number, sizeof number, "%.6g", r->kl[i]);
        json_put_raw(&o, number);
    }
    json_close(&o, ']');
    return o.text;
}

bool shadow_store_add(void *user, const struct shadow_result *r, struct err *e) {
    struct shadow_store *store = user;
    const struct shadow *s = store->shadow;
    const struct config *c = &s->model->config;
    int at = r->text * s->n_plans + r->plan, heads = c->n_layers * c->n_kv_heads;
    double kl = 0, agreed = 0, lost = 0;
    for (int i = 0; i < r->n_steps; i++)
        kl += r->kl[i], agreed += r->agrees[i];
    for (int h = 0; r->lost && h < heads; h++)
        lost += (double)r->lost[h] / heads;
    char *steps = steps_json(r);
    struct db_shadow row = {
        .key = store->keys[at],
        .run = store->run,
        .cell = store->cells[r->plan],
        .text = store->texts[r->text],
        .kl = kl / r->n_steps,
        .agreement = agreed / r->n_steps,
        .first_divergence = r->first_divergence,
        .lost = r->lost ? lost : (double)NAN,
        .effective_budget = plan_effective_budget(&s->plans[r->plan], s->texts[r->text].n_prompt),
        .kept_peak = r->stats.kept_peak,
        .kv_bytes_peak = r->stats.kv_bytes_peak,
        .evictions = r->stats.evictions,
        .steps = steps,
        .heads = r->lost,
        .n_layers = c->n_layers,
        .n_kv_heads = c->n_kv_heads,
    };
    bool ok = db_add_shadow(store->db, &row, e);
    free(steps);
    store->done[at] = ok;
    log_status(false, "shadow: %d of %d", ++store->n_done, s->n_texts * s->n_plans);
    return ok;
}
