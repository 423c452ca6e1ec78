/* The runner from outside: whole runs of the program on a small experiment, stopped, killed,
 * resumed, sharded, and pointed at databases that cannot be. RAAS_KILLS sets the number of kills.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "experiments/answer.h"
#include "experiments/progress.h"
#include "store/db.h"

#define MODEL "models/lemmas-4.5m"
enum { MAX_ARGS = 32 };

static char folder[] = "/tmp/test_run-XXXXXX";
static char program[400];
static char experiment[64];

/* Sampling and random victims are among the cells: a resumed run has to repeat its draws too. A
 * sanitizer makes decoding a hundred times slower. */
#ifdef __SANITIZE_ADDRESS__
#define SMALL_SIZE "\"n\": 1, \"max_new\": 24, \"temperature\": 0.7"
enum { SMALL_N = 1, SMALL_NEW = 24, SMALL_CELLS = 7, KILLS = 2 };
#else
#define SMALL_SIZE "\"n\": 3, \"max_new\": 120, \"temperature\": [0, 0.7]"
enum { SMALL_N = 3, SMALL_NEW = 120, SMALL_CELLS = 14, KILLS = 6 };
#endif
enum { SMALL_ROWS = SMALL_N * SMALL_CELLS };
static const char small[] =
    "{\"name\": \"small\", \"dataset\": \"lemmas:steps=4\", \"width\": 8, " SMALL_SIZE ", "
    "\"policy\": [\"full\", \"streaming\", \"raas\", \"random\"], \"budget\": [64, 128]}";

/* --- children ------------------------------------------------------------------------------- */

static void in_folder(char *out, size_t size, const char *name) {
    snprintf(out, size, "%s/%s", folder, name);
}

static pid_t start(const char *const *args) {
    char *argv[MAX_ARGS] = {program};
    int n = 1;
    for (; args[n - 1]; n++)
        argv[n] = (char *)args[n - 1];
    char out[64], err[64];
    in_folder(out, sizeof out, "stdout");
    in_folder(err, sizeof err, "stderr");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int to = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int too = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (to < 0 || too < 0 || dup2(to, 1) < 0 || dup2(too, 2) < 0)
            _exit(126);
        execv(program, argv);
        _exit(127);
    }
    return child;
}

