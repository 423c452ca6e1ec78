/* Problems from JSON lines, one object a line: what the datasets that are files share. A file is
 * read once in a process, whole, and checked before its first problem is used: UTF-8, one object a
 * line, every field there, no empty line, no identity twice. Each fault is one error (EXIT_CONTENT)
 * with file and line; nothing is passed over. Lines may end in CR LF.
 *
 * Where the file is: option `path`, else a name below $RAAS_DATA, or below the folder datasets-data
 * (here or beside the program). A file whose SHA-256 is none of the known ones is used all the
 * same, with one warning. */
#pragma once

#include "datasets/dataset.h"

enum { FIELD_NAMES = 4 };

/* Where layouts that go round keep the same thing: the first of these keys that a line has. */
struct problem_fields {
    const char *question[FIELD_NAMES], *answer[FIELD_NAMES];
    const char *solution[FIELD_NAMES], *id[FIELD_NAMES]; /* may be missing */
};

/* A prompt of the literature, around the question. */
struct prompt_variant {
    const char *before, *after;
};

struct problem_file {
    const char *dataset;      /* begins the ids of its problems */
    const char *name;         /* below the data folder: "gsm8k/test.jsonl" */
    const char *const *known; /* SHA-256 of files that are known to be whole; NULL-ended */
    const struct problem_fields *fields;
    /* Gold of an answer field, malloc'd; NULL where the field has none (an error). No function: all
     * of the field. */
    char *(*gold)(const char *answer);
    const char *gold_is; /* for that error: "a final answer behind ####" */
};

/* path "": the standard place. All return false, -1 on error: EXIT_USAGE where there is no such
 * file, EXIT_CONTENT for what is in it. */
int64_t problems_count(const struct problem_file *file, const char *path, struct err *e);
bool problems_get(const struct problem_file *file, const char *path,
                  const struct prompt_variant *variant, int64_t i, struct problem *out,
                  struct err *e);
bool problems_sha256(const struct problem_file *file, const char *path, char out[HASH_HEX],
                     struct err *e);

/* Whether a file with this SHA-256 is a known one. */
bool problems_known(const struct problem_file *file, const char *sha256);
/* Where the file is looked for: path, or the standard place. false where it does not fit. */
bool problems_path(const struct problem_file *file, const char *path, char *out, size_t size);

/* What the literature puts around a question. */
#define PROMPT_BOXED "\nPlease reason step by step, and put your final answer within \\boxed{}."
#define PROMPT_PAPER "\nMake sure the final answer is standalone and in latex format."
