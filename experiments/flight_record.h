/* The file of attention of one sequence of a run, from before it joins to its end. */
#pragma once

#include "experiments/recording.h"
#include "experiments/workload.h"

struct flight_record {
    struct recording_file *file; /* NULL: none */
    struct recorded what;
    char *path; /* owned */
};

/* FOLDER/CELL/SAMPLE-rREPEAT.h5, CELL being the first 8 digits of the hash of the cell's config. */
bool flight_record_begin(struct recording *recording, const char *folder,
                         const struct workload *workload, const struct job *job,
                         struct flight_record *out, struct err *e);
/* ids [n]: all that came, the last of which was not fed. Both calls zero the record. */
void flight_record_end(struct flight_record *record, const int32_t *ids, int n, enum finish finish);
void flight_record_drop(struct flight_record *record);
