/* The results database: what is stored, what survives, what is refused. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "tests/store_rows.h"

static int in_folder(void **state) {
    *state = rows_folder();
    return 0;
}

static int leave_folder(void **state) {
    rows_remove(*state);
    return 0;
}

static void begin(struct rows *rows) {
    struct err e = {0};
    assert_true(db_begin(rows->db, &e));
}

static void commit(struct rows *rows) {
    struct err e = {0};
    assert_true(db_commit(rows->db, &e));
}

/* First column of the first row, as text; free() it. */
static char *ask(struct db *db, const char *sql) {
    struct err e = {0};
    struct db_query *q = db_query(db, sql, &e);
    if (!q || !db_next(q, &e))
        fail_msg("%s: %s", sql, e.code ? e.text : "no row");
    char *out = must_strdup(db_text(q, 0));
    db_query_end(q);
    return out;
}

static void expect(struct db *db, const char *sql, const char *expected) {
    char *got = ask(db, sql);
    if (strcmp(got, expected))
        fail_msg("%s\n  gave     %s\n  expected %s", sql, got, expected);
    free(got);
}

static void expect_real(struct db *db, const char *sql, double expected) {
    char *got = ask(db, sql);
    if (!(fabs(atof(got) - expected) < 1e-12))
        fail_msg("%s\n  gave     %s\n  expected %.15g", sql, got, expected);
    free(got);
}

/* Opening must fail with the code and a line that holds the words, and must leave the file as it
 * is. */
static void refused(const char *path, enum db_mode mode, int code, const char *words) {
    struct err e = {0};
    struct db *db = db_open(path, mode, &e);
    assert_null(db);
    if (!strstr(e.text, words) || !strstr(e.text, path) || e.code != code)
        fail_msg("code %d, \"%s\"; expected code %d and \"%s\"", e.code, e.text, code, words);
}

