/* raas bench growth and breakdown on the CPU: what is held is what the policy says, and is drawn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "tests/cli.h"

static void drawn(const char *folder, const char *figure) {
    static const char *const endings[] = {".csv", ".svg", ".png"};
    for (int i = 0; i < 3; i++) {
        char path[300];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s%s", folder, figure, endings[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size > 0);
    }
}

/* Fields 5 and 6 (tokens kept, bytes) of a policy's row at so many tokens. */
static void held(const char *csv, const char *row, double *kept, double *bytes) {
    const char *at = strstr(csv, row);
    if (!at || sscanf(at + strlen(row), "%lf,%lf", kept, bytes) != 2)
        fail_msg("no row %s in %s", row, csv);
}

static void test_bench_decode_growth_is_flat_where_it_should_be(void **state) {
    (void)state;
    struct cli cli;
    const char *out = cli_path("growth");
    cli_run(&cli, NULL, "bench", "growth", "--marks", "32,96,160", "--prompt", "16", "--repeats",
            "2", "--policy", "full", "--policy", "raas:budget=64", "--threads", "1", "--out", out,
            NULL);
    assert_int_equal(cli.code, EXIT_OK);
    double kept[2], bytes[2];
    held(cli.out, "\nfull,,16,96,", &kept[0], &bytes[0]);
    held(cli.out, "\nfull,,16,160,", &kept[1], &bytes[1]);
    assert_true(kept[0] == 16 + 95 && kept[1] == 16 + 159); /* the newest id is not yet held */
    assert_true(bytes[1] > 1.3 * bytes[0]);
    held(cli.out, "\nraas,64,16,96,", &kept[0], &bytes[0]);
    held(cli.out, "\nraas,64,16,160,", &kept[1], &bytes[1]);
    assert_true(kept[0] <= 64 && kept[1] <= 64);
    assert_true(bytes[0] == bytes[1]);
    drawn(out, "growth");
    cli_free(&cli);
}

static void test_bench_decode_breakdown_splits_one_total(void **state) {
    (void)state;
    struct cli cli;
    const char *out = cli_path("breakdown");
    cli_run(&cli, NULL, "bench", "breakdown", "--total", "96", "--prompts", "8,80", "--repeats",
            "2", "--threads", "1", "--out", out, NULL);
    assert_int_equal(cli.code, EXIT_OK);
    assert_non_null(strstr(cli.out, "\nfull,96,8,88,"));
    assert_non_null(strstr(cli.out, "\nfull,96,80,16,"));
    drawn(out, "breakdown");
    cli_free(&cli);
}

static void test_bench_decode_refuses_what_cannot_be(void **state) {
    (void)state;
    CLI_FAILS(EXIT_USAGE, "expected less than", "bench", "growth", "--marks", "64,90000");
    CLI_FAILS(EXIT_USAGE, "expected less than", "bench", "breakdown", "--total", "90000");
    CLI_FAILS(EXIT_USAGE, "--prompts 96: expected", "bench", "breakdown", "--total", "96",
              "--prompts", "96");
    CLI_FAILS(EXIT_USAGE, "expected one", "bench", "breakdown", "--policy", "full", "--policy",
              "raas:budget=64");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bench_decode_growth_is_flat_where_it_should_be),
        cmocka_unit_test(test_bench_decode_breakdown_splits_one_total),
        cmocka_unit_test(test_bench_decode_refuses_what_cannot_be),
    };
    return cmocka_run_group_tests_name("bench_decode", tests, NULL, NULL);
}
