/* Headers of safetensors in memory: what hostile ones cost. Files are test_weights.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/weights.h"

enum { SIZE = 32 << 20, FIRST = 8 }; /* the largest header, and where it begins */

static long peak_mib(void) {
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss >> 10;
}

/* An image whose header has `size` bytes of `unit` behind `begin`. */
static uint8_t *bomb_of(size_t size, const char *begin, const char *unit) {
    uint8_t *image = must_alloc(FIRST + size);
    size_t n = strlen(begin), period = strlen(unit);
    for (int i = 0; i < FIRST; i++)
        image[i] = (uint8_t)(size >> 8 * i);
    memcpy(image + FIRST, begin, n);
    for (size_t i = n; i < size; i++)
        image[FIRST + i] = (uint8_t)unit[(i - n) % period];
    return image;
}

/* No tree is made of what has too many values or is nested like no header. */
static void test_safetensors_refuses_bombs_at_once(void **state) {
    (void)state;
    static const char *const bombs[][3] = {
        {"{\"a\":", "[", "nested deeper than 3"},
        {"{\"a\":", "{\"a\":", "nested deeper than 3"},
        {"{\"a\":{\"b\":[", "{},", "nested deeper than 3"},
        {"{\"a\":{\"b\":[", "0,", "more than 4194304 values"},
        {"{\"a\":[", "[],", "more than 4194304 values"},
    };
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        uint8_t *image = bomb_of(SIZE, bombs[i][0], bombs[i][1]);
        struct tensor_list list;
        struct err e = {0};
        long before = peak_mib();
        double begin = clock_seconds();
        assert_false(safetensors_parse(image, FIRST + SIZE, FIRST + SIZE, "bomb", &list, &e));
        double seconds = clock_seconds() - begin;
        long more = peak_mib() - before;
        printf("measured: 32 MiB of %s refused in %.2f s, %ld MiB\n", bombs[i][1], seconds, more);
        assert_int_equal(e.code, EXIT_CONTENT);
        if (!strstr(e.text, bombs[i][2]))
            fail_msg("said \"%s\", expected \"%s\"", e.text, bombs[i][2]);
        assert_true(seconds < 5 && more < 8); /* slow sanitizer builds pass */
        free(image);
    }
}

/* The length alone refuses what is larger: such a header is never read. */
static void test_safetensors_bounds_the_header(void **state) {
    (void)state;
    uint8_t *image = bomb_of(SIZE, "", " ");
    uint64_t bytes;
    struct err e = {0};
    assert_true(safetensors_header(image, (uint64_t)1 << 40, "s", &bytes, &e));
    assert_int_equal(bytes, SIZE);
    image[0] = 1;
    assert_false(safetensors_header(image, (uint64_t)1 << 40, "s", &bytes, &e));
    assert_int_equal(e.code, EXIT_CONTENT);
    assert_non_null(
        strstr(e.text, "header length 33554433 at offset 0: expected at most 33554432"));
    free(image);
}

/* Thirty megabytes of tensors: memory in proportion. */
static void test_safetensors_reads_large_headers(void **state) {
    (void)state;
    enum { TENSORS = 270000 };
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    fwrite("\0\0\0\0\0\0\0\0", 1, FIRST, out);
    for (int i = 0; i < TENSORS; i++)
        fprintf(
            out,
            "%s\"model.layers.%d.mlp.experts.%d.down_proj.weight\":{\"dtype\":\"BF16\",\"shape\":"
            "[1,1],\"data_offsets\":[%d,%d]}",
            i ? "," : "{", i / 1000, i % 1000, 2 * i, 2 * i + 2);
    fputc('}', out);
    fclose(out);
    uint64_t header = size - FIRST;
    memcpy(text, &header, sizeof header);
    struct tensor_list list;
    struct err e = {0};
    double begin = clock_seconds();
    if (!safetensors_parse((uint8_t *)text, size, size + 2 * TENSORS, "large", &list, &e))
        fail_msg("%s", e.text);
    printf("measured: header of %zu bytes read in %.2f s, peak %ld MiB\n", size - FIRST,
           clock_seconds() - begin, peak_mib());
    assert_int_equal(list.count, TENSORS);
    tensor_list_free(&list);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_refuses_bombs_at_once),
        cmocka_unit_test(test_safetensors_bounds_the_header),
        cmocka_unit_test(test_safetensors_reads_large_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