static void write_bytes(const char *path, const char *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void test_db_stores_and_finds_again(void **state) {
    char *path = rows_path(*state, "new/folders/raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas:steps=16", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    assert_int_equal(cell, rows_cell(&rows, "raas", 256, DB_SHARED));
    assert_int_not_equal(cell, rows_cell(&rows, "raas", 384, DB_SHARED));
    assert_int_not_equal(cell, rows_cell(&rows, "raas", 256, DB_ISOLATED));

    struct err e = {0};
    bool done = true;
    struct db_result result = rows_result(&rows, cell, 3, 0, true, key);
    result.ids = (const int32_t[]){5, 6, 7};
    result.n_ids = 3;
    assert_true(db_done(rows.db, key, &done, &e));
    assert_false(done);
    rows_add(&rows, &result);
    assert_true(db_run_finish(rows.db, rows.run, DB_FINISHED, &e));
    assert_true(db_verify(rows.db, &e));
    db_close(rows.db);

    struct rows again = rows_open(path, "demo", "lemmas:steps=16", "chain");
    assert_int_equal(again.model, rows.model);
    assert_int_equal(again.dataset, rows.dataset);
    assert_int_not_equal(again.run, rows.run);
    assert_true(db_done(again.db, key, &done, &e));
    assert_true(done);
    int64_t n, correct;
    assert_true(db_cell_score(again.db, cell, &n, &correct, &e));
    assert_int_equal(n, 1);
    assert_int_equal(correct, 1);
    expect(again.db, "SELECT text || ' ' || encoding FROM result", "The answer is 77. utf8");
    expect(again.db, "SELECT ids FROM result", "[5,6,7]");
    expect(again.db, "SELECT loop_period IS NULL AND correct_mv IS NULL FROM result", "1");
    expect(again.db, "SELECT status FROM run WHERE id = 1", "finished");
    expect(again.db, "SELECT status FROM run WHERE id = 2", "running");
    expect(again.db, "SELECT json_extract(argv, '$[2]') FROM run", "test.json");
    expect(again.db, "SELECT count(*) FROM machine", "1");
    expect(again.db, "SELECT sample || ' ' || position FROM v_result", "p3 3");
    db_close(again.db);
    free(path);
}

static void test_db_key_is_a_hash_of_canonical_json(void **state) {
    (void)state;
    char key[HASH_HEX], other[HASH_HEX];
    db_key("{\"a\":1}", "p7", 2, key);
    hash_bytes("{\"cell\":{\"a\":1},\"repeat\":2,\"sample\":\"p7\"}", 41, other);
    assert_string_equal(key, other);
    db_key("{\"a\":1}", "p7", 3, other);
    assert_string_not_equal(key, other);
}

static void test_db_keeps_the_first_of_two_equal_keys(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    struct db_result result = rows_result(&rows, cell, 0, 0, true, key);
    rows_add(&rows, &result);
    result = rows_result(&rows, cell, 0, 0, false, key);
    struct err e = {0};
    assert_false(db_add_result(rows.db, &result, &e));
    assert_int_equal(e.code, EXIT_PARTIAL);
    expect(rows.db, "SELECT sum(correct_chain) || '/' || count(*) FROM result", "1/1");
    db_close(rows.db);
    free(path);
}

static void test_db_keeps_any_bytes_of_an_answer(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    const char *texts[] = {"caf\xc3\xa9", "bad \xff\xfe", "nul \0 inside", ""};
    const size_t sizes[] = {5, 6, 12, 0};
    for (int i = 0; i < 4; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, true, key);
        result.text = texts[i];
        result.text_size = sizes[i];
        result.extracted = "7\xff";
        rows_add(&rows, &result);
    }
    expect(rows.db, "SELECT text || encoding FROM v_result WHERE sample = 'p0'", "caf\xc3\xa9utf8");
    expect(rows.db, "SELECT text FROM v_result WHERE encoding = 'hex' AND sample = 'p1'",
           "62616420fffe");
    expect(rows.db, "SELECT text FROM v_result WHERE encoding = 'hex' AND sample = 'p2'",
           "6e756c200020696e73696465");
    expect(rows.db, "SELECT count(*) FROM v_result WHERE text = '' AND sample = 'p3'", "1");
    expect(rows.db, "SELECT DISTINCT extracted FROM result", "7\xef\xbf\xbd");
    db_close(rows.db);
    free(path);
}

/* Wilson's bounds from statsmodels 0.15.0: proportion_confint(7, 10, method="wilson") etc. */
static void test_db_accuracy_view_counts_and_bounds(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    for (int i = 0; i < 10; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, i < 7, key);
        result.n_new = 700 + i;
        result.kept_peak = 256 + i % 2;
        rows_add(&rows, &result);
    }
    expect(rows.db, "SELECT n || ' ' || correct || ' ' || wrong FROM v_accuracy", "10 7 3");
    expect_real(rows.db, "SELECT accuracy FROM v_accuracy", 0.7);
    expect_real(rows.db, "SELECT lo FROM v_accuracy", 0.39677814746114537);
    expect_real(rows.db, "SELECT hi FROM v_accuracy", 0.89220873259369893);
    expect_real(rows.db, "SELECT mean_tokens FROM v_accuracy", 704.5);
    expect_real(rows.db, "SELECT kv_tokens_peak FROM v_accuracy", 256.5);
    expect_real(rows.db, "SELECT mean_effective_budget FROM v_accuracy", 256);
    expect(rows.db,
           "SELECT model || ' ' || dataset || ' ' || policy || ' ' || budget || metric FROM "
           "v_accuracy",
           "tiny lemmas raas 256chain");
    int64_t full = rows_cell(&rows, "full", 0, DB_SHARED);
    for (int i = 0; i < 10; i++) {
        struct db_result result = rows_result(&rows, full, i, 0, true, key);
        rows_add(&rows, &result);
    }
    const char *of_full = "SELECT budget IS NULL AND mean_effective_budget IS NULL AND hi = 1 "
                          "AND ttft_seconds IS NULL FROM v_accuracy WHERE policy = 'full'";
    expect(rows.db, of_full, "1");
    expect_real(rows.db, "SELECT lo FROM v_accuracy WHERE policy = 'full'", 0.72246720013711063);
    db_close(rows.db);
    free(path);
}

