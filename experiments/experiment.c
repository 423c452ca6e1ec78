#include "experiments/experiment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/compare.h"
#include "engine/chat.h"
#include "experiments/settings.h"
#include "experiments/spec.h"

enum { MAX_CELLS = 10000 };

/* Everything an experiment can say, sorted. */
static const char *const keys[] = {"backend",   "budget",  "dataset", "description", "margin",
                                   "max_new",   "model",   "n",       "name",        "policy",
                                   "precision", "repeats", "seed",    "stop_loops",  "temperature",
                                   "template",  "top_p",   "width",   NULL};
/* The keys, besides dataset, policy and budget, whose lists multiply. */
static const char *const axes[] = {"max_new", "temperature", "top_p", "seed"};
enum { N_AXES = sizeof axes / sizeof *axes };

struct values {
    int64_t n, repeats, max_new, seed, width;
    double temperature, top_p, margin;
    int precision, backend;
    bool stop_loops;
    const char *name, *model, *template, *description;
};
static const struct option value_table[] = {
    // clang-format off
    {"name", OPTION_TEXT, offsetof(struct values, name), 0, 0, 0, NULL, "of the run"},
    {"description", OPTION_TEXT, offsetof(struct values, description), 0, 0, 0, NULL, "for people"},
    {"model", OPTION_TEXT, offsetof(struct values, model), 0, 0, 0, NULL, "a model folder or GGUF file"},
    {"template", OPTION_TEXT, offsetof(struct values, template), 0, 0, 0, NULL, "around prompts"},
    {"n", OPTION_INT, offsetof(struct values, n), 100, 1, 1000000, NULL, "samples per cell"},
    {"repeats", OPTION_INT, offsetof(struct values, repeats), 1, 1, 10000, NULL, "draws per sample"},
    {"max_new", OPTION_INT, offsetof(struct values, max_new), 1024, 1, 1 << 20, NULL,
     "generated tokens at most"},
    {"temperature", OPTION_REAL, offsetof(struct values, temperature), 0, 0, 100, NULL, "0 = greedy"},
    {"top_p", OPTION_REAL, offsetof(struct values, top_p), 1, 0.001, 1, NULL, "1 = off"},
    {"seed", OPTION_INT, offsetof(struct values, seed), 1, 0, 1ll << 53, NULL, "of sampling"},
    {"margin", OPTION_REAL, offsetof(struct values, margin), COMPARE_MARGIN, 0.0001, 0.5, NULL,
     "of non-inferiority, in accuracy"},
    {"width", OPTION_INT, offsetof(struct values, width), 32, 1, SESSION_WIDTH, NULL,
     "sequences in flight"},
    {"precision", OPTION_CHOICE, offsetof(struct values, precision), PRECISION_BF16, 0, 0, PRECISIONS,
     "of the decoder"},
    {"backend", OPTION_CHOICE, offsetof(struct values, backend), 0, 0, 0, BACKENDS, "where it runs"},
    {"stop_loops", OPTION_BOOL, offsetof(struct values, stop_loops), 0, 0, 1, NULL,
     "end an answer that repeats itself"},
    OPTION_END,
    // clang-format on
};

struct builder {
    const struct settings *settings;
    struct values values;
    struct plan *plans; /* of the policy and budget lists, expanded */
    int n_plans;
    const struct setting *blame; /* whose value is being looked at */
    struct experiment *out;
};

/* --- values and lists ------------------------------------------------------------------------ */

/* The JSON types are taken at their word: "40" is no number. */
static bool type_fits(enum option_type type, enum json_type json) {
    switch (type) {
    case OPTION_INT:
    case OPTION_REAL:
        return json == JSON_NUMBER;
    case OPTION_BOOL:
        return json == JSON_BOOL;
    default:
        return json == JSON_STRING;
    }
}

static bool set_value(struct builder *b, const struct setting *s, const struct json *value,
                      struct err *e) {
    static const char *const kinds[] = {"a whole number", "a number", "true or false", "a string",
                                        "a string"};
    const struct option *o = value_table;
    while (strcmp(o->name, s->key))
        o++;
    char text[SPEC_MAX];
    if (!type_fits(o->type, json_type(value)) || !spec_scalar(value, text, sizeof text)) {
        err_set(e, EXIT_CONTENT, "expected %s", kinds[o->type]);
        return settings_blame(b->settings, s, e);
    }
    const char *given = o->type == OPTION_TEXT ? json_text(value) : text;
    return option_set(value_table, &b->values, "experiment", s->key, given, e) ||
           settings_blame(b->settings, s, e);
}

/* --- datasets and policies: "name:key=value" or {"policy": "name", "key": [values]} ---------- */

