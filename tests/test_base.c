/* Numbers, UTF-8, files, hashes, npy, log lines. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/home.h"
#include "base/jsonl.h"
#include "base/log.h"
#include "base/npy.h"
#include "base/real.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "tests/printed.h"

/* --- numbers and UTF-8 -------------------------------------------------------------- */

static void test_base_reals_are_spelled_exactly(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "1"},
                 {-2.5, "-2.5"},
                 {0.1, "0.1"},
                 {1e6, "1000000"},
                 {1e22, "1e+22"},
                 {1.0 / 3, "0.3333333333333333"},
                 {0x1p53, "9007199254740992"}};
    char text[REAL_TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(real_spell(cases[i].value, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
    struct rng rng = {.key = 1};
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = rng_next(&rng);
        double value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        real_spell(value, text);
        assert_true(real_parse(text, &back) && memcmp(&back, &value, sizeof back) == 0);
    }
}

static void test_base_reals_are_parsed_strictly(void **state) {
    (void)state;
    double value;
    static const char *const bad[] = {"",    " 1",  "1 ",  "1e",    "e5",   ".",   "+",   "0x10",
                                      "inf", "nan", "1,5", "1e999", "1.5f", "--1", "1e+", "1_0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (real_parse(bad[i], &value))
            fail_msg("accepted '%s'", bad[i]);
    assert_true(real_parse("+.5e1", &value) && value == 5);
    assert_true(real_parse("-7.", &value) && value == -7);
    /* a locale with a decimal comma changes neither direction */
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8")) {
        char text[REAL_TEXT];
        real_spell(1.5, text);
        assert_string_equal(text, "1.5");
        assert_true(real_parse("1.5", &value) && value == 1.5);
        setlocale(LC_NUMERIC, "C");
    }
}

static void test_base_utf8_every_code_point(void **state) {
    (void)state;
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        char text[4];
        size_t width = utf8_put(code, text);
        bool surrogate = code >= 0xd800 && code <= 0xdfff;
        assert_int_equal(utf8_width(text, width), surrogate ? 0 : width);
        if (!surrogate)
            assert_int_equal(utf8_code(text, width), code);
        assert_int_equal(utf8_width(text, width - 1), 0); /* cut short */
    }
    assert_int_equal(utf8_check("0123456789\xe2\x82\xac\xff", 14), 13);
    assert_int_equal(utf8_check("abc", 3), 3);
    /* one U+FFFD per longest start of a character: F0 9F 98 | 41, and E0 80 is two */
    assert_int_equal(utf8_bad("\xf0\x9f\x98"
                              "A",
                              4),
                     3);
    assert_int_equal(utf8_bad("\xe0\x80", 2), 1);
    assert_int_equal(utf8_bad("\xed\xa0\x80", 3), 1);
    assert_int_equal(utf8_bad("\xff", 1), 1);
}

/* --- log -------------------------------------------------------------------------------- */

static void write_log(void) {
    log_info("one %d", 1);
    log_status(false, "first");
    log_status(false, "too soon");
    log_status(true, "forced");
    log_quiet(true);
    log_info("hidden");
    log_status(true, "hidden");
    log_warn("two");
    log_error("three");
    log_status_end();
}

static void test_base_log_is_plain_lines_off_a_terminal(void **state) {
    (void)state;
    char text[1000];
    assert_int_equal(printed(write_log, STDERR_FILENO, text, sizeof text), 0);
    assert_string_equal(text, "one 1\nfirst\nforced\nwarning: two\nerror: three\n");
}

/* --- files -------------------------------------------------------------------------------- */

static char folder[] = "/tmp/raas-base-XXXXXX";
static char path[100];

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void put(const void *data, size_t size) {
    struct err e = {0};
    assert_true(file_write(path, data, size, NULL, 0, &e));
}

