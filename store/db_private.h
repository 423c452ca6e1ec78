/* Inside the store only: writing rows. db.c alone knows SQLite. */
#pragma once

#include "store/db.h"

struct sqlite3_stmt;

/* Values bound from the left to a statement that adds a row and, under the same numbers, to one
 * that finds it by the leading ones, its identity. */
struct db_row {
    struct db *db;
    struct sqlite3_stmt *find, *add;
    int n;  /* values bound so far */
    int rc; /* the first failure of SQLite */
};

/* `find` may be NULL: then the row is added in any case. */
bool db_row_open(struct db_row *row, struct db *db, const char *find, const char *add,
                 struct err *e);
void db_row_text(struct db_row *row, const char *text); /* NULL binds NULL */
void db_row_int(struct db_row *row, int64_t value);
void db_row_some(struct db_row *row, int64_t value); /* 0 binds NULL */
void db_row_real(struct db_row *row, double value);
/* Finds or adds the row, gives its id (may be NULL), and frees the statements. */
bool db_row_done(struct db_row *row, int64_t *id, struct err *e);
