/* raas bench gpu where there is a GPU: small cases of the embedded model, so that what is checked
 * is the bench, not the speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "commands/bench_device.h"
#include "tests/cli.h"
#include "tests/gpu.h"

static double number_of(const struct json *object, const char *key) {
    double number = -1;
    if (!json_number(json_get(object, key), &number))
        fail_msg("no number \"%s\"", key);
    return number;
}

static void test_cuda_bench_ceilings_are_plausible(void **state) {
    (void)state;
    gpu_or_skip();
    struct bench_device device;
    struct err e = {0};
    if (!bench_device_measure(&device, &e))
        fail_msg("%s", e.text);
    printf("measured: %s, read %.0f GB/s, copy %.0f GB/s\n", device.name, device.read / 1e9,
           device.copy / 1e9);
    assert_true(*device.name && !strchr(device.name, ','));
    assert_true(device.read > 1e11 && device.read < 2e13);
    assert_true(device.copy > 1e11 && device.copy < 1.1 * device.read);
    assert_true(device.free > 0 && device.free <= device.memory);
}

/* No step waits for the device, an evictor keeps its budget, full keeps everything. */
static void test_cuda_bench_measures_points(void **state) {
    (void)state;
    gpu_or_skip();
    struct cli cli;
    struct err e = {0};
    cli_run(&cli, NULL, "bench", "gpu", "--shape", "embedded", "--batch", "1,5", "--context", "500",
            "--policy", "full", "--policy", "raas:budget=64", "--windows", "4", "--json", NULL);
    if (cli.code != EXIT_OK)
        fail_msg("code %d: %s", cli.code, cli.err);
    struct json_doc *doc = json_parse(cli.out, cli.out_size, "stdout", &e);
    assert_non_null(doc);
    int n = 0;
    for (const struct json *c = json_first(json_get(json_root(doc), "cases")); c;
         c = json_next(c), n++) {
        bool full = !strcmp(json_text(json_get(c, "policy")), "full");
        double kept = number_of(c, "kept");
        assert_true(number_of(c, "syncs_per_step") == 0);
        assert_true(number_of(c, "step_ms") > 0 && number_of(c, "ratio") > 0);
        assert_true(full ? kept >= 490 && kept <= 510 : kept <= 64);
        assert_true(number_of(c, "kv_bytes") > 0);
    }
    assert_int_equal(n, 4);
    json_free(doc);
    cli_free(&cli);
}

/* 4096 sequences of 32k tokens need terabytes: marked, while the others are measured. */
static void test_cuda_bench_skips_what_does_not_fit(void **state) {
    (void)state;
    gpu_or_skip();
    struct cli cli;
    cli_run(&cli, NULL, "bench", "gpu", "--shape", "qwen2.5-1.5b", "--batch", "1,4096", "--context",
            "32768", "--windows", "4", "--csv", NULL);
    assert_int_equal(cli.code, EXIT_PARTIAL);
    assert_non_null(strstr(cli.out, "\nqwen2.5-1.5b,\"full\",1,32768,measured,"));
    assert_non_null(strstr(cli.out, "\nqwen2.5-1.5b,\"full\",4096,32768,skipped,"));
    cli_free(&cli);
}

static void test_cuda_bench_growth_is_flat_where_it_should_be(void **state) {
    (void)state;
    gpu_or_skip();
    static const char *const ways[] = {NULL, "--jump"};
    for (int way = 0; way < 2; way++) {
        struct cli cli;
        const char *out = cli_path("growth.csv");
        cli_run(&cli, NULL, "bench", "gpu", "--growth", "--shape", "embedded", "--batch", "2",
                "--context", "600,1800", "--policy", "full", "--policy", "streaming:budget=128",
                "--out", out, ways[way], NULL);
        if (cli.code != EXIT_OK)
            fail_msg("code %d: %s", cli.code, cli.err);
        int kept[4] = {0}, n = 0;
        double bytes[4] = {0};
        FILE *f = fopen(out, "re");
        char line[400];
        assert_non_null(f);
        assert_non_null(fgets(line, sizeof line, f));
        while (n < 4 && fgets(line, sizeof line, f)) {
            char *save = NULL, *field = strtok_r(line, ",", &save);
            bool full = !strcmp(field, "full"); /* its empty budget is no field to strtok */
            for (int i = full ? 1 : 0; i < 6; i++)
                field = strtok_r(NULL, ",", &save);
            assert_true(field && sscanf(field, "%d", &kept[n]) == 1);
            field = strtok_r(NULL, ",", &save);
            assert_true(field && sscanf(field, "%lf", &bytes[n]) == 1);
            n++;
        }
        fclose(f);
        assert_int_equal(n, 4);
        assert_true(kept[0] > 590 && kept[1] > 1790 && bytes[1] > 2 * bytes[0]);
        assert_true(kept[2] == 128 && kept[3] == 128 && bytes[2] == bytes[3]);
        cli_free(&cli);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuda_bench_ceilings_are_plausible),
        cmocka_unit_test(test_cuda_bench_measures_points),
        cmocka_unit_test(test_cuda_bench_skips_what_does_not_fit),
        cmocka_unit_test(test_cuda_bench_growth_is_flat_where_it_should_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
