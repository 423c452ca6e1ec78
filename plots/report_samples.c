/* The browser of samples: its data, as JSON in the page. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "plots/html.h"
#include "plots/report_private.h"

struct browser {
    struct report *report;
    struct json_out json;
    int64_t samples, answers, left_out; /* shown, and problems that are not */
};

static void put_answer(struct json_out *o, const struct db_query *q, int cell) {
    json_open(o, '{');
    json_add_int(o, "cell", cell);
    json_add_int(o, "repeat", db_int(q, 4));
    json_add_text(o, "outcome", db_text(q, 5));
    static const char *const verdicts[] = {"box", "chain", "mv"};
    for (int v = 0; v < 3; v++) {
        json_name(o, verdicts[v]);
        if (db_type(q, 6 + v) == DB_NULL)
            json_put_null(o);
        else
            json_put_bool(o, db_int(q, 6 + v) != 0);
    }
    json_add_text(o, "extracted", db_text(q, 9));
    json_add_text(o, "path", db_text(q, 10));
    json_add_text(o, "finish", db_text(q, 11));
    json_add_int(o, "loop", db_int(q, 12));
    json_add_int(o, "prompt_tokens", db_int(q, 13));
    json_add_int(o, "new_tokens", db_int(q, 14));
    json_name(o, "effective");
    if (db_type(q, 15) == DB_NULL)
        json_put_null(o);
    else
        json_put_int(o, db_int(q, 15));
    json_add_int(o, "kept", db_int(q, 16));
    json_add_int(o, "evictions", db_int(q, 17));
    json_add_bool(o, "hex", !strcmp(db_text(q, 18), "hex"));
    json_add_text(o, "text", db_text(q, 19));
    json_close(o, '}');
}

static int place_of(const struct report *r, int from, int to, int64_t cell) {
    for (int i = from; i < to; i++)
        if (r->results.rows[i].cell == cell)
            return i - from;
    return -1;
}

/* Rows come sample by sample; those behind the limit are only counted. */
static bool put_samples(struct browser *b, int from, int to, struct err *e) {
    struct report *r = b->report;
    char *cells = report_cells(r, from, to), *sql;
    CHECK(asprintf(&sql,
                   "SELECT v.sample_id, v.sample, sample.prompt, v.gold, v.repeat, v.outcome, "
                   "result.correct_box, result.correct_chain, result.correct_mv, v.extracted, "
                   "v.path, v.finish, v.loop_period, v.prompt_tokens, v.new_tokens, "
                   "v.effective_budget, v.kv_tokens_peak, v.evictions, v.encoding, v.text, "
                   "v.cell_id FROM v_answer v JOIN result ON result.key = v.key "
                   "JOIN sample ON sample.id = v.sample_id WHERE v.cell_id IN %s "
                   "ORDER BY v.position, v.sample_id, v.cell_id, v.repeat",
                   cells) > 0);
    free(cells);
    struct db_query *q = db_query(r->db, sql, e);
    free(sql);
    int64_t sample = -1, shown = 0;
    bool open = false;
    while (q && db_next(q, e)) {
        if (db_int(q, 0) != sample) {
            sample = db_int(q, 0);
            if (open)
                json_close(&b->json, ']'), json_close(&b->json, '}');
            open = !r->choice->samples || shown < r->choice->samples;
            shown += open;
            b->samples += open;
            b->left_out += !open;
            if (open) {
                json_open(&b->json, '{');
                json_add_text(&b->json, "name", db_text(q, 1));
                json_add_text(&b->json, "prompt", db_text(q, 2));
                json_add_text(&b->json, "gold", db_text(q, 3));
                json_name(&b->json, "answers"), json_open(&b->json, '[');
            }
        }
        if (open) {
            put_answer(&b->json, q, place_of(r, from, to, db_int(q, 20)));
            b->answers++;
        }
    }
    if (open)
        json_close(&b->json, ']'), json_close(&b->json, '}');
    return db_query_end(q);
}

static void put_cells(struct browser *b, int from, int to) {
    const struct result_row *rows = b->report->results.rows;
    char *title;
    CHECK(asprintf(&title, "%s on %s (%s)", rows[from].model, rows[from].dataset,
                   rows[from].settings) > 0);
    json_add_text(&b->json, "title", title);
    free(title);
    json_name(&b->json, "cells"), json_open(&b->json, '[');
    for (int i = from; i < to; i++) {
        CHECK(asprintf(&title, rows[i].budget ? "%s, budget %lld" : "%s", rows[i].policy,
                       (long long)rows[i].budget) > 0);
        json_open(&b->json, '{');
        json_add_text(&b->json, "title", title);
        json_add_bool(&b->json, "reference", !strcmp(rows[i].policy, b->report->choice->reference));
        json_close(&b->json, '}');
        free(title);
    }
    json_close(&b->json, ']');
}

static bool put_sets(struct browser *b, struct err *e) {
    const struct results *results = &b->report->results;
    for (int from = 0, to; from < results->n; from = to) {
        for (to = from;
             to < results->n && report_same_section(&results->rows[from], &results->rows[to]); to++)
            ;
        json_open(&b->json, '{');
        put_cells(b, from, to);
        json_name(&b->json, "samples"), json_open(&b->json, '[');
        if (!put_samples(b, from, to, e))
            return false;
        json_close(&b->json, ']');
        json_close(&b->json, '}');
    }
    return true;
}

bool report_samples(struct report *r, struct err *e) {
    struct browser b = {.report = r};
    json_open(&b.json, '{');
    json_add_text(&b.json, "reference", r->choice->reference);
    json_name(&b.json, "sets"), json_open(&b.json, '[');
    bool ok = put_sets(&b, e);
    json_close(&b.json, ']'), json_close(&b.json, '}');
    if (ok) {
        fprintf(r->out,
                "<h2 id=\"browser-heading\">Answers</h2>\n<p class=\"soft\">%lld answers to %lld "
                "problems",
                (long long)b.answers, (long long)b.samples);
        if (b.left_out)
            fprintf(r->out, "; %lld more problems are in the database only (--samples 0 takes all)",
                    (long long)b.left_out);
        fputs(". ", r->out);
        report_link(r,
                    report_query(r, "Answers",
                                 must_strdup("SELECT sample, policy, budget, repeat, outcome, "
                                             "extracted, gold, kv_tokens_peak, text "
                                             "FROM v_answer ORDER BY position, cell_id, repeat")),
                    "Query");
        fputs("</p>\n<div id=\"browser\"><noscript>Browsing takes JavaScript.</noscript></div>\n"
              "<script type=\"application/json\" id=\"samples\">",
              r->out);
        html_json(b.json.text, r->out);
        fputs("</script>\n", r->out);
    }
    free(b.json.text);
    return ok;
}