static void test_db_repeats_do_not_narrow_the_interval(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    for (int i = 0; i < 10; i++)
        for (int repeat = 0; repeat < 3; repeat++) {
            struct db_result result = rows_result(&rows, cell, i, repeat, i < 7, key);
            rows_add(&rows, &result);
        }
    expect(rows.db, "SELECT n || ' ' || samples FROM v_accuracy", "30 10");
    expect_real(rows.db, "SELECT lo FROM v_accuracy", 0.39677814746114537);
    db_close(rows.db);
    free(path);
}

static void test_db_metric_decides_what_counts(void **state) {
    char key[HASH_HEX];
    const struct {
        const char *metric, *finish;
        bool box, chain;
        const char *outcome; /* correct wrong capped numeric */
    } cases[] = {
        {"chain", "answer", false, true, "1 0 0 0"},  {"box", "answer", false, true, "0 1 0 0"},
        {"box", "answer", true, true, "1 0 0 0"},     {"chain", "cap", false, true, "0 0 1 0"},
        {"chain", "cap", true, true, "1 0 0 0"},      {"chain", "numeric", true, true, "0 0 0 1"},
        {"chain", "answer", false, false, "0 1 0 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[16];
        snprintf(name, sizeof name, "%zu.db", i);
        char *path = rows_path(*state, name);
        struct rows rows = rows_open(path, "demo", "lemmas", cases[i].metric);
        int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
        struct db_result result = rows_result(&rows, cell, 0, 0, true, key);
        result.finish = cases[i].finish;
        result.correct_box = cases[i].box;
        result.correct_chain = cases[i].chain;
        rows_add(&rows, &result);
        expect(rows.db,
               "SELECT correct || ' ' || wrong || ' ' || capped || ' ' || numeric FROM v_accuracy",
               cases[i].outcome);
        db_close(rows.db);
        free(path);
    }
}

static void test_db_speed_is_the_median_of_isolated_rows(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_ISOLATED);
    const double prefill[] = {0.5, 0.1, 0.2, 9.0};
    for (int i = 0; i < 4; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, true, key);
        result.prefill_seconds = prefill[i];
        result.decode_seconds = 2.0 * (i + 1);
        result.n_new = 101;
        rows_add(&rows, &result);
    }
    expect_real(rows.db, "SELECT ttft_seconds FROM v_accuracy", 0.35);
    expect_real(rows.db, "SELECT tpot_seconds FROM v_accuracy", 0.05);
    expect_real(rows.db, "SELECT jct_seconds FROM v_accuracy", (4.1 + 6.2) / 2);
    db_close(rows.db);
    free(path);
}

