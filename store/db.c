/* Connections: opening, the writer's lock, migrations, transactions, queries, rows. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/file.h"
#include "base/json.h"
#include "schema.h"
#include "store/db_private.h"

struct db {
    sqlite3 *sql;
    char *path;
    int lock; /* descriptor that holds the writer's lock; -1 when reading */
};

#define APPLICATION_ID 0x52616153 /* "RaaS"; schema.sql sets it */
#define BUSY_MS 10000

/* Migration i takes a database from version i to i + 1, and sets user_version to that. */
static const char *const migrations[] = {schema_sql, schema_analysis_sql, schema_sweep_sql,
                                         schema_shadow_sql, schema_explain_sql};
enum { VERSION = sizeof migrations / sizeof *migrations };

static bool failed(struct db *db, int rc, struct err *e) {
    const char *what = db->sql ? sqlite3_errmsg(db->sql) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_NOTADB:
        return err_set(e, EXIT_CONTENT, "%s: not an SQLite database", db->path);
    case SQLITE_CORRUPT:
        return err_set(e, EXIT_CONTENT,
                       "%s: damaged database (%s); sqlite3's .recover may save its rows", db->path,
                       what);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(e, EXIT_ENV, "%s: locked by another program", db->path);
    case SQLITE_FULL:
        return err_set(e, EXIT_ENV, "%s: disk full; free some space and run again to go on",
                       db->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
        return err_set(e, EXIT_ENV, "%s: %s", db->path, what);
    default:
        return err_set(e, EXIT_CONTENT, "%s: %s", db->path, what);
    }
}

static bool exec(struct db *db, const char *sql, struct err *e) {
    int rc = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || failed(db, rc, e);
}

/* --- opening ---------------------------------------------------------------- */

static bool check_path(const char *path, enum db_mode mode, struct err *e) {
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return err_set(e, EXIT_CONTENT, "%s: is a folder, expected a database file", path);
        if (!S_ISREG(st.st_mode))
            return err_set(e, EXIT_CONTENT, "%s: is no ordinary file, expected a database", path);
        /* shorter than the header; SQLite would take a file of one byte for an empty one */
        if (st.st_size > 0 && st.st_size < 100)
            return err_set(e, EXIT_CONTENT, "%s: not an SQLite database", path);
        return true;
    }
    if (errno != ENOENT)
        return err_errno(e, EXIT_ENV, "%s: cannot be opened", path);
    if (mode == DB_READ)
        return err_set(e, EXIT_USAGE, "%s: no such database; `raas run` makes one", path);
    return file_folders(path, e);
}

/* A lock of the open file description on one byte far behind those that SQLite locks: the kernel
 * drops it however the process ends, so no stale lock can remain. */
static bool take_lock(struct db *db, struct err *e) {
    db->lock = open(db->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (db->lock < 0)
        return err_errno(e, EXIT_ENV, "%s: cannot be opened for writing", db->path);
    struct flock byte = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)1 << 60, .l_len = 1};
    if (fcntl(db->lock, F_OFD_SETLK, &byte) == 0)
        return true;
    if (errno == EAGAIN || errno == EACCES)
        return err_set(e, EXIT_ENV,
                       "%s: another raas is writing to it; wait for its end, or use another --db",
                       db->path);
    return err_errno(e, EXIT_ENV, "%s: cannot be locked", db->path);
}

static bool connect(struct db *db, struct err *e) {
    /* Readers ask for writing too: the journal of a killed writer has to be rolled back first. */
    int rc = sqlite3_open_v2(db->path, &db->sql, SQLITE_OPEN_READWRITE, NULL);
    if (rc != SQLITE_OK)
        return failed(db, rc, e);
    sqlite3_extended_result_codes(db->sql, 1);
    sqlite3_busy_timeout(db->sql, BUSY_MS);
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    /* TRUSTED_SCHEMA stays on: SQLite 3.40 counts json_valid, which our checks call, as unsafe. No
     * function of ours is there to be misused, and the shell's extensions are not loaded. */
    return exec(db,
                "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;"
                "PRAGMA foreign_keys = ON",
                e);
}

static bool ask_int(struct db *db, const char *sql, int64_t *out, struct err *e) {
    struct db_query *q = db_query(db, sql, e);
    bool ok = q && db_next(q, e);
    *out = ok ? db_int(q, 0) : 0;
    db_query_end(q);
    return ok;
}

