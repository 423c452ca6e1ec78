/* What the commands that run a model share: their flags as rows for option tables, and the steps
 * from those flags to a model, a policy plan, token ids and an open session. */
#pragma once

#include "base/option.h"
#include "engine/model.h"
#include "engine/policy.h"
#include "engine/session.h"
#include "store/db.h"

struct common {
    const char *model; /* NULL: the embedded one */
    const char *isa;   /* NULL: the best this machine has */
    int backend;       /* index into BACKENDS */
    int precision;     /* enum precision, or COMMON_AUTO */
    int64_t threads;   /* 0: all cores */
};
enum { COMMON_AUTO = PRECISION_BF16 + 1 }; /* fp32 on the CPU, bf16 on a GPU */
#define COMMON_RESULTS "results" /* where results lie unless --out or --db say otherwise */

/* Rows for a parameter struct `type` with a field `struct common member`. */
// clang-format off
#define COMMON_ROWS(type, member, standard_precision)                                              \
    COMMON_ROWS_OF(type, member, standard_precision, PRECISIONS,                                   \
                   "fp32 is the reference path, bf16 the fast one")
#define COMMON_ROWS_OF(type, member, standard_precision, precisions, precision_help)               \
    {"model", OPTION_TEXT, offsetof(type, member.model), 0, 0, 0, NULL,                            \
     "PATH: model folder or GGUF file (default: the embedded model)"},                                          \
    {"backend", OPTION_CHOICE, offsetof(type, member.backend), 0, 0, 0, BACKENDS,                  \
     "where the model runs"},                                                                      \
    {"precision", OPTION_CHOICE, offsetof(type, member.precision), standard_precision, 0, 0,       \
     precisions, precision_help},                                                                  \
    {"threads", OPTION_INT, offsetof(type, member.threads), 0, 0, 1024, NULL,                      \
     "threads of the CPU; 0 takes all cores"},                                                     \
    {"isa", OPTION_TEXT, offsetof(type, member.isa), 0, 0, 0, NULL,                                \
     "NAME: instruction set of the fast path: avx2, avx512, avx512bf16, amx (default: the best here)"}
#define SEED_ROW(type, member)                                                                     \
    {"seed", OPTION_INT, offsetof(type, member), 0, 0, 0x1p53, NULL, "seed of all random numbers"}
#define DB_ROW(type, member, what)                                                                 \
    {"db", OPTION_TEXT, offsetof(type, member), 0, 0, 0, NULL,                                     \
     "FILE: " what " (default: " COMMON_RESULTS "/raas.db)"}
#define RUN_ROW(type, member)                                                                      \
    {"run", OPTION_TEXT, offsetof(type, member), 0, 0, 0, NULL,                                    \
     "NAME: only the cells of a run: its number, or a name, which stands for its latest run"}
#define JSON_ROW(type, member)                                                                     \
    {"json", OPTION_BOOL, offsetof(type, member), 0, 0, 1, NULL, "print data for programs"}
// clang-format on

/* option_defaults, then option_argv; arguments that are no flags are an error (EXIT_USAGE). */
bool common_argv(const struct option *table, void *param, const char *usage, const char *about,
                 int argc, char **argv, struct err *e);

/* The database of --db: `path`, or where that is NULL the standard one. */
const char *common_db(const char *path);
/* It opened to be told from; where answers in it were altered since they were stored, that is
 * warned of. NULL on error. */
struct db *common_answers(const char *path, struct err *e);
/* For commands that read what is there before they write: EXIT_USAGE where it is not there. */
bool common_db_exists(const char *path, struct err *e);

/* The model of --model; close it with model_close. NULL on error. */
struct model *common_model(const struct common *common, struct err *e);

/* Ends a run (0: none was begun) with the status that `e` says. Where the database doesn't take it,
 * that is a warning: what was stored before stays. */
void common_run_end(struct db *db, int64_t run, const struct err *e);

/* A session of at most `width` sequences of at most `max_total` tokens. Where memory is too small
 * for that (on the CPU: the page pool would take more than half of what is free), fewer sequences
 * fly at once: results don't depend on it. */
struct session *common_session(const struct common *common, const struct model *model, int width,
                               int max_total, struct err *e);

/* The same, for those who open one when they know how long it must be: context is one of these. */
struct common_opener {
    const struct common *common;
    const struct model *model;
};
struct session *common_open(void *context, int width, int max_total, struct err *e);

/* A dataset as it was named, with the seed of --seed where it is a generator and names none. */
void common_seeded(const char *dataset, int64_t seed, char *out, size_t size);

/* Key of a request's random numbers: seed and place among the requests. */
uint64_t common_key(int64_t seed, int place);

/* A whole file ("-": stdin) of at most 1 GiB, malloc'd and 0-ended; *size without the end. NULL on
 * error: EXIT_USAGE for a path that does not exist. */
char *common_read(const char *path, size_t *size, struct err *e);

/* Appends the ids of "1,2,3", of FILE.npy (one axis of i4 or i8), or of @FILE (numbers separated by
 * commas or blanks, "-" = stdin). Each must be an id of the model; at least one is required. */
bool common_ids(const char *text, const struct model *model, struct id_list *ids, struct err *e);

/* Checks ids that came from elsewhere: at least one, all below the model's vocabulary, no more than
 * it has positions. `what` begins the error, `code` is its exit code. */
bool common_check_ids(const struct model *model, const int32_t *ids, size_t n, const char *what,
                      int code, struct err *e);
