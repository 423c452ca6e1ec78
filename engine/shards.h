/* model.safetensors.index.json: which tensor lies in which shard. A shard's name comes from the
 * file, so all of them are checked before the first is opened. */
#pragma once

#include "base/json.h"

struct placed { /* one line of weight_map; borrowed from the JSON */
    const char *tensor, *file;
    bool first; /* of its file */
};

struct shards {
    struct json_doc *doc;
    struct placed *places; /* sorted by file */
    size_t count;
    int n_files;
};

/* false (EXIT_CONTENT): the JSON, more than 512 shards, a name that leaves the folder (weights.h
 * says how). Call shards_free in either case. */
bool shards_read(struct shards *out, const char *folder, const char *index, struct err *e);
void shards_free(struct shards *shards);
