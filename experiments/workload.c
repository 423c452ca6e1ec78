#include "experiments/workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { ISOLATED_REPEATS = 5 };

/* --- problems and prompts ------------------------------------------------------------------- */

static bool encode_prompt(const struct workload *w, const struct problem *problem,
                          struct id_list *out, struct err *e) {
    return chat_encode(w->model, &w->chat, problem->prompt, strlen(problem->prompt), out, e) ||
           err_in(e, "sample %s", problem->id);
}

static bool check_length(const struct workload *w, const struct sample *s, int64_t max_new,
                         struct err *e) {
    int64_t total = (int64_t)s->prompt.count + max_new;
    if (total <= w->model->config.max_positions)
        return true;
    return err_set(e, EXIT_CONTENT,
                   "sample %s: a prompt of %zu tokens and max_new %lld; expected at most the %d "
                   "positions of %s together",
                   s->problem.id, s->prompt.count, (long long)max_new,
                   w->model->config.max_positions, w->model->path);
}

static int64_t longest_max_new(const struct experiment *x, int dataset) {
    int64_t longest = 0;
    for (int c = 0; c < x->n_cells; c++)
        if (x->cells[c].dataset == dataset && x->cells[c].max_new > longest)
            longest = x->cells[c].max_new;
    return longest;
}

static bool read_set(struct workload *w, int index, int64_t limit, struct err *e) {
    const struct dataset_choice *d = &w->experiment->datasets[index];
    struct sample_set *set = &w->sets[index];
    int64_t n = w->experiment->n, count = dataset_count(d, e);
    if (count < 0 || !dataset_sha256(d, set->sha256, e))
        return err_in(e, "dataset %s", d->name);
    if (limit && limit < n)
        n = limit;
    if (count < n) {
        log_warn("dataset %s: has %lld problems, %lld were asked for: all of them are taken",
                 d->name, (long long)count, (long long)n);
        n = count;
    }
    set->samples = must_zalloc((size_t)n, sizeof *set->samples);
    int64_t max_new = longest_max_new(w->experiment, index);
    for (int64_t i = 0; i < n; i++) {
        struct sample *s = &set->samples[set->n++];
        if (!dataset_get(d, i, &s->problem, e) || !encode_prompt(w, &s->problem, &s->prompt, e) ||
            !check_length(w, s, max_new, e))
            return err_in(e, "dataset %s", d->name);
        if ((int64_t)s->prompt.count + max_new > w->max_total)
            w->max_total = (int)((int64_t)s->prompt.count + max_new);
    }
    return true;
}

bool workload_open(const struct experiment *x, const struct model *model, int64_t limit,
                   bool isolated, struct workload *out, struct err *e) {
    *out = (struct workload){.experiment = x, .model = model, .isolated = isolated};
    out->sets = must_zalloc((size_t)x->n_datasets, sizeof *out->sets);
    out->configs = must_zalloc((size_t)x->n_cells, sizeof *out->configs);
    out->planned = must_zalloc((size_t)x->n_cells, sizeof *out->planned);
    out->done = must_zalloc((size_t)x->n_cells, sizeof *out->done);
    bool ok = model->tokenizer || err_set(e, EXIT_CONTENT,
                                          "%s: expected a tokenizer, without which no prompt "
                                          "can be read",
                                          model->path);
    ok = ok && chat_open(model, x->template, &out->chat, e);
    for (int i = 0; ok && i < x->n_datasets; i++)
        ok = read_set(out, i, limit, e);
    if (!ok)
        workload_close(out);
    return ok;
}

void workload_close(struct workload *w) {
    for (int d = 0; w->sets && d < w->experiment->n_datasets; d++) {
        for (int i = 0; i < w->sets[d].n; i++) {
            problem_free(&w->sets[d].samples[i].problem);
            id_list_free(&w->sets[d].samples[i].prompt);
        }
        free(w->sets[d].samples);
    }
    for (int c = 0; w->configs && c < w->experiment->n_cells; c++)
        free(w->configs[c]);
    free(w->sets);
    free(w->configs);
    free(w->planned);
    free(w->done);
    free(w->jobs);
    *w = (struct workload){0};
}

/* --- the order of samples ------------------------------------------------------------------ */

struct turn {
    int dataset, sample;
    double expected; /* length of its answers, tokens; 0: nothing stored */
};

