#include "plots/lifelines.h"

#include <stdlib.h>
#include <string.h>

#include "analysis/miner_file.h"
#include "analysis/proof.h"
#include "plots/parts.h"

enum kind { BIRTH, USE, LAST, LINE };
enum source { GOLD, FOUND };

struct lemma {
    int32_t from, birth; /* positions of its first and last digit; -1: not stated in this file */
    int32_t last[2];     /* query of the last use, by enum source; -1: none */
};

struct lines {
    struct attn_reader *reader;
    const struct attn_info *info;
    struct miner miner;
    int layer, head;
    struct lemma *lemmas; /* [n] */
    int n;
    FILE *rows;
};

/* --- what is known ---------------------------------------------------------------------------- */

static bool find_lemmas(struct lines *l, struct err *e) {
    const struct attn_tokens *t = &l->info->tokens;
    for (int32_t i = 0; t->gold_lemma && i < t->n; i++)
        l->n = t->gold_lemma[i] >= l->n ? t->gold_lemma[i] + 1 : l->n;
    if (!l->n || l->n > t->n)
        return err_set(e, EXIT_CONTENT, "%s: no gold lemmas in it: lifelines take lemmas",
                       attn_path(l->reader));
    l->lemmas = must_alloc((size_t)l->n * sizeof *l->lemmas);
    for (int k = 0; k < l->n; k++)
        l->lemmas[k] = (struct lemma){-1, -1, {-1, -1}};
    for (int32_t i = 0; i < t->n; i++) {
        int k = t->gold_lemma[i];
        if (k < 0)
            continue;
        l->lemmas[k].from = l->lemmas[k].from < 0 ? i : l->lemmas[k].from;
        l->lemmas[k].birth = i;
    }
    return true;
}

static void put_row(const struct lines *l, int lemma, enum source source, enum kind kind,
                    int32_t from, int32_t to) {
    fprintf(l->rows, "%d\t%d\t%d\t%d\t%d\n", lemma, source, kind, from, to);
}

static void use(struct lines *l, int lemma, enum source source, int32_t query) {
    struct lemma *at = &l->lemmas[lemma];
    if (at->birth < 0 || query <= at->birth)
        return;
    put_row(l, lemma, source, USE, query, query);
    at->last[source] = query > at->last[source] ? query : at->last[source];
}

/* The query that predicts a digit of a restatement uses the lemma. */
static void put_gold(struct lines *l) {
    const struct attn_tokens *t = &l->info->tokens;
    for (int32_t i = 1; t->gold_source && i < t->n; i++)
        if (t->gold_source[i] >= 0 && t->gold_source[i] < l->n)
            use(l, t->gold_source[i], GOLD, i - 1);
}

/* --- what a head shows ------------------------------------------------------------------------ */

static bool found_again(const struct lines *l, int head, int lemma) {
    const struct lemma *at = &l->lemmas[lemma];
    for (int32_t i = at->from; i >= 0 && i <= at->birth; i++)
        if (l->info->tokens.gold_lemma[i] == lemma && l->miner.heads[head].life.keys[i].uses)
            return true;
    return false;
}

static double agreement(const struct lines *l, int head, int counts[3]) {
    int hits = 0, wrong = 0, missed = 0;
    for (int k = 0; k < l->n; k++) {
        bool known = l->lemmas[k].last[GOLD] >= 0, found = found_again(l, head, k);
        hits += known && found;
        wrong += !known && found;
        missed += known && !found;
    }
    counts[0] = hits, counts[1] = wrong, counts[2] = missed;
    return proof_f1(hits, wrong, missed);
}

static void choose_head(struct lines *l) {
    double best = -1;
    for (int i = 0; i < l->info->layers.n; i++)
        for (int k = 0; k < l->info->heads.n; k++) {
            int layer = l->info->layers.items[i], head = l->info->heads.items[k], counts[3];
            double f1 = agreement(l, layer * l->info->n_heads + head, counts);
            if (f1 > best)
                best = f1, l->layer = layer, l->head = head;
        }
}

static void take_row(void *user, const struct attention_row *row) {
    struct lines *l = user;
    const struct lifecycle_params *p = &l->miner.params;
    int g = -1;
    for (int i = 0; i < l->info->heads.n && l->info->heads.items[i] <= l->head; i++)
        g += l->info->heads.items[i] / l->info->group == row->kv_head;
    const float *prob = row->prob + (size_t)g * (size_t)row->n;
    float theta = (float)(p->relative > 0 ? p->relative / row->n_resident : p->theta);
    for (int32_t i = 0; i < row->n; i++) {
        int lemma = l->info->tokens.gold_lemma[row->position[i]];
        if (lemma >= 0 && prob[i] >= theta && row->query - row->position[i] > p->window)
            use(l, lemma, FOUND, row->query);
    }
}

