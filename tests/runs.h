/* Runs of one small experiment by the program as a child process, and what they stored. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* The small experiment. Sampling and random victims are among its cells: a resumed run has to
 * repeat its draws too. A sanitizer makes decoding a hundred times slower. */
#ifdef __SANITIZE_ADDRESS__
#define SMALL_SIZE "\"n\": 1, \"max_new\": 24, \"temperature\": 0.7"
enum { SMALL_N = 1, SMALL_NEW = 24, SMALL_CELLS = 7 };
#else
#define SMALL_SIZE "\"n\": 3, \"max_new\": 120, \"temperature\": [0, 0.7]"
enum { SMALL_N = 3, SMALL_NEW = 120, SMALL_CELLS = 14 };
#endif
enum { SMALL_ROWS = SMALL_N * SMALL_CELLS };
#define RUNS_MODEL "models/lemmas-4.5m"

extern struct runs {
    char folder[40];     /* scratch, removed at the end */
    char program[400];   /* of the same build */
    char experiment[64]; /* the file */
    char whole[64];      /* database of an uninterrupted run, */
    char *table, *rows;  /* what it printed, and its runs_dump */
    double seconds;      /* wall time it took */
} runs;

int runs_setup(void **state); /* of a group: fills `runs` */
int runs_teardown(void **state);

void runs_path(char out[64], const char *name); /* in the folder */

/* fork; the child's stdout and stderr go to files in the folder, and it ends after five minutes. */
pid_t runs_fork(void);
/* Starts the program with these arguments, NULL-ended, in such a child. */
pid_t runs_start(const char *const *args);
int runs_end(pid_t child);         /* exit code; 128 + number for a signal */
char *runs_read(const char *name); /* a file of the folder; the caller frees */
#define RAAS(...) runs_end(runs_start((const char *const[]){__VA_ARGS__, NULL}))
#define RUN(db, ...) RAAS("run", runs.experiment, "--db", db, "--model", RUNS_MODEL, ##__VA_ARGS__)

/* Fail the test with what the last child said. */
void runs_expect(int code, int expected);
void runs_expect_words(const char *words); /* on stderr */

/* Everything that a database's runs stored, timing and provenance aside, as one text. */
char *runs_dump(const char *db);
void runs_expect_same(const char *db, const char *dump);
int64_t runs_number(const char *db, const char *sql);
void runs_expect_number(const char *db, int64_t expected, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int64_t runs_rows(const char *db);
/* Of a database whose writer was killed: 0 where that was before there was a table. */
int64_t runs_stored(const char *db);
