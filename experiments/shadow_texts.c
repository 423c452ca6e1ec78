#include "experiments/shadow_texts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonl.h"

void shadow_texts_free(struct shadow_texts *t) {
    for (int i = 0; i < t->n; i++) {
        free((int32_t *)t->texts[i].ids);
        free(t->origins[i].dataset);
        free(t->origins[i].sample);
    }
    free(t->texts);
    free(t->origins);
    t->texts = NULL, t->origins = NULL, t->n = t->room = 0;
}

/* Takes both lists over, and frees them on failure. */
static bool add(struct shadow_texts *t, const char *dataset, const char *sample,
                struct id_list *prompt, struct id_list *ids, struct err *e) {
    size_t n_prompt = prompt->count, most = (size_t)t->model->config.max_positions;
    bool ok = ids->count > 0 || err_set(e, EXIT_CONTENT, "no generated ids");
    id_list_append(prompt, ids);
    ok = ok && (prompt->count <= most ||
                err_set(e, EXIT_CONTENT, "%zu tokens, expected at most the %zu positions of %s",
                        prompt->count, most, t->model->path));
    for (size_t i = 0; ok && i < prompt->count; i++)
        ok = (prompt->ids[i] >= 0 && prompt->ids[i] < t->model->config.vocab) ||
             err_set(e, EXIT_CONTENT, "id %d, expected 0 to %d", prompt->ids[i],
                     t->model->config.vocab - 1);
    id_list_free(ids);
    if (!ok) {
        id_list_free(prompt);
        return false;
    }
    if (t->n == t->room) {
        t->room = t->room ? 2 * t->room : 64;
        t->texts = must_realloc(t->texts, (size_t)t->room * sizeof *t->texts);
        t->origins = must_realloc(t->origins, (size_t)t->room * sizeof *t->origins);
    }
    t->texts[t->n] = (struct shadow_text){prompt->ids, (int)n_prompt, (int)prompt->count};
    t->origins[t->n++] = (struct shadow_origin){must_strdup(dataset), must_strdup(sample)};
    t->longest = (int)prompt->count > t->longest ? (int)prompt->count : t->longest;
    *prompt = (struct id_list){0};
    return true;
}

static bool encode(const struct shadow_texts *t, const char *prompt, struct id_list *out,
                   struct err *e) {
    return chat_encode(t->model, t->chat, prompt, strlen(prompt), out, e);
}

/* --- gold solutions --------------------------------------------------------------------------- */

static bool add_gold(struct shadow_texts *t, const struct dataset_choice *from,
                     const struct problem *p, struct err *e) {
    struct id_list prompt = {0}, ids = {0};
    if (!p->solution || !*p->solution)
        return err_set(e, EXIT_USAGE, "%s %s: no gold solution", from->name, p->id);
    if (encode(t, p->prompt, &prompt, e) &&
        tokenizer_encode(t->model->tokenizer, p->solution, strlen(p->solution), false, &ids, e) &&
        add(t, from->name, p->id, &prompt, &ids, e))
        return true;
    id_list_free(&prompt);
    id_list_free(&ids);
    return err_in(e, "%s %s", from->name, p->id);
}

bool shadow_texts_gold(struct shadow_texts *t, const struct dataset_choice *from, int64_t limit,
                       struct err *e) {
    t->source = "gold";
    int64_t n = dataset_count(from, e);
    if (n < 0)
        return false;
    if (n == INT64_MAX && !limit)
        return err_set(e, EXIT_USAGE, "%s has no end: expected --n", from->name);
    for (int64_t i = 0; i < n && (!limit || i < limit); i++) {
        struct problem p = {0};
        bool ok = dataset_get(from, i, &p, e) && add_gold(t, from, &p, e);
        problem_free(&p);
        if (!ok)
            return false;
    }
    return true;
}

/* --- lines ------------------------------------------------------------------------------------ */

/* The prompt of the line, from wherever it says; `sample` becomes the problem's name, if any. */
static bool read_prompt(const struct shadow_texts *t, const struct json *line,
                        const struct dataset_choice *from, char sample[64], struct id_list *out,
                        struct err *e) {
    const struct json *ids = json_get(line, "prompt_ids"), *text = json_get(line, "prompt");
    int64_t index;
    if (ids)
        return id_list_read(out, ids, e);
    if (text && json_text(text))
        return encode(t, json_text(text), out, e);
    if (!from || !json_get(line, "index") ||
        !json_integer(json_get(line, "index"), 0, INT64_MAX >> 11, &index))
        return err_set(e, EXIT_CONTENT,
                       "expected \"prompt\", \"prompt_ids\" or (with --dataset) \"index\"");
    struct problem p = {0};
    bool ok = dataset_get(from, index, &p, e) && encode(t, p.prompt, out, e);
    if (ok)
        snprintf(sample, 64, "%s", p.id);
    problem_free(&p);
    return ok;
}