static void test_db_checks_every_row(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    for (int i = 0; i < 5; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, true, key);
        struct err e = {0};
        if (i == 0)
            result.finish = "tired";
        else if (i == 1)
            result.cell = 999;
        else if (i == 2)
            result.key = "short";
        else if (i == 3)
            result.decode_seconds = NAN;
        else
            result.n_new = -1;
        assert_false(db_add_result(rows.db, &result, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
    }
    expect(rows.db, "SELECT count(*) FROM result", "0");
    db_close(rows.db);
    free(path);
}

static void test_db_rollback_and_close_drop_what_is_open(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    struct err e = {0};
    for (int i = 0; i < 3; i++) { /* committed, rolled back, closed */
        assert_true(db_begin(rows.db, &e));
        struct db_result result = rows_result(&rows, cell, i, 0, true, key);
        rows_add(&rows, &result);
        if (i == 0)
            assert_true(db_commit(rows.db, &e));
        if (i == 1)
            db_rollback(rows.db);
    }
    db_close(rows.db);
    struct db *db = db_open(path, DB_READ, &e);
    assert_non_null(db);
    expect(db, "SELECT group_concat(sample) FROM v_result", "p0");
    db_close(db);
    free(path);
}

static void test_db_has_one_writer_and_any_readers(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    refused(path, DB_WRITE, EXIT_ENV, "another raas is writing to it");

    struct err e = {0};
    assert_true(db_begin(rows.db, &e));
    struct db_result result = rows_result(&rows, cell, 0, 0, true, key);
    rows_add(&rows, &result);
    struct db *reader = db_open(path, DB_READ, &e);
    assert_non_null(reader);
    expect(reader, "SELECT count(*) FROM result", "0");
    assert_true(db_commit(rows.db, &e));
    expect(reader, "SELECT count(*) FROM result", "1");
    struct db_query *q = db_query(reader, "DELETE FROM result", &e);
    assert_non_null(q);
    assert_false(db_next(q, &e));
    assert_int_equal(e.code, EXIT_ENV);
    db_query_end(q);
    db_close(reader);
    refused(path, DB_WRITE, EXIT_ENV, "another raas is writing to it");
    db_close(rows.db);

    e = (struct err){0};
    struct db *db = db_open(path, DB_WRITE, &e);
    assert_non_null(db);
    db_close(db);
    free(path);
}

/* A child commits rows, says so, and dies by SIGKILL inside the next transaction. */
static void test_db_killed_writer_loses_only_what_was_open(void **state) {
    char *path = rows_path(*state, "raas.db");
    int news[2];
    assert_int_equal(pipe(news), 0);
    pid_t child = fork();
    if (child == 0) {
        char key[HASH_HEX];
        struct err e = {0};
        struct rows rows = rows_open(path, "demo", "lemmas", "chain");
        int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
        for (int i = 0;; i++) {
            db_begin(rows.db, &e);
            struct db_result result = rows_result(&rows, cell, i, 0, true, key);
            rows_add(&rows, &result);
            if (i == 5) {
                char byte = 0;
                if (write(news[1], &byte, 1) != 1)
                    _exit(1);
                pause();
            }
            db_commit(rows.db, &e);
        }
    }
    close(news[1]);
    char byte;
    assert_int_equal(read(news[0], &byte, 1), 1);
    refused(path, DB_WRITE, EXIT_ENV, "another raas is writing to it");
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    assert_non_null(db);
    expect(db, "SELECT group_concat(sample) FROM v_result", "p0,p1,p2,p3,p4");
    expect(db, "SELECT status FROM run", "running");
    db_close(db);
    db = db_open(path, DB_WRITE, &e);
    assert_non_null(db);
    assert_true(db_verify(db, &e));
    db_close(db);
    close(news[0]);
    free(path);
}

/* A limit on file size stands for the full disk. */
static void test_db_full_disk_is_one_line_and_loses_nothing(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    struct db_result result = rows_result(&rows, cell, 0, 0, true, key);
    rows_add(&rows, &result);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);

    struct rlimit limit, old;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = (rlim_t)st.st_size + 20000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    struct err e = {0};
    char *long_text = must_zalloc(100000, 1);
    memset(long_text, 'x', 99999);
    result = rows_result(&rows, cell, 1, 0, true, key);
    result.text = long_text;
    result.text_size = 99999;
    bool ok =
        db_begin(rows.db, &e) && db_add_result(rows.db, &result, &e) && db_commit(rows.db, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_false(ok);
    assert_int_equal(e.code, EXIT_ENV);
    db_rollback(rows.db);

    expect(rows.db, "SELECT count(*) FROM result", "1");
    rows_add(&rows, &result); /* space is back */
    expect(rows.db, "SELECT count(*) FROM result", "2");
    e = (struct err){0};
    assert_true(db_verify(rows.db, &e));
    db_close(rows.db);
    free(long_text);
    free(path);
}

static void test_db_refuses_what_is_no_database_of_raas(void **state) {
    char *path = rows_path(*state, "raas.db");
    refused(*state, DB_READ, EXIT_CONTENT, "is a folder");
    refused(*state, DB_WRITE, EXIT_CONTENT, "is a folder");
    refused(path, DB_READ, EXIT_USAGE, "no such database");
    char *below = rows_path(*state, "raas.db/x/raas.db");
    char garbage[8192];
    memset(garbage, 'g', sizeof garbage);
    const size_t sizes[] = {1, 10, 100, 8192};
    for (int i = 0; i < 4; i++) {
        write_bytes(path, garbage, sizes[i]);
        refused(path, DB_READ, EXIT_CONTENT, "not an SQLite database");
        refused(path, DB_WRITE, EXIT_CONTENT, "not an SQLite database");
        struct err e = {0};
        size_t size;
        char *after = file_read(path, 1 << 20, &size, &e);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(after, garbage, size);
        free(after);
    }
    refused(below, DB_WRITE, EXIT_ENV, "cannot");
    write_bytes(path, "", 0);
    refused(path, DB_READ, EXIT_CONTENT, "an empty file");
    struct rows rows = rows_open(path, "demo", "lemmas", "chain"); /* but may be filled */
    db_close(rows.db);
    if (geteuid() != 0) {
        chmod(path, 0444);
        refused(path, DB_WRITE, EXIT_ENV, "cannot be opened for writing");
    }
    free(below);
    free(path);
}

/* The header of an SQLite file holds user_version at byte 60 and application_id at 68, big-endian.
 */
static void patch(const char *path, long offset, uint8_t value) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset + 3, SEEK_SET), 0);
    assert_int_equal(fputc(value, file), value);
    assert_int_equal(fclose(file), 0);
}

