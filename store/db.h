/* The results database: SQLite is the truth. One row per (cell, sample, repeat), committed as it
 * finishes, so that kill -9 loses at most the samples in flight and a rerun goes on where the last
 * one stopped. Only store/ includes sqlite3.h; everyone else reads through db_query. The tables and
 * views are documented in store/schema*.sql.
 *
 * A run in short:
 *
 *     struct db *db = db_open("results/raas.db", DB_WRITE, &e);
 *     db_run_start(db, &run, &run_id, &e);
 *     plan:    db_model, db_dataset, db_cell, db_run_cell; then for each unit
 *              db_sample(db, &sample, &sample_id, &e);
 *              db_key(cell.config, sample.name, repeat, key);
 *              db_done(db, key, &done, &e);             skip what is done
 *     a step:  db_begin(db, &e);
 *              db_add_result(db, &row, &e);             each sample that has just finished
 *              db_commit(db, &e);
 *     db_run_finish(db, run_id, DB_FINISHED, &e);
 *     db_close(db);
 *
 * Errors: EXIT_USAGE for a path to read that does not exist; EXIT_ENV where it cannot be made, read
 * or written, is locked, or the disk is full; EXIT_CONTENT where it is a folder, no database, no
 * database of raas, damaged, or of a newer schema than this program knows. Nothing is ever deleted.
 * After an error inside a transaction call db_rollback; rows committed before stay. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/hash.h"

struct db; /* one connection; used by one thread at a time */

enum db_mode {
    /* The file must exist. Reading while another process writes is fine. */
    DB_READ,
    /* Made where missing (its folders too), migrated where older. One process per file: the kernel
     * holds the lock and drops it however the process ends; a second writer gets EXIT_ENV. */
    DB_WRITE,
};

struct db *db_open(const char *path, enum db_mode mode, struct err *e); /* NULL on error */
void db_close(struct db *db); /* rolls an open transaction back; NULL is fine */
const char *db_path(const struct db *db);
const char *db_library(void); /* version of SQLite */

/* Whether every page, row and reference of the file is sound (raas doctor --verify). */
bool db_verify(struct db *db, struct err *e);

/* A transaction around several rows costs one sync of the disk. Everything below works without one
 * too: each call then commits by itself. Transactions do not nest. */
bool db_begin(struct db *db, struct err *e);
bool db_commit(struct db *db, struct err *e);
void db_rollback(struct db *db); /* fine when none is open */

/* --- what a result refers to ------------------------------------------------------------------
 * Each call finds the row with the same identity or adds it, and gives its id. Texts are borrowed
 * for the call, are UTF-8, and are never NULL unless that is said. */

struct db_model {     /* identity: name and the three hashes */
    const char *name; /* as shown: the last part of the path */
    const char *weights_sha256, *tokenizer_sha256;
    const char *template_sha256; /* NULL: no chat template */
    const char *config;          /* JSON of its config, or NULL */
};
bool db_model(struct db *db, const struct db_model *model, int64_t *id, struct err *e);

struct db_dataset {      /* identity: name and hash */
    const char *name;    /* canonical spelling, options that differ included: "lemmas:steps=16" */
    const char *options; /* JSON of all options (option_json) */
    const char *sha256;  /* of the file it is read from; of spelling and version for a generator */
    const char *metric;  /* "chain" or "box": which verdict is the one shown */
};
bool db_dataset(struct db *db, const struct db_dataset *dataset, int64_t *id, struct err *e);

struct db_sample { /* identity: dataset and name */
    int64_t dataset;
    const char *name;   /* problem.id */
    int64_t position;   /* its number in the dataset, from 0 */
    const char *prompt; /* the problem, before any chat template */
    const char *gold;
};
bool db_sample(struct db *db, const struct db_sample *sample, int64_t *id, struct err *e);

enum db_timing {
    DB_SHARED,   /* decoded in a mixed batch: its times never enter a speed table */
    DB_ISOLATED, /* one cell, fixed batch, warmed up, nothing recorded: times can be compared */
};

struct db_cell { /* identity: config. One model x dataset x policy x budget x settings */
    int64_t model, dataset;
    /* Canonical JSON (keys sorted bytewise, no spaces) of all that decides a result, sample and
     * repeat aside: see the result key in ARCHITECTURE.md. Isolated cells hold their timing too,
     * so that a speed run is not skipped because a shared run has the answers already. */
    const char *config;
    const char *policy;         /* plan.name: spelling without the budget, "raas:alpha=0.1" */
    const char *policy_options; /* plan.json */
    int policy_version;
    int64_t budget;             /* as asked; 0: none was (full, budget=match) */
    const char *prompt_variant; /* name of the template, or "none" */
    double temperature, top_p;
    int64_t seed;
    int64_t max_new;
    const char *precision, *backend, *isa; /* "fp32" or "bf16", "cpu" or "cuda", session_isa() */
    int64_t width;                         /* S where it decides the result, else 0 */
    enum db_timing timing;
};
bool db_cell(struct db *db, const struct db_cell *cell, int64_t *id, struct err *e);

/* --- runs --------------------------------------------------------------------------------------
 * A run is one invocation of the program. Commit, compiler, libraries and machine (never its host
 * name) are gathered here. */

