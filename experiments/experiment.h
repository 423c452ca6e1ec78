/* An experiment: one declarative JSON file whose lists multiply into cells.
 *
 *     {
 *       "name": "demo",                       of the run; the file's name by default
 *       "description": "one line",            what `raas list experiments` shows
 *       "model": "models/lemmas-4.5m",        a folder; --model wins; default: the embedded model
 *       "dataset": "lemmas:steps=24",         or {"dataset": "lemmas", "steps": [16, 24]}
 *       "template": "auto",                   around prompts: the model's chat template; none; or a
 *                                             name of `raas list templates`
 *       "policy": ["full", "raas:r=0.25",
 *                  {"policy": "raas", "alpha": [0.01, 0.1]}],
 *       "budget": [256, 384, "match"],        for policies that have a budget and name none
 *       "n": 40,                              samples per cell
 *       "repeats": 1,                         draws per sample
 *       "max_new": 1100,                      generated tokens at most, end token included
 *       "temperature": 0, "top_p": 1,         0 is greedy
 *       "seed": 1,                            of sampling
 *       "margin": 0.03,                       "comparable" is what loses less accuracy than this
 *       "stop_loops": false,                  end an answer that repeats itself
 *       "backend": "cpu", "precision": "bf16",   or "cuda", always bf16
 *       "width": 32,                          sequences in flight; changes no result
 *       "scale": {"smoke": {"n": 8}, "full": {"n": 200}}
 *     }
 *
 * Only dataset and policy are required. A scale, chosen by --scale, overrides any key.
 *
 * dataset, policy (and every option inside their object form), budget, max_new, temperature, top_p
 * and seed may be one value or a list; cells = the product of all lists. Equal cells are merged:
 * policies without a budget are not multiplied by "budget"; seed and top_p belong to sampling and
 * make no cell where temperature is 0 (draws of a policy have its own option seed); where nothing
 * is drawn one repeat is run, since all others would be the same bytes. Everything is checked
 * before anything is loaded. */
#pragma once

#include <stdint.h>

#include "datasets/dataset.h"
#include "engine/policy.h"
#include "engine/session.h"

struct experiment_cell {
    int dataset;      /* index into experiment.datasets */
    struct plan plan; /* borrowed by the sequences of the cell */
    double temperature, top_p;
    int64_t seed, max_new;
    int repeats;
};

struct experiment {
    char *name, *model; /* model NULL: not said */
    char *template;     /* chat template: auto, none or a name */
    int64_t n, width;
    double margin;
    bool width_said; /* by file or --set, as opposed to the default */
    enum precision precision;
    const char *backend; /* "cpu" or "cuda" */
    bool stop_loops;
    struct dataset_choice *datasets;
    int n_datasets;
    struct experiment_cell *cells; /* in the order of the file; never moved after experiment_read */
    int n_cells;
    char *json; /* the experiment as run: values in force after scale and --set */
};

struct experiment_options {
    const char *scale;       /* NULL: none */
    const char *const *sets; /* "key=value" */
    int n_sets;
};

/* Mistakes of the file are EXIT_CONTENT, those of the command line (an unknown scale, --set)
 * EXIT_USAGE; each names the key, the value and what was expected. On failure nothing has to be
 * freed. */
bool experiment_read(const char *path, const struct experiment_options *options,
                     struct experiment *out, struct err *e);
void experiment_free(struct experiment *experiment);

/* Whether anything of a cell is random: sampling, or draws of the policy. */
bool cell_draws(const struct experiment_cell *cell);

/* "raas budget=256", "lemmas:steps=24 full": for people; the dataset where there are several. */
void cell_title(const struct experiment *experiment, const struct experiment_cell *cell, char *out,
                size_t size);
