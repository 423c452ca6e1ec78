/* The report: hostile text stays text, numbers are those of their queries, unfinished plans are
 * marked. Where chromium is installed it opens the page as a reader would. */
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

#include "base/file.h"
#include "plots/html.h"
#include "plots/report.h"
#include "tests/cli.h"
#include "tests/folder.h"
#include "tests/store_rows.h"

#define EVIL               \
    "</script><img src=x " \
    "onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
#define EVIL_NAME "=m</title></pre><svg onload=\"document.title='owned'\">&'\""

static void do_sql(struct db *db, const char *sql, const char *text) {
    struct err e = {0};
    struct db_query *q = db_query(db, sql, &e);
    assert_non_null(q);
    if (text)
        db_bind_text(q, 1, text);
    db_next(q, &e);
    if (!db_query_end(q))
        fail_msg("%s: %s", sql, e.text);
}

/* full and raas on 12 problems; raas loses 7 of them. */
static struct rows fill(const struct folder *folder) {
    struct rows rows = rows_open(folder_path(folder, "r.db"), "demo", "lemmas:steps=16", "chain");
    char key[HASH_HEX];
    rows_begin(&rows);
    for (int policy = 0; policy < 2; policy++) {
        int64_t cell = rows_cell(&rows, policy ? "raas" : "full", policy ? 256 : 0, DB_SHARED);
        for (int i = 0; i < 12; i++) {
            struct db_result r = rows_result(&rows, cell, i, 0, !policy || i >= 7, key);
            rows_add(&rows, &r);
        }
    }
    rows_commit(&rows);
    return rows;
}

static void make_hostile(struct rows *rows) {
    do_sql(rows->db, "UPDATE result SET text = ?1, extracted = ?1, path = ?1", EVIL);
    do_sql(rows->db, "UPDATE sample SET prompt = ?1, gold = ?1, name = ?1 || id", EVIL);
    do_sql(rows->db, "UPDATE model SET name = ?1", EVIL_NAME);
    do_sql(rows->db, "UPDATE dataset SET name = ?1", EVIL_NAME);
    do_sql(rows->db, "UPDATE run SET name = ?1, git_commit = ?1", EVIL_NAME);
    do_sql(rows->db, "UPDATE cell SET policy = ?1 WHERE policy <> 'full'", EVIL_NAME);
}

/* The page as text; free() it. */
static char *written(struct rows *rows, const struct folder *folder, const char *run,
                     const char *name) {
    struct err e = {0};
    const struct report_choice choice = {run, "full", 5};
    if (!report_write(rows->db, &choice, folder_path(folder, "out"), &e))
        fail_msg("%s", e.text);
    char path[200];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", folder_path(folder, "out"), name);
    char *text = file_read(path, 1 << 24, &size, &e);
    if (!text)
        fail_msg("%s", e.text);
    return text;
}

static int count(const char *text, const char *word) {
    int n = 0;
    for (; (text = strstr(text, word)); text += strlen(word))
        n++;
    return n;
}

static void test_report_hostile_text_stays_text(void **state) {
    struct rows rows = fill(*state);
    make_hostile(&rows);
    char *page = written(&rows, *state, EVIL_NAME, "report.html");
    assert_int_equal(count(page, "<script"), 2); /* the data's and ours */
    assert_int_equal(count(page, "</script"), 2);
    assert_int_equal(count(page, "<img"), 0);
    assert_int_equal(count(page, "<svg onload"), 0);
    assert_true(count(page, "\\u003c/script\\u003e\\u003cimg src=x") > 0);
    assert_true(count(page, "&lt;svg onload=&quot;") > 0);
    free(page);
    db_close(rows.db);
}

/* Text is read only as text: by a browser. */
static void test_report_hostile_text_in_a_browser(void **state) {
    static const char *const names[] = {"/usr/bin/chromium", "/usr/bin/chromium-browser",
                                        "/usr/bin/google-chrome", NULL};
    int found = 0;
    while (names[found] && access(names[found], X_OK) != 0)
        found++;
    if (!names[found]) {
        puts("skipped: no chromium here to open the report with");
        skip();
    }
    struct rows rows = fill(*state);
    make_hostile(&rows);
    free(written(&rows, *state, EVIL_NAME, "report.html"));
    db_close(rows.db);
    char url[200], profile[200], dump[200];
    snprintf(url, sizeof url, "file://%s/report.html", folder_path(*state, "out"));
    snprintf(profile, sizeof profile, "--user-data-dir=%s", folder_path(*state, "profile"));
    snprintf(dump, sizeof dump, "%s", folder_path(*state, "dom.html"));
    pid_t child = fork();
    if (child == 0) {
        int to = open(dump, O_WRONLY | O_CREAT | O_TRUNC, 0600), null = open("/dev/null", O_WRONLY);
        dup2(to, 1), dup2(null, 2);
        alarm(120);
        execl(names[found], names[found], "--headless", "--no-sandbox", "--disable-gpu", profile,
              "--virtual-time-budget=3000", "--dump-dom", url, NULL);
        _exit(127);
    }
    int status;
    waitpid(child, &status, 0);
    struct err e = {0};
    size_t size;
    char *dom = file_read(dump, 1 << 24, &size, &e);
    assert_non_null(dom);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_null(strstr(dom, "<title>owned")); /* nothing foreign ran */
    assert_non_null(strstr(dom, "<title>raas: =m"));
    assert_null(strstr(dom, "<img"));
    /* our own script did: headings became buttons, and the browser shows the answer as text */
    assert_non_null(strstr(dom, "<button>policy</button>"));
    assert_non_null(strstr(dom, "<pre>&lt;/script&gt;&lt;img src=x onerror="));
    free(dom);
}