/* Version 0 is an empty file. */
static bool identify(struct db *db, int64_t *version, struct err *e) {
    int64_t application, objects;
    if (!ask_int(db, "PRAGMA application_id", &application, e) ||
        !ask_int(db, "PRAGMA user_version", version, e) ||
        !ask_int(db, "SELECT count(*) FROM sqlite_master", &objects, e))
        return false;
    if (application == 0 && *version == 0 && objects == 0)
        return true;
    if (application != APPLICATION_ID)
        return err_set(e, EXIT_CONTENT, "%s: a database of another program", db->path);
    if (*version > VERSION)
        return err_set(e, EXIT_CONTENT,
                       "%s: schema %d is newer than this program, which knows %d; update raas",
                       db->path, (int)*version, VERSION);
    return *version >= 1 || err_set(e, EXIT_CONTENT, "%s: invalid schema number", db->path);
}

static bool migrate(struct db *db, int64_t version, struct err *e) {
    for (; version < VERSION; version++) {
        bool ok = db_begin(db, e) && exec(db, migrations[version], e) && db_commit(db, e);
        if (!ok) {
            db_rollback(db);
            return false;
        }
    }
    return true;
}

static bool ready(struct db *db, enum db_mode mode, struct err *e) {
    int64_t version = 0;
    if (!connect(db, e) || !identify(db, &version, e))
        return false;
    if (mode == DB_WRITE)
        return migrate(db, version, e);
    if (version == 0)
        return err_set(e, EXIT_CONTENT, "%s: an empty file, no database yet", db->path);
    if (version < VERSION)
        return err_set(e, EXIT_CONTENT,
                       "%s: schema %d is older than %d; the next `raas run` on it migrates it",
                       db->path, (int)version, VERSION);
    return exec(db, "PRAGMA query_only = ON", e);
}

struct db *db_open(const char *path, enum db_mode mode, struct err *e) {
    if (!check_path(path, mode, e))
        return NULL;
    struct db *db = must_zalloc(1, sizeof *db);
    db->path = must_strdup(path);
    db->lock = -1;
    if ((mode == DB_WRITE && !take_lock(db, e)) || !ready(db, mode, e)) {
        db_close(db);
        return NULL;
    }
    return db;
}

void db_close(struct db *db) {
    if (!db)
        return;
    sqlite3_close_v2(db->sql);
    /* Last: closing a descriptor of a file drops all locks that SQLite holds on it in the process.
     */
    if (db->lock >= 0)
        close(db->lock);
    free(db->path);
    free(db);
}

const char *db_path(const struct db *db) { return db->path; }

bool db_begin(struct db *db, struct err *e) { return exec(db, "BEGIN IMMEDIATE", e); }
bool db_commit(struct db *db, struct err *e) { return exec(db, "COMMIT", e); }

void db_rollback(struct db *db) {
    if (!sqlite3_get_autocommit(db->sql))
        sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
}

bool db_verify(struct db *db, struct err *e) {
    struct db_query *q = db_query(db, "PRAGMA integrity_check(1)", e);
    if (q && db_next(q, e) && strcmp(db_text(q, 0), "ok"))
        err_set(e, EXIT_CONTENT, "%s: damaged database: %s", db->path, db_text(q, 0));
    db_query_end(q);
    int64_t orphans = 0;
    if (e->code || !ask_int(db, "SELECT count(*) FROM pragma_foreign_key_check", &orphans, e))
        return false;
    return orphans == 0 || err_set(e, EXIT_CONTENT, "%s: %d rows refer to rows that are missing",
                                   db->path, (int)orphans);
}

/* --- queries ------------------------------------------------------------------ */

struct db_query {
    struct db *db;
    sqlite3_stmt *statement;
    bool broken; /* a row could not be read */
};

struct db_query *db_query(struct db *db, const char *sql, struct err *e) {
    sqlite3_stmt *statement;
    int rc = sqlite3_prepare_v2(db->sql, sql, -1, &statement, NULL);
    if (rc != SQLITE_OK) {
        failed(db, rc, e);
        return NULL;
    }
    struct db_query *q = must_alloc(sizeof *q);
    *q = (struct db_query){.db = db, .statement = statement};
    return q;
}

void db_bind_text(struct db_query *q, int index, const char *text) {
    CHECK(sqlite3_bind_text(q->statement, index, text, -1, SQLITE_TRANSIENT) == SQLITE_OK);
}

void db_bind_int(struct db_query *q, int index, int64_t value) {
    CHECK(sqlite3_bind_int64(q->statement, index, value) == SQLITE_OK);
}

int db_parameters(const struct db_query *q) { return sqlite3_bind_parameter_count(q->statement); }

