/* Recorded attention: one HDF5 file per sample, written while it is decoded and read back as the
 * rows that were told. Only store/attn*.c see hdf5.h, through attn_h5.h.
 *
 *     /attn          float16 (layer, head, step, key)   mode full
 *     /attn_page_max, /attn_page_sum  float32 (layer, head, step, page)   mode pooled
 *     /resident      uint8 (layer, kv_head, step, key): ATTN_RESIDENT | ATTN_ATTENDED; absent where
 *                    the policy neither evicts nor selects, so that every key was both
 *     /lives/NAME    int32, float32 or float64 (layer, head, key or own axis)   mode lifecycle:
 * what was remembered of every key, without a map (analysis/miner_file.h) /layer /head /kv_head
 * /step /key /page   int32 dimension scales: numbers of the model's layers, q heads and KV heads,
 * positions of queries and keys, first positions of pages /tokens/id /text /role /step   of every
 * key: its id, its text (UTF-8, what is none as U+FFFD), 0 prompt or 1 generated, number of the
 * decode step (-1 in the prompt) /tokens/gold_step /gold_lemma /gold_source   where the text is the
 * gold solution's: the step it stands in, the step whose lemma's value it states, the step whose
 * lemma it recalls; -1 elsewhere
 *
 * Positions are absolute. A key that is not yet born is NaN; one that was evicted or not selected
 * is 0. A page's max and sum are over its tokens. Root attributes say what made the file.
 *
 * The first 512 bytes (an HDF5 user block) hold the size and the SHA-256 of all that follows: a
 * file that was cut or changed anywhere is refused. Errors: EXIT_CONTENT for such a file, EXIT_ENV
 * where the disk is full or fails, EXIT_USAGE for a path to read that does not exist. */
#pragma once

#include "base/hash.h"
#include "engine/attention.h"

enum { ATTN_STEPS = 64, ATTN_KEYS = 1024, ATTN_PAGE = 16 }; /* a chunk of /attn; tokens of a page */
enum { ATTN_RESIDENT = 1, ATTN_ATTENDED = 2 };
enum { ATTN_SCHEMA = 1 };

/* --- writing ---------------------------------------------------------------------------------- */

/* One thread that does all that touches the disk. */
struct attn_writer;

struct attn_writer_params {
    /* Called by the writer's thread for each file that is whole and has its name. May be NULL. */
    void (*done)(void *user, const char *path, uint64_t bytes);
    void *user;
};
struct attn_writer *attn_writer_open(const struct attn_writer_params *params, struct err *e);

struct attn_stats {
    uint64_t files, bytes; /* whole ones */
    uint64_t stalls;       /* times that decoding waited for the writer, */
    double stall_seconds;  /* and for how long */
    double finish_seconds; /* of the second passes */
};
/* The first error of any file so far, if there was one (false). */
bool attn_writer_check(struct attn_writer *writer, struct err *e);
/* Waits until all files that have ended are made. As attn_writer_check. */
bool attn_writer_wait(struct attn_writer *writer, struct err *e);
/* Waits for all files. As attn_writer_check; stats may be NULL. */
bool attn_writer_close(struct attn_writer *writer, struct attn_stats *stats, struct err *e);

struct attn_numbers { /* ascending */
    int n;
    int32_t *items;
};

struct attn_params {
    const char *path;         /* of the file to be; PATH.raw.part and PATH.part until it is whole */
    bool full, pooled, lives; /* at least one */
    bool prompt;              /* the prompt's queries too */
    bool residency;           /* the policy evicts or selects */
    int n_layers, n_heads, n_kv_heads; /* of the model */
    struct attn_numbers layers, heads; /* recorded: q heads, the same of every layer */
    int32_t n_prompt, max_keys;        /* tokens that will be fed at most, prompt included */
};

/* Bytes of disk that a recording takes at most while it is made. */
uint64_t attn_bytes(const struct attn_params *params);

/* One sequence that is being recorded. Makes the folders above the path, and checks that the disk
 * has room for attn_bytes. All memory is taken here: attn_watch allocates nothing. */
struct attn_file *attn_begin(struct attn_writer *writer, const struct attn_params *params,
                             struct err *e);
