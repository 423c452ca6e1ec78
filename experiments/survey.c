#include "experiments/survey.h"

#include <stdlib.h>
#include <string.h>

struct head {
    struct lifecycle *lives; /* [n_settings] */
    double *mass;            /* [longest] by position */
    int32_t *position;       /* [longest] scratch: a row without what no setting calls used */
    float *prob;
};

struct gather {
    struct survey *survey;
    const struct mine *mine;
    struct head *heads;
    int n_heads; /* of all layers */
    struct survey_classes *classes;
};

static int heads_of(const struct survey *s) { return s->n_layers * s->n_heads; }

static size_t found_at(const struct survey *s, int setting, int scoring, int head) {
    size_t place = ((size_t)setting * UNIT_SCORINGS + (size_t)scoring) * (size_t)heads_of(s);
    return (place + (size_t)head) * (size_t)s->room;
}

const struct proof_life *survey_found(const struct survey *s, int setting,
                                      enum unit_scoring scoring, int head) {
    return s->found + found_at(s, setting, scoring, head);
}

static void begin(void *context, const struct mined *mined) {
    struct gather *g = context;
    for (int h = 0; h < g->n_heads; h++) {
        for (int k = 0; k < g->survey->n_settings; k++) {
            struct lifecycle_params params;
            option_defaults(lifecycle_options, &params);
            params.theta = g->survey->settings[k].theta;
            params.window = g->survey->settings[k].window;
            lifecycle_begin(&g->heads[h].lives[k], &params, mined->n_prompt);
        }
        memset(g->heads[h].mass, 0, (size_t)g->mine->longest * sizeof(double));
    }
}

/* Settings come in runs of ascending theta: each takes what the one before left. */
static void take_head(const struct gather *g, struct head *head, const struct attended *whole) {
    const struct survey *s = g->survey;
    struct attended a = *whole;
    a.position = head->position, a.prob = head->prob;
    for (int k = 0; k < s->n_settings; k++) {
        if (k == 0 || s->settings[k].theta < s->settings[k - 1].theta) {
            a.n = whole->n;
            memcpy(head->position, whole->position, (size_t)a.n * sizeof *a.position);
            memcpy(head->prob, whole->prob, (size_t)a.n * sizeof *a.prob);
        }
        a.n = lifecycle_prune(head->position, head->prob, a.n, (float)s->settings[k].theta);
        lifecycle_row(&head->lives[k], &a);
    }
}

static void take_row(void *context, const struct attention_row *row) {
    struct gather *g = context;
    int first = row->layer * g->survey->n_heads + row->kv_head * row->group;
    for (int i = 0; i < row->group; i++) {
        struct attended a = mine_head(row, i);
        for (int32_t k = 0; k < a.n; k++)
            g->heads[first + i].mass[a.position[k]] += (double)a.prob[k];
        take_head(g, &g->heads[first + i], &a);
    }
}

static void count_classes(const struct gather *g, const struct units *units) {
    struct survey_classes *c = g->classes;
    for (int v = 0; c && v < c->n; v++)
        for (int h = 0; h < g->n_heads; h++) {
            const struct lifecycle *life = &g->heads[h].lives[c->setting];
            for (int32_t j = 0; j < life->n_keys; j++) {
                enum key_class class = lifecycle_class(life, j, &c->params[v]);
                c->all[v][class]++;
                c->lemmas[v][class] += h == c->head && units->lemma[UNIT_ORIGINAL][j] >= 0;
            }
        }
}

static bool end(void *context, const struct mined *mined, struct err *e) {
    struct gather *g = context;
    struct survey *s = g->survey;
    struct units units;
    if (!units_make(g->mine->model->tokenizer, mined, &units, e))
        return false;
    int first = s->units.n;
    for (int l = 0; l < units.n_lemmas; l++)
        s->known[first + l] = units.known[l];
    for (int i = 0; i < units.n_ids; i++) {
        int l = units.lemma[UNIT_ORIGINAL][i];
        s->digits += units.digit[i];
        s->digits_used += l >= 0 && units.digit[i] && units.known[l].used;
        for (int h = 0; l >= 0 && h < g->n_heads; h++)
            s->mass[(size_t)h * (size_t)s->room + (size_t)(first + l)] += g->heads[h].mass[i];
    }
    for (int k = 0; k < s->n_settings; k++)
        for (int scoring = 0; scoring < UNIT_SCORINGS; scoring++)
            for (int h = 0; h < g->n_heads; h++)
                for (int l = 0; l < units.n_lemmas; l++)
                    s->found[found_at(s, k, scoring, h) + (size_t)(first + l)] =
                        units_found(&units, scoring, l, &g->heads[h].lives[k]);
    count_classes(g, &units);
    s->units.n += units.n_lemmas;
    s->start[++s->units.n_problems] = s->units.n;
    units_free(&units);
    return true;
}

static void open_heads(struct gather *g) {
    size_t longest = (size_t)g->mine->longest;
    g->heads = must_zalloc((size_t)g->n_heads, sizeof *g->heads);
    for (int h = 0; h < g->n_heads; h++) {
        struct head *head = &g->heads[h];
        head->lives = must_zalloc((size_t)g->survey->n_settings, sizeof *head->lives);
        for (int k = 0; k < g->survey->n_settings; k++)
            lifecycle_open(&head->lives[k], g->mine->longest);
        head->mass = must_alloc(longest * sizeof *head->mass);
        head->position = must_alloc(longest * sizeof *head->position);
        head->prob = must_alloc(longest * sizeof *head->prob);
    }
}

static void close_heads(struct gather *g) {
    for (int h = 0; h < g->n_heads; h++) {
        for (int k = 0; k < g->survey->n_settings; k++)
            lifecycle_close(&g->heads[h].lives[k]);
        free(g->heads[h].lives);
        free(g->heads[h].mass);
        free(g->heads[h].position);
        free(g->heads[h].prob);
    }
    free(g->heads);
}

bool survey_run(struct survey *s, struct mine *mine, struct session *session,
                const struct plan *plan, const struct survey_setting *settings, int n_settings,
                struct survey_classes *classes, struct err *e) {
    const struct config *config = &mine->model->config;
    *s = (struct survey){.n_layers = config->n_layers,
                         .n_heads = config->n_heads,
                         .settings = settings,
                         .n_settings = n_settings};
    for (int i = 0; i < mine->n; i++)
        s->room += mine->problems[i].problem.n_lemmas;
    size_t room = (size_t)s->room + 1, heads = (size_t)heads_of(s);
    s->known = must_zalloc(room, sizeof *s->known);
    s->start = must_zalloc((size_t)mine->n + 1, sizeof *s->start);
    s->found = must_zalloc((size_t)n_settings * UNIT_SCORINGS * heads * room, sizeof *s->found);
    s->mass = must_zalloc(heads * room, sizeof *s->mass);
    s->units.known = s->known, s->units.start = s->start;
    struct gather g = {.survey = s, .mine = mine, .n_heads = heads_of(s), .classes = classes};
    open_heads(&g);
    struct mine_sink sink = {.context = &g, .begin = begin, .row = take_row, .end = end};
    bool ok = mine_run(mine, session, plan, &sink, e);
    close_heads(&g);
    if (!ok)
        survey_close(s);
    return ok;
}

void survey_close(struct survey *s) {
    free(s->known);
    free(s->start);
    free(s->found);
    free(s->mass);
    *s = (struct survey){0};
}
