/* What doctor says of the GPUs, and the tests' own device memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cuda_info.h"
#include "tests/gpu.h"

static void test_cuda_info_names_every_device(void **state) {
    (void)state;
    gpu_or_skip();
    struct err e = {0};
    char text[400];
    int n = cuda_device_count(&e);
    assert_true(n > 0);
    assert_int_equal(e.code, 0);
    for (int i = 0; i < n; i++) {
        assert_true(cuda_device_text(i, text, sizeof text));
        assert_non_null(strstr(text, " GB, compute capability "));
        assert_non_null(strstr(text, "for CUDA "));
        assert_null(strchr(text, '\n'));
    }
    assert_false(cuda_device_text(n, text, sizeof text));
    assert_non_null(strstr(text, "device "));
    gpu_check(); /* the refused device leaves no error behind */
}

/* Runs without a GPU too: whatever the machine has, there are devices or one line why not. */
static void test_cuda_info_counts_or_says_why(void **state) {
    (void)state;
    struct err e = {0};
    int n = cuda_device_count(&e);
    assert_true((n > 0) != (e.code == EXIT_ENV && *e.text && !strchr(e.text, '\n')));
}

static void test_cuda_info_memory_of_tests(void **state) {
    (void)state;
    gpu_or_skip();
    enum { SIZE = 1003 }; /* guards begin right behind, at any size */
    unsigned char sent[SIZE], got[SIZE];
    for (int i = 0; i < SIZE; i++)
        sent[i] = (unsigned char)gpu_random_below(256);
    unsigned char *a = gpu_copy_in(sent, SIZE), *b = gpu_alloc(SIZE);
    assert_int_equal((uintptr_t)a % 256, 0);
    gpu_copy_out(got, a, SIZE);
    assert_memory_equal(got, sent, SIZE);
    gpu_copy_out(got, b, SIZE);
    for (int i = 0; i < SIZE; i++)
        assert_int_equal(got[i], 0xA5);
    gpu_write(b + 3, sent, SIZE - 3);
    gpu_copy_out(got, b, SIZE);
    assert_memory_equal(got + 3, sent, SIZE - 3);
    assert_int_equal(got[2], 0xA5);
    gpu_free(a);
    gpu_free(NULL);
    assert_int_equal(gpu_teardown(NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_info_names_every_device),
        cmocka_unit_test(test_cuda_info_counts_or_says_why),
        cmocka_unit_test(test_cuda_info_memory_of_tests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
