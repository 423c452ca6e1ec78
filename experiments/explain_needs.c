#include "experiments/explain_needs.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* --- spelled ---------------------------------------------------------------------------------- */

bool spelled_make(const struct tokenizer *tokenizer, const int32_t *ids, int n, int n_prompt,
                  struct spelled *s, struct err *e) {
    *s = (struct spelled){.n = n, .n_prompt = n_prompt};
    s->start = must_alloc((size_t)(n + 1) * sizeof *s->start);
    size_t room = 0;
    for (int i = 0; i < n; i++) {
        size_t size = 0;
        bool special;
        const char *piece = tokenizer_piece(tokenizer, ids[i], &size, &special);
        if (!piece) {
            spelled_free(s);
            return err_set(e, EXIT_CONTENT, "token %d is none of the tokenizer's", ids[i]);
        }
        if (s->size + size > room)
            s->text = must_realloc(s->text, room = 2 * (s->size + size));
        memcpy(s->text + s->size, piece, size);
        s->start[i] = s->size;
        s->size += size;
    }
    s->start[n] = s->size;
    return true;
}

void spelled_free(struct spelled *s) {
    free(s->text);
    free(s->start);
    *s = (struct spelled){0};
}

/* The token that holds a byte of the whole text. */
static int token_at(const struct spelled *s, size_t byte) {
    int i = 0;
    while (i < s->n && s->start[i + 1] <= byte)
        i++;
    return i;
}

int spelled_token(const struct spelled *s, size_t byte_of_answer) {
    return token_at(s, s->start[s->n_prompt] + byte_of_answer);
}

/* --- copies ----------------------------------------------------------------------------------- */

struct desk {
    const struct problem *problem;
    const struct spelled *spelled;
    const struct wrong_step *wrong;
    const int32_t *at;
    struct needs *needs;
};

static bool tells(const struct spelled *s, int token) {
    for (size_t i = s->start[token]; i < s->start[token + 1]; i++)
        if (isupper((unsigned char)s->text[i]) || isdigit((unsigned char)s->text[i]))
            return true;
    return false;
}

/* Tokens that overlap bytes [from, to) of the whole text. telling: those alone that hold a name or
 * a number, and the one that holds the byte `also` (SIZE_MAX: none). */
static void add_copy(const struct desk *d, struct need *need, size_t from, size_t to, bool telling,
                     size_t also, int step) {
    const struct spelled *s = d->spelled;
    int32_t *positions = must_alloc((size_t)(s->n + 1) * sizeof *positions);
    int n = 0;
    for (int i = token_at(s, from); i < s->n && s->start[i] < to; i++)
        if (!telling || tells(s, i) || (s->start[i] <= also && also < s->start[i + 1]))
            positions[n++] = i;
    need_add(need, positions, n, step);
    free(positions);
}

/* Bytes [from, to) of the solution, as the answer has them, where it has come so far. */
static void add_written(const struct desk *d, struct need *need, size_t from, size_t to,
                        bool telling, int step) {
    size_t answer = d->spelled->start[d->spelled->n_prompt];
    if (to <= d->wrong->gold && from < to)
        add_copy(d, need, answer + (size_t)d->at[from], answer + (size_t)d->at[to - 1] + 1, telling,
                 SIZE_MAX, step);
}

/* Where the prompt has bytes [from, to) of the solution; SIZE_MAX: nowhere. */
static size_t in_prompt(const struct desk *d, size_t from, size_t to) {
    const struct spelled *s = d->spelled;
    const char *found =
        memmem(s->text, s->start[s->n_prompt], d->problem->solution + from, to - from);
    return found ? (size_t)(found - s->text) : SIZE_MAX;
}

static struct need *need_statement(const struct desk *d, int step) {
    struct need *need = needs_add(d->needs, NEED_STATEMENT, step);
    size_t from, to, gold = d->wrong->gold, also = SIZE_MAX;
    wrong_step_statement(d->problem, step, &from, &to);
    size_t prompt = in_prompt(d, from, to);
    if (gold >= from && gold < to && prompt != SIZE_MAX)
        also = prompt + (gold - from);
    if (prompt != SIZE_MAX)
        add_copy(d, need, prompt, prompt + (to - from), true, also, -1);
    add_written(d, need, from, to, true, step);
    return need;
}

