/* The results database under kill, full disk, second writers, foreign and damaged files. */
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
#include "tests/folder.h"
#include "tests/store_rows.h"

/* Opening must fail with the code and a line that holds the words, and must leave the file as it
 * is. */
static void refused(const char *path, enum db_mode mode, int code, const char *words) {
    struct err e = {0};
    struct db *db = db_open(path, mode, &e);
    assert_null(db);
    if (!strstr(e.text, words) || !strstr(e.text, path) || e.code != code)
        fail_msg("code %d, \"%s\"; expected code %d and \"%s\"", e.code, e.text, code, words);
}

static void test_db_rollback_and_close_drop_what_is_open(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
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
    rows_expect(db, "SELECT group_concat(sample) FROM v_result", "p0");
    db_close(db);
}

static void test_db_has_one_writer_and_any_readers(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    refused(path, DB_WRITE, EXIT_ENV, "another raas is writing to it");

    struct err e = {0};
    assert_true(db_begin(rows.db, &e));
    struct db_result result = rows_result(&rows, cell, 0, 0, true, key);
    rows_add(&rows, &result);
    struct db *reader = db_open(path, DB_READ, &e);
    assert_non_null(reader);
    rows_expect(reader, "SELECT count(*) FROM result", "0");
    assert_true(db_commit(rows.db, &e));
    rows_expect(reader, "SELECT count(*) FROM result", "1");
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
}

/* A child commits rows, says so, and dies by SIGKILL inside the next transaction. */
static void test_db_killed_writer_loses_only_what_was_open(void **state) {
    const char *path = folder_path(*state, "raas.db");
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
    rows_expect(db, "SELECT group_concat(sample) FROM v_result", "p0,p1,p2,p3,p4");
    rows_expect(db, "SELECT status FROM run", "running");
    db_close(db);
    db = db_open(path, DB_WRITE, &e);
    assert_non_null(db);
    assert_true(db_verify(db, &e));
    db_close(db);
    close(news[0]);
}

/* A limit on file size stands for the full disk. */
static void test_db_full_disk_is_one_line_and_loses_nothing(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
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

    rows_expect(rows.db, "SELECT count(*) FROM result", "1");
    rows_add(&rows, &result); /* space is back */
    rows_expect(rows.db, "SELECT count(*) FROM result", "2");
    e = (struct err){0};
    assert_true(db_verify(rows.db, &e));
    db_close(rows.db);
    free(long_text);
}

static void test_db_refuses_what_is_no_database_of_raas(void **state) {
    const char *folder = ((struct folder *)*state)->path;
    const char *path = folder_path(*state, "raas.db");
    refused(folder, DB_READ, EXIT_CONTENT, "is a folder");
    refused(folder, DB_WRITE, EXIT_CONTENT, "is a folder");
    refused(path, DB_READ, EXIT_USAGE, "no such database");
    const char *below = folder_path(*state, "raas.db/x/raas.db");
    char garbage[8192];
    memset(garbage, 'g', sizeof garbage);
    const size_t sizes[] = {1, 10, 100, 8192};
    for (int i = 0; i < 4; i++) {
        folder_write(*state, "raas.db", garbage, sizes[i]);
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
    folder_write(*state, "raas.db", "", 0);
    refused(path, DB_READ, EXIT_CONTENT, "an empty file");
    struct rows rows = rows_open(path, "demo", "lemmas", "chain"); /* but may be filled */
    db_close(rows.db);
    if (geteuid() != 0) {
        chmod(path, 0444);
        refused(path, DB_WRITE, EXIT_ENV, "cannot be opened for writing");
    }
}

/* The header of an SQLite file holds user_version at byte 60 and application_id at 68, big-endian.
 */
static uint8_t patch(const char *path, long offset, uint8_t value) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset + 3, SEEK_SET), 0);
    int was = fgetc(file);
    assert_int_equal(fseek(file, offset + 3, SEEK_SET), 0);
    assert_int_equal(fputc(value, file), value);
    assert_int_equal(fclose(file), 0);
    return (uint8_t)was;
}

static void test_db_refuses_newer_schemas_and_other_programs(void **state) {
    const char *path = folder_path(*state, "raas.db");
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    db_close(rows.db);
    uint8_t version = patch(path, 60, 99);
    refused(path, DB_READ, EXIT_CONTENT, "schema 99 is newer than this program");
    refused(path, DB_WRITE, EXIT_CONTENT, "schema 99 is newer than this program");
    patch(path, 60, 0);
    refused(path, DB_WRITE, EXIT_CONTENT, "invalid schema number");
    patch(path, 60, version); /* as this program made it */
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    assert_non_null(db);
    db_close(db);
    patch(path, 68, 7);
    refused(path, DB_READ, EXIT_CONTENT, "a database of another program");
    refused(path, DB_WRITE, EXIT_CONTENT, "a database of another program");
}

static void test_db_reports_damage(void **state) {
    const char *path = folder_path(*state, "raas.db");
    char key[HASH_HEX];
    struct rows rows = rows_open(path, "demo", "lemmas", "chain");
    rows_begin(&rows);
    int64_t cell = rows_cell(&rows, "raas", 256, DB_SHARED);
    for (int i = 0; i < 50; i++) {
        struct db_result result = rows_result(&rows, cell, i, 0, true, key);
        rows_add(&rows, &result);
    }
    rows_commit(&rows);
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
    folder_write(*state, "raas.db", bytes, size);
    struct db *db = db_open(path, DB_READ, &e);
    assert_false(db && db_verify(db, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "damaged database"));
    db_close(db);
    free(bytes);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_db_rollback_and_close_drop_what_is_open),
        IN_FOLDER(test_db_has_one_writer_and_any_readers),
        IN_FOLDER(test_db_killed_writer_loses_only_what_was_open),
        IN_FOLDER(test_db_full_disk_is_one_line_and_loses_nothing),
        IN_FOLDER(test_db_refuses_what_is_no_database_of_raas),
        IN_FOLDER(test_db_refuses_newer_schemas_and_other_programs),
        IN_FOLDER(test_db_reports_damage),
    };
    return cmocka_run_group_tests_name("db_faults", tests, NULL, NULL);
}