/* Fills `expected` of the samples that have answers in the database, whoever gave them. */
static bool look_up_lengths(const struct workload *w, int dataset, struct db *db,
                            struct turn *turns, struct err *e) {
    const struct sample_set *set = &w->sets[dataset];
    struct db_query *q = db_query(db,
                                  "SELECT sample.position, avg(new_tokens) FROM dataset "
                                  "JOIN sample ON sample.dataset_id = dataset.id "
                                  "JOIN result ON result.sample_id = sample.id "
                                  "WHERE dataset.name = ?1 AND dataset.sha256 = ?2 "
                                  "GROUP BY sample.id",
                                  e);
    if (!q)
        return false;
    db_bind_text(q, 1, w->experiment->datasets[dataset].name);
    db_bind_text(q, 2, set->sha256);
    while (db_next(q, e)) {
        int64_t place = db_int(q, 0);
        if (place < set->n)
            turns[place].expected = db_real(q, 1);
    }
    return db_query_end(q);
}

static int longest_first(const void *a, const void *b) {
    const struct turn *x = a, *y = b;
    if (x->expected != y->expected)
        return x->expected < y->expected ? 1 : -1;
    return x->sample != y->sample ? x->sample - y->sample : x->dataset - y->dataset;
}

/* Samples in the order of their turns. What has no answer yet is taken to be as long, for the
 * length of its prompt, as the others are for theirs. free(); NULL on error. */
static struct turn *schedule(const struct workload *w, struct db *db, int *n_turns, struct err *e) {
    int n = 0;
    double answers = 0, prompts = 0;
    for (int d = 0; d < w->experiment->n_datasets; d++)
        n += w->sets[d].n;
    struct turn *turns = must_zalloc((size_t)n + 1, sizeof *turns);
    for (int d = 0, from = 0; d < w->experiment->n_datasets; from += w->sets[d++].n) {
        for (int i = 0; i < w->sets[d].n; i++)
            turns[from + i] = (struct turn){.dataset = d, .sample = i};
        if (db && !look_up_lengths(w, d, db, turns + from, e)) {
            free(turns);
            return NULL;
        }
    }
    for (int i = 0; i < n; i++)
        if (turns[i].expected > 0) {
            answers += turns[i].expected;
            prompts += (double)w->sets[turns[i].dataset].samples[turns[i].sample].prompt.count;
        }
    double ratio = prompts > 0 ? answers / prompts : 1;
    for (int i = 0; i < n; i++)
        if (!(turns[i].expected > 0))
            turns[i].expected =
                ratio * (double)w->sets[turns[i].dataset].samples[turns[i].sample].prompt.count;
    qsort(turns, (size_t)n, sizeof *turns, longest_first);
    *n_turns = n;
    return turns;
}

/* --- jobs ---------------------------------------------------------------------------------- */

/* NULL: no template. */
static const char *template_hash(const struct workload *w) {
    return *w->chat.sha256 ? w->chat.sha256 : NULL;
}

static struct cell_identity identity_of(const struct workload *w, int dataset) {
    return (struct cell_identity){.model_sha256 = w->model->hash,
                                  .tokenizer_sha256 = w->model->tokenizer_hash,
                                  .dataset_sha256 = w->sets[dataset].sha256,
                                  .template_sha256 = template_hash(w),
                                  .prompt_variant = chat_name(&w->chat),
                                  .isa = w->isa,
                                  .isolated = w->isolated};
}

static int repeats_of(const struct workload *w, const struct experiment_cell *cell) {
    bool few = w->isolated && cell->repeats < ISOLATED_REPEATS;
    return few ? ISOLATED_REPEATS : cell->repeats;
}

static bool add_job(struct workload *w, struct db *db, struct job job, int *room, struct err *e) {
    bool done = false;
    db_key(w->configs[job.cell], workload_sample(w, &job)->problem.id, job.repeat, job.key);
    if (db && !db_done(db, job.key, &done, e))
        return false;
    w->planned[job.cell]++;
    w->done[job.cell] += done;
    if (done)
        return true;
    if (w->n_jobs == *room) {
        *room = *room ? 2 * *room : 256;
        w->jobs = must_realloc(w->jobs, (size_t)*room * sizeof *w->jobs);
    }
    w->jobs[w->n_jobs++] = job;
    return true;
}

int64_t workload_answers(const struct workload *w, int cell) {
    const struct experiment_cell *c = &w->experiment->cells[cell];
    return (int64_t)w->sets[c->dataset].n * repeats_of(w, c);
}