bool db_next(struct db_query *q, struct err *e) {
    int rc = sqlite3_step(q->statement);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        q->broken = !failed(q->db, rc, e);
    return rc == SQLITE_ROW;
}

bool db_query_end(struct db_query *q) {
    if (!q)
        return false;
    bool ok = !q->broken;
    sqlite3_finalize(q->statement);
    free(q);
    return ok;
}

int db_columns(const struct db_query *q) { return sqlite3_column_count(q->statement); }

const char *db_column(const struct db_query *q, int column) {
    return sqlite3_column_name(q->statement, column);
}

enum db_type db_type(const struct db_query *q, int column) {
    switch (sqlite3_column_type(q->statement, column)) {
    case SQLITE_NULL:
        return DB_NULL;
    case SQLITE_INTEGER:
        return DB_INT;
    case SQLITE_FLOAT:
        return DB_REAL;
    default:
        return DB_TEXT;
    }
}

int64_t db_int(const struct db_query *q, int column) {
    return sqlite3_column_int64(q->statement, column);
}

double db_real(const struct db_query *q, int column) {
    return db_type(q, column) == DB_NULL ? NAN : sqlite3_column_double(q->statement, column);
}

const char *db_text(const struct db_query *q, int column) {
    const unsigned char *text = sqlite3_column_text(q->statement, column);
    return text ? (const char *)text : "";
}

void db_put_json(const struct db_query *q, int column, struct json_out *out) {
    json_name(out, db_column(q, column));
    switch (db_type(q, column)) {
    case DB_NULL:
        json_put_null(out);
        break;
    case DB_INT:
        json_put_int(out, db_int(q, column));
        break;
    case DB_REAL:
        json_put_real(out, db_real(q, column));
        break;
    case DB_TEXT:
        json_put_text(out, db_text(q, column));
    }
}

/* --- rows ----------------------------------------------------------------------- */

bool db_row_open(struct db_row *row, struct db *db, const char *find, const char *add,
                 struct err *e) {
    *row = (struct db_row){.db = db, .rc = SQLITE_OK};
    int rc = find ? sqlite3_prepare_v2(db->sql, find, -1, &row->find, NULL) : SQLITE_OK;
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db->sql, add, -1, &row->add, NULL);
    if (rc == SQLITE_OK)
        return true;
    failed(db, rc, e);
    sqlite3_finalize(row->find);
    return false;
}

/* The next value's number in `find`, or 0 when it is none of those that identify the row. */
static int find_place(struct db_row *row) {
    row->n++;
    return row->find && row->n <= sqlite3_bind_parameter_count(row->find) ? row->n : 0;
}

static void note(struct db_row *row, int rc) {
    if (row->rc == SQLITE_OK)
        row->rc = rc;
}

void db_row_text(struct db_row *row, const char *text) {
    int place = find_place(row);
    if (place)
        note(row, sqlite3_bind_text(row->find, place, text, -1, SQLITE_STATIC));
    note(row, sqlite3_bind_text(row->add, row->n, text, -1, SQLITE_STATIC));
}

void db_row_int(struct db_row *row, int64_t value) {
    int place = find_place(row);
    if (place)
        note(row, sqlite3_bind_int64(row->find, place, value));
    note(row, sqlite3_bind_int64(row->add, row->n, value));
}

void db_row_some(struct db_row *row, int64_t value) {
    if (value != 0)
        db_row_int(row, value);
    else
        row->n++; /* what is not bound is NULL */
}

void db_row_real(struct db_row *row, double value) {
    row->n++;
    note(row, sqlite3_bind_double(row->add, row->n, value));
}

bool db_row_done(struct db_row *row, int64_t *id, struct err *e) {
    int rc = row->rc, found = SQLITE_DONE;
    int64_t which = 0;
    if (rc == SQLITE_OK && row->find) {
        found = sqlite3_step(row->find);
        which = found == SQLITE_ROW ? sqlite3_column_int64(row->find, 0) : 0;
        rc = found == SQLITE_ROW || found == SQLITE_DONE ? SQLITE_OK : found;
    }
    if (rc == SQLITE_OK && found == SQLITE_DONE) {
        rc = sqlite3_step(row->add);
        rc = rc == SQLITE_DONE ? SQLITE_OK : rc;
        which = sqlite3_last_insert_rowid(row->db->sql);
    }
    bool ok = rc == SQLITE_OK || failed(row->db, rc, e);
    sqlite3_finalize(row->find);
    sqlite3_finalize(row->add);
    if (ok && id)
        *id = which;
    return ok;
}

const char *db_library(void) { return sqlite3_libversion(); }
