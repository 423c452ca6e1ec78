/* Wrong answers, read back from the database as they were asked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chat.h"
#include "experiments/answer.h"
#include "experiments/explain.h"

/* The budget is that of the options, since a column has none for cells that match another policy.
 */
static const char answers_sql[] =
    "SELECT r.id, r.key, d.name, s.name, s.position, s.prompt, c.policy, "
    "c.policy_options ->> '$.options.budget', c.policy_options, c.prompt_variant, c.precision, "
    "c.isa, c.backend, c.seed, c.temperature, "
    "r.repeat, r.ids, r.finish, r.prompt_tokens, r.extracted "
    "FROM v_result AS v JOIN result AS r ON r.key = v.key JOIN cell AS c ON c.id = r.cell_id "
    "JOIN sample AS s ON s.id = r.sample_id JOIN dataset AS d ON d.id = c.dataset_id "
    "JOIN model AS m ON m.id = c.model_id "
    "WHERE v.correct = 0 AND r.finish <> 'numeric' AND r.ids IS NOT NULL "
    "AND (d.name = 'lemmas' OR d.name LIKE 'lemmas:%') AND m.weights_sha256 = ?1 "
    "AND m.tokenizer_sha256 = ?2 "
    "AND (?3 = 0 OR c.id IN (SELECT cell_id FROM run_cell WHERE run_id = ?3)) "
    "AND (?4 IS NULL OR s.name = ?4) AND (?5 IS NULL OR c.policy = ?5) "
    "AND (?6 = 0 OR c.budget = ?6) "
    "ORDER BY c.backend, c.precision, c.isa, d.name, s.position, c.policy, c.budget, c.id, "
    "r.repeat";
enum {
    RESULT,
    KEY,
    DATASET,
    SAMPLE,
    POSITION,
    PROMPT,
    POLICY,
    BUDGET,
    OPTIONS,
    TEMPLATE,
    PRECISION,
    ISA,
    BACKEND,
    SEED,
    TEMPERATURE,
    REPEAT,
    IDS,
    FINISH,
    PROMPT_TOKENS,
    EXTRACTED
};

void explain_answers_free(struct explain_answers *answers) {
    for (int i = 0; i < answers->n; i++) {
        struct explain_answer *a = &answers->items[i];
        free(a->dataset);
        free(a->sample);
        free(a->policy);
        free(a->extracted);
        free(a->ids);
        problem_free(&a->problem);
    }
    free(answers->items);
    *answers = (struct explain_answers){0};
}

static bool read_problem(const struct db_query *q, struct problem *out, struct err *e) {
    struct dataset_choice from;
    if (!dataset_parse(db_text(q, DATASET), &from, e))
        return false;
    bool ok = dataset_get(&from, db_int(q, POSITION), out, e);
    free(from.param);
    if (ok && strcmp(out->prompt, db_text(q, PROMPT)) != 0)
        ok = err_set(e, EXIT_CONTENT, "this program's generator makes another problem of it");
    return ok;
}

static bool read_ids(const struct db_query *q, const struct model *model, struct explain_answer *a,
                     struct err *e) {
    struct id_list ids = {0};
    struct chat chat;
    const char *prompt = db_text(q, PROMPT), *list = db_text(q, IDS);
    bool ok = chat_open(model, db_text(q, TEMPLATE), &chat, e) &&
              chat_encode(model, &chat, prompt, strlen(prompt), &ids, e);
    a->n_prompt = (int)ids.count;
    if (ok && (int64_t)ids.count != db_int(q, PROMPT_TOKENS))
        ok = err_set(e, EXIT_CONTENT, "the prompt has %zu tokens, it had %" PRId64, ids.count,
                     db_int(q, PROMPT_TOKENS));
    struct json_doc *doc = ok ? json_parse(list, strlen(list), "ids", e) : NULL;
    ok = doc && id_list_read(&ids, json_root(doc), e);
    json_free(doc);
    a->ids = ids.ids, a->n = (int)ids.count;
    return ok;
}

static bool read_answer(const struct db_query *q, const struct model *model,
                        struct explain_answer *a, struct err *e) {
    char policy[256];
    a->result = db_int(q, RESULT);
    snprintf(a->result_key, sizeof a->result_key, "%s", db_text(q, KEY));
    a->dataset = must_strdup(db_text(q, DATASET));
    a->sample = must_strdup(db_text(q, SAMPLE));
    policy_spell(db_text(q, POLICY), db_int(q, BUDGET), policy, sizeof policy);
    a->policy = must_strdup(policy);
    a->extracted = must_strdup(db_text(q, EXTRACTED));
    a->draws = answer_draws(db_int(q, SEED), db_int(q, POSITION), db_int(q, REPEAT));
    a->greedy = db_real(q, TEMPERATURE) <= 0;
    a->capped = !strcmp(db_text(q, FINISH), "cap");
    a->precision = strcmp(db_text(q, PRECISION), "fp32") ? PRECISION_BF16 : PRECISION_FP32;
    snprintf(a->isa, sizeof a->isa, "%s", db_text(q, ISA));
    snprintf(a->backend, sizeof a->backend, "%s", db_text(q, BACKEND));
    return policy_parse(a->policy, &a->plan, e) && read_problem(q, &a->problem, e) &&
           read_ids(q, model, a, e);
}

bool explain_answers_load(struct explain_answers *out, struct db *db, const struct model *model,
                          const struct explain_choice *choice, struct err *e) {
    *out = (struct explain_answers){0};
    struct db_query *q = db_query(db, answers_sql, e);
    if (!q)
        return false;
    db_bind_text(q, 1, model->hash);
    db_bind_text(q, 2, model->tokenizer_hash);
    db_bind_int(q, 3, choice->run);
    db_bind_text(q, 4, choice->sample);
    db_bind_text(q, 5, choice->policy);
    db_bind_int(q, 6, choice->budget);
    bool ok = true;
    while (ok && db_next(q, e)) {
        out->items = must_realloc(out->items, (size_t)(out->n + 1) * sizeof *out->items);
        struct explain_answer *a = &out->items[out->n++];
        *a = (struct explain_answer){0};
        ok = read_answer(q, model, a, e) || err_in(e, "sample %s", a->sample);
        if (ok && strcmp(a->plan.json, db_text(q, OPTIONS)) != 0) {
            struct explain_answers one = {.items = must_alloc(sizeof *a), .n = 1};
            one.items[0] = *a;
            explain_answers_free(&one);
            out->n--, out->other++;
        } else if (ok && a->n > out->longest) {
            out->longest = a->n;
        }
    }
    ok = db_query_end(q) && ok;
    if (!ok)
        explain_answers_free(out);
    return ok;
}
