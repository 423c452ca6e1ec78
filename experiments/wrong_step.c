#include "experiments/wrong_step.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const char *const wrong_part_names[WRONG_PARTS] = {
    "nothing", "label", "statement", "recall", "compute", "result", "answer",
};

static bool is_letter(char c) { return isalpha((unsigned char)c) != 0; }

/* --- the solution's parts --------------------------------------------------------------------- */

static size_t line_of(const struct problem *p, int step) {
    const char *at = p->solution;
    for (int i = 0; i < step; i++)
        at = strchr(at, '\n') + 1;
    return (size_t)(at - p->solution);
}

void wrong_step_statement(const struct problem *p, int step, size_t *from, size_t *to) {
    const char *line = p->solution + line_of(p, step), *colon = strstr(line, ": ") + 2;
    const char *recall = strstr(colon, " Recall "), *so = strstr(colon, " So ");
    *from = (size_t)(colon - p->solution);
    *to = (size_t)((recall && recall < so ? recall : so) - p->solution);
}

/* With the space before it, which may be part of its first token. A number that goes on too long
 * parts from gold behind its span. */
static bool within(const struct span *span, size_t byte) {
    return (size_t)span->from <= byte + 1 && byte <= (size_t)span->to;
}

static enum wrong_part part_of(const struct problem *p, struct wrong_step *w) {
    for (int k = 0; k < p->n_uses; k++)
        if (p->uses[k].step == w->step && within(&p->uses[k], w->gold)) {
            w->source = p->uses[k].source;
            return w->step == p->n_steps ? WRONG_ANSWER : WRONG_RECALL;
        }
    if (w->step == p->n_steps || w->gold < w->statement)
        return WRONG_LABEL;
    const struct span *lemma = &p->lemmas[w->step];
    if (within(lemma, w->gold))
        return WRONG_RESULT;
    if (w->gold > (size_t)lemma->to)
        return WRONG_LABEL;
    const char *compute = strstr(p->solution + w->statement, " Compute ");
    const char *so = strstr(p->solution + w->statement, " So "), *here = p->solution + w->gold;
    return compute && compute < so && here >= compute && here < so ? WRONG_COMPUTE
                                                                   : WRONG_STATEMENT;
}

/* --- walking both ----------------------------------------------------------------------------- */

/* What is counted: "Some friends count shells." */
static size_t object_of(const struct problem *p, char out[32]) {
    static const char before[] = "Some friends count ";
    size_t n = 0, at = sizeof before - 1;
    if (!strncmp(p->prompt, before, at))
        while (n < 31 && is_letter(p->prompt[at + n]))
            out[n] = p->prompt[at + n], n++;
    out[n] = 0;
    return n;
}

struct walk {
    const char *gold, *text;
    size_t size, g, t;
    int32_t *at;
    char object[32];
    size_t object_size;
};

/* Passes over another word where gold has the things that are counted. */
static bool pass_object(struct walk *w) {
    size_t from = w->g;
    while (from > 0 && is_letter(w->gold[from - 1]))
        from--;
    if (!w->object_size || strncmp(w->gold + from, w->object, w->object_size) != 0 ||
        is_letter(w->gold[from + w->object_size]) || from + w->object_size <= w->g)
        return false;
    size_t first = w->t - (w->g - from), last = first;
    while (last < w->size && is_letter(w->text[last]))
        last++;
    if (last == first)
        return false;
    for (size_t k = 0; k < w->object_size; k++)
        w->at[from + k] = (int32_t)(first + k < last ? first + k : last - 1);
    w->g = from + w->object_size, w->t = last;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Passes over another number where gold has a step's. */
static bool pass_number(struct walk *w) {
    size_t from = w->g, to = w->g;
    while (from > 0 && is_digit(w->gold[from - 1]))
        from--;
    while (is_digit(w->gold[to]))
        to++;
    size_t first = w->t - (w->g - from), last = first;
    while (last < w->size && is_digit(w->text[last]))
        last++;
    static const char label[] = "Step ";
    size_t before = sizeof label - 1;
    if (to == from || last == first || (to == w->g && last == w->t) || from < before ||
        memcmp(w->gold + from - before, label, before) != 0 ||
        (from > before && w->gold[from - before - 1] != '\n'))
        return false;
    for (size_t k = from; k < to; k++)
        w->at[k] = (int32_t)(first + (k - from) < last ? first + (k - from) : last - 1);
    w->g = to, w->t = last;
    return true;
}

struct wrong_step wrong_step(const struct problem *p, const char *text, size_t size, int32_t *at) {
    struct walk k = {.gold = p->solution, .text = text, .size = size, .at = at};
    size_t end = strlen(p->solution);
    k.object_size = object_of(p, k.object);
    memset(at, -1, (end + 1) * sizeof *at);
    while (k.g < end) {
        if (k.t < size && k.gold[k.g] == text[k.t])
            at[k.g++] = (int32_t)k.t++;
        else if (!pass_object(&k) && !pass_number(&k))
            break;
    }
    struct wrong_step w = {.source = -1, .gold = k.g, .text = k.t};
    for (size_t i = 0; i < k.g; i++)
        w.step += p->solution[i] == '\n';
    w.line = line_of(p, w.step);
    if (w.step < p->n_steps)
        wrong_step_statement(p, w.step, &w.statement, &w.statement_end);
    w.part = k.g == end ? WRONG_NOTHING : part_of(p, &w);
    return w;
}