/* An attention_watch; `user` is the attn_file. Waits where the writer is behind. After an error it
 * does nothing. */
void attn_watch(void *user, const struct attention_row *row);

struct attn_tokens {
    int32_t n, n_prompt; /* as many as were fed */
    int32_t *id;         /* [n] and below; the last three may be NULL */
    char **text;         /* [n] UTF-8 */
    int32_t *gold_step, *gold_lemma, *gold_source;
};
void attn_tokens_free(struct attn_tokens *tokens); /* what it points to; zeroes it */

struct attn_note { /* a root attribute: a text, or where that is NULL a number */
    const char *name, *text;
    double number;
};
enum attn_type { ATTN_INT32, ATTN_FLOAT32, ATTN_FLOAT64 };
struct attn_array { /* of the group /lives, row-major [layers][heads][n] of what is recorded */
    const char *name;
    enum attn_type type;
    int32_t n; /* 0: one for each key */
    const void *data;
};
/* Before attn_end, where params.lives says so. All is copied; n_keys as attn_end will have it. */
void attn_lives(struct attn_file *file, const struct attn_array *arrays, int n, int32_t n_keys);

/* The sequence has ended: the writer makes the file in its own time. All arguments are copied. */
void attn_end(struct attn_file *file, const struct attn_tokens *tokens,
              const struct attn_note *notes, int n_notes);
void attn_abandon(struct attn_file *file); /* nothing is left of it */

/* --- reading ---------------------------------------------------------------------------------- */

struct attn_reader;

/* Checks every byte first. */
struct attn_reader *attn_open(const char *path, struct err *e);
void attn_close(struct attn_reader *reader); /* NULL is fine */

struct attn_info {
    bool full, pooled, lives, residency;
    int n_layers, n_heads, n_kv_heads, group;      /* of the model */
    struct attn_numbers layers, heads, kv_heads;   /* recorded */
    int32_t n_steps, first_query, n_keys, n_pages; /* queries first_query .. n_keys - 1 */
    struct attn_tokens tokens;
};
const struct attn_info *attn_info(const struct attn_reader *reader); /* owned by the reader */

const char *attn_path(const struct attn_reader *reader); /* as it was opened */
/* "full and lifecycle": the modes that it was recorded in. */
const char *attn_modes(const struct attn_info *info);

/* A root attribute as text, malloc'd; NULL where there is none of that name. */
char *attn_note(const struct attn_reader *reader, const char *name);

/* Every recorded query as it was told: layers and KV heads in order, queries in order within;
 * row.prob has the recorded heads of the group alone, row.position ascends. Mode full only. */
bool attn_replay(struct attn_reader *reader, attention_watch *watch, void *user, struct err *e);
/* The same of one layer and KV head, by their numbers in the model. */
bool attn_replay_head(struct attn_reader *reader, int layer, int kv_head, attention_watch *watch,
                      void *user, struct err *e);

enum attn_what { ATTN_FULL, ATTN_PAGE_MAX, ATTN_PAGE_SUM };
/* One layer and q head by their numbers in the model: out [n_steps][n_keys or n_pages], NaN where
 * not yet born. EXIT_USAGE where it was not recorded. */
bool attn_map(struct attn_reader *reader, enum attn_what what, int layer, int head, float *out,
              struct err *e);
/* What was resident, out [n_steps][n_keys] of ATTN_RESIDENT | ATTN_ATTENDED; all born keys are both
 * where the file keeps no residency. */
bool attn_residency(struct attn_reader *reader, int layer, int kv_head, uint8_t *out,
                    struct err *e);

/* Array `name` of /lives into out [layers.n][heads.n][n, or n_keys for 0]. EXIT_USAGE where lives
 * were not recorded, EXIT_CONTENT where the array is missing or of another shape. */
bool attn_lives_read(struct attn_reader *reader, const char *name, enum attn_type type, int32_t n,
                     void *out, struct err *e);

/* Whether it begins like a file of attention, whole or not; false also where it can't be read. */
bool attn_is(const char *path);
/* Whether the file is whole, with all of it read once. */
bool attn_verify(const char *path, struct err *e);
const char *attn_library(void); /* "1.10.8" */
