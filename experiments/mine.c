#include "experiments/mine.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "experiments/stop.h"

/* --- problems ------------------------------------------------------------------------------- */

static bool read_problem(struct mine *m, int i, struct err *e) {
    struct mined *x = &m->problems[i];
    if (!dataset_get(&m->dataset, i, &x->problem, e) ||
        !chat_encode(m->model, &m->chat, x->problem.prompt, strlen(x->problem.prompt), &x->ids, e))
        return err_in(e, "dataset %s", m->dataset.name);
    x->n_prompt = (int)x->ids.count;
    const char *solution = x->problem.solution;
    if (m->gold && !solution)
        return err_set(e, EXIT_USAGE, "dataset %s has no solutions to force", m->dataset.name);
    if (m->gold &&
        !tokenizer_encode(m->model->tokenizer, solution, strlen(solution), false, &x->ids, e))
        return err_in(e, "solution of %s", x->problem.id);
    int64_t total = (int64_t)x->ids.count + m->max_new;
    if (total > m->model->config.max_positions)
        return err_set(e, EXIT_CONTENT, "sample %s: %lld tokens, the model has %d positions",
                       x->problem.id, (long long)total, m->model->config.max_positions);
    m->longest = total > m->longest ? (int32_t)total : m->longest;
    return true;
}

bool mine_open(struct mine *m, const struct model *model, const char *dataset, const char *template,
               int64_t n, int max_new, struct err *e) {
    *m = (struct mine){.model = model, .gold = !max_new, .max_new = max_new};
    if (!model->tokenizer)
        return err_set(e, EXIT_CONTENT, "%s: expected a tokenizer", model->path);
    if (!chat_open(model, template, &m->chat, e) || !dataset_parse(dataset, &m->dataset, e))
        return false;
    int64_t count = dataset_count(&m->dataset, e);
    bool ok = count >= 0;
    n = count < n ? count : n;
    m->problems = must_zalloc((size_t)(ok ? n : 0) + 1, sizeof *m->problems);
    for (; ok && m->n < n; m->n += ok)
        ok = read_problem(m, m->n, e);
    if (!ok) {
        m->n += count > m->n; /* the one that was begun */
        mine_close(m);
    }
    return ok;
}

void mine_close(struct mine *m) {
    for (int i = 0; i < m->n; i++) {
        problem_free(&m->problems[i].problem);
        id_list_free(&m->problems[i].ids);
    }
    free(m->problems);
    free(m->dataset.param);
    *m = (struct mine){0};
}

/* --- decoding --------------------------------------------------------------------------------- */

static bool decode(struct mine *m, struct mined *x, int index, struct session *session,
                   const struct plan *plan, const struct mine_sink *sink, struct err *e) {
    struct event *events = must_zalloc(SESSION_WIDTH, sizeof *events);
    struct request request = {
        .ids = x->ids.ids,
        .n_ids = x->n_prompt,
        .plan = plan,
        .max_new = m->gold ? 1 : m->max_new,
        .ignore_eos = m->gold,
        .forced = m->gold ? x->ids.ids + x->n_prompt : NULL,
        .n_forced = m->gold ? (int)x->ids.count - x->n_prompt : 0,
        .key = rng_key(0, (uint64_t)index),
        .user = sink->context,
        .on_attention = sink->row,
        .watch_prompt = sink->prompts,
    };
    bool ok = session_add(session, &request, e);
    while (ok && session_active(session)) {
        int n = session_step(session, events, e);
        ok = n >= 0;
        for (int i = 0; ok && i < n; i++)
            if (events[i].id < 0)
                ok = err_set(e, EXIT_CONTENT, "logits that are not finite");
            else if (!m->gold)
                id_list_add(&x->ids, events[i].id);
    }
    free(events);
    return ok;
}

bool mine_run(struct mine *m, struct session *session, const struct plan *plan,
              const struct mine_sink *sink, struct err *e) {
    for (int i = 0; i < m->n; i++) {
        struct mined *x = &m->problems[i];
        if (stop_requested())
            return err_set(e, EXIT_SIGNAL, "stopped after %d of %d problems", i, m->n);
        if (!m->gold)
            x->ids.count = (size_t)x->n_prompt; /* what an earlier run generated */
        if (sink->begin)
            sink->begin(sink->context, x);
        if (!decode(m, x, i, session, plan, sink, e) ||
            (sink->end && !sink->end(sink->context, x, e)))
            return err_in(e, "sample %s", x->problem.id);
        log_status(false, "%s: %d of %d problems", plan->name, i + 1, m->n);
    }
    log_status_end();
    return true;
}

/* --- the miner -------------------------------------------------------------------------------- */

struct attended mine_head(const struct attention_row *row, int g) {
    return (struct attended){.query = row->query,
                             .prompt = row->prompt,
                             .held = row->n_resident,
                             .n = row->n,
                             .position = row->position,
                             .prob = row->prob + (size_t)g * (size_t)row->n};
}

static void begin(void *context, const struct mined *mined) {
    miner_begin(context, mined->n_prompt);
}

static void take_row(void *context, const struct attention_row *row) {
    for (int g = 0; g < row->group; g++) {
        struct attended a = mine_head(row, g);
        miner_row(context, row->layer, row->kv_head * row->group + g, &a, true);
    }
}

static bool end(void *context, const struct mined *mined, struct err *e) {
    (void)mined, (void)e;
    miner_end(context);
    return true;
}

struct mine_sink mine_into(struct miner *miner) {
    return (struct mine_sink){.context = miner,
                              .prompts = miner->params.rows == ROWS_ALL,
                              .begin = begin,
                              .row = take_row,
                              .end = end};
}

/* --- the database ----------------------------------------------------------------------------- */

bool mine_register(const struct mine *m, struct db *db, struct miner_source *source,
                   struct err *e) {
    const char *slash = strrchr(m->model->path, '/');
    struct db_model model = {.name = slash && slash[1] ? slash + 1 : m->model->path,
                             .weights_sha256 = m->model->hash,
                             .tokenizer_sha256 = m->model->tokenizer_hash,
                             .template_sha256 = *m->chat.sha256 ? m->chat.sha256 : NULL};
    char sha256[HASH_HEX];
    char *options = dataset_provenance(&m->dataset, e);
    struct db_dataset dataset = {.name = m->dataset.name,
                                 .options = options,
                                 .sha256 = sha256,
                                 .metric = m->dataset.dataset->metric};
    bool ok = options && dataset_sha256(&m->dataset, sha256, e) &&
              db_model(db, &model, &source->model, e) &&
              db_dataset(db, &dataset, &source->dataset, e);
    free(options);
    return ok;
}
