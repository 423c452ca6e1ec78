#include "datasets/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "datasets/problems.h"

enum { FINGERPRINT_PROBLEMS = 8 };

void problem_free(struct problem *problem) {
    free(problem->prompt);
    free(problem->solution);
    free(problem->answer);
    free(problem->lemmas);
    free(problem->uses);
    free(problem->deps);
    free(problem->dep_start);
    *problem = (struct problem){0};
}

/* --- one of them, by its spelling ------------------------------------------------------------- */

static bool unknown(const char *name, int length, struct err *e) {
    char list[256] = "";
    for (const struct dataset *const *d = all_datasets; *d; d++)
        err_list(list, sizeof list, (*d)->name);
    return err_set(e, EXIT_USAGE, "unknown dataset '%.*s', expected one of: %s", length, name,
                   list);
}

bool dataset_parse(const char *text, struct dataset_choice *out, struct err *e) {
    int length = (int)strcspn(text, ":");
    char name[32], what[48], spelled[120];
    snprintf(name, sizeof name, "%.*s", length, text);
    const struct dataset *dataset = length < (int)sizeof name ? dataset_find(name) : NULL;
    if (!dataset)
        return unknown(text, length, e);
    snprintf(what, sizeof what, "dataset %s", name);
    void *param = must_zalloc(1, dataset->param_size);
    option_defaults(dataset->options, param);
    if (!option_parse(dataset->options, param, what, text[length] ? text + length + 1 : "", e)) {
        free(param);
        return false;
    }
    *out = (struct dataset_choice){.dataset = dataset, .param = param};
    option_spell(dataset->options, param, "path", spelled, sizeof spelled);
    snprintf(out->name, sizeof out->name, "%s%s%s", name, *spelled ? ":" : "", spelled);
    option_json(dataset->options, param, out->json, sizeof out->json);
    return true;
}

/* --- its problems ----------------------------------------------------------------------------- */

int64_t dataset_count(const struct dataset_choice *d, struct err *e) {
    const struct problem_source *source = d->dataset->source;
    return source ? problems_count(source, d->param, e) : INT64_MAX;
}

bool dataset_get(const struct dataset_choice *d, int64_t i, struct problem *out, struct err *e) {
    const struct problem_source *source = d->dataset->source;
    return source ? problems_get(source, d->param, i, out, e)
                  : d->dataset->get(d->param, i, out, e);
}

char *dataset_gold(const struct dataset *dataset, const char *answer) {
    const struct problem_source *source = dataset->source;
    char *gold = source && source->gold ? source->gold(answer) : NULL;
    return gold ? gold : must_strdup(answer);
}

/* --- its identity ----------------------------------------------------------------------------- */

static bool hash_of_file(const struct dataset_choice *d, char out[HASH_HEX], struct err *e) {
    char file[HASH_HEX];
    if (!problems_sha256(d->dataset->source, d->param, file, e))
        return false;
    struct json_out o = {0};
    json_open(&o, '[');
    json_put_text(&o, d->name);
    json_put_text(&o, file);
    json_close(&o, ']');
    hash_bytes(o.text, o.size, out);
    free(o.text);
    return true;
}

char *dataset_provenance(const struct dataset_choice *d, struct err *e) {
    char file[HASH_HEX];
    if (!d->dataset->source)
        return must_strdup(d->json);
    if (!problems_sha256(d->dataset->source, d->param, file, e))
        return NULL;
    struct json_out o = {0};
    json_open(&o, '{');
    json_add_text(&o, "file_sha256", file);
    json_add_text(&o, "spelling", d->name);
    json_close(&o, '}');
    return o.text;
}

bool dataset_sha256(const struct dataset_choice *d, char out[HASH_HEX], struct err *e) {
    if (d->dataset->source)
        return hash_of_file(d, out, e);
    struct json_out o = {0};
    json_open(&o, '[');
    json_put_text(&o, d->json);
    bool ok = true;
    for (int64_t i = 0; ok && i < FINGERPRINT_PROBLEMS; i++) {
        struct problem problem = {0};
        ok = d->dataset->get(d->param, i, &problem, e);
        if (ok) {
            json_put_text(&o, problem.id);
            json_put_text(&o, problem.prompt);
            json_put_text(&o, problem.answer);
        }
        problem_free(&problem);
    }
    json_close(&o, ']');
    if (ok)
        hash_bytes(o.text, o.size, out);
    free(o.text);
    return ok;
}
