/* An explanation for people, and its row. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "experiments/explain.h"

/* --- texts ------------------------------------------------------------------------------------ */

/* One line of `text` from byte `from`, without its end; malloc'd, UTF-8. */
static char *line_of(const char *text, size_t size, size_t from) {
    const char *begin = text + from, *end = memchr(begin, '\n', size - from);
    size_t n = end ? (size_t)(end - begin) : size - from;
    char *out = must_alloc(3 * n + 1);
    n = utf8_mend(begin, n, out);
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)out[i] < 0x20 ? '?' : out[i];
    out[n] = 0;
    return out;
}

static char *gold_line(const struct explanation *x) {
    const char *solution = x->answer->problem.solution;
    return line_of(solution, strlen(solution), x->wrong.line);
}

static size_t written_from(const struct explanation *x) {
    return x->wrong.line ? (size_t)x->at[x->wrong.line - 1] + 1 : 0;
}

static char *written_line(const struct explanation *x) {
    const struct spelled *s = &x->spelled;
    size_t begin = s->start[s->n_prompt];
    return line_of(s->text + begin, s->size - begin, written_from(x));
}

/* --- what was needed -------------------------------------------------------------------------- */

static int step_of_position(const struct explanation *x, int32_t position) {
    const struct spelled *s = &x->spelled;
    int step = 0;
    if (position < s->n_prompt)
        return -1;
    for (size_t i = s->start[s->n_prompt]; i < s->start[position]; i++)
        step += s->text[i] == '\n';
    return step;
}

static void put_place(FILE *out, int step, int n_steps) {
    step < 0          ? fputs("the prompt", out)
    : step == n_steps ? fputs("the final answer", out)
                      : fprintf(out, "step %d", step + 1);
}

static void put_need(const struct explanation *x, const struct need *need, FILE *out) {
    const struct problem *p = &x->answer->problem;
    if (need->kind == NEED_WORKING)
        fputs("the step so far", out);
    else if (need->kind == NEED_STATEMENT && need->step == p->n_steps)
        fputs("whom the question asks for", out);
    else if (need->kind == NEED_STATEMENT)
        fprintf(out, "the statement of step %d", need->step + 1);
    else
        fprintf(out, "the value of step %d, %.*s", need->step + 1,
                p->lemmas[need->step].to - p->lemmas[need->step].from,
                p->solution + p->lemmas[need->step].from);
    for (int c = 0; c < need->n; c++) {
        const struct need_copy *copy = &need->copies[c];
        fputs(c ? ", " : "; it stands in ", out);
        put_place(out, copy->step, p->n_steps);
        int32_t from = copy->positions[0], to = copy->positions[copy->n - 1];
        from == to ? fprintf(out, " (token %d)", from) : fprintf(out, " (%d-%d)", from, to);
    }
}

/* The latest query by which a KV head that is asked had lost the need; -1: none lost it. */
static int32_t evicted_at(const struct explanation *x, const struct need *need) {
    const struct trace *t = &x->trace;
    bool *asked = must_alloc((size_t)(t->n_layers * t->n_kv_heads) * sizeof *asked);
    int32_t latest = -1;
    trace_asked(t, need->kind, asked);
    for (int h = 0; h < t->n_layers * t->n_kv_heads; h++) {
        int32_t held = asked[h] ? trace_held(t, need, h) : t->query;
        if (held < t->query && held + 1 > latest)
            latest = held + 1;
    }
    free(asked);
    return latest;
}

static void put_holders(const struct explanation *x, const struct need *need, FILE *out) {
    const struct trace *t = &x->trace;
    int kv = t->n_layers * t->n_kv_heads, all = 0;
    bool *asked = must_alloc((size_t)kv * sizeof *asked);
    int n = trace_asked(t, need->kind, asked);
    for (int h = 0; h < kv; h++)
        all += trace_held(t, need, h) == t->query;
    fputs("  held       by ", out);
    if (n < kv)
        fprintf(out, "%d of %d KV heads that serve validated heads, by ", trace_holders(t, need),
                n);
    fprintf(out, "%d of %d in all\n", all, kv);
    for (int h = 0; n < kv && h < kv; h++) {
        int32_t held = asked[h] ? trace_held(t, need, h) : t->query;
        if (held >= t->query)
            continue;
        fprintf(out, "  evicted    from KV head %d of layer %d by token %d, in ", h % t->n_kv_heads,
                h / t->n_kv_heads, held + 1);
        put_place(out, step_of_position(x, held + 1), x->answer->problem.n_steps);
        fprintf(out, ", %d tokens before it was needed\n", t->query - held - 1);
    }
    free(asked);
}

static void put_attention(const struct explanation *x, FILE *out) {
    const struct trace *t = &x->trace;
    fputs("  attention  ", out);
    for (int h = 0; h < t->n_heads; h++)
        fprintf(out, "%shead %d of layer %d gave %.3f (reads from %g)", h ? "; " : "",
                t->heads[h].head, t->heads[h].layer, t->given[h], t->heads[h].theta);
    fputs(x->needs.near ? "; near by, not judged\n" : "\n", out);
}