static bool expand_list(struct builder *b, const char *key, spec_take *take, struct err *e) {
    const struct setting *s = settings_find(b->settings, key);
    if (!s)
        return err_set(e, EXIT_CONTENT, "%s: key '%s' is missing", b->settings->path, key);
    const struct json *entry = spec_first(s->value);
    for (; entry; entry = spec_next(s->value, entry)) {
        b->blame = s;
        if (!spec_expand(entry, s->key, take, b, e))
            return settings_blame(b->settings, b->blame, e);
    }
    return true;
}

static bool take_dataset(void *context, const char *spec, struct err *e) {
    struct experiment *x = ((struct builder *)context)->out;
    struct dataset_choice choice;
    if (!dataset_parse(spec, &choice, e))
        return false;
    for (int i = 0; i < x->n_datasets; i++)
        if (x->datasets[i].dataset == choice.dataset && !strcmp(x->datasets[i].json, choice.json)) {
            free(choice.param);
            return true;
        }
    x->datasets = must_realloc(x->datasets, (size_t)(x->n_datasets + 1) * sizeof choice);
    x->datasets[x->n_datasets++] = choice;
    return true;
}

static void add_plan(struct builder *b, const struct plan *plan) {
    for (int i = 0; i < b->n_plans; i++)
        if (!strcmp(b->plans[i].json, plan->json))
            return;
    b->plans = must_realloc(b->plans, (size_t)(b->n_plans + 1) * sizeof *plan);
    b->plans[b->n_plans++] = *plan;
}

static bool names_budget(const char *spec) {
    const char *at = strchr(spec, ':');
    for (; at; at = strchr(at, ','))
        if (!strncmp(++at, "budget=", 7))
            return true;
    return false;
}

/* A budget is blamed only where the policy by itself is fine. */
static bool take_policy(void *context, const char *spec, struct err *e) {
    struct builder *b = context;
    struct plan plan;
    if (!policy_parse(spec, &plan, e))
        return false;
    const struct setting *budget = settings_find(b->settings, "budget");
    if (!plan.policy->has_budget || names_budget(spec) || !budget) {
        add_plan(b, &plan);
        return true;
    }
    b->blame = budget;
    for (const struct json *v = spec_first(budget->value); v; v = spec_next(budget->value, v)) {
        char text[32], full[SPEC_MAX + 48];
        if (!spec_scalar(v, text, sizeof text) || strpbrk(text, ",="))
            return err_set(e, EXIT_CONTENT, "expected a number or \"match\"");
        snprintf(full, sizeof full, "%s%cbudget=%s", spec, strchr(spec, ':') ? ',' : ':', text);
        if (!policy_parse(full, &plan, e))
            return false;
        add_plan(b, &plan);
    }
    return true;
}

/* --- cells ----------------------------------------------------------------------------------- */

bool cell_draws(const struct experiment_cell *cell) {
    return cell->temperature > 0 || cell->plan.draws;
}

static bool same_cell(const struct experiment_cell *a, const struct experiment_cell *b) {
    return a->dataset == b->dataset && !strcmp(a->plan.json, b->plan.json) &&
           a->max_new == b->max_new && a->temperature == b->temperature && a->top_p == b->top_p &&
           a->seed == b->seed;
}

static bool add_cell(struct experiment *x, struct experiment_cell *cell, struct err *e) {
    if (cell->temperature == 0) {
        cell->top_p = 1;
        cell->seed = 0;
    }
    if (!cell_draws(cell))
        cell->repeats = 1;
    for (int i = 0; i < x->n_cells; i++)
        if (same_cell(&x->cells[i], cell))
            return true;
    if (x->n_cells == MAX_CELLS)
        return err_set(e, EXIT_CONTENT, "%s: the lists multiply to more than %d cells", x->name,
                       MAX_CELLS);
    x->cells = must_realloc(x->cells, (size_t)(x->n_cells + 1) * sizeof *cell);
    x->cells[x->n_cells++] = *cell;
    return true;
}

static bool expand_axes(struct builder *b, int axis, struct err *e) {
    if (axis < N_AXES) {
        const struct setting *s = settings_find(b->settings, axes[axis]);
        if (!s)
            return expand_axes(b, axis + 1, e);
        for (const struct json *v = spec_first(s->value); v; v = spec_next(s->value, v))
            if (!set_value(b, s, v, e) || !expand_axes(b, axis + 1, e))
                return false;
        return true;
    }
    for (int d = 0; d < b->out->n_datasets; d++)
        for (int p = 0; p < b->n_plans; p++) {
            const struct values *v = &b->values;
            struct experiment_cell cell = {.dataset = d,
                                           .plan = b->plans[p],
                                           .temperature = v->temperature,
                                           .top_p = v->top_p,
                                           .seed = v->seed,
                                           .max_new = v->max_new,
                                           .repeats = (int)v->repeats};
            if (!add_cell(b->out, &cell, e))
                return false;
        }
    return true;
}

/* --- the whole file -------------------------------------------------------------------------- */

