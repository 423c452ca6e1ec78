#include "store/merge.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/seal.h"

static bool run_sql(struct db *db, const char *sql, struct err *e) {
    struct db_query *q = db_query(db, sql, e);
    if (q)
        db_next(q, e);
    return db_query_end(q);
}

/* What a result refers to is taken where it is new, and a table of theirs and our ids is made. What
 * stands under the same name with other content gets no row there: it can't be referred to. */
static const char *const refer[] = {
    /* models */
    "INSERT INTO model (name, weights_sha256, tokenizer_sha256, template_sha256, config) "
    "SELECT t.name, t.weights_sha256, t.tokenizer_sha256, t.template_sha256, t.config "
    "FROM other.model t WHERE NOT EXISTS (SELECT 1 FROM main.model o WHERE o.name = t.name "
    "  AND o.weights_sha256 = t.weights_sha256 AND o.tokenizer_sha256 = t.tokenizer_sha256 "
    "  AND o.template_sha256 IS t.template_sha256) ORDER BY t.id",
    "CREATE TEMP TABLE map_model AS SELECT t.id AS theirs, o.id AS ours FROM other.model t "
    "JOIN main.model o ON o.name = t.name AND o.weights_sha256 = t.weights_sha256 "
    "  AND o.tokenizer_sha256 = t.tokenizer_sha256 AND o.template_sha256 IS t.template_sha256",
    /* datasets and samples */
    "INSERT INTO dataset (name, options, sha256, metric) "
    "SELECT t.name, t.options, t.sha256, t.metric FROM other.dataset t WHERE NOT EXISTS ("
    "  SELECT 1 FROM main.dataset o WHERE o.name = t.name AND o.sha256 = t.sha256) ORDER BY t.id",
    "CREATE TEMP TABLE map_dataset AS SELECT t.id AS theirs, o.id AS ours FROM other.dataset t "
    "JOIN main.dataset o ON o.name = t.name AND o.sha256 = t.sha256 AND o.options = t.options "
    "  AND o.metric = t.metric",
    "INSERT INTO sample (dataset_id, name, position, prompt, gold) "
    "SELECT d.ours, t.name, t.position, t.prompt, t.gold FROM other.sample t "
    "JOIN map_dataset d ON d.theirs = t.dataset_id WHERE NOT EXISTS ("
    "  SELECT 1 FROM main.sample o WHERE o.dataset_id = d.ours AND o.name = t.name) ORDER BY t.id",
    "CREATE TEMP TABLE map_sample AS SELECT t.id AS theirs, o.id AS ours FROM other.sample t "
    "JOIN map_dataset d ON d.theirs = t.dataset_id "
    "JOIN main.sample o ON o.dataset_id = d.ours AND o.name = t.name "
    "  AND o.position = t.position AND o.prompt = t.prompt AND o.gold = t.gold",
    /* cells */
    "INSERT INTO cell (model_id, dataset_id, policy, policy_options, policy_version, budget, "
    "  prompt_variant, temperature, top_p, seed, max_new, precision, backend, isa, width, timing, "
    "  config, config_sha256) "
    "SELECT m.ours, d.ours, policy, policy_options, policy_version, budget, prompt_variant, "
    "  temperature, top_p, seed, max_new, precision, backend, isa, width, timing, config, "
    "  config_sha256 FROM other.cell t JOIN map_model m ON m.theirs = t.model_id "
    "JOIN map_dataset d ON d.theirs = t.dataset_id WHERE NOT EXISTS ("
    "  SELECT 1 FROM main.cell o WHERE o.config_sha256 = t.config_sha256) ORDER BY t.id",
    "CREATE TEMP TABLE map_cell AS SELECT t.id AS theirs, o.id AS ours FROM other.cell t "
    "JOIN map_model m ON m.theirs = t.model_id JOIN map_dataset d ON d.theirs = t.dataset_id "
    "JOIN main.cell o ON o.config_sha256 = t.config_sha256 AND o.config = t.config "
    "  AND o.model_id = m.ours AND o.dataset_id = d.ours AND o.policy = t.policy "
    "  AND o.policy_options = t.policy_options AND o.policy_version = t.policy_version "
    "  AND o.budget IS t.budget AND o.timing = t.timing AND o.max_new = t.max_new",
    /* runs: there is no name that is theirs alone, so what says all of them is compared */
    "INSERT OR IGNORE INTO machine (cpu, cores, memory_bytes, system) "
    "SELECT cpu, cores, memory_bytes, system FROM other.machine ORDER BY id",
    "CREATE TEMP VIEW their_run AS SELECT t.*, o.id AS machine FROM other.run t "
    "JOIN other.machine m ON m.id = t.machine_id JOIN main.machine o USING (cpu, cores, "
    "  memory_bytes, system)",
#define SAME_RUN                                                                                 \
    "o.name = t.name AND o.started = t.started AND o.argv = t.argv AND o.experiment IS "         \
    "t.experiment AND o.git_commit = t.git_commit AND o.threads = t.threads AND o.machine_id = " \
    "t.machine"
    "INSERT INTO run (name, status, started, finished, argv, experiment, git_commit, dirty, "
    "  compiler, libraries, isa, threads, machine_id) "
    "SELECT name, status, started, finished, argv, experiment, git_commit, dirty, compiler, "
    "  libraries, isa, threads, machine FROM their_run t WHERE NOT EXISTS ("
    "  SELECT 1 FROM main.run o WHERE " SAME_RUN ") ORDER BY t.id",
    "CREATE TEMP TABLE map_run AS SELECT t.id AS theirs, min(o.id) AS ours FROM their_run t "
    "JOIN main.run o ON " SAME_RUN " GROUP BY t.id",
    "UPDATE run SET status = t.status, finished = t.finished FROM other.run t "
    "JOIN map_run ON map_run.theirs = t.id "
    "WHERE run.id = map_run.ours AND run.finished IS NULL AND t.finished IS NOT NULL",
    "INSERT OR IGNORE INTO run_cell (run_id, cell_id) SELECT r.ours, c.ours FROM other.run_cell t "
    "JOIN map_run r ON r.theirs = t.run_id JOIN map_cell c ON c.theirs = t.cell_id",
    "INSERT OR IGNORE INTO run_plan (run_id, cell_id, answers) "
    "SELECT r.ours, c.ours, t.answers FROM other.run_plan t "
    "JOIN map_run r ON r.theirs = t.run_id JOIN map_cell c ON c.theirs = t.cell_id",
};
static const char *const forget[] = {
    "DROP VIEW IF EXISTS temp.their_run",    "DROP TABLE IF EXISTS temp.map_model",
    "DROP TABLE IF EXISTS temp.map_dataset", "DROP TABLE IF EXISTS temp.map_sample",
    "DROP TABLE IF EXISTS temp.map_cell",    "DROP TABLE IF EXISTS temp.map_run",
};

