#include "experiments/units.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void units_free(struct units *u) {
    for (int s = 0; s < UNIT_SCORINGS; s++)
        free(u->lemma[s]);
    free(u->step);
    free(u->digit);
    free(u->from);
    free(u->birth);
    free(u->known);
    *u = (struct units){0};
}

static bool overlaps(const struct span *span, size_t from, size_t to) {
    return (size_t)span->from < to && (size_t)span->to > from;
}

static void label_token(struct units *u, const struct problem *p, int i, size_t from, size_t to) {
    for (int l = 0; l < p->n_lemmas; l++)
        if (overlaps(&p->lemmas[l], from, to)) {
            u->lemma[UNIT_ORIGINAL][i] = u->lemma[UNIT_RESTATED][i] = (int16_t)l;
            u->from[l] = u->from[l] ? u->from[l] : i;
            u->birth[l] = i;
        }
    for (int k = 0; k < p->n_uses; k++)
        if (overlaps(&p->uses[k], from, to))
            u->lemma[UNIT_RESTATED][i] = (int16_t)p->uses[k].source;
    for (size_t at = from; at < to; at++)
        u->digit[i] = u->digit[i] || isdigit((unsigned char)p->solution[at]);
}

/* A use is the queries that predict its digits: one before each of them. Uses come in order. */
static void label_use(struct units *u, int i) {
    int l = u->lemma[UNIT_RESTATED][i];
    if (l < 0 || u->lemma[UNIT_ORIGINAL][i] == l || i - 1 <= u->birth[l])
        return;
    struct proof_life *k = &u->known[l];
    int32_t life = i - 1 - u->birth[l], silence = life - k->life - 1;
    k->silence = silence > k->silence ? silence : k->silence;
    k->life = life;
    k->used = true;
    k->last_step = u->step[i];
}

bool units_make(const struct tokenizer *tokenizer, const struct mined *mined, struct units *u,
                struct err *e) {
    const struct problem *p = &mined->problem;
    size_t n = mined->ids.count, at = 0, end = strlen(p->solution);
    *u = (struct units){.n_ids = (int)n, .n_lemmas = p->n_lemmas};
    for (int s = 0; s < UNIT_SCORINGS; s++) {
        u->lemma[s] = must_alloc(n * sizeof(int16_t));
        memset(u->lemma[s], -1, n * sizeof(int16_t));
    }
    u->step = must_alloc(n * sizeof *u->step);
    memset(u->step, -1, n * sizeof *u->step);
    u->digit = must_zalloc(n, sizeof *u->digit);
    u->from = must_zalloc((size_t)p->n_lemmas + 1, sizeof *u->from);
    u->birth = must_zalloc((size_t)p->n_lemmas + 1, sizeof *u->birth);
    u->known = must_zalloc((size_t)p->n_lemmas + 1, sizeof *u->known);
    for (int l = 0; l < p->n_lemmas; l++)
        u->known[l].last_step = l;
    int16_t step = 0;
    for (int i = mined->n_prompt; i < (int)n; i++) {
        size_t size = 0;
        bool special;
        const char *piece = tokenizer_piece(tokenizer, mined->ids.ids[i], &size, &special);
        if (!piece || size > end - at || memcmp(piece, p->solution + at, size) != 0) {
            units_free(u);
            return err_set(e, EXIT_CONTENT, "token %d does not spell the solution's bytes", i);
        }
        u->step[i] = step;
        label_token(u, p, i, at, at + size);
        label_use(u, i);
        for (size_t k = 0; k < size; k++)
            step = (int16_t)(step + (piece[k] == '\n'));
        at += size;
    }
    return true;
}

struct proof_life units_found(const struct units *u, enum unit_scoring scoring, int l,
                              const struct lifecycle *life) {
    struct proof_life out = {.last_step = l};
    for (int i = u->from[l]; i < u->n_ids; i++) {
        const struct key_life *key = &life->keys[i];
        if (u->lemma[scoring][i] != l || !key->uses)
            continue;
        int32_t silence = lifecycle_birth_silence(life, i);
        silence = key->gap > silence ? key->gap : silence;
        out.silence = silence > out.silence ? silence : out.silence;
        out.peak = key->peak > out.peak ? key->peak : out.peak;
        out.used = true;
        if (key->last - u->birth[l] > out.life)
            out.life = key->last - u->birth[l], out.last_step = u->step[key->last];
    }
    return out;
}