static void test_db_refuses_newer_schemas_and_other_programs(void **state) {
    char *path = rows_path(*state, "raas.db");
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    db_close(rows.db);
    patch(path, 60, 99);
    refused(path, DB_READ, EXIT_CONTENT, "schema 99 is newer than this program");
    refused(path, DB_WRITE, EXIT_CONTENT, "schema 99 is newer than this program");
    patch(path, 60, 0);
    refused(path, DB_WRITE, EXIT_CONTENT, "invalid schema number");
    patch(path, 60, 1);
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    assert_non_null(db);
    db_close(db);
    patch(path, 68, 7);
    refused(path, DB_READ, EXIT_CONTENT, "a database of another program");
    refused(path, DB_WRITE, EXIT_CONTENT, "a database of another program");
    free(path);
}

static void test_db_reports_damage(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    for (int i = 0; i < 50; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, true, key);
        rows_add(&rows, &result);
    }
    commit(&rows);
    db_close(rows.db);
    struct err e = {0};
    size_t size;
    char *bytes = file_read(path, 1 << 24, &size, &e);
    assert_non_null(bytes);
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    if (strlen(host) > 6)
        assert_null(memmem(bytes, size, host, strlen(host)));
    memset(bytes + size / 2, 0x5a, size / 4);
    write_bytes(path, bytes, size);
    struct db *db = db_open(path, DB_READ, &e);
    assert_false(db && db_verify(db, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "damaged database"));
    db_close(db);
    free(bytes);
    free(path);
}

/* A stranger reads the file with the plain shell: views must need nothing of this program. */
static void test_db_views_work_in_the_sqlite_shell(void **state) {
    char *path = rows_path(*state, "raas.db"), key[HASH_HEX], got[64] = "";
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    struct db_result result = rows_result(&rows, cell, 0, 0, true, key);
    rows_add(&rows, &result);
    db_close(rows.db);
    int out[2], status;
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        execlp("sqlite3", "sqlite3", path, "SELECT policy, n, round(lo, 9) FROM v_accuracy",
               (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    ssize_t n = read(out[0], got, sizeof got - 1);
    close(out[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    free(path);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        print_message("skipped: no sqlite3 shell here\n");
        skip();
    }
    assert_true(n > 0);
    assert_string_equal(got, "raas|1|0.206549314\n");
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, in_folder, leave_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_db_key_is_a_hash_of_canonical_json),
        IN_FOLDER(test_db_stores_and_finds_again),
        IN_FOLDER(test_db_keeps_the_first_of_two_equal_keys),
        IN_FOLDER(test_db_keeps_any_bytes_of_an_answer),
        IN_FOLDER(test_db_accuracy_view_counts_and_bounds),
        IN_FOLDER(test_db_repeats_do_not_narrow_the_interval),
        IN_FOLDER(test_db_metric_decides_what_counts),
        IN_FOLDER(test_db_speed_is_the_median_of_isolated_rows),
        IN_FOLDER(test_db_checks_every_row),
        IN_FOLDER(test_db_rollback_and_close_drop_what_is_open),
        IN_FOLDER(test_db_has_one_writer_and_any_readers),
        IN_FOLDER(test_db_killed_writer_loses_only_what_was_open),
        IN_FOLDER(test_db_full_disk_is_one_line_and_loses_nothing),
        IN_FOLDER(test_db_refuses_what_is_no_database_of_raas),
        IN_FOLDER(test_db_refuses_newer_schemas_and_other_programs),
        IN_FOLDER(test_db_reports_damage),
        IN_FOLDER(test_db_views_work_in_the_sqlite_shell),
    };
    return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