struct db_run {
    const char *name;       /* the experiment's; `raas table --run NAME` shows its cells */
    const char *experiment; /* JSON of the experiment as run, --set applied; or NULL */
    int argc;               /* the command line */
    char *const *argv;
    int threads;
    const char *isa;
};
enum db_status { DB_RUNNING, DB_FINISHED, DB_STOPPED, DB_INCOMPLETE };

bool db_run_start(struct db *db, const struct db_run *run, int64_t *id, struct err *e);

/* Says that the run planned this cell, whichever run made its rows: a resumed run shows the whole
 * table. Saying it twice is fine. */
bool db_run_cell(struct db *db, int64_t run, int64_t cell, struct err *e);

/* How many answers the run planned for the cell, over all shards: view v_plan compares them with
 * what is stored. Once a run and cell. */
bool db_run_plan(struct db *db, int64_t run, int64_t cell, int64_t answers, struct err *e);

/* DB_INCOMPLETE: it ended with answers missing, or failed. A run stays DB_RUNNING where its process
 * was killed. */
bool db_run_finish(struct db *db, int64_t run, enum db_status status, struct err *e);

/* --- results ---------------------------------------------------------------------------------- */

/* SHA-256 of {"cell":CONFIG,"repeat":REPEAT,"sample":"SAMPLE"}: what a result is called in any
 * database. `sample` is a problem.id, whose characters need no escaping. */
void db_key(const char *config, const char *sample, int repeat, char out[HASH_HEX]);

bool db_done(struct db *db, const char *key, bool *done, struct err *e);

/* Rows stored for a cell, and how many of them are correct by the dataset's metric. */
bool db_cell_score(struct db *db, int64_t cell, int64_t *n, int64_t *correct, struct err *e);

struct db_result {
    const char *key; /* db_key */
    int64_t run, cell, sample;
    int repeat; /* from 0 */

    const char *text; /* lossless: what is no UTF-8, or holds U+0000, is stored as hex */
    size_t text_size;
    const int32_t *ids; /* generated ids, end token excluded; NULL: not kept */
    int n_ids;

    int n_prompt;       /* tokens of the prompt */
    int n_new;          /* decode length, end token included */
    const char *finish; /* "answer", "cap" or "numeric" */
    int loop_period;    /* tokens; 0: the answer does not end in a loop */

    bool correct_box, correct_chain;
    int correct_mv;        /* 0 or 1; -1: not graded by math-verify's rules */
    const char *path;      /* grade_path_names[]: the link of the chain that found the answer */
    const char *extracted; /* any bytes; what is no UTF-8 becomes U+FFFD */

    int64_t effective_budget; /* plan_effective_budget(); 0: none */
    int64_t kept_peak;        /* tokens per layer and KV head */
    uint64_t kv_bytes_peak, evictions;
    double prefill_seconds, decode_seconds;
};

/* A key that is stored already is an error (EXIT_PARTIAL); the stored row stays as it is. */
bool db_add_result(struct db *db, const struct db_result *row, struct err *e);

/* New verdicts on a stored answer, sealed again (store/seal.h): nothing else of a row is ever
 * changed. */
struct db_verdicts {
    bool box, chain, mv;
    const char *path, *extracted; /* as in db_result */
};
bool db_regrade(struct db *db, int64_t result, const struct db_verdicts *verdicts, struct err *e);

/* --- reading ------------------------------------------------------------------------------------
 *
 *     struct db_query *q = db_query(db, "SELECT policy, n FROM v_accuracy WHERE dataset = ?", &e);
 *     if (q)
 *         db_bind_text(q, 1, name);
 *     while (q && db_next(q, &e))
 *         printf("%s %" PRId64 "\n", db_text(q, 0), db_int(q, 1));
 *     return db_query_end(q);
 */
struct db_query;
struct db_query *db_query(struct db *db, const char *sql, struct err *e); /* NULL on error */
void db_bind_text(struct db_query *q, int index, const char *text); /* from 1; copied; NULL too */
void db_bind_int(struct db_query *q, int index, int64_t value);
int db_parameters(const struct db_query *q);     /* the highest index that may be bound */
bool db_next(struct db_query *q, struct err *e); /* false: no more rows, or an error */
/* Whether the query began (NULL: it did not) and every row asked for was read. */
bool db_query_end(struct db_query *q);

/* Writes text as a literal of SQL (NULL: NULL), for queries that people are shown. */
void db_quote(const char *text, FILE *out);

/* Columns count from 0. Texts live until the next db_next. */
enum db_type { DB_NULL, DB_INT, DB_REAL, DB_TEXT };
int db_columns(const struct db_query *q);
const char *db_column(const struct db_query *q, int column); /* its name */
enum db_type db_type(const struct db_query *q, int column);
int64_t db_int(const struct db_query *q, int column);      /* 0 for NULL */
double db_real(const struct db_query *q, int column);      /* NaN for NULL */
const char *db_text(const struct db_query *q, int column); /* "" for NULL; numbers are spelled */
/* A member of the JSON object that is open, under the column's name. */
struct json_out;
void db_put_json(const struct db_query *q, int column, struct json_out *out);