static void test_report_queries_give_its_numbers(void **state) {
    struct rows rows = fill(*state);
    char *page = written(&rows, *state, "demo", "report.html");
    char *queries = written(&rows, *state, "demo", "queries.sql");
    struct err e = {0};
    int n = 0;
    for (char *sql = queries, *end; (end = strstr(sql, ";\n\n")); sql = end + 3, n++) {
        *end = '\0';
        struct db_query *q = db_query(rows.db, sql, &e);
        if (!q || !db_next(q, &e))
            fail_msg("%s: %s", sql, e.code ? e.text : "no row");
        char cells[200];
        if (strstr(sql, ". Pairs of raas")) {
            assert_int_equal(db_int(q, 0), 12);
            snprintf(cells, sizeof cells, "<td>%lld</td><td>%lld</td><td>%lld</td>",
                     (long long)db_int(q, 0), (long long)db_int(q, 2), (long long)db_int(q, 3));
            assert_non_null(strstr(page, cells));
        } else if (strstr(sql, ". Accuracy")) {
            assert_true(db_next(q, &e)); /* raas */
            for (int c = 5; c < 8; c++) {
                snprintf(cells, sizeof cells, "<td data-v=\"%.17g\">%.3f</td>", db_real(q, c),
                         db_real(q, c));
                if (!strstr(page, cells))
                    fail_msg("the page does not say %s", cells);
            }
        } else if (strstr(sql, ". Outcomes")) {
            assert_int_equal(db_int(q, 0), 12);
        }
        db_query_end(q);
    }
    assert_int_equal(n, count(page, "<details id=\"q"));
    for (int i = 1; i <= n; i++) { /* every query is what some part of the page links to */
        char link[40];
        snprintf(link, sizeof link, "href=\"#q%d\"", i);
        if (!strstr(page, link))
            fail_msg("nothing links to %s", link);
    }
    assert_non_null(strstr(page, "raas, budget 256</b> is <span class=\"worse\">worse</span> than "
                                 "full: -58.3 points"));
    free(page);
    free(queries);
    db_close(rows.db);
}

static void test_report_needs_no_network_and_is_the_same_twice(void **state) {
    struct rows rows = fill(*state);
    char *page = written(&rows, *state, NULL, "report.html");
    assert_null(strstr(page, "src=\"http"));
    assert_null(strstr(page, "href=\"http"));
    assert_null(strstr(page, "@import"));
    assert_non_null(strstr(page, "default-src 'none'"));
    assert_non_null(strstr(page, "<svg "));
    assert_null(strstr(page, "<p class=\"partial-note\""));
    assert_null(strstr(page, "<body class"));
    char *again = written(&rows, *state, NULL, "report.html");
    assert_string_equal(page, again);
    free(page);
    free(again);
    db_close(rows.db);
}

static void test_report_of_an_unfinished_plan_is_marked(void **state) {
    struct rows rows = fill(*state);
    struct err e = {0};
    assert_true(db_run_plan(rows.db, rows.run, 1, 20, &e));
    char *page = written(&rows, *state, "demo", "report.html");
    assert_non_null(strstr(page, "<body class=\"partial\">"));
    assert_non_null(strstr(page, "PARTIAL: 12 of 20 planned answers"));
    assert_non_null(strstr(page, ">PARTIAL: 12 of 20</text></svg>"));
    char *tex = written(&rows, *state, "demo", "results.tex");
    assert_non_null(strstr(tex, "\\textbf{PARTIAL: 12 of 20 planned answers}"));
    assert_non_null(strstr(tex, "\\toprule"));
    free(page);
    free(tex);
    db_close(rows.db);
}

