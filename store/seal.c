#include "store/seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/db_private.h"

/* Whole numbers and texts only: their spelling is the same in every version of SQLite. */
const char seal_content[] =
    "json_array(result.key, cell.config_sha256, sample.name, sample.prompt, sample.gold, "
    "result.repeat, result.finish, result.loop_period, result.correct_box, result.correct_chain, "
    "result.correct_mv, result.path, result.extracted, result.prompt_tokens, result.new_tokens, "
    "result.effective_budget, result.kv_tokens_peak, result.kv_bytes_peak, result.evictions, "
    "result.ids, result.encoding, result.text)";

#define FROM                                                                         \
    " FROM result JOIN cell ON cell.id = result.cell_id JOIN sample ON sample.id = " \
    "result.sample_id "

static void hash_text(const char *text, char out[HASH_HEX]) { hash_bytes(text, strlen(text), out); }

static char *sql_of(const char *columns, const char *rest) {
    char *sql;
    CHECK(asprintf(&sql, "SELECT %s%s" FROM "%s", seal_content, columns, rest) > 0);
    return sql;
}

bool seal_put(struct db *db, int64_t id, struct err *e) {
    char *sql = sql_of("", "WHERE result.id = ?1"), hash[HASH_HEX];
    struct db_query *q = db_query(db, sql, e);
    free(sql);
    if (!q)
        return false;
    db_bind_int(q, 1, id);
    bool found = db_next(q, e);
    if (found)
        hash_text(db_text(q, 0), hash);
    if (!db_query_end(q))
        return false;
    CHECK(found);
    q = db_query(db, "INSERT OR REPLACE INTO seal (result_id, sha256) VALUES (?1, ?2)", e);
    if (!q)
        return false;
    db_bind_int(q, 1, id);
    db_bind_text(q, 2, hash);
    db_next(q, e);
    return db_query_end(q);
}

bool seal_check(struct db *db, int64_t *broken, int64_t *unsealed, struct err *e) {
    char *sql = sql_of(", seal.sha256", "LEFT JOIN seal ON seal.result_id = result.id");
    struct db_query *q = db_query(db, sql, e);
    free(sql);
    *broken = *unsealed = 0;
    while (q && db_next(q, e)) {
        char hash[HASH_HEX];
        hash_text(db_text(q, 0), hash);
        if (db_type(q, 1) == DB_NULL)
            ++*unsealed;
        else
            *broken += strcmp(hash, db_text(q, 1)) != 0;
    }
    return db_query_end(q);
}