/* --- the account ------------------------------------------------------------------------------ */

static const char *const verdicts[CAUSES] = {
    "a value that was needed had been evicted, and every restatement of it",
    "what the prompt says had been evicted",
    "what the step itself had written so far had been evicted",
    "all that was needed was there, and no validated head read it",
    "what was needed was there, and what was written is wrong",
    "no step is wrong: the answer was cut",
};

static void put_step(const struct explanation *x, FILE *out) {
    char *gold = gold_line(x), *written = written_line(x);
    size_t begin = x->spelled.start[x->spelled.n_prompt];
    const char *text = x->spelled.text + begin + written_from(x);
    int before = 0; /* characters in front of the first wrong one */
    for (size_t i = 0; i < x->wrong.text - written_from(x); i++)
        before += ((unsigned char)text[i] & 0xc0) != 0x80;
    fputs("  wrong in   ", out);
    put_place(out, x->wrong.step, x->answer->problem.n_steps);
    fprintf(out, ", its %s (token %d)\n", wrong_part_names[x->wrong.part], x->query + 1);
    fprintf(out, "  gold       %s\n  written    %s\n             %*s\n", gold, written, before + 1,
            "^");
    free(gold);
    free(written);
}

char *explain_account(const struct explanation *x, const struct model *model) {
    const struct explain_answer *a = x->answer;
    char *text = NULL, *prompt = line_of(a->problem.prompt, strlen(a->problem.prompt), 0);
    char *extracted = line_of(a->extracted, strlen(a->extracted), 0);
    size_t size;
    FILE *out = open_memstream(&text, &size);
    CHECK(out);
    fprintf(out, "%s under %s: %s%s%s, gold %s\n", a->sample, a->policy,
            a->capped ? "cut" : "answered", *extracted ? " " : "", extracted, a->problem.answer);
    fprintf(out, "  problem    %s\n", prompt);
    free(prompt);
    free(extracted);
    if (x->query >= 0) {
        put_step(x, out);
        for (int i = 0; i < x->needs.n; i++) {
            fputs("  needed     ", out);
            put_need(x, &x->needs.items[i], out);
            fputc('\n', out);
            put_holders(x, &x->needs.items[i], out);
        }
        if (x->needs.n)
            put_attention(x, out);
    }
    fprintf(out, "  cause      %s: %s\n", cause_names[x->cause], verdicts[x->cause]);
    if (x->full_right >= 0) {
        size_t n = 0;
        char *full = tokenizer_decode(model->tokenizer, x->full.ids, x->full.count, true, &n,
                                      &(struct err){0});
        char *line = full ? line_of(full, n, 0) : must_strdup("");
        fprintf(out, "  under full %s: %s\n", x->full_right ? "right" : "wrong too", line);
        free(line);
        free(full);
    }
    CHECK(fclose(out) == 0);
    return text;
}

/* --- the row ---------------------------------------------------------------------------------- */

/* The head that came nearest to its theta. */
static int nearest_head(const struct trace *t) {
    int best = 0;
    for (int h = 1; h < t->n_heads; h++)
        if (t->given[h] / t->heads[h].theta > t->given[best] / t->heads[best].theta)
            best = h;
    return best;
}

static void fill_replay(const struct explanation *x, struct db_explain *row) {
    const struct trace *t = &x->trace;
    int best = nearest_head(t);
    row->query = x->query;
    row->given = t->given[best], row->theta = t->heads[best].theta;
    if (x->answer->greedy && x->n_told)
        row->agreement = (double)x->n_agree / x->n_told;
    if (!x->needs.n)
        return;
    const struct need *need = &x->needs.items[x->which];
    bool *asked = must_alloc((size_t)(t->n_layers * t->n_kv_heads) * sizeof *asked);
    row->kv_heads = trace_asked(t, need->kind, asked);
    free(asked);
    row->holders = trace_holders(t, need);
    row->evicted_at = evicted_at(x, need);
    row->evicted_step = row->evicted_at < 0 ? 0 : step_of_position(x, (int32_t)row->evicted_at);
    row->source_step = need->step == x->answer->problem.n_steps ? -1 : need->step;
}

bool explain_store(const struct explanation *x, const struct model *model, struct db *db,
                   int64_t run, const char *params, struct err *e) {
    char *gold = gold_line(x), *written = written_line(x), *account = explain_account(x, model);
    struct db_explain row = {
        .key = x->answer->key,
        .run = run,
        .result = x->answer->result,
        .params = params,
        .cause = cause_names[x->cause],
        .part = wrong_part_names[x->wrong.part],
        .step = x->wrong.step,
        .source_step = -1,
        .gold = gold,
        .written = written,
        .kv_heads = -1,
        .holders = -1,
        .query = -1,
        .evicted_at = -1,
        .given = (double)NAN,
        .theta = (double)NAN,
        .agreement = (double)NAN,
        .full_right = x->full_right,
        .account = account,
    };
    if (x->query >= 0)
        fill_replay(x, &row);
    bool ok = db_add_explain(db, &row, e);
    free(gold);
    free(written);
    free(account);
    return ok;
}
