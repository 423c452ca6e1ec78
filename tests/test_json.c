#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"

static struct json_doc *parse(const char *text) {
    struct err e = {0};
    struct json_doc *doc = json_parse(text, strlen(text), "t.json", &e);
    if (!doc)
        fail_msg("%s: %s", text, e.text);
    return doc;
}

/* The text is refused with exit code 3, in words that hold `words`. */
static void refuse(const char *text, size_t size, const char *words) {
    struct err e = {0};
    struct json_doc *doc = json_parse(text, size, "t.json", &e);
    if (doc)
        fail_msg("accepted: %s", text);
    assert_int_equal(e.code, EXIT_CONTENT);
    if (!strstr(e.text, words) || strncmp(e.text, "t.json: line ", 13) != 0)
        fail_msg("%s: said \"%s\", expected \"%s\"", text, e.text, words);
}

static void test_json_values(void **state) {
    (void)state;
    struct json_doc *doc = parse(
        " {\"a\": [1, -2.5e3, true, false, null, \"x\\n\\u00e9\\ud83d\\ude00\"], \"A\": {}}\n");
    const struct json *root = json_root(doc), *a = json_get(root, "a");
    assert_int_equal(json_type(root), JSON_OBJECT);
    assert_int_equal(json_count(root), 2);
    assert_int_equal(json_type(json_get(root, "A")), JSON_OBJECT); /* not mixed up with "a" */
    assert_null(json_get(root, "b"));
    assert_null(json_get(a, "a"));
    assert_int_equal(json_count(a), 6);
    const struct json *v = json_first(a);
    double real;
    int64_t whole;
    assert_true(json_number(v, &real) && real == 1);
    assert_true(json_integer(v, 0, 1, &whole) && whole == 1);
    assert_false(json_integer(v, 2, 3, &whole));
    v = json_next(v);
    assert_true(json_number(v, &real) && real == -2500);
    v = json_next(v);
    assert_true(json_type(v) == JSON_BOOL && json_is_true(v));
    v = json_next(v);
    assert_true(json_type(v) == JSON_BOOL && !json_is_true(v));
    v = json_next(v);
    assert_int_equal(json_type(v), JSON_NULL);
    v = json_next(v);
    assert_string_equal(json_text(v), "x\n\xc3\xa9\xf0\x9f\x98\x80");
    assert_null(json_next(v));
    assert_string_equal(json_key(json_next(json_first(root))), "A");
    json_free(doc);
    json_free(NULL);
}

static void test_json_integers_are_exact_or_refused(void **state) {
    (void)state;
    struct json_doc *doc = parse("[9007199254740991, 9007199254740992, 9007199254740993, 1.5, 1e3, "
                                 "-9007199254740991, 5000000000, \"1\"]");
    const bool fine[] = {true, false, false, false, true, true, true, false};
    const struct json *v = json_first(json_root(doc));
    for (size_t i = 0; i < 8; i++, v = json_next(v)) {
        int64_t whole;
        assert_int_equal(json_integer(v, INT64_MIN, INT64_MAX, &whole), fine[i]);
        if (i == 6)
            assert_true(whole == 5000000000);
    }
    json_free(doc);
}

static void test_json_refuses_hostile_text(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "found the end"},
        {"[01]", "begin with 0"},
        {"[-]", "a digit"},
        {"[1.]", "a digit"},
        {"[.5]", "a value"},
        {"[+1]", "a value"},
        {"[1e]", "a digit"},
        {"[0x10]", "',' or ']'"},
        {"[1e400]", "beyond a double"},
        {"[NaN]", "a value"},
        {"[Infinity]", "a value"},
        {"[nul]", "a value"},
        {"[1,]", "a value"},
        {"{\"a\":1,}", "a key in quotes"},
        {"{\"a\" 1}", "':'"},
        {"{a:1}", "a key in quotes"},
        {"{} x", "the end of the text"},
        {"{}{}", "the end of the text"},
        {"\xef\xbb\xbf{}", "byte-order mark"},
        {"[\"\xff\"]", "offset 2: invalid UTF-8"},
        {"[\"\xc0\x80\"]", "invalid UTF-8"},
        {"[\"\xed\xa0\x80\"]", "invalid UTF-8"},
        {"[\"a\tb\"]", "control character 0x09"},
        {"[\"abc", "without its end"},
        {"[\"\\x\"]", "unknown escape"},
        {"[\"\\u12g4\"]", "4 hexadecimal digits"},
        {"[\"\\ud800\"]", "surrogate"},
        {"[\"\\ud800\\u0041\"]", "surrogate"},
        {"[\"\\udc00\"]", "surrogate"},
        {"{\"a\\u0000\": 1}", "U+0000"},
        {"{\"a\": 1, \"b\": 2, \"a\": 3}", "line 1, offset 17: key \"a\" is given twice"},
        {"[{},{\"x\":{\"k\":1,\n\"\\u006b\":2}}]",
         "line 2, offset 17: key \"\\u006b\" is given twice"},
        {"[1234567890123456789012345678901234567890123456789012345678901234]", "more than 62"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(cases[i][0], strlen(cases[i][0]), cases[i][1]);
    refuse("[\"a\0b\"]", 7, "control character 0x00");
    refuse("[1]\0", 4, "the end of the text");
}

