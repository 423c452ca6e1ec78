/* raas gen: problems of a generator as JSONL, with their gold labels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/option.h"
#include "commands/command.h"
#include "datasets/dataset.h"

#define USAGE "raas gen lemmas [--n N] [options]"
#define MAX_OPTIONS 32

/* How many problems to print; stands behind the generator's own parameters in one block, so that a
 * single table parses both. */
struct amount {
    int64_t n;
};

static bool is_generator(const struct dataset *dataset) { return !dataset->source; }

/* The generator named by the first plain word, or for --help the first there is. */
static const struct dataset *find_generator(int argc, char **argv, struct err *e) {
    const char *name = argc > 1 ? argv[1] : "";
    bool help = !strcmp(name, "--help");
    for (const struct dataset *const *d = all_datasets; *d; d++)
        if (is_generator(*d) && (help || !strcmp((*d)->name, name)))
            return *d;
    err_set(e, EXIT_USAGE, "gen: '%s' is no generator; usage: " USAGE, name);
    return NULL;
}

static void put_spans(struct json_out *o, const struct span *spans, int n, bool with_source) {
    json_open(o, '[');
    for (int i = 0; i < n; i++) {
        json_open(o, '[');
        json_put_int(o, spans[i].from);
        json_put_int(o, spans[i].to);
        json_put_int(o, spans[i].step);
        if (with_source)
            json_put_int(o, spans[i].source);
        json_close(o, ']');
    }
    json_close(o, ']');
}

static void put_problem(struct json_out *o, const struct problem *p) {
    json_open(o, '{');
    json_add_text(o, "id", p->id);
    json_add_text(o, "prompt", p->prompt);
    json_add_text(o, "solution", p->solution);
    json_add_text(o, "answer", p->answer);
    json_name(o, "labels");
    json_open(o, '{');
    json_name(o, "deps");
    json_open(o, '[');
    for (int step = 0; step < p->n_steps; step++) {
        json_open(o, '[');
        for (int d = p->dep_start[step]; d < p->dep_start[step + 1]; d++)
            json_put_int(o, p->deps[d]);
        json_close(o, ']');
    }
    json_close(o, ']');
    json_name(o, "lemmas");
    put_spans(o, p->lemmas, p->n_lemmas, false);
    json_name(o, "spans");
    put_spans(o, p->uses, p->n_uses, true);
    json_close(o, '}');
    json_close(o, '}');
}

static bool print_problems(const struct dataset *dataset, const void *param, int64_t n,
                           struct err *e) {
    struct json_out o = {0};
    bool ok = true;
    for (int64_t i = 0; i < n && ok; i++) {
        struct problem problem = {0};
        ok = dataset->get(param, i, &problem, e);
        if (ok) {
            o.size = 0, o.comma = false;
            put_problem(&o, &problem);
            ok = puts(o.text) >= 0 || err_errno(e, EXIT_ENV, "gen: stdout");
        }
        problem_free(&problem);
    }
    free(o.text);
    return ok;
}

static int gen_run(int argc, char **argv, struct err *e) {
    const struct dataset *dataset = find_generator(argc, argv, e);
    if (!dataset)
        return e->code;
    size_t offset = (dataset->param_size + sizeof(struct amount) - 1) / sizeof(struct amount) *
                    sizeof(struct amount);
    struct option table[MAX_OPTIONS + 2] = {
        {"n", OPTION_INT, offset, 10, 0, 9007199254740991.0, NULL, "number of problems"}};
    for (int i = 0; dataset->options[i].name; i++) {
        CHECK(i < MAX_OPTIONS);
        table[i + 1] = dataset->options[i];
    }
    void *param = must_zalloc(1, offset + sizeof(struct amount));
    option_defaults(table, param);
    int n_args = 0;
    if (option_argv(table, param, USAGE, "problems of a generator as JSONL, with gold labels", argc,
                    argv, &n_args, e) &&
        n_args > 1)
        err_set(e, EXIT_USAGE, "gen: unexpected argument '%s'; usage: " USAGE, argv[1]);
    if (!e->code)
        print_problems(dataset, param, ((struct amount *)((char *)param + offset))->n, e);
    free(param);
    return e->code;
}

const struct command command_gen = {
    .name = "gen",
    .usage = USAGE,
    .summary = "generated problems as JSONL, with gold labels",
    .run = gen_run,
};
