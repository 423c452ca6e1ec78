#include "experiments/mine_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "datasets/dataset.h"
#include "experiments/stop.h"

enum fact {
    MODEL,
    MODEL_SHA256,
    TOKENIZER_SHA256,
    TEMPLATE_SHA256,
    DATASET,
    DATASET_SHA256,
    POLICY,
    BUDGET,
    SOLUTION,
    FACTS
};
static const char *const fact_names[FACTS] = {
    "model",          "model_sha256", "tokenizer_sha256", "template_sha256", "dataset",
    "dataset_sha256", "policy",       "budget",           "solution",
};

_Static_assert(FACTS == sizeof((struct mine_files *)0)->facts / sizeof(char *), "one for each");

/* Takes the first file's facts, and holds the others to them. */
static bool same_facts(struct mine_files *f, const struct attn_reader *r, const char *first,
                       struct err *e) {
    bool ok = true;
    for (int i = 0; ok && i < FACTS; i++) {
        char *text = attn_note(r, fact_names[i]);
        if (!text)
            ok = err_set(e, EXIT_CONTENT, "%s: expected attribute %s", attn_path(r), fact_names[i]);
        else if (!f->facts[i])
            f->facts[i] = text, text = NULL;
        else if (strcmp(text, f->facts[i]) != 0)
            ok = err_set(e, EXIT_USAGE, "%s: %s is %s, that of %s is %s: analyze them apart",
                         attn_path(r), fact_names[i], text, first, f->facts[i]);
        free(text);
    }
    return ok;
}

static bool new_sample(struct mine_files *f, const struct attn_reader *r, struct err *e) {
    static const char *const names[] = {"sample", "repeat", "seed"};
    char *notes[3], *sample;
    for (int i = 0; i < 3; i++)
        notes[i] = attn_note(r, names[i]);
    CHECK(asprintf(&sample, "%s, repeat %s, seed %s", notes[0] ? notes[0] : "?",
                   notes[1] ? notes[1] : "?", notes[2] ? notes[2] : "?") > 0);
    for (int i = 0; i < 3; i++)
        free(notes[i]);
    f->samples = must_realloc(f->samples, (size_t)(f->n_samples + 1) * sizeof *f->samples);
    f->samples[f->n_samples++] = sample;
    for (int i = 0; i + 1 < f->n_samples; i++)
        if (!strcmp(f->samples[i], sample))
            return err_set(e, EXIT_USAGE, "%s: sample %s, as in a file before it", attn_path(r),
                           sample);
    return true;
}

static bool take_file(struct mine_files *f, const char *path, const char *first,
                      const struct lifecycle_params *params, struct err *e) {
    struct attn_reader *r = attn_open(path, e);
    if (!r)
        return false;
    const struct attn_info *i = attn_info(r);
    bool ok = same_facts(f, r, first, e) && new_sample(f, r, e);
    if (ok && !f->miner.heads)
        miner_open(&f->miner, i->n_layers, i->n_heads, i->n_keys, params);
    ok = ok && miner_read(&f->miner, r, -1, -1, e);
    attn_close(r);
    return ok;
}

bool mine_files(struct mine_files *f, char *const *paths, int n,
                const struct lifecycle_params *params, struct err *e) {
    *f = (struct mine_files){0};
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        ok = take_file(f, paths[i], paths[0], params, e);
        if (ok && stop_requested())
            ok = err_set(e, EXIT_SIGNAL, "stopped after %d of %d files", i + 1, n);
        if (ok)
            log_status(false, "%d of %d files", i + 1, n);
    }
    log_status_end();
    if (!ok) {
        mine_files_close(f);
        return false;
    }
    bool budget = strcmp(f->facts[BUDGET], "0") != 0;
    CHECK(asprintf(&f->policy, "%s%s%s", f->facts[POLICY],
                   !budget                         ? ""
                   : strchr(f->facts[POLICY], ':') ? ",budget="
                                                   : ":budget=",
                   budget ? f->facts[BUDGET] : "") > 0);
    f->solution = must_strdup(strcmp(f->facts[SOLUTION], "gold") ? "free" : "gold");
    f->dataset = must_strdup(f->facts[DATASET]);
    return true;
}

void mine_files_close(struct mine_files *f) {
    if (f->miner.heads)
        miner_close(&f->miner);
    for (int i = 0; i < FACTS; i++)
        free(f->facts[i]);
    for (int i = 0; i < f->n_samples; i++)
        free(f->samples[i]);
    free(f->samples);
    free(f->policy);
    free(f->solution);
    free(f->dataset);
    *f = (struct mine_files){0};
}

bool mine_files_register(const struct mine_files *f, struct db *db, struct miner_source *source,
                         struct err *e) {
    const struct db_model model = {
        .name = f->facts[MODEL],
        .weights_sha256 = f->facts[MODEL_SHA256],
        .tokenizer_sha256 = f->facts[TOKENIZER_SHA256],
        .template_sha256 = *f->facts[TEMPLATE_SHA256] ? f->facts[TEMPLATE_SHA256] : NULL};
    struct dataset_choice choice;
    if (!dataset_parse(f->dataset, &choice, e))
        return false;
    /* of a dataset that is a file the hash is known, not the file */
    struct json_out spelling = {0};
    json_open(&spelling, '{');
    json_add_text(&spelling, "spelling", f->dataset);
    json_close(&spelling, '}');
    const struct db_dataset dataset = {.name = f->dataset,
                                       .options =
                                           choice.dataset->source ? spelling.text : choice.json,
                                       .sha256 = f->facts[DATASET_SHA256],
                                       .metric = choice.dataset->metric};
    bool ok =
        db_model(db, &model, &source->model, e) && db_dataset(db, &dataset, &source->dataset, e);
    source->policy = f->policy, source->solution = f->solution;
    free(spelling.text);
    free(choice.param);
    return ok;
}
