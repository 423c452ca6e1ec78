#include "experiments/regrade.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "datasets/grade.h"

enum { BATCH = 256 };

struct change {
    int64_t id;
    struct grade strict;
    bool mv;
};

struct tally {
    int64_t graded, changed, box, chain, mv; /* mv: also those that had none yet */
};

/* Bytes of a stored text; the caller frees. */
static char *decode(const char *text, const char *encoding, size_t *size) {
    *size = strlen(text);
    if (!strcmp(encoding, "utf8"))
        return must_strdup(text);
    char *out = must_alloc(*size / 2 + 1);
    for (size_t i = 0; i < *size / 2; i++) {
        unsigned byte = 0;
        sscanf(text + 2 * i, "%2x", &byte);
        out[i] = (char)byte;
    }
    *size /= 2;
    out[*size] = 0;
    return out;
}

/* Grades the row under the query; whether anything is new. */
static bool judge(struct db_query *q, struct change *change, struct tally *tally) {
    size_t size;
    struct grade mv;
    char *text = decode(db_text(q, 1), db_text(q, 2), &size);
    change->id = db_int(q, 0);
    grade_answer(GRADE_STRICT, db_text(q, 3), text, size, &change->strict);
    grade_answer(GRADE_MATH_VERIFY, db_text(q, 3), text, size, &mv);
    change->mv = mv.correct;
    free(text);
    bool box = db_int(q, 4) != change->strict.boxed, chain = db_int(q, 5) != change->strict.correct;
    bool library = db_type(q, 6) == DB_NULL || db_int(q, 6) != mv.correct;
    tally->graded++;
    tally->box += box, tally->chain += chain, tally->mv += library;
    bool found = strcmp(db_text(q, 7), grade_path_names[change->strict.path]) ||
                 strcmp(db_text(q, 8), change->strict.extracted);
    return box || chain || library || found;
}

/* The next answers behind `after`. *more: whether there were any. */
static bool judge_batch(struct db *db, int64_t run, int64_t *after, struct change changes[BATCH],
                        int *n, bool *more, struct tally *tally, struct err *e) {
    struct db_query *q = db_query(
        db,
        "SELECT result.id, result.text, result.encoding, sample.gold, correct_box, correct_chain, "
        "correct_mv, path, extracted FROM result JOIN sample ON sample.id = result.sample_id "
        "WHERE result.id > ?1 AND (?2 = 0 OR cell_id IN (SELECT cell_id FROM run_cell "
        "WHERE run_id = ?2)) ORDER BY result.id LIMIT 256",
        e);
    *n = 0, *more = false;
    if (!q)
        return false;
    db_bind_int(q, 1, *after);
    db_bind_int(q, 2, run);
    while (db_next(q, e)) {
        *more = true;
        *n += judge(q, &changes[*n], tally);
        *after = db_int(q, 0);
    }
    return db_query_end(q);
}

static bool store(struct db *db, const struct change *changes, int n, struct err *e) {
    bool ok = n == 0 || db_begin(db, e);
    for (int i = 0; ok && i < n; i++) {
        const struct grade *g = &changes[i].strict;
        const struct db_verdicts verdicts = {.box = g->boxed,
                                             .chain = g->correct,
                                             .mv = changes[i].mv,
                                             .path = grade_path_names[g->path],
                                             .extracted = g->extracted};
        ok = db_regrade(db, changes[i].id, &verdicts, e);
    }
    ok = ok && (n == 0 || db_commit(db, e));
    if (!ok)
        db_rollback(db);
    return ok;
}

static void print_tally(const struct tally *t, bool json, FILE *out) {
    struct json_out o = {0};
    if (!json) {
        fprintf(out,
                "%" PRId64 " answers graded, %" PRId64
                " changed; verdicts that changed: box %" PRId64 ", chain %" PRId64
                ", math-verify %" PRId64 "\n",
                t->graded, t->changed, t->box, t->chain, t->mv);
        return;
    }
    json_open(&o, '{');
    json_add_int(&o, "graded", t->graded);
    json_add_int(&o, "changed", t->changed);
    json_add_int(&o, "correct_box", t->box);
    json_add_int(&o, "correct_chain", t->chain);
    json_add_int(&o, "correct_mv", t->mv);
    json_close(&o, '}');
    fprintf(out, "%s\n", o.text);
    free(o.text);
}

bool regrade_all(struct db *db, int64_t run, bool json, FILE *out, struct err *e) {
    struct change *changes = must_alloc(BATCH * sizeof *changes);
    struct tally tally = {0};
    int64_t after = 0;
    bool ok = true, more = true;
    while (ok && more) {
        int n;
        ok =
            judge_batch(db, run, &after, changes, &n, &more, &tally, e) && store(db, changes, n, e);
        tally.changed += n;
    }
    free(changes);
    if (ok && !tally.graded)
        return err_set(e, EXIT_CONTENT, "%s: no answers to grade", db_path(db));
    if (ok)
        print_tally(&tally, json, out);
    return ok;
}

/* --- disagreements ---------------------------------------------------------------------------- */

static const char list_sql[] =
    "SELECT v.dataset, v.sample, v.policy, v.budget, v.repeat, r.correct_box, r.correct_chain, "
    "r.correct_mv, v.path, v.gold, v.extracted FROM v_result AS v JOIN result AS r ON r.key = "
    "v.key "
    "WHERE r.correct_mv IS NOT NULL AND r.correct_mv != CASE v.metric WHEN 'box' THEN "
    "r.correct_box ELSE r.correct_chain END AND (?1 = 0 OR r.cell_id IN (SELECT cell_id FROM "
    "run_cell WHERE run_id = ?1)) ORDER BY v.dataset, v.position, v.policy, v.budget, v.repeat";

static void print_row(struct db_query *q, FILE *out) {
    struct json_out o = {0};
    json_open(&o, '{');
    for (int c = 0; c < db_columns(q); c++)
        db_put_json(q, c, &o);
    json_close(&o, '}');
    fprintf(out, "%s\n", o.text);
    free(o.text);
}

bool regrade_list(struct db *db, int64_t run, bool json, FILE *out, struct err *e) {
    struct db_query *q = db_query(db, list_sql, e);
    int64_t n = 0;
    if (!q)
        return false;
    db_bind_int(q, 1, run);
    for (; db_next(q, e); n++) {
        if (json)
            print_row(q, out);
        else
            fprintf(out, "%s %s  %s %s  box %s chain %s math-verify %s  by %s  gold %s  found %s\n",
                    db_text(q, 0), db_text(q, 1), db_text(q, 2), db_text(q, 3), db_text(q, 5),
                    db_text(q, 6), db_text(q, 7), db_text(q, 8), db_text(q, 9), db_text(q, 10));
    }
    bool ok = db_query_end(q);
    if (ok && !json)
        fprintf(out, "%" PRId64 " disagreements\n", n);
    return ok;
}
