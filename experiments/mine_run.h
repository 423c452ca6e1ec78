/* The files of attention that a run recorded (flight_record.h), cell by cell. */
#pragma once

#include "store/db.h"

struct mine_cell {
    char **paths; /* [n], sorted, owned */
    int n;
};
struct mine_run_files {
    struct mine_cell *cells; /* [n] those that have files, owned */
    int n;
};
/* Of a run as results_run takes it, in attn/ beside the database. EXIT_USAGE where there is no such
 * run, or none of its cells was recorded; nothing has to be freed then. */
bool mine_run_files(struct db *db, const char *run, struct mine_run_files *out, struct err *e);
void mine_run_files_free(struct mine_run_files *files);