/* Each of their answers: content and seal, our ids of what it refers to (NULL: it can't), and our
 * answer's content under the same key. */
static char *answers_sql(void) {
    char *sql;
    CHECK(asprintf(&sql,
                   "SELECT result.id, result.key, cell.config, cell.config_sha256, sample.name, "
                   "  result.repeat, %s, seal.sha256, c.ours, s.ours, r.ours, (SELECT %s "
                   "  FROM main.result JOIN main.cell ON cell.id = result.cell_id "
                   "  JOIN main.sample ON sample.id = result.sample_id WHERE result.key = t.key) "
                   "FROM other.result t JOIN other.result ON result.id = t.id "
                   "JOIN other.cell ON cell.id = result.cell_id "
                   "JOIN other.sample ON sample.id = result.sample_id "
                   "LEFT JOIN other.seal ON seal.result_id = result.id "
                   "LEFT JOIN map_cell c ON c.theirs = result.cell_id "
                   "LEFT JOIN map_sample s ON s.theirs = result.sample_id "
                   "LEFT JOIN map_run r ON r.theirs = result.run_id ORDER BY result.id",
                   seal_content, seal_content) > 0);
    return sql;
}
enum column {
    ID,
    KEY,
    CONFIG,
    CONFIG_HASH,
    SAMPLE,
    REPEAT,
    CONTENT,
    SEAL,
    CELL,
    SAMPLE_ID,
    RUN,
    OURS
};

/* Why the answer can't be taken for what it says it is; NULL: it can. */
static const char *objection(const struct db_query *q) {
    char hash[HASH_HEX];
    const char *config = db_text(q, CONFIG), *content = db_text(q, CONTENT);
    hash_bytes(content, strlen(content), hash);
    if (db_type(q, SEAL) != DB_NULL && strcmp(hash, db_text(q, SEAL)))
        return "altered since it was stored";
    hash_bytes(config, strlen(config), hash);
    if (strcmp(hash, db_text(q, CONFIG_HASH)))
        return "its cell's settings are not those that the cell is named by";
    db_key(config, db_text(q, SAMPLE), (int)db_int(q, REPEAT), hash);
    if (strcmp(hash, db_text(q, KEY)))
        return "its key is not that of its cell, sample and repeat";
    if (db_type(q, CELL) == DB_NULL)
        return "its model, dataset or cell says something else here";
    if (db_type(q, SAMPLE_ID) == DB_NULL)
        return "its sample has another prompt, answer or place here";
    if (db_type(q, OURS) != DB_NULL && strcmp(content, db_text(q, OURS)))
        return "stored here with another answer or other verdicts";
    return NULL;
}

