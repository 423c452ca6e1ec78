#include "analysis/compare.h"

#include <stdio.h>
#include <stdlib.h>

#define DRAWS 4000
#define SEED 1
#define LEVEL 0.05
#define ONE_SIDED 0.025

/* Config is canonical JSON, and policy and budget stand in its member "policy" alone. Of a
 * reference in several versions the newest counts. Several cells of the reference may have given a
 * sample the same effective budget, and then the same answer: min() picks one. A greedy cell stored
 * once per sample would answer every repeat alike, so it meets each repeat of a cell that draws. */
static const char pairs_sql[] =
    "WITH once (cell_id) AS ("
    "  SELECT id FROM cell WHERE temperature = 0 AND NOT EXISTS ("
    "    SELECT 1 FROM result WHERE result.cell_id = cell.id AND repeat > 0)) "
    "SELECT a.sample_id, a.correct AS cell_right, b.correct AS reference_right, min(b.cell_id) "
    "FROM cell ca "
    "JOIN cell cb ON cb.policy = ?2 AND ca.policy <> ?2 "
    "  AND cb.model_id = ca.model_id AND cb.dataset_id = ca.dataset_id "
    "  AND json_remove(cb.config, '$.policy') = json_remove(ca.config, '$.policy') "
    "  AND cb.policy_version = (SELECT max(cv.policy_version) FROM cell cv "
    "    WHERE cv.policy = ?2 AND cv.model_id = ca.model_id AND cv.dataset_id = ca.dataset_id "
    "      AND json_remove(cv.config, '$.policy') = json_remove(ca.config, '$.policy') "
    "      AND EXISTS (SELECT 1 FROM result WHERE result.cell_id = cv.id)) "
    "JOIN v_result a ON a.cell_id = ca.id "
    "JOIN v_result b ON b.cell_id = cb.id AND b.sample_id = a.sample_id "
    "  AND (b.repeat = a.repeat OR ca.id IN once OR cb.id IN once) "
    "  AND (b.effective_budget = a.effective_budget OR cb.policy = 'full') "
    "WHERE ca.id = ?1 "
    "GROUP BY a.sample_id, a.repeat, b.repeat ORDER BY a.sample_id, a.repeat, b.repeat";

/* Pairs in the order of their problems. */
struct problems {
    struct paired *items;
    size_t n, room;
    int64_t sample; /* the problem in progress */
};

static void add_pair(struct problems *problems, int64_t sample, int difference) {
    if (problems->n == 0 || sample != problems->sample) {
        if (problems->n == problems->room) {
            problems->room = problems->room ? 2 * problems->room : 64;
            problems->items =
                must_realloc(problems->items, problems->room * sizeof *problems->items);
        }
        problems->items[problems->n++] = (struct paired){0};
        problems->sample = sample;
    }
    problems->items[problems->n - 1].pairs++;
    problems->items[problems->n - 1].difference += difference;
}

static void conclude(const struct problems *problems, struct comparison *out) {
    if (out->pairs == 0)
        return;
    double n = (double)problems->n, pairs = (double)out->pairs;
    bool one_draw_each = (size_t)out->pairs == problems->n;
    out->problems = (int64_t)problems->n;
    out->difference = (double)(out->only_cell - out->only_reference) / pairs;
    out->ci = stats_cluster_bootstrap(problems->items, problems->n, DRAWS, SEED);
    out->p = one_draw_each ? stats_mcnemar(out->only_cell, out->only_reference)
                           : stats_sign_flip(problems->items, problems->n);
    out->p_margin = stats_noninferior(n * (double)out->only_cell / pairs,
                                      n * (double)out->only_reference / pairs, n, out->margin);
    out->p_holm = out->p;
    out->p_margin_holm = out->p_margin;
}

bool compare_cell(struct db *db, int64_t cell, const char *reference, double margin,
                  struct comparison *out, struct err *e) {
    *out = (struct comparison){.margin = margin};
    struct db_query *q = db_query(db, pairs_sql, e);
    if (!q)
        return false;
    db_bind_int(q, 1, cell);
    db_bind_text(q, 2, reference);
    struct problems problems = {0};
    while (db_next(q, e)) {
        int difference = (int)(db_int(q, 1) - db_int(q, 2));
        add_pair(&problems, db_int(q, 0), difference);
        out->pairs++;
        out->only_cell += difference > 0;
        out->only_reference += difference < 0;
    }
    bool ok = db_query_end(q);
    if (ok)
        conclude(&problems, out);
    free(problems.items);
    return ok;
}

char *compare_sql(int64_t cell, const char *reference) {
    char *sql = NULL;
    size_t size;
    FILE *out = open_memstream(&sql, &size);
    CHECK(out);
    fputs("SELECT count(*) AS pairs, count(DISTINCT sample_id) AS problems, sum(cell_right > "
          "reference_right) AS gained, sum(cell_right < reference_right) AS lost FROM (",
          out);
    for (const char *at = pairs_sql; *at; at++)
        if (at[0] == '?' && at[1] == '1')
            fprintf(out, "%lld", (long long)cell), at++;
        else if (at[0] == '?' && at[1] == '2')
            db_quote(reference, out), at++;
        else
            putc(*at, out);
    putc(')', out);
    CHECK(fclose(out) == 0);
    return sql;
}

const char *compare_verdict(const struct comparison *c) {
    bool within = c->p_margin_holm < ONE_SIDED;
    if (c->p_holm >= LEVEL)
        return within ? "comparable" : "not distinguishable";
    if (c->difference > 0)
        return "better";
    return within ? "worse, within the margin" : "worse";
}
