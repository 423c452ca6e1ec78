/* Real tokenizers against the tokenizers library: the texts, ids and code points that
 * make_tokenizer_check.py wrote to the folder $TOKENIZER_CHECK (`make tokenizer-check`). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/jsonl.h"
#include "base/utf8.h"
#include "tests/tokenizers.h"

#define SHOWN 5 /* differences that are printed */

static const char *const kinds[] = {"prompt", "answer", "golden", "adversarial"};
enum { KINDS = sizeof kinds / sizeof *kinds };

struct row {
    int kind;
    struct text text;
};

static const char *folder; /* NULL: skip */
static struct row *rows;
static size_t n_rows;

/* --- what was written ---------------------------------------------------------------------- */

static FILE *open_or_fail(const char *place, const char *name, const char *ending) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s%s", place, name, ending);
    FILE *f = fopen(path, "re");
    if (!f)
        fail_msg("%s cannot be read", path);
    return f;
}

static void read_texts(void) {
    struct jsonl lines;
    struct json_doc *doc;
    struct err e = {0};
    char path[600];
    snprintf(path, sizeof path, "%s/texts.jsonl", folder);
    assert_true(jsonl_open(&lines, path, &e));
    while (jsonl_next(&lines, &doc, &e)) {
        assert_non_null(doc);
        struct row row = {0};
        const char *kind = json_text(json_get(json_root(doc), "kind"));
        while (strcmp(kinds[row.kind], kind) != 0)
            assert_true(++row.kind < KINDS);
        const char *bytes = json_bytes(json_get(json_root(doc), "text"), &row.text.size);
        row.text.bytes = must_alloc(row.text.size + 1);
        memcpy(row.text.bytes, bytes, row.text.size);
        if (n_rows % 1024 == 0)
            rows = must_realloc(rows, (n_rows + 1024) * sizeof *rows);
        rows[n_rows++] = row;
        json_free(doc);
    }
    jsonl_close(&lines);
}

static int load(void **state) {
    (void)state;
    folder = getenv("TOKENIZER_CHECK");
    if (!folder)
        return 0;
    read_texts();
    return 0;
}

static int unload(void **state) {
    (void)state;
    for (size_t i = 0; i < n_rows; i++)
        free(rows[i].text.bytes);
    free(rows);
    return 0;
}

/* Calls check() for each tokenizer that was asked. */
static void each_tokenizer(void (*check)(const char *name, const struct tokenizer *t)) {
    if (!folder) {
        printf("skipped: TOKENIZER_CHECK names no folder (make tokenizer-check TOKENIZERS=...)\n");
        skip();
    }
    FILE *f = open_or_fail(folder, "TOKENIZERS", "");
    char line[1000];
    while (fgets(line, sizeof line, f)) {
        struct err e = {0};
        char *path = strchr(line, ' ');
        assert_non_null(path);
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        struct tokenizer *t = tokenizer_read(path, &e);
        if (!t)
            fail_msg("%s", e.text);
        check(line, t);
        tokenizer_free(t);
    }
    fclose(f);
}

/* --- ids ------------------------------------------------------------------------------------ */

static bool same_ids(const struct json *expected, const struct id_list *ids) {
    size_t n = 0;
    for (const struct json *v = json_first(expected); v; v = json_next(v), n++) {
        int64_t id;
        if (n >= ids->count || !json_integer(v, 0, INT32_MAX, &id) || ids->ids[n] != id)
            return false;
    }
    return n == ids->count;
}

static bool same_text(const struct json *expected, const struct tokenizer *t,
                      const struct id_list *ids) {
    size_t size;
    char hash[HASH_HEX], *text = tokenizer_decode(t, ids->ids, ids->count, false, &size, NULL);
    assert_non_null(text);
    hash_bytes(text, size, hash);
    free(text);
    return strncmp(hash, json_text(expected), 16) == 0;
}

static void check_texts(const char *name, const struct tokenizer *t) {
    char path[600];
    struct jsonl lines;
    struct json_doc *doc;
    struct err e = {0};
    size_t at = 0, same[KINDS] = {0}, wrong = 0;
    snprintf(path, sizeof path, "%s/%s.jsonl", folder, name);
    assert_true(jsonl_open(&lines, path, &e));
    for (; jsonl_next(&lines, &doc, &e); at++) {
        assert_true(doc && at < n_rows);
        struct id_list ids = tokenizers_encode(t, rows[at].text, true);
        bool ok = same_ids(json_get(json_root(doc), "ids"), &ids) &&
                  same_text(json_get(json_root(doc), "decoded"), t, &ids);
        same[rows[at].kind] += ok;
        if (!ok && wrong++ < SHOWN)
            printf("%s: text %zu (%s) differs: '%.60s'\n", name, at, kinds[rows[at].kind],
                   rows[at].text.bytes);
        id_list_free(&ids);
        json_free(doc);
    }
    jsonl_close(&lines);
    assert_int_equal(at, n_rows);
    printf("measured: %s: equal ids and texts of %zu prompts, %zu answers, %zu golden and %zu "
           "adversarial texts, %zu differ\n",
           name, same[0], same[1], same[2], same[3], wrong);
    assert_int_equal(wrong, 0);
}