/* Of the first statement, which says its value itself, that is a copy too. */
static void need_value(const struct desk *d, int step) {
    const struct problem *p = d->problem;
    struct need *need = needs_add(d->needs, NEED_VALUE, step);
    const struct span *lemma = &p->lemmas[step];
    size_t from, to;
    if (p->dep_start[step] == p->dep_start[step + 1]) {
        wrong_step_statement(p, step, &from, &to);
        while (from < to && !isdigit((unsigned char)p->solution[from]))
            from++;
        size_t digits = strspn(p->solution + from, "0123456789"), prompt;
        wrong_step_statement(p, step, &prompt, &to);
        size_t begin = in_prompt(d, prompt, to);
        if (begin != SIZE_MAX)
            add_copy(d, need, begin + (from - prompt), begin + (from - prompt) + digits, false,
                     SIZE_MAX, -1);
        add_written(d, need, from, from + digits, false, step);
    }
    add_written(d, need, (size_t)lemma->from, (size_t)lemma->to, false, step);
    for (int k = 0; k < p->n_uses; k++)
        if (p->uses[k].source == step)
            add_written(d, need, (size_t)p->uses[k].from, (size_t)p->uses[k].to, false,
                        p->uses[k].step);
}

/* "How many shells does Bea have?": whose. */
static void need_question(const struct desk *d) {
    const struct spelled *s = d->spelled;
    struct need *need = needs_add(d->needs, NEED_STATEMENT, d->problem->n_steps);
    static const char does[] = " does ";
    size_t size = s->start[s->n_prompt], word = sizeof does - 1;
    const char *last = NULL;
    for (size_t i = 0; i + word < size; i++)
        if (!memcmp(s->text + i, does, word))
            last = s->text + i + word;
    if (!last)
        return;
    size_t from = (size_t)(last - s->text), to = from;
    while (to < size && isalpha((unsigned char)s->text[to]))
        to++;
    add_copy(d, need, from, to, true, SIZE_MAX, -1);
}

/* --- needs ------------------------------------------------------------------------------------ */

static void need_step(const struct desk *d) {
    const struct problem *p = d->problem;
    int step = d->wrong->step;
    for (int k = p->dep_start[step]; k < p->dep_start[step + 1]; k++)
        need_value(d, p->deps[k]);
    need_statement(d, step);
    add_written(d, needs_add(d->needs, NEED_WORKING, step), d->wrong->line, d->wrong->gold, false,
                step);
    d->needs->near = true;
}

void explain_needs(const struct problem *p, const struct spelled *spelled,
                   const struct wrong_step *w, const int32_t *at, struct needs *needs,
                   int32_t *since) {
    struct desk d = {p, spelled, w, at, needs};
    *needs = (struct needs){0};
    int wrong = spelled_token(spelled, w->text);
    *since = wrong - 1;
    switch (w->part) {
    case WRONG_RECALL:
        need_value(&d, w->source);
        break;
    case WRONG_ANSWER:
        need_value(&d, w->source);
        need_question(&d);
        break;
    case WRONG_COMPUTE:
    case WRONG_RESULT:
        need_step(&d);
        break;
    default:
        if (w->step == p->n_steps)
            need_question(&d);
        else
            need_statement(&d, w->step);
        /* Labels and plain words follow from what was read before them. */
        if (!isupper((unsigned char)p->solution[w->gold]) &&
            !isdigit((unsigned char)p->solution[w->gold]) && w->line < w->gold)
            *since = spelled_token(spelled, (size_t)at[w->line]);
    }
    for (int i = 0; i < needs->n;) {
        if (needs->items[i].n) {
            i++;
            continue;
        }
        for (int k = i + 1; k < needs->n; k++) /* never said: nothing that could be lost */
            needs->items[k - 1] = needs->items[k];
        needs->n--;
    }
}
