#include "tests/runs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/db.h"
#include "tests/folder.h"

enum { MAX_ARGS = 32 };

struct runs runs = {.folder = "/tmp/test_run-XXXXXX"};

static const char small[] =
    "{\"name\": \"small\", \"dataset\": \"lemmas:steps=4\", \"width\": 8, " SMALL_SIZE ", "
    "\"policy\": [\"full\", \"streaming\", \"raas\", \"random\"], \"budget\": [64, 128]}";

/* --- children ------------------------------------------------------------------------------- */

void runs_path(char out[64], const char *name) { snprintf(out, 64, "%s/%s", runs.folder, name); }

pid_t runs_fork(void) {
    char out[64], err[64];
    runs_path(out, "stdout");
    runs_path(err, "stderr");
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child)
        return child;
    int to = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int too = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (to < 0 || too < 0 || dup2(to, 1) < 0 || dup2(too, 2) < 0)
        _exit(126);
    alarm(300);
    return 0;
}

pid_t runs_start(const char *const *args) {
    char *argv[MAX_ARGS] = {runs.program};
    int n = 1;
    for (; args[n - 1]; n++)
        argv[n] = (char *)args[n - 1];
    pid_t child = runs_fork();
    if (child == 0) {
        execv(runs.program, argv);
        _exit(127);
    }
    return child;
}

/* The exit code; 128 + number for a signal. */
int runs_end(pid_t child) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

char *runs_read(const char *name) {
    char path[80];
    runs_path(path, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *text = calloc(1, 1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

void runs_expect(int code, int expected) {
    if (code == expected)
        return;
    char *text = runs_read("stderr");
    fail_msg("exit code %d, expected %d: %s", code, expected, text);
}

void runs_expect_words(const char *words) {
    char *text = runs_read("stderr");
    if (!strstr(text, words))
        fail_msg("'%s' does not say '%s'", text, words);
    free(text);
}

/* --- databases ------------------------------------------------------------------------------ */

/* Everything that a run stored, timing and provenance aside, as one text. */
char *runs_dump(const char *path) {
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    if (!db)
        fail_msg("%s", e.text);
    struct db_query *q =
        db_query(db,
                 "SELECT v_result.key, policy, v_result.budget, sample, v_result.repeat, correct, "
                 "v_result.extracted, v_result.path, v_result.finish, v_result.loop_period, "
                 "v_result.prompt_tokens, v_result.new_tokens, v_result.effective_budget, "
                 "v_result.kv_tokens_peak, v_result.kv_bytes_peak, v_result.evictions, result.ids, "
                 "v_result.text FROM v_result JOIN result ON result.key = v_result.key ORDER BY 1",
                 &e);
    struct json_out o = {0};
    json_open(&o, '[');
    while (q && db_next(q, &e))
        for (int c = 0; c < db_columns(q); c++)
            json_put_text(&o, db_text(q, c));
    json_close(&o, ']');
    if (e.code)
        fail_msg("%s", e.text);
    db_query_end(q);
    db_close(db);
    return o.text;
}

int64_t runs_number(const char *path, const char *sql) {
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    struct db_query *q = db ? db_query(db, sql, &e) : NULL;
    int64_t n = q && db_next(q, &e) ? db_int(q, 0) : -1;
    if (e.code)
        fail_msg("%s", e.text);
    db_query_end(q);
    db_close(db);
    return n;
}

int64_t runs_rows(const char *path) { return runs_number(path, "SELECT count(*) FROM result"); }

void runs_expect_number(const char *path, int64_t expected, const char *format, ...) {
    char sql[500];
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    int64_t n = runs_number(path, sql);
    if (n != expected)
        fail_msg("%lld, expected %lld: %s", (long long)n, (long long)expected, sql);
}

/* Of a database whose writer was killed: 0 where it was killed before there was a table. */
int64_t runs_stored(const char *path) {
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    struct db_query *q = db ? db_query(db, "SELECT count(*) FROM result", &e) : NULL;
    int64_t n = q && db_next(q, &e) ? db_int(q, 0) : 0;
    db_query_end(q);
    db_close(db);
    return n;
}

void runs_expect_same(const char *path, const char *expected) {
    char *got = runs_dump(path);
    assert_string_equal(got, expected);
    free(got);
}

/* --- set-up --------------------------------------------------------------------------------- */

int runs_setup(void **state) {
    (void)state;
    snprintf(runs.program, sizeof runs.program, "%s/raas", folder_of_program());
    if (access(runs.program, X_OK) != 0 || !mkdtemp(runs.folder))
        return -1;
    runs_path(runs.experiment, "small.json");
    runs_path(runs.whole, "whole.db");
    FILE *f = fopen(runs.experiment, "w");
    if (!f || fputs(small, f) < 0 || fclose(f) != 0)
        return -1;
    double begin = clock_seconds();
    runs_expect(RUN(runs.whole), EXIT_OK);
    runs.seconds = clock_seconds() - begin;
    runs.table = runs_read("stdout");
    runs.rows = runs_dump(runs.whole);
    return 0;
}

int runs_teardown(void **state) {
    (void)state;
    free(runs.table);
    free(runs.rows);
    pid_t child = fork();
    if (child == 0) {
        execlp("rm", "rm", "-rf", runs.folder, NULL);
        _exit(127);
    }
    return runs_end(child);
}