static bool check_lists(const struct settings *settings, struct err *e) {
    for (int i = 0; i < settings->n_items; i++) {
        const struct setting *s = &settings->items[i];
        if (json_type(s->value) == JSON_ARRAY && !json_first(s->value)) {
            err_set(e, EXIT_CONTENT, "the list is empty");
            return settings_blame(settings, s, e);
        }
    }
    return true;
}

/* Values that do not multiply. */
static bool set_plain_values(struct builder *b, struct err *e) {
    for (const struct option *o = value_table; o->name; o++) {
        bool is_axis = false;
        for (int i = 0; i < N_AXES; i++)
            is_axis = is_axis || !strcmp(o->name, axes[i]);
        const struct setting *s = is_axis ? NULL : settings_find(b->settings, o->name);
        if (s && !set_value(b, s, s->value, e))
            return false;
    }
    return true;
}

static bool check_width(const struct builder *b, struct err *e) {
    const char *backend = session_backend(b->values.backend);
    int most = session_max_width(backend, e);
    if (b->values.width <= most)
        return true;
    err_set(e, EXIT_CONTENT, "%lld, expected 1 to %d on %s", (long long)b->values.width, most,
            backend);
    return settings_blame(b->settings, settings_find(b->settings, "width"), e);
}

static bool check_template(const struct builder *b, struct err *e) {
    const char *name = b->values.template;
    return !name || chat_check(name, e) ||
           settings_blame(b->settings, settings_find(b->settings, "template"), e);
}

static bool is_plain_name(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && n <= 64 && !name[n] && *name != '.';
}

/* The name said, or the file's without folder and .json. */
static bool take_name(struct builder *b, struct err *e) {
    const struct settings *settings = b->settings;
    const char *slash = strrchr(settings->path, '/');
    char *name = must_strdup(b->values.name ? b->values.name : slash ? slash + 1 : settings->path);
    size_t n = strlen(name);
    if (!b->values.name && n > 5 && !strcmp(name + n - 5, ".json"))
        name[n - 5] = 0;
    b->out->name = name;
    if (is_plain_name(name))
        return true;
    const struct setting *said = settings_find(settings, "name");
    err_set(e, EXIT_CONTENT, "name '%.80s': expected letters, digits, '.', '_' or '-'", name);
    return said ? settings_blame(settings, said, e) : err_in(e, "%s", settings->path);
}

static bool build(struct builder *b, struct err *e) {
    option_defaults(value_table, &b->values);
    if (!check_lists(b->settings, e) || !set_plain_values(b, e) || !check_width(b, e) ||
        !check_template(b, e) || !take_name(b, e) || !expand_list(b, "dataset", take_dataset, e) ||
        !expand_list(b, "policy", take_policy, e) || !expand_axes(b, 0, e))
        return false;
    struct experiment *x = b->out;
    x->model = b->values.model ? must_strdup(b->values.model) : NULL;
    x->template = must_strdup(b->values.template ? b->values.template : "auto");
    x->n = b->values.n;
    x->margin = b->values.margin;
    x->width = b->values.width;
    x->width_said = settings_find(b->settings, "width") != NULL;
    x->precision = b->values.precision ? PRECISION_BF16 : PRECISION_FP32;
    x->backend = session_backend(b->values.backend);
    x->stop_loops = b->values.stop_loops;
    struct json_out json = {0};
    settings_json(b->settings, &json);
    x->json = json.text;
    return true;
}

bool experiment_read(const char *path, const struct experiment_options *options,
                     struct experiment *out, struct err *e) {
    *out = (struct experiment){0};
    struct settings settings;
    if (!settings_open(path, options->scale, options->sets, options->n_sets, keys, &settings, e))
        return false;
    struct builder b = {.settings = &settings, .out = out};
    bool ok = build(&b, e);
    free(b.plans);
    settings_close(&settings);
    if (!ok)
        experiment_free(out);
    return ok;
}

void experiment_free(struct experiment *x) {
    for (int i = 0; i < x->n_datasets; i++)
        free(x->datasets[i].param);
    free(x->datasets);
    free(x->cells);
    free(x->name);
    free(x->model);
    free(x->template);
    free(x->json);
    *x = (struct experiment){0};
}

void cell_title(const struct experiment *x, const struct experiment_cell *cell, char *out,
                size_t size) {
    char budget[40] = "", dataset[170] = "";
    if (cell->plan.match)
        snprintf(budget, sizeof budget, " budget=match");
    else if (cell->plan.budget)
        snprintf(budget, sizeof budget, " budget=%d", cell->plan.budget);
    if (x->n_datasets > 1)
        snprintf(dataset, sizeof dataset, "%s ", x->datasets[cell->dataset].name);
    snprintf(out, size, "%s%s%s", dataset, cell->plan.name, budget);
}
