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

#define DATA_FOLDER "datasets-data"
enum { FIELD_NAMES = 4 };

/* Where layouts that go round keep the same thing: the first of these keys that a line has. */
struct problem_fields {
    const char *question[FIELD_NAMES], *answer[FIELD_NAMES];
    const char *solution[FIELD_NAMES], *id[FIELD_NAMES]; /* may be missing */
};

struct problem_file {
    const char *name;  /* below the data folder: "gsm8k/test.jsonl" */
    const char *fetch; /* what `raas fetch dataset` calls it: "aime:years=2025" */
    const char *url;   /* where it is to be had as JSON lines; NULL: nowhere */
    const char *note;  /* its license, and what to know */
    /* SHA-256 of what the url gives (NULL: not known), and of another file that is known to be
     * whole. */
    const char *sha256, *other_sha256;
};

/* A prompt of the literature, around the question. */
struct prompt_variant {
    const char *before, *after;
};

/* A dataset that is a file, or one of several. */
struct problem_source {
    const char *dataset;                   /* begins the ids of its problems */
    const struct problem_file *files;      /* [problem_param.file] */
    const struct prompt_variant *variants; /* [problem_param.variant] */
    const struct problem_fields *fields;
    /* Gold of an answer field, malloc'd; NULL where the field has none (an error). No function: all
     * of the field. */
    char *(*gold)(const char *answer);
    const char *gold_is; /* for that error: "a final answer behind ####" */
};

/* The options of such a dataset. */
struct problem_param {
    char path[OPTION_STRING_ROOM]; /* "": the standard place */
    int file, variant;             /* of the source's */
};
// clang-format off
#define PROBLEM_PATH_ROW(standard)                                                                 \
    {"path", OPTION_STRING, offsetof(struct problem_param, path), 0, 0, 0, NULL,                   \
     "file of problems (default: " standard " in $RAAS_DATA, or in " DATA_FOLDER ")"}
#define PROBLEM_VARIANT_ROW(names, what)                                                           \
    {"variant", OPTION_CHOICE, offsetof(struct problem_param, variant), 0, 0, 0, names,            \
     "the prompt: " what}
// clang-format on

/* How many problems the file has; -1, false: EXIT_USAGE where there is no such file, EXIT_CONTENT
 * for what is in it. */
int64_t problems_count(const struct problem_source *source, const struct problem_param *param,
                       struct err *e);
/* Problem i, from 0; free it with problem_free. */
bool problems_get(const struct problem_source *source, const struct problem_param *param, int64_t i,
                  struct problem *out, struct err *e);
bool problems_sha256(const struct problem_source *source, const struct problem_param *param,
                     char out[HASH_HEX], struct err *e);

/* What the literature puts around a question. */
#define PROMPT_BOXED "\nPlease reason step by step, and put your final answer within \\boxed{}."
#define PROMPT_PAPER "\nMake sure the final answer is standalone and in latex format."
