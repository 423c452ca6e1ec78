#include "analysis/cause_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/grid.h"
#include "base/json.h"

/* As v_causes names them. */
static const char *const causes[] = {"source_evicted", "statement_evicted", "working_evicted",
                                     "unread",         "arithmetic",        "cut"};
enum { N_CAUSES = sizeof causes / sizeof *causes };

static const char table_sql[] =
    "SELECT model, dataset, policy, budget, answers, wrong, kv_tokens_peak, "
    "sum(n) FILTER (WHERE cause = 'source_evicted'), "
    "sum(n) FILTER (WHERE cause = 'statement_evicted'), "
    "sum(n) FILTER (WHERE cause = 'working_evicted'), sum(n) FILTER (WHERE cause = 'unread'), "
    "sum(n) FILTER (WHERE cause = 'arithmetic'), sum(n) FILTER (WHERE cause = 'cut'), "
    "sum(full_right), sum(full_tried), min(agreement), "
    "sum(full_right) FILTER (WHERE cause LIKE '%_evicted'), "
    "sum(full_tried) FILTER (WHERE cause LIKE '%_evicted') FROM v_causes "
    "WHERE ?1 = 0 OR cell_id IN (SELECT cell_id FROM run_cell WHERE run_id = ?1) "
    "GROUP BY cell_id ORDER BY model, dataset, policy <> 'full', policy, budget, cell_id";
enum {
    MODEL,
    DATASET,
    POLICY,
    BUDGET,
    ANSWERS,
    WRONG,
    KEPT,
    FIRST_CAUSE,
    FULL_RIGHT = FIRST_CAUSE + N_CAUSES,
    FULL_TRIED,
    AGREEMENT,
    EVICTED_RIGHT,
    EVICTED_TRIED
};

static struct db_query *ask(struct db *db, int64_t run, struct err *e) {
    struct db_query *q = db_query(db, table_sql, e);
    if (q)
        db_bind_int(q, 1, run);
    return q;
}

static bool any(int64_t rows, struct db *db, struct err *e) {
    return rows > 0 ||
           err_set(e, EXIT_CONTENT, "%s: no answers to lemmas that are explained, or all right",
                   db_path(db));
}

static void open_grid(struct grid *g) {
    static const char *const heads[] = {
        "budget",          "kept",   "answers",    "wrong", "source evicted",  "statement evicted",
        "working evicted", "unread", "arithmetic", "cut",   "right under full"};
    grid_column(g, GRID_LEFT, "policy");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        grid_column(g, GRID_RIGHT, heads[i]);
}

static void put_cell(struct grid *g, const struct db_query *q) {
    grid_cell(g, "%s", db_text(q, POLICY));
    grid_cell(g, "%s", db_text(q, BUDGET));
    grid_cell(g, "%.0f", db_real(q, KEPT));
    grid_cell(g, "%d", (int)db_int(q, ANSWERS));
    grid_cell(g, "%d", (int)db_int(q, WRONG));
    for (int c = 0; c < N_CAUSES; c++)
        grid_cell(g, "%d", (int)db_int(q, FIRST_CAUSE + c));
    db_int(q, FULL_TRIED)
        ? grid_cell(g, "%d of %d", (int)db_int(q, FULL_RIGHT), (int)db_int(q, FULL_TRIED))
        : grid_cell(g, "%s", "");
}

struct sums {
    int64_t evicted_right, evicted_tried, right, tried;
    double agreement;
};

static void print_sums(const struct sums *s, FILE *out) {
    if (s->evicted_tried)
        fprintf(out,
                "with everything held again (full attention, from what stands before the step) "
                "%d of %d steps that an eviction spoiled come out right; of all %d of %d\n",
                (int)s->evicted_right, (int)s->evicted_tried, (int)s->right, (int)s->tried);
    if (!isnan(s->agreement))
        fprintf(
            out,
            "replays chose the ids that were written: at least %.2f %% of those of any answer\n",
            100 * s->agreement);
}

bool cause_table(struct db *db, int64_t run, FILE *out, struct err *e) {
    struct db_query *q = ask(db, run, e);
    struct grid g = {0};
    struct sums s = {.agreement = (double)NAN};
    char title[500] = "";
    int64_t rows = 0;
    for (; q && db_next(q, e); rows++) {
        char here[500];
        snprintf(here, sizeof here, "%s on %s", db_text(q, MODEL), db_text(q, DATASET));
        if (strcmp(here, title) != 0) {
            if (rows)
                grid_print(&g, GRID_TEXT, out), fputc('\n', out), grid_free(&g);
            fprintf(out, "%s: why answers are wrong\n\n", here);
            memcpy(title, here, sizeof title);
            open_grid(&g);
        }
        put_cell(&g, q);
        s.right += db_int(q, FULL_RIGHT), s.tried += db_int(q, FULL_TRIED);
        s.evicted_right += db_int(q, EVICTED_RIGHT), s.evicted_tried += db_int(q, EVICTED_TRIED);
        s.agreement = fmin(s.agreement, db_real(q, AGREEMENT));
    }
    bool ok = db_query_end(q) && any(rows, db, e);
    if (ok) {
        grid_print(&g, GRID_TEXT, out);
        fputc('\n', out);
        print_sums(&s, out);
    }
    grid_free(&g);
    return ok;
}

bool cause_json(struct db *db, int64_t run, FILE *out, struct err *e) {
    struct db_query *q = ask(db, run, e);
    struct json_out o = {0};
    int64_t rows = 0;
    json_open(&o, '[');
    for (; q && db_next(q, e); rows++) {
        json_open(&o, '{');
        json_add_text(&o, "model", db_text(q, MODEL));
        json_add_text(&o, "dataset", db_text(q, DATASET));
        json_add_text(&o, "policy", db_text(q, POLICY));
        json_name(&o, "budget");
        db_type(q, BUDGET) == DB_NULL ? json_put_null(&o) : json_put_int(&o, db_int(q, BUDGET));
        json_add_int(&o, "answers", db_int(q, ANSWERS));
        json_add_int(&o, "wrong", db_int(q, WRONG));
        for (int c = 0; c < N_CAUSES; c++)
            json_add_int(&o, causes[c], db_int(q, FIRST_CAUSE + c));
        json_add_int(&o, "full_right", db_int(q, FULL_RIGHT));
        json_add_int(&o, "full_tried", db_int(q, FULL_TRIED));
        json_add_real(&o, "agreement", db_real(q, AGREEMENT));
        json_close(&o, '}');
    }
    json_close(&o, ']');
    bool ok = db_query_end(q) && any(rows, db, e);
    if (ok)
        fprintf(out, "%s\n", o.text);
    free(o.text);
    return ok;
}