static void test_tokenizer_check_texts(void **state) {
    (void)state;
    each_tokenizer(check_texts);
}

/* --- every code point ----------------------------------------------------------------------- */

static void add_sweep(const struct tokenizer *t, uint32_t code, struct bytes *out) {
    char text[64], one[5] = "";
    size_t width = utf8_put(code, one), n = 0;
    for (const char *p = "x#y #1# ##'#"; *p; p++) {
        memcpy(text + n, *p == '#' ? one : p, *p == '#' ? width : 1);
        n += *p == '#' ? width : 1;
    }
    struct id_list ids = tokenizers_encode(t, (struct text){text, n}, true);
    bytes_append(out, ids.ids, ids.count * sizeof *ids.ids);
    id_list_free(&ids);
}

static void check_sweep(const char *name, const struct tokenizer *t) {
    FILE *f = open_or_fail(folder, name, ".sweep");
    char hash[HASH_HEX], expected[HASH_HEX];
    unsigned first;
    size_t codes = 0, wrong = 0;
    while (fscanf(f, "%x %64s", &first, expected) == 2) {
        struct bytes ids = {0};
        for (unsigned code = first; code < first + 256; code++) {
            if (code >= 0xd800 && code < 0xe000)
                continue;
            add_sweep(t, code, &ids);
            codes++;
        }
        hash_bytes(ids.data ? ids.data : "", ids.size, hash);
        free(ids.data);
        if (strncmp(hash, expected, 16) != 0 && wrong++ < SHOWN)
            printf("%s: of the code points from %04X on one differs\n", name, first);
    }
    fclose(f);
    printf("measured: %s: equal ids of %zu code points\n", name, codes);
    assert_true(codes > 1000000);
    assert_int_equal(wrong, 0);
}

static void test_tokenizer_check_code_points(void **state) {
    (void)state;
    each_tokenizer(check_sweep);
}

/* --- speed ---------------------------------------------------------------------------------- */

static double speed(const struct tokenizer *t, struct text text) {
    double best = 1e9;
    for (int i = 0; i < 2; i++) {
        double start = clock_seconds();
        struct id_list ids = tokenizers_encode(t, text, true);
        double seconds = clock_seconds() - start;
        best = seconds < best ? seconds : best;
        id_list_free(&ids);
    }
    return (double)text.size / 1e6 / best;
}

static void check_speed(const char *name, const struct tokenizer *t) {
    static const char *const units[] = {"a",    " ",    "7", "\xf0\x9f\x98\x80", "\n",
                                        "\r\n", "the ", "-", "\xe4\xbd\xa0",     "\xcc\x81",
                                        "a1",   "A"};
    enum { SIZE = 1 << 20 };
    struct bytes prose = {0};
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].kind < 2)
            bytes_append(&prose, rows[i].text.bytes, rows[i].text.size);
    double worst = 1e9;
    const char *slowest = "";
    if (prose.size)
        printf("measured: %s: %.1f MB/s on prompts and answers", name,
               speed(t, (struct text){prose.data, prose.size}));
    free(prose.data);
    char *text = must_alloc(SIZE);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t n = strlen(units[u]), size = SIZE / n * n;
        for (size_t i = 0; i < size; i++)
            text[i] = units[u][i % n];
        double mbs = speed(t, (struct text){text, size});
        printf(", '%s' %.1f",
               *units[u] == '\n'   ? "\\n"
               : *units[u] == '\r' ? "\\r\\n"
                                   : units[u],
               mbs);
        slowest = mbs < worst ? units[u] : slowest;
        worst = mbs < worst ? mbs : worst;
    }
    free(text);
    printf("\n");
    if (worst < 1)
        fail_msg("%s: a megabyte of '%s' goes through at %.2f MB/s", name, slowest, worst);
}

static void test_tokenizer_check_speed(void **state) {
    (void)state;
    each_tokenizer(check_speed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_check_texts),
        cmocka_unit_test(test_tokenizer_check_code_points),
        cmocka_unit_test(test_tokenizer_check_speed),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