static bool take(struct db *db, const struct db_query *from, struct err *e) {
    struct db_query *q = db_query(
        db,
        "INSERT INTO result (key, run_id, cell_id, sample_id, repeat, created, finish, "
        "  loop_period, correct_box, correct_chain, correct_mv, path, extracted, prompt_tokens, "
        "  new_tokens, effective_budget, kv_tokens_peak, kv_bytes_peak, evictions, "
        "  prefill_seconds, decode_seconds, ids, encoding, text) "
        "SELECT key, ?2, ?3, ?4, repeat, created, finish, loop_period, correct_box, "
        "  correct_chain, correct_mv, path, extracted, prompt_tokens, new_tokens, "
        "  effective_budget, kv_tokens_peak, kv_bytes_peak, evictions, prefill_seconds, "
        "  decode_seconds, ids, encoding, text FROM other.result WHERE id = ?1 RETURNING id",
        e);
    if (!q)
        return false;
    db_bind_int(q, 1, db_int(from, ID));
    db_bind_int(q, 2, db_int(from, RUN));
    db_bind_int(q, 3, db_int(from, CELL));
    db_bind_int(q, 4, db_int(from, SAMPLE_ID));
    int64_t id = db_next(q, e) ? db_int(q, 0) : 0;
    /* one that had no seal stays without: nobody vouches for it */
    bool sealed = db_type(from, SEAL) != DB_NULL;
    return db_query_end(q) && (!sealed || seal_put(db, id, e));
}

static bool take_answers(struct db *db, merge_conflict *conflict, void *context,
                         struct merge_count *out, struct err *e) {
    char *sql = answers_sql();
    struct db_query *q = db_query(db, sql, e);
    free(sql);
    bool ok = true;
    while (ok && q && db_next(q, e)) {
        const char *why = objection(q);
        out->answers++;
        if (why) {
            out->conflicts++;
            conflict(context, db_text(q, KEY), why);
        } else if (db_type(q, OURS) != DB_NULL) {
            out->known++;
        } else {
            ok = take(db, q, e);
            out->added++;
            out->unsealed += db_type(q, SEAL) == DB_NULL;
        }
    }
    return db_query_end(q) && ok;
}

static bool check_other(struct db *db, const char *path, struct err *e) {
    struct stat ours, theirs;
    if (!stat(db_path(db), &ours) && !stat(path, &theirs) && ours.st_dev == theirs.st_dev &&
        ours.st_ino == theirs.st_ino)
        return err_set(e, EXIT_USAGE, "%s: is the database to merge into", path);
    struct db *other = db_open(path, DB_READ, e);
    bool ok = other && db_verify(other, e);
    db_close(other);
    return ok;
}

static bool attach(struct db *db, const char *path, struct err *e) {
    char plain[PATH_MAX + 2]; /* nothing that could pass for a URI */
    if (snprintf(plain, sizeof plain, "%s%s", *path == '/' ? "" : "./", path) > PATH_MAX)
        return err_set(e, EXIT_USAGE, "%s: path too long", path);
    struct db_query *q = db_query(db, "ATTACH DATABASE ?1 AS other", e);
    if (!q)
        return false;
    db_bind_text(q, 1, plain);
    db_next(q, e);
    return db_query_end(q);
}

bool db_merge(struct db *db, const char *path, merge_conflict *conflict, void *context,
              struct merge_count *out, struct err *e) {
    *out = (struct merge_count){0};
    if (!check_other(db, path, e) || !attach(db, path, e))
        return false;
    bool ok = db_begin(db, e);
    for (size_t i = 0; ok && i < sizeof refer / sizeof *refer; i++)
        ok = run_sql(db, refer[i], e);
    ok = ok && take_answers(db, conflict, context, out, e);
    for (size_t i = 0; ok && i < sizeof forget / sizeof *forget; i++)
        ok = run_sql(db, forget[i], e);
    ok = ok && db_commit(db, e);
    if (!ok)
        db_rollback(db);
    struct err late = {0};
    bool detached = run_sql(db, "DETACH DATABASE other", &late);
    if (ok && !detached)
        return err_set(e, late.code, "%s", late.text);
    return ok || err_in(e, "merging %s", path);
}