static void test_base_files(void **state) {
    (void)state;
    struct err e = {0};
    size_t size;
    put("hello\0there", 11);
    char *text = file_read(path, 11, &size, &e);
    assert_int_equal(size, 11);
    assert_memory_equal(text, "hello\0there", 12);
    free(text);
    assert_null(file_read(path, 10, &size, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    e.code = 0;
    assert_null(file_read("/no/such/file", 10, &size, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    e.code = 0;
    assert_null(file_read(folder, 1 << 20, &size, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    e.code = 0;
    assert_null(file_read("/dev/zero", 10, &size, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    e.code = 0;
    assert_false(file_write("/no/such/folder/file", "x", 1, NULL, 0, &e));
    assert_int_equal(e.code, EXIT_ENV);
    /* a pipe without a writer must not hang */
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    e.code = 0;
    assert_null(file_read(path, 10, &size, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    unlink(path);
}

/* A link stands in for the device: what replaces names would replace the link. */
static void test_base_files_never_replace_a_device(void **state) {
    (void)state;
    struct stat st;
    struct err e = {0};
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_true(file_write(path, "ab", 2, "c", 1, &e));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    unlink(path);
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_false(file_write(path, "ab", 2, "c", 1, &e));
    assert_int_equal(e.code, EXIT_ENV);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    unlink(path);
}

/* Beside the program lies a folder of the same name, of objects. */
static void test_base_home_is_not_the_build_folder(void **state) {
    (void)state;
    char here[PATH_MAX], home[PATH_MAX], file[PATH_MAX + 20];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir("/"), 0);
    bool found = home_find("experiments", home, sizeof home);
    snprintf(file, sizeof file, "%s/demo.json", home);
    int missing = found ? access(file, R_OK) : -1;
    assert_int_equal(chdir(here), 0);
    assert_true(found);
    assert_int_equal(missing, 0);
}

static void test_base_hashes(void **state) {
    (void)state;
    char hash[HASH_HEX];
    struct err e = {0};
    hash_bytes("abc", 3, hash); /* FIPS 180-2, appendix B.1 */
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    put("abc", 3);
    char same[HASH_HEX];
    assert_true(hash_file(path, same, &e));
    assert_string_equal(same, hash);
    hash_bytes(NULL, 0, hash);
    assert_string_equal(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_false(hash_file("/no/such/file", hash, &e));
    assert_int_equal(e.code, EXIT_USAGE);
}

static void test_base_jsonl_goes_on_after_a_bad_line(void **state) {
    (void)state;
    static const char text[] = "{\"a\":1}\nnope\n\n[2]";
    put(text, sizeof text - 1);
    struct jsonl lines;
    struct json_doc *doc;
    struct err e = {0};
    assert_true(jsonl_open(&lines, path, &e));
    const bool fine[] = {true, false, false, true};
    for (int i = 0; i < 4; i++) {
        e.code = 0;
        assert_true(jsonl_next(&lines, &doc, &e));
        assert_int_equal(doc != NULL, fine[i]);
        if (i == 1)
            assert_non_null(strstr(e.text, "line 2 of "));
        json_free(doc);
    }
    e.code = 0;
    assert_false(jsonl_next(&lines, &doc, &e));
    assert_int_equal(e.code, 0);
    jsonl_close(&lines);
    assert_false(jsonl_open(&lines, folder, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
}

static void test_base_jsonl_bounds_a_line(void **state) {
    (void)state;
    char *text = must_alloc(2 * JSONL_LINE + 20);
    memset(text, ' ', 2 * JSONL_LINE + 20);
    memcpy(text, "[1]", 3); /* as long as a line may be, then one byte more */
    memcpy(text + JSONL_LINE, "\n[2]", 4);
    memcpy(text + 2 * JSONL_LINE + 2, "\n[3]", 4);
    put(text, 2 * JSONL_LINE + 6);
    free(text);
    struct jsonl lines;
    struct json_doc *doc;
    struct err e = {0};
    assert_true(jsonl_open(&lines, path, &e));
    assert_true(jsonl_next(&lines, &doc, &e) && doc);
    json_free(doc);
    assert_true(jsonl_next(&lines, &doc, &e) && !doc);
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "line 2 of "));
    assert_non_null(strstr(e.text, "longer than 16777216 bytes"));
    assert_true(lines.room < 3 * (size_t)JSONL_LINE);
    e.code = 0;
    assert_true(jsonl_next(&lines, &doc, &e) && doc);
    json_free(doc);
    assert_false(jsonl_next(&lines, &doc, &e));
    assert_int_equal(e.code, 0);
    jsonl_close(&lines);
}

static void test_base_npy_round_trips(void **state) {
    (void)state;
    const float data[6] = {0, -1.5f, FLT_MAX, FLT_MIN, 1e-45f, INFINITY};
    static const size_t shapes[][4] = {{0}, {6}, {2, 3}, {1, 6, 1}, {1, 2, 3, 1}, {0, 5}};
    static const int ranks[] = {0, 1, 2, 3, 4, 2};
    for (size_t i = 0; i < 6; i++) {
        struct err e = {0};
        struct npy npy;
        assert_true(npy_write_f32(path, ranks[i], shapes[i], data, &e));
        if (!npy_read(path, &npy, &e))
            fail_msg("%s", e.text);
        assert_string_equal(npy.type, "f4");
        assert_int_equal(npy.rank, ranks[i]);
        for (int k = 0; k < ranks[i]; k++)
            assert_int_equal(npy.shape[k], shapes[i][k]);
        assert_int_equal(npy.bytes, i == 5 ? 0 : i == 0 ? 4 : 24);
        assert_memory_equal(npy.data, data, npy.bytes);
        npy_free(&npy);
    }
}

static void test_base_npy_refuses(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *words;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", 7,
         "expected 8 bytes of data"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", 9,
         "expected 8 bytes of data"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }\n", 8, "descr"},
        {"{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }\n", 8, "descr"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n", 8, "descr"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }\n", 8, "C order"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2), }\n", 8, "a shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }\n", 8, "a shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,2), }\n", 8, "a shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n", 8,
         "overflows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }\n", 8,
         "a shape"},
        {"{'descr': '<f4', 'fortran_order': False, }\n", 8, "once each"},
        {"{'descr': '<f4', 'descr': '<f4', 'shape': (2,), }\n", 8, "once each"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x\n", 8, "nothing behind"},
        {"(1, 2)\n", 8, "a dictionary"},
        {"", 0, "a dictionary"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[300] = "\x93NUMPY\x01";
        size_t length = strlen(cases[i].header);
        file[8] = (char)length;
        memcpy(file + 10, cases[i].header, length);
        put(file, 10 + length + cases[i].data);
        struct npy npy;
        struct err e = {0};
        assert_false(npy_read(path, &npy, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
        if (!strstr(e.text, cases[i].words))
            fail_msg("%s: said \"%s\"", cases[i].header, e.text);
    }
    static const char *const starts[] = {"", "\x93NUMP", "\x93NUMPY\x03\0\1\0",
                                         "\x93NUMPY\x01\0\xff\xff{}"};
    const size_t sizes[] = {0, 5, 10, 12};
    for (size_t i = 0; i < 4; i++) {
        struct npy npy;
        struct err e = {0};
        put(starts[i], sizes[i]);
        assert_false(npy_read(path, &npy, &e));
        assert_int_equal(e.code, EXIT_CONTENT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_reals_are_spelled_exactly),
        cmocka_unit_test(test_base_reals_are_parsed_strictly),
        cmocka_unit_test(test_base_utf8_every_code_point),
        cmocka_unit_test(test_base_log_is_plain_lines_off_a_terminal),
        cmocka_unit_test(test_base_files),
        cmocka_unit_test(test_base_files_never_replace_a_device),
        cmocka_unit_test(test_base_home_is_not_the_build_folder),
        cmocka_unit_test(test_base_hashes),
        cmocka_unit_test(test_base_jsonl_goes_on_after_a_bad_line),
        cmocka_unit_test(test_base_jsonl_bounds_a_line),
        cmocka_unit_test(test_base_npy_round_trips),
        cmocka_unit_test(test_base_npy_refuses),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