static void test_report_holds_no_more_problems_than_asked(void **state) {
    struct rows rows = fill(*state);
    char *page = written(&rows, *state, "demo", "report.html");
    assert_non_null(strstr(page, "10 answers to 5 problems; 7 more problems are in the database"));
    assert_int_equal(count(page, "\"prompt\":"), 5);
    free(page);
    db_close(rows.db);
}

static void test_report_mistakes_are_told(void **state) {
    struct rows rows = fill(*state);
    db_close(rows.db);
    const char *db = folder_path(*state, "r.db");
    CLI_FAILS(EXIT_USAGE, "no run 'other'", "report", "--db", db, "--run", "other", "--out",
              folder_path(*state, "x"));
    CLI_FAILS(EXIT_USAGE, "no such database", "report", "--db", folder_path(*state, "none.db"));
    CLI_FAILS(EXIT_ENV, "r.db", "report", "--db", db, "--out", folder_path(*state, "r.db/x"));
}

/* --- html ------------------------------------------------------------------------------------- */

static void expect_text(const char *text, const char *expected) {
    char *got = NULL;
    size_t size;
    FILE *out = open_memstream(&got, &size);
    html_text(text, out);
    fclose(out);
    assert_string_equal(got, expected);
    free(got);
}

static void test_report_html_text_is_escaped(void **state) {
    (void)state;
    expect_text("a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#39;");
    expect_text("\x01\x1b[31m\n\t", "\xef\xbf\xbd\xef\xbf\xbd[31m\n\t");
    expect_text("\xff\xc3z\xc3\xa9", "\xef\xbf\xbd\xef\xbf\xbdz\xc3\xa9");
    expect_text("\xe2\x80\xae"
                "gnp.exe",
                "[U+202E]gnp.exe");
}

/* The example of the CSP specification's readers: MDN, "script-src". */
static void test_report_script_hash_is_the_policy_s(void **state) {
    (void)state;
    char hash[HTML_HASH];
    html_script_hash("", hash);
    assert_string_equal(hash, "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    html_script_hash("abc", hash);
    assert_string_equal(hash, "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
}

static bool svg(const char *text, const char *mark, char **out) {
    struct err e = {0};
    size_t size;
    FILE *to = open_memstream(out, &size);
    bool ok = html_svg(text, "x.svg", "f1-", mark, to, &e);
    fclose(to);
    assert_int_equal(e.code, ok ? 0 : EXIT_CONTENT);
    return ok;
}

static void test_report_svg_passes_shapes_alone(void **state) {
    (void)state;
    char *out;
    assert_true(
        svg("<?xml version='1.0'?><!DOCTYPE svg><svg id='a' fill = 'red'><!-- <b> -->"
            "<use xlink:href='#a' clip-path=\"url(#c)\"/><text><![CDATA[a<b]]>&amp;</text></svg> x",
            "P & Q", &out));
    assert_string_equal(
        out, "<svg id=\"f1-a\" fill=\"red\"><use xlink:href=\"#f1-a\" "
             "clip-path=\"url(#f1-c)\"/><text>a&lt;b&amp;</text><text x=\"50%\" y=\"50%\" "
             "text-anchor=\"middle\" font-size=\"40\" fill=\"#c00\" fill-opacity=\"0.35\">"
             "P &amp; Q</text></svg>");
    free(out);
    static const char *const refused[] = {
        "",
        "<svg>",
        "<svg><script>1</script></svg>",
        "<svg><style>*{}</style></svg>",
        "<svg><image href='x.png'/></svg>",
        "<svg><foreignObject></foreignObject></svg>",
        "<svg onload='x'></svg>",
        "<svg><g ONclick=\"x\"/></svg>",
        "<svg><use href='http://x/y#z'/></svg>",
        "<svg><use href=''/></svg>",
        "<svg><g fill='url(http://x)'/></svg>",
        "<svg><g fill=red/></svg>",
        "<svg><g fill='<b'/></svg>",
        "<svg><![CDATA[x</svg>",
        "<svg><g",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (svg(refused[i], NULL, &out) || *out)
            fail_msg("%s passed: %s", refused[i], out);
        free(out);
    }
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_report_hostile_text_stays_text),
        IN_FOLDER(test_report_hostile_text_in_a_browser),
        IN_FOLDER(test_report_queries_give_its_numbers),
        IN_FOLDER(test_report_needs_no_network_and_is_the_same_twice),
        IN_FOLDER(test_report_of_an_unfinished_plan_is_marked),
        IN_FOLDER(test_report_holds_no_more_problems_than_asked),
        IN_FOLDER(test_report_mistakes_are_told),
        cmocka_unit_test(test_report_html_text_is_escaped),
        cmocka_unit_test(test_report_script_hash_is_the_policy_s),
        cmocka_unit_test(test_report_svg_passes_shapes_alone),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