/* All cells of one sample: an interrupted run then has about the same n in every cell. */
static bool add_sample(struct workload *w, struct db *db, const struct turn *turn,
                       char *const *plans, int shard, int n_shards, int *room, struct err *e) {
    const struct experiment *x = w->experiment;
    for (int c = 0; c < x->n_cells; c++) {
        if (x->cells[c].dataset != turn->dataset)
            continue;
        for (int r = 0; r < repeats_of(w, &x->cells[c]); r++) {
            struct job job = {.cell = c, .sample = turn->sample, .repeat = r};
            const char *id = workload_sample(w, &job)->problem.id;
            if (n_shards > 1 && job_shard(plans[c], id, r, n_shards) != shard)
                continue;
            if (!add_job(w, db, job, room, e))
                return false;
        }
    }
    return true;
}

bool workload_plan(struct workload *w, struct db *db, int shard, int n_shards, struct err *e) {
    const struct experiment *x = w->experiment;
    char **plans = must_zalloc((size_t)x->n_cells, sizeof *plans);
    int n_turns, room = 0;
    for (int c = 0; c < x->n_cells; c++) {
        struct cell_identity identity = identity_of(w, x->cells[c].dataset);
        free(w->configs[c]);
        w->configs[c] = cell_config(x, &x->cells[c], &identity);
        plans[c] = cell_config(x, &x->cells[c], NULL);
        w->planned[c] = w->done[c] = 0;
    }
    w->n_jobs = 0;
    struct turn *turns = schedule(w, db, &n_turns, e);
    bool ok = turns != NULL;
    for (int i = 0; ok && i < n_turns; i++)
        ok = add_sample(w, db, &turns[i], plans, shard, n_shards, &room, e);
    free(turns);
    for (int c = 0; c < x->n_cells; c++)
        free(plans[c]);
    free(plans);
    return ok;
}

struct sample *workload_sample(const struct workload *w, const struct job *job) {
    return &w->sets[w->experiment->cells[job->cell].dataset].samples[job->sample];
}

uint64_t workload_kv_bytes(const struct workload *w, const struct experiment_cell *cell) {
    const struct sample_set *set = &w->sets[cell->dataset];
    int32_t most = 0;
    for (int i = 0; i < set->n; i++) {
        int32_t prompt = (int32_t)set->samples[i].prompt.count;
        int32_t total = prompt + (int32_t)cell->max_new - 1;
        int32_t capacity = plan_capacity(&cell->plan, prompt, total);
        capacity = capacity < total ? capacity : total;
        most = capacity > most ? capacity : most;
    }
    return session_kv_bytes(w->model, w->experiment->precision, most);
}

/* --- into the database ---------------------------------------------------------------------- */

static bool register_cell(const struct workload *w, int index, int64_t model, struct db *db,
                          int64_t *id, struct err *e) {
    const struct experiment *x = w->experiment;
    const struct experiment_cell *cell = &x->cells[index];
    struct db_cell row = {
        .model = model,
        .dataset = w->sets[cell->dataset].id,
        .config = w->configs[index],
        .policy = cell->plan.name,
        .policy_options = cell->plan.json,
        .policy_version = cell->plan.policy->version,
        .budget = cell->plan.match ? 0 : cell->plan.budget,
        .prompt_variant = chat_name(&w->chat),
        .temperature = cell->temperature,
        .top_p = cell->top_p,
        .seed = cell->seed,
        .max_new = cell->max_new,
        .precision = precision_name(x->precision),
        .backend = x->backend,
        .isa = w->isa,
        .width = w->isolated ? x->width : 0,
        .timing = w->isolated ? DB_ISOLATED : DB_SHARED,
    };
    return db_cell(db, &row, id, e);
}

bool workload_register(struct workload *w, struct db *db, int64_t *cell_ids, struct err *e) {
    const struct experiment *x = w->experiment;
    const char *slash = strrchr(w->model->path, '/');
    struct db_model model = {.name = slash && slash[1] ? slash + 1 : w->model->path,
                             .weights_sha256 = w->model->hash,
                             .tokenizer_sha256 = w->model->tokenizer_hash,
                             .template_sha256 = template_hash(w)};
    int64_t model_id;
    if (!db_model(db, &model, &model_id, e))
        return false;
    for (int d = 0; d < x->n_datasets; d++) {
        char *options = dataset_provenance(&x->datasets[d], e);
        struct db_dataset row = {.name = x->datasets[d].name,
                                 .options = options,
                                 .sha256 = w->sets[d].sha256,
                                 .metric = x->datasets[d].dataset->metric};
        bool ok = options && db_dataset(db, &row, &w->sets[d].id, e);
        free(options);
        if (!ok)
            return false;
    }
    for (int c = 0; c < x->n_cells; c++)
        if (!register_cell(w, c, model_id, db, &cell_ids[c], e))
            return false;
    return true;
}