static bool check_count(const struct json *line, size_t n, struct err *e) {
    const struct json *said = json_get(line, "prompt_tokens");
    int64_t count;
    return !said || (json_integer(said, 0, INT32_MAX, &count) && (size_t)count == n) ||
           err_set(e, EXIT_CONTENT,
                   "the prompt has %zu tokens, which is not what \"prompt_tokens\" says: another "
                   "template, or another problem",
                   n);
}

static bool add_line(struct shadow_texts *t, const struct json *line, const char *name,
                     const char *file, const struct dataset_choice *from, struct err *e) {
    struct id_list prompt = {0}, ids = {0};
    char sample[64] = "";
    const struct json *generated = json_get(line, "ids");
    bool ok = (generated && json_type(generated) == JSON_ARRAY) ||
              err_set(e, EXIT_CONTENT, "expected \"ids\", a list");
    ok = ok && id_list_read(&ids, generated, e) && read_prompt(t, line, from, sample, &prompt, e) &&
         check_count(line, prompt.count, e);
    if (ok && add(t, *sample ? from->name : file, *sample ? sample : name, &prompt, &ids, e))
        return true;
    id_list_free(&prompt);
    id_list_free(&ids);
    return err_in(e, "%s", name);
}

bool shadow_texts_lines(struct shadow_texts *t, const char *path, const struct dataset_choice *from,
                        int64_t limit, struct err *e) {
    struct jsonl lines;
    struct json_doc *doc;
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    t->source = "lines";
    if (!jsonl_open(&lines, path, e))
        return false;
    for (int64_t i = 0; (!limit || i < limit) && !e->code && jsonl_next(&lines, &doc, e); i++) {
        char name[64];
        snprintf(name, sizeof name, "line %zu", lines.number);
        if (doc)
            add_line(t, json_root(doc), name, file, from, e);
        json_free(doc);
    }
    jsonl_close(&lines);
    return e->code ? err_in(e, "%s", path) : true;
}

/* --- stored answers --------------------------------------------------------------------------- */

static bool add_stored(struct shadow_texts *t, struct db_query *q, struct err *e) {
    struct id_list prompt = {0}, ids = {0};
    char name[256];
    snprintf(name, sizeof name, "%s %s", db_text(q, 0), db_text(q, 1));
    struct json_doc *doc = json_parse(db_text(q, 3), strlen(db_text(q, 3)), name, e);
    bool ok = doc && id_list_read(&ids, json_root(doc), e) && encode(t, db_text(q, 2), &prompt, e);
    json_free(doc);
    if (ok && (int64_t)prompt.count != db_int(q, 4))
        ok = err_set(e, EXIT_CONTENT,
                     "the prompt has %zu tokens, the run's had %" PRId64
                     ": expected the same model and --template",
                     prompt.count, db_int(q, 4));
    if (ok && add(t, db_text(q, 0), db_text(q, 1), &prompt, &ids, e))
        return true;
    id_list_free(&prompt);
    id_list_free(&ids);
    return err_in(e, "%s", name);
}

bool shadow_texts_run(struct shadow_texts *t, struct db *db, int64_t run, int64_t limit,
                      struct err *e) {
    t->source = "answers";
    struct db_query *q =
        db_query(db,
                 "SELECT dataset.name, sample.name, sample.prompt, result.ids, "
                 "result.prompt_tokens FROM result JOIN cell ON cell.id = result.cell_id "
                 "JOIN run_cell ON run_cell.cell_id = cell.id AND run_cell.run_id = ?1 "
                 "JOIN sample ON sample.id = result.sample_id "
                 "JOIN dataset ON dataset.id = sample.dataset_id "
                 "WHERE cell.policy = 'full' AND result.repeat = 0 AND result.ids IS NOT NULL "
                 "AND json_array_length(result.ids) > 0 ORDER BY dataset.name, sample.position",
                 e);
    if (!q)
        return false;
    db_bind_int(q, 1, run);
    bool ok = true;
    for (int64_t i = 0; ok && (!limit || i < limit) && db_next(q, e); i++)
        ok = add_stored(t, q, e);
    ok = db_query_end(q) && ok;
    if (ok && !t->n)
        return err_set(e, EXIT_CONTENT, "%s: no answers under full attention in that run",
                       db_path(db));
    return ok;
}