static void test_json_depth_is_bounded(void **state) {
    (void)state;
    char text[300] = "";
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    json_free(parse(text));
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    refuse(text, 130, "deeper than 64");
    struct err e = {0};
    json_free(json_parse_within("[[1]]", 5, "t.json", 2, &e));
    assert_int_equal(e.code, 0);
    assert_null(json_parse_within("[[{}]]", 6, "t.json", 2, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(strstr(e.text, "offset 2: nested deeper than 2"));
}

static void test_json_values_are_bounded(void **state) {
    (void)state;
    enum { MOST = 1 << 22, SIZE = 2 * MOST }; /* the array is one of them */
    char *text = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = i % 2 ? '0' : ',';
    text[0] = '[', text[SIZE - 2] = ']';
    struct json_doc *doc = json_parse(text, SIZE - 1, "t.json", NULL);
    assert_non_null(doc);
    assert_int_equal(json_count(json_root(doc)), MOST - 1);
    json_free(doc);
    text[SIZE - 2] = ',';
    refuse(text, SIZE, "offset 8388607: more than 4194304 values");
    free(text);
}

static void test_json_zero_characters_survive(void **state) {
    (void)state;
    struct json_doc *doc = parse("[\"a\\u0000b\\\\u0000\", \"\\u0000\", \"plain\"]");
    const struct json *v = json_first(json_root(doc));
    size_t size;
    assert_null(json_text(v)); /* never a shortened string */
    assert_memory_equal(json_bytes(v, &size), "a\0b\\u0000", 10);
    assert_int_equal(size, 9);
    v = json_next(v);
    assert_int_equal(json_bytes(v, &size)[0], 0);
    assert_int_equal(size, 1);
    v = json_next(v);
    assert_string_equal(json_bytes(v, &size), "plain");
    assert_int_equal(size, 5);
    json_free(doc);
}

static void test_json_big_objects_are_not_quadratic(void **state) {
    (void)state;
    struct json_out o = {0};
    json_open(&o, '{');
    for (int i = 0; i < 200000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        json_name(&o, key);
        json_put_int(&o, i);
    }
    json_close(&o, '}');
    double start = clock_seconds();
    json_free(parse(o.text));
    double seconds = clock_seconds() - start;
    printf("measured: object of 200000 keys read in %.2f s\n", seconds);
    assert_true(seconds < 5); /* quadratic would take minutes; slow sanitizer builds pass */
    free(o.text);
}

static void test_json_writer_round_trips(void **state) {
    (void)state;
    struct json_out o = {0};
    json_open(&o, '{');
    json_name(&o, "q\"\\");
    json_put_text(&o, "tab\t nl\n bell\x07 \xc3\xa9");
    json_name(&o, "list");
    json_open(&o, '[');
    json_put_int(&o, INT64_MIN);
    json_put_real(&o, 0.1);
    json_put_real(&o, 1.0 / 3);
    json_put_real(&o, NAN);
    json_put_bool(&o, true);
    json_put_null(&o);
    json_put_raw(&o, "{}");
    json_put_bytes(&o, "a\0\xff\xe2\x82z", 6);
    json_close(&o, ']');
    json_close(&o, '}');
    assert_string_equal(
        o.text,
        "{\"q\\\"\\\\\":\"tab\\t nl\\n bell\\u0007 \xc3\xa9\",\"list\":[-9223372036854775808,"
        "0.1,0.3333333333333333,null,true,null,{},\"a\\u0000\\ufffd\\ufffdz\"]}");
    json_free(parse(o.text));
    free(o.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_values),
        cmocka_unit_test(test_json_integers_are_exact_or_refused),
        cmocka_unit_test(test_json_refuses_hostile_text),
        cmocka_unit_test(test_json_depth_is_bounded),
        cmocka_unit_test(test_json_values_are_bounded),
        cmocka_unit_test(test_json_zero_characters_survive),
        cmocka_unit_test(test_json_big_objects_are_not_quadratic),
        cmocka_unit_test(test_json_writer_round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
