/* Seals: the SHA-256 of what an answer says, beside it since it was stored. They tell an answer
 * that was altered afterwards, by hand or by a fault of the disk; who alters answer and seal alike
 * is not found out. */
#pragma once

#include "store/db.h"

/* SQL of an answer's content as one JSON text: key, cell, sample with prompt and gold, repeat, and
 * all columns of its row but times and provenance (created, run). To be put behind SELECT, in a
 * query whose tables are called result, cell and sample. */
extern const char seal_content[];

/* Seals the stored result `id`, again where it has a seal. */
bool seal_put(struct db *db, int64_t id, struct err *e);

/* How many results do not match their seals, and how many have none. */
bool seal_check(struct db *db, int64_t *broken, int64_t *unsealed, struct err *e);