/* --- the figure ------------------------------------------------------------------------------- */

static void put_lines(const struct lines *l) {
    for (int k = 0; k < l->n; k++)
        for (int s = 0; s < 2 && l->lemmas[k].birth >= 0; s++) {
            const struct lemma *at = &l->lemmas[k];
            put_row(l, k, s, BIRTH, at->birth, at->birth);
            if (at->last[s] < 0)
                continue;
            put_row(l, k, s, LINE, at->birth, at->last[s]);
            put_row(l, k, s, LAST, at->last[s], at->last[s]);
        }
}

/* Steps below, lemmas with their values at the side. */
static void put_axes(const struct lines *l, FILE *out) {
    const struct attn_tokens *t = &l->info->tokens;
    int n = 0;
    fputs("set xtics (", out);
    char step[16];
    for (int32_t i = t->n_prompt; i < t->n; i++)
        if (parts_step(t, i, step))
            fprintf(out, "%s'%s' %d", n++ ? ", " : "", step, i);
    fputs(")\nset ytics (", out);
    for (int k = 0; k < l->n; k++) {
        char text[80] = "";
        const struct lemma *at = &l->lemmas[k];
        for (int32_t i = at->from; i >= 0 && i <= at->birth; i++)
            if (strlen(text) + strlen(t->text[i]) < sizeof text - 1)
                strcat(text, t->text[i]);
        fprintf(out, "%s", k ? ", " : "");
        char label[120];
        snprintf(label, sizeof label, "step %d: %s", k + 1, text + (*text == ' '));
        parts_quote(out, label);
        fprintf(out, " %d", k);
    }
    fprintf(out, ")\nn_lemmas = %d\nfirst = %d\nend = %d\n", l->n, t->n_prompt, t->n);
}

static bool draw(struct lines *l, bool chosen, const char *out, struct err *e) {
    const struct lifecycle_params *p = &l->miner.params;
    struct parts parts;
    char what[80];
    int counts[3];
    parts_open(&parts);
    l->rows = parts.file[2];
    fputs("lemma\tsource\tkind\tfrom\tto\n", l->rows);
    put_gold(l);
    if (chosen)
        choose_head(l);
    agreement(l, l->layer * l->info->n_heads + l->head, counts);
    bool ok = attn_replay_head(l->reader, l->layer, l->head / l->info->group, take_row, l, e);
    put_lines(l);
    snprintf(what, sizeof what, "layer %d, head %d%s", l->layer, l->head,
             chosen ? " (the best of all here)" : "");
    parts_title(l->reader, parts.file[0], what);
    fprintf(parts.file[0],
            "subtitle = 'detected: a ≥ %g%s, more than %d back; used again: %d of %d found, %d "
            "wrongly'\n",
            p->relative > 0 ? p->relative : p->theta, p->relative > 0 ? " / held" : "",
            (int)p->window, counts[0], counts[0] + counts[2], counts[1]);
    put_axes(l, parts.file[0]);
    return parts_draw(&parts, ok, "lifelines", out, e);
}

bool plot_lifelines(const struct plot_lifelines *what, const char *out, struct err *e) {
    struct lines l = {.layer = what->layer, .head = what->head};
    l.reader = attn_open(what->path, e);
    if (!l.reader)
        return false;
    const struct attn_info *i = l.info = attn_info(l.reader);
    bool chosen = what->layer < 0;
    miner_open(&l.miner, i->n_layers, i->n_heads, i->n_keys, what->life);
    bool ok = i->full || err_set(e, EXIT_USAGE, "%s: recorded in mode %s, expected full",
                                 what->path, attn_modes(i));
    ok = ok && (chosen || (what->layer < i->n_layers && what->head < i->n_heads) ||
                err_set(e, EXIT_USAGE, "%s: layer %d, head %d is not recorded", what->path,
                        what->layer, what->head));
    ok = ok && find_lemmas(&l, e) &&
         miner_read(&l.miner, l.reader, what->layer, chosen ? -1 : what->head / i->group, e) &&
         draw(&l, chosen, out, e);
    free(l.lemmas);
    miner_close(&l.miner);
    attn_close(l.reader);
    return ok;
}