/* The exit code; 128 + number for a signal. */
static int end(pid_t child) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *read_text(const char *name) {
    char path[80];
    in_folder(path, sizeof path, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *text = calloc(1, 1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

#define RAAS(...) end(start((const char *const[]){__VA_ARGS__, NULL}))
#define RUN(db, ...) RAAS("run", experiment, "--db", db, "--model", MODEL, ##__VA_ARGS__)

static void expect(int code, int expected) {
    if (code == expected)
        return;
    char *text = read_text("stderr");
    fail_msg("exit code %d, expected %d: %s", code, expected, text);
}

static void expect_words(const char *words) {
    char *text = read_text("stderr");
    if (!strstr(text, words))
        fail_msg("'%s' does not say '%s'", text, words);
    free(text);
}

/* --- databases ------------------------------------------------------------------------------ */

/* Everything that a run stored, timing and provenance aside, as one text. */
static char *dump(const char *path) {
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

static int64_t number(const char *path, const char *sql) {
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

static int64_t rows(const char *path) { return number(path, "SELECT count(*) FROM result"); }

static void expect_number(const char *path, int64_t expected, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void expect_number(const char *path, int64_t expected, const char *format, ...) {
    char sql[500];
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    int64_t n = number(path, sql);
    if (n != expected)
        fail_msg("%lld, expected %lld: %s", (long long)n, (long long)expected, sql);
}

/* Of a database whose writer was killed: 0 where it was killed before there was a table. */
static int64_t stored_rows(const char *path) {
    struct err e = {0};
    struct db *db = db_open(path, DB_READ, &e);
    struct db_query *q = db ? db_query(db, "SELECT count(*) FROM result", &e) : NULL;
    int64_t n = q && db_next(q, &e) ? db_int(q, 0) : 0;
    db_query_end(q);
    db_close(db);
    return n;
}

static void expect_same(const char *path, const char *expected) {
    char *got = dump(path);
    assert_string_equal(got, expected);
    free(got);
}

/* --- set-up --------------------------------------------------------------------------------- */

static char *whole_table, *whole_rows; /* of the uninterrupted run */
static char whole_db[64];
static double whole_seconds;

static int set_up(void **state) {
    (void)state;
    const char *build = getenv("RAAS_BUILD");
    snprintf(program, sizeof program, "%s/raas", build ? build : "build/release");
    if (access(program, X_OK) != 0 || !mkdtemp(folder))
        return -1;
    in_folder(experiment, sizeof experiment, "small.json");
    in_folder(whole_db, sizeof whole_db, "whole.db");
    FILE *f = fopen(experiment, "w");
    if (!f || fputs(small, f) < 0 || fclose(f) != 0)
        return -1;
    double begin = clock_seconds();
    expect(RUN(whole_db), EXIT_OK);
    whole_seconds = clock_seconds() - begin;
    whole_table = read_text("stdout");
    whole_rows = dump(whole_db);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(whole_table);
    free(whole_rows);
    pid_t child = fork();
    if (child == 0) {
        execlp("rm", "rm", "-rf", folder, NULL);
        _exit(127);
    }
    return end(child);
}

/* --- whole runs ----------------------------------------------------------------------------- */

static void test_run_stores_one_graded_row_per_cell_and_sample(void **state) {
    (void)state;
    assert_int_equal(rows(whole_db), SMALL_ROWS);
    expect_number(whole_db, SMALL_CELLS, "SELECT count(*) FROM v_accuracy WHERE n = %d", SMALL_N);
    expect_number(whole_db, 0,
                  "SELECT count(*) FROM result WHERE prompt_tokens < 10 OR new_tokens < 1 OR "
                  "new_tokens > %d OR kv_bytes_peak < 1",
                  SMALL_NEW);
    expect_number(whole_db, 0,
                  "SELECT count(*) FROM v_result WHERE kv_tokens_peak > effective_budget OR "
                  "(policy = 'streaming' AND kv_tokens_peak > budget)");
    assert_true(number(whole_db, "SELECT sum(evictions) FROM result") > 0);
    expect_number(whole_db, 1, "SELECT count(*) FROM run WHERE status = 'finished'");
    assert_non_null(strstr(whole_table, "streaming"));
}

static void test_run_again_does_nothing_and_prints_the_table(void **state) {
    (void)state;
    expect(RUN(whole_db, "--quiet"), EXIT_OK);
    char *table = read_text("stdout");
    assert_string_equal(table, whole_table);
    assert_int_equal(rows(whole_db), SMALL_ROWS);
    free(table);
}

static void test_run_answers_do_not_depend_on_the_batch(void **state) {
    (void)state;
    char db[64];
    in_folder(db, sizeof db, "width.db");
    expect(RUN(db, "--width", "3", "--threads", "1"), EXIT_OK);
    expect_same(db, whole_rows);
}

static void test_run_shards_are_a_partition(void **state) {
    (void)state;
    char one[64], two[64];
    in_folder(one, sizeof one, "shard0.db");
    in_folder(two, sizeof two, "shard1.db");
    expect(RUN(one, "--shard", "0/2"), EXIT_OK);
    expect(RUN(two, "--shard", "1/2"), EXIT_OK);
    assert_true(rows(one) > 0 && rows(two) > 0);
    assert_int_equal(rows(one) + rows(two), SMALL_ROWS);
    expect(RUN(two, "--shard", "0/2"), EXIT_OK); /* nothing twice, nothing missing */
    expect_same(two, whole_rows);
}

static void test_run_grows_with_its_experiment(void **state) {
    (void)state;
    char db[64];
    in_folder(db, sizeof db, "grow.db");
    expect(RUN(db, "--limit", "1", "--set", "policy=full"), EXIT_OK);
    assert_true(rows(db) < SMALL_ROWS);
    expect(RUN(db), EXIT_OK);
    expect_same(db, whole_rows);
}

static void expect_plan(int stored) {
    char words[120], *text = read_text("stdout");
    snprintf(words, sizeof words, "%d cells, %d answers, %d stored, %d to do", SMALL_CELLS,
             SMALL_ROWS, stored, SMALL_ROWS - stored);
    if (!strstr(text, words))
        fail_msg("'%s' does not say '%s'", text, words);
    free(text);
}

static void test_run_dry_run_writes_nothing(void **state) {
    (void)state;
    char db[64];
    in_folder(db, sizeof db, "dry.db");
    expect(RUN(db, "--dry-run"), EXIT_OK);
    assert_int_not_equal(access(db, F_OK), 0);
    expect_plan(0);
    expect(RUN(whole_db, "--dry-run"), EXIT_OK);
    expect_plan(SMALL_ROWS);
}

static void test_run_isolated_rows_are_timed_apart(void **state) {
    (void)state;
    char db[64];
    in_folder(db, sizeof db, "isolated.db");
    expect(RUN(db, "--isolated", "--limit", "1", "--set", "policy=[\"full\",\"streaming\"]",
               "--set", "budget=64", "--set", "temperature=0", "--set", "max_new=20"),
           EXIT_OK);
    expect_number(db, 10, "SELECT count(*) FROM v_result WHERE timing = 'isolated'");
    expect_number(db, 0,
                  "SELECT count(*) FROM v_result WHERE prefill_seconds <= 0 OR "
                  "decode_seconds < 0");
    expect_number(db, 1, "SELECT count(DISTINCT text) FROM v_result WHERE policy = 'full'");
}

/* --- stopped, killed, resumed --------------------------------------------------------------- */

static void test_run_stopped_by_a_signal_resumes(void **state) {
    (void)state;
    char db[64];
    in_folder(db, sizeof db, "stop.db");
    int codes[3] = {0};
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
    for (int i = 0; i < 3; i++) {
        pid_t child =
            start((const char *const[]){"run", experiment, "--db", db, "--model", MODEL, NULL});
        while (access(db, F_OK) != 0) /* by then the handlers stand */
            usleep(1000);
        usleep((useconds_t)(whole_seconds * 2.5e5));
        kill(child, signals[i]);
        codes[i] = end(child);
        expect(codes[i], codes[i] == EXIT_OK ? EXIT_OK : EXIT_SIGNAL);
    }
    assert_int_equal(codes[0], EXIT_SIGNAL);
    expect(RUN(db), EXIT_OK);
    expect_same(db, whole_rows);
}

/* Kills at random moments of a run's whole time, start included; each time the same command goes
 * on. A database that is complete before the kills are used up is checked and begun anew. */
static void test_run_killed_at_random_moments_ends_with_the_same_table(void **state) {
    (void)state;
    const char *asked = getenv("RAAS_KILLS");
    int kills = 0, wanted = asked ? atoi(asked) : KILLS, databases = 0, partial = 0;
    struct rng rng = {.key = (uint64_t)getpid()};
    char db[64] = "";
    bool complete = true;
    double begin = clock_seconds();
    while (kills < wanted || !complete) {
        if (complete) {
            char name[32];
            snprintf(name, sizeof name, "kill%d.db", databases++);
            in_folder(db, sizeof db, name);
        }
        pid_t child =
            start((const char *const[]){"run", experiment, "--db", db, "--model", MODEL, NULL});
        if (kills < wanted) {
            usleep((useconds_t)(8e5 * whole_seconds * rng_real(&rng)));
            kill(child, SIGKILL);
        }
        int code = end(child);
        complete = code == EXIT_OK;
        if (!complete) {
            expect(code, 128 + SIGKILL);
            kills++;
            partial += stored_rows(db) > 0;
            continue;
        }
        char *table = read_text("stdout");
        assert_string_equal(table, whole_table);
        free(table);
        expect_same(db, whole_rows);
    }
    printf("measured: %d kills, %d of them with rows stored, over %d databases in %.1f s: every "
           "table as uninterrupted\n",
           kills, partial, databases, clock_seconds() - begin);
}

/* --- what cannot be ------------------------------------------------------------------------- */

static void test_run_names_what_is_wrong_with_a_database(void **state) {
    (void)state;
    char path[64];
    expect(RUN(folder), EXIT_CONTENT);
    expect_words(folder);
    in_folder(path, sizeof path, "garbage.db");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", f);
    assert_int_equal(fclose(f), 0);
    expect(RUN(path), EXIT_CONTENT);
    expect_words(path);
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_size, 20000); /* left as it was */
    expect(RUN("/proc/nowhere/raas.db"), EXIT_ENV);
    expect_words("/proc/nowhere");

    struct err e = {0};
    in_folder(path, sizeof path, "locked.db");
    struct db *db = db_open(path, DB_WRITE, &e);
    assert_non_null(db);
    expect(RUN(path), EXIT_ENV);
    expect_words(path);
    db_close(db);
}

static void test_run_a_full_disk_keeps_what_is_committed(void **state) {
    (void)state;
    char db[64];
    in_folder(db, sizeof db, "full.db");
    expect(RUN(db, "--limit", "1", "--set", "policy=full"), EXIT_OK);
    int64_t before = rows(db);
    struct stat s;
    assert_int_equal(stat(db, &s), 0);
    rlim_t room = SMALL_N > 1 ? 30000 : 0; /* for some more rows, where there are some */
    struct rlimit old, tight = {(rlim_t)s.st_size + room, 0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN); /* inherited: a write beyond the limit fails as on a full disk */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    int code = RUN(db);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    expect(code, EXIT_ENV);
    expect_words(db);
    int64_t after = rows(db);
    assert_true(after >= before && after < SMALL_ROWS);
    expect(RUN(db), EXIT_OK);
    expect_same(db, whole_rows);
}

static bool copy_file(const char *from, const char *to, size_t spoil) {
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    char *bytes = malloc(64 << 20);
    size_t n = in && out && bytes ? fread(bytes, 1, 64 << 20, in) : 0;
    if (spoil && n > spoil)
        memset(bytes + n - spoil, 0xff, spoil);
    bool ok = n && fwrite(bytes, 1, n, out) == n;
    free(bytes);
    return (!in || fclose(in) == 0) && (!out || fclose(out) == 0) && ok;
}

/* All-ones is NaN in bf16, f16 and f32 alike. */
static void test_run_numeric_errors_end_the_answer_and_not_the_run(void **state) {
    (void)state;
    static const char *const files[] = {"config.json", "tokenizer.json", "model.safetensors"};
    char model[64], db[64], from[96], to[96];
    in_folder(model, sizeof model, "nan");
    in_folder(db, sizeof db, "nan.db");
    assert_int_equal(mkdir(model, 0700), 0);
    for (int i = 0; i < 3; i++) {
        snprintf(from, sizeof from, MODEL "/%s", files[i]);
        snprintf(to, sizeof to, "%s/%s", model, files[i]);
        assert_true(copy_file(from, to, i == 2 ? 256 : 0));
    }
    for (int i = 0; i < 2; i++) { /* a rerun has nothing to do and tells the same */
        expect(RAAS("run", experiment, "--db", db, "--model", model), EXIT_PARTIAL);
        expect_words("not finite");
        expect_number(db, SMALL_ROWS,
                      "SELECT count(*) FROM v_result WHERE finish = 'numeric' AND "
                      "NOT correct");
    }
}

static void test_run_command_line_mistakes_are_told_at_once(void **state) {
    (void)state;
    char db[64];
    in_folder(db, sizeof db, "never.db");
    double begin = clock_seconds();
    expect(RUN(db, "--set", "bugdet=3"), EXIT_USAGE);
    expect_words("'bugdet'");
    expect(RUN(db, "--set", "budget=100"), EXIT_USAGE);
    expect_words("multiple of 16");
    expect(RUN(db, "--scale", "tiny"), EXIT_USAGE);
    expect_words("tiny");
    expect(RUN(db, "--shard", "3/3"), EXIT_USAGE);
    expect_words("--shard");
    expect(RUN(db, "--shard", "-1/3"), EXIT_USAGE);
    expect(RUN(db, "--limit", "-2"), EXIT_USAGE);
    expect(RUN(db, "--precision", "fp8"), EXIT_USAGE);
    expect_words("precision");
    expect(RAAS("run", "--db", db), EXIT_USAGE);
    expect(RAAS("run", "/nowhere.json", "--db", db), EXIT_USAGE);
    expect_words("/nowhere.json");
    expect(RAAS("run", experiment, "--model", "/nowhere", "--db", db), EXIT_USAGE);
    expect_words("/nowhere");
    expect(RUN(db, "--set", "max_new=1000000"), EXIT_CONTENT);
    expect_words("max_new");
    assert_true(clock_seconds() - begin < 11);
    assert_int_not_equal(access(db, F_OK), 0);
}

/* --- parts ---------------------------------------------------------------------------------- */

static void test_run_loops_are_found(void **state) {
    (void)state;
    int32_t ids[700];
    for (int i = 0; i < 700; i++)
        ids[i] = i;
    assert_int_equal(answer_loop(ids, 700), 0);
    for (int period = 1; period <= 130; period++) {
        for (int i = 0; i < LOOP_WINDOW; i++)
            ids[700 - LOOP_WINDOW + i] = 1000 + i % period;
        assert_int_equal(answer_loop(ids, 700), period <= LOOP_LONGEST ? period : 0);
        ids[700 - LOOP_WINDOW] = 7; /* one id short of a window */
        assert_int_equal(answer_loop(ids, 700), 0);
        assert_int_equal(answer_loop(ids + 700 - LOOP_WINDOW + 1, LOOP_WINDOW - 1), 0);
    }
}

static void test_run_progress_tells_accuracy_and_time_left(void **state) {
    (void)state;
    struct experiment x;
    struct err e = {0};
    const char *sets[] = {"temperature=0"};
    assert_true(experiment_read(experiment, &(struct experiment_options){NULL, sets, 1}, &x, &e));
    assert_int_equal(x.n_cells, 7); /* full, and three policies at two budgets */
    struct progress p;
    progress_open(&p, &x);
    p.total = 14;
    for (int c = 0; c < 7; c++)
        p.cells[c].left = 2;
    assert_true(progress_eta(&p) < 0);
    p.start -= 10; /* ten seconds ago */
    progress_tokens(&p, 150);
    progress_answer(&p, 0, true, 100);
    progress_answer(&p, 1, false, 10);
    /* left: 100 + 10 for the two begun cells, a mean of 55 for the ten others; 40 in flight; 15/s
     */
    assert_true(progress_eta(&p) > 40.9 && progress_eta(&p) < 41.9);
    char line[300];
    progress_line(&p, line, sizeof line);
    assert_string_equal(
        line, "2/14  15 tok/s  0:41 left  full 1.0  streaming .00/-  raas -/-  random -/-");
    char cut[20]; /* never beyond its buffer */
    progress_line(&p, cut, sizeof cut);
    assert_int_equal(strlen(cut), sizeof cut - 1);
    progress_close(&p);
    experiment_free(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_stores_one_graded_row_per_cell_and_sample),
        cmocka_unit_test(test_run_again_does_nothing_and_prints_the_table),
        cmocka_unit_test(test_run_answers_do_not_depend_on_the_batch),
        cmocka_unit_test(test_run_shards_are_a_partition),
        cmocka_unit_test(test_run_grows_with_its_experiment),
        cmocka_unit_test(test_run_dry_run_writes_nothing),
        cmocka_unit_test(test_run_isolated_rows_are_timed_apart),
        cmocka_unit_test(test_run_stopped_by_a_signal_resumes),
        cmocka_unit_test(test_run_killed_at_random_moments_ends_with_the_same_table),
        cmocka_unit_test(test_run_names_what_is_wrong_with_a_database),
        cmocka_unit_test(test_run_a_full_disk_keeps_what_is_committed),
        cmocka_unit_test(test_run_numeric_errors_end_the_answer_and_not_the_run),
        cmocka_unit_test(test_run_command_line_mistakes_are_told_at_once),
        cmocka_unit_test(test_run_loops_are_found),
        cmocka_unit_test(test_run_progress_tells_accuracy_and_time_left),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
