/* Merging databases: the answers of one, and all they refer to, into another. What both hold must
 * be the same; where it isn't, the row that was there stays, the other is told as a conflict, and
 * everything else is taken. Merging again changes nothing, and no order of merges changes what a
 * table shows. Analyses stay where they are. */
#pragma once

#include "store/db.h"

struct merge_count {
    int64_t answers; /* in the other database */
    int64_t added, known;
    int64_t conflicts;
    int64_t unsealed; /* taken without a seal: stored by an older program */
};

/* Told of each conflict: the answer's key, and why it was not taken. Texts live for the call. */
typedef void merge_conflict(void *context, const char *key, const char *why);

/* Takes what `path` holds into `db`, which is open for writing, as one transaction. `path` may be
 * written to meanwhile: what it had committed counts. Errors: EXIT_USAGE where path is missing or
 * is the database itself, EXIT_CONTENT where it is damaged or of another schema; then nothing of it
 * was taken. Conflicts are no errors. */
bool db_merge(struct db *db, const char *path, merge_conflict *conflict, void *context,
              struct merge_count *out, struct err *e);
