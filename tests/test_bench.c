/* raas bench gpu without a GPU: the arithmetic of floors, batches in flight (on the CPU backend),
 * the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "commands/bench.h"
#include "commands/bench_flight.h"
#include "engine/cuda_info.h"
#include "tests/cli.h"
#include "tests/tiny.h"

/* The paper's models; numbers below were computed elsewhere, from their published shapes. */
static const struct config qwen_7b = {.n_layers = 28,
                                      .dim = 3584,
                                      .n_heads = 28,
                                      .n_kv_heads = 4,
                                      .head_size = 128,
                                      .ffn = 18944,
                                      .vocab = 152064};
static const struct config qwen_small = {.n_layers = 28,
                                         .dim = 1536,
                                         .n_heads = 12,
                                         .n_kv_heads = 2,
                                         .head_size = 128,
                                         .ffn = 8960,
                                         .vocab = 151936,
                                         .tied = true};
static const struct config llama_8b = {.n_layers = 32,
                                       .dim = 4096,
                                       .n_heads = 32,
                                       .n_kv_heads = 8,
                                       .head_size = 128,
                                       .ffn = 14336,
                                       .vocab = 128256};

static void near(double got, double expected, double share) {
    if (!(got >= expected * (1 - share) && got <= expected * (1 + share)))
        fail_msg("%.9g, expected %.9g", got, expected);
}

/* Microseconds at 3.0 TB/s. */
static double floor_us(const struct config *c, const char *policy, int batch, int context) {
    struct plan plan = tiny_plan(policy);
    struct bench_bytes bytes = {.weights = 2 * bench_weights(c)};
    for (int i = 0; i < batch; i++)
        bench_add_sequence(&bytes, c, &plan, BENCH_PROMPT, context);
    return bench_sum(&bytes) / 3.0e12 * 1e6;
}

static void test_bench_bytes_of_known_models(void **state) {
    (void)state;
    near(2 * bench_weights(&qwen_7b), 14.14e9, 1e-3);
    near(2 * bench_weights(&qwen_small), 3.087e9, 1e-3);
    near(2 * bench_weights(&llama_8b), 15.01e9, 1e-3);
    assert_true(2 * bench_token_elements(&qwen_7b) == 57344);
    assert_true(2 * bench_token_elements(&qwen_small) == 28672);
    assert_true(2 * bench_token_elements(&llama_8b) == 131072);
}

static void test_bench_floors_of_known_cases(void **state) {
    (void)state;
    near(floor_us(&qwen_7b, "full", 1, 2048), 4753, 2e-4);
    near(floor_us(&llama_8b, "full", 1, 2048), 5093, 2e-4);
    near(floor_us(&qwen_small, "full", 1, 2048), 1049, 5e-4);
    near(floor_us(&qwen_7b, "full", 32, 8192), 9725, 2e-4);
    near(floor_us(&qwen_7b, "full", 64, 8192), 14735, 2e-4);
    near(floor_us(&qwen_7b, "full", 64, 16384), 24757, 3e-4);
    near(floor_us(&qwen_7b, "raas:budget=1024", 64, 16384), 6045, 2e-4);
    near(floor_us(&qwen_7b, "quest:budget=1024,dense_layers=2", 64, 16384), 8472, 2e-4);
    double full = floor_us(&qwen_7b, "full", 32, 16384);
    near(full / floor_us(&qwen_7b, "quest:budget=1024", 32, 16384), 2.47, 3e-3);
    near(full / floor_us(&qwen_7b, "raas:budget=1024", 32, 16384), 2.74, 3e-3);
}

static double beside(const char *policy, int context) {
    struct plan plan = tiny_plan(policy);
    struct bench_bytes bytes = {0};
    bench_add_sequence(&bytes, &qwen_7b, &plan, BENCH_PROMPT, context);
    return bytes.beside;
}

static double attended(const char *policy, int context) {
    struct plan plan = tiny_plan(policy);
    struct bench_bytes bytes = {0};
    bench_add_sequence(&bytes, &qwen_7b, &plan, BENCH_PROMPT, context);
    return bytes.kv / 57344;
}

static void test_bench_bytes_of_policies(void **state) {
    (void)state;
    assert_true(attended("full", 5000) == 5000 && beside("full", 5000) == 0);
    assert_true(attended("streaming:budget=1024", 5000) == 1024);
    assert_true(attended("streaming:budget=1024", 500) == 500);
    assert_true(beside("streaming:budget=1024", 5000) == 0);
    assert_true(beside("random:budget=1024", 5000) == 0);
    /* columns of 1024 slots of 4 heads of 28 layers, 4 bytes read and 4 written */
    assert_true(beside("h2o:budget=1024", 5000) == 1024.0 * 4 * 28 * 8);
    /* bounds: one page's are as large as one token */
    assert_true(beside("raas:budget=1024", 5000) == 64 * 57344.0);
    assert_true(beside("quest:budget=1024", 8192) == 512 * 57344.0);
    assert_true(attended("quest:budget=1024", 8192) == 1024);
    /* nothing is selected where everything fits the budget */
    assert_true(beside("quest:budget=1024", 1024) == 0);
    assert_true(attended("quest:budget=1024,dense_layers=28", 8192) == 8192);
    assert_true(beside("quest:budget=1024,dense_layers=28", 8192) == 0);
    /* the oracle scores every key: half of what it does not attend to */
    assert_true(beside("oracle:budget=1024", 8192) == (8192 - 1024) * 57344.0 / 2);
}

static void test_bench_quantile_lies_between_values(void **state) {
    (void)state;
    double five[] = {5, 1, 4, 2, 3}, one[] = {7}, two[] = {2, 1};
    assert_true(bench_quantile(five, 5, 0.5) == 3);
    near(bench_quantile(five, 5, 0.1), 1.4, 1e-12);
    near(bench_quantile(five, 5, 0.9), 4.6, 1e-12);
    assert_true(bench_quantile(five, 5, 0) == 1 && bench_quantile(five, 5, 1) == 5);
    assert_true(bench_quantile(one, 1, 0.9) == 7);
    assert_true(bench_quantile(two, 2, 0.5) == 1.5);
}

static void test_bench_numbers_are_checked(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",     "0",  "a",  "1,",  ",1",
        "1,,2", "-1", "65", "1 2", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"};
    struct bench_numbers numbers;
    struct err e = {0};
    assert_true(bench_parse_numbers("32,1,8", "batch", 64, &numbers, &e));
    assert_int_equal(numbers.count, 3);
    assert_int_equal(numbers.items[0], 1);
    assert_int_equal(numbers.items[2], 32);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err error = {0};
        assert_false(bench_parse_numbers(wrong[i], "batch", 64, &numbers, &error));
        assert_int_equal(error.code, EXIT_USAGE);
        assert_non_null(strstr(error.text, "--batch"));
    }
}

/* --- batches in flight ---------------------------------------------------------------------- */

static void test_bench_flight_holds_what_it_says(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    struct plan full = tiny_plan("full"), raas = tiny_plan("raas:budget=64");
    struct bench_point point = {.backend = "cpu",
                                .model = model,
                                .plan = &full,
                                .batch = 3,
                                .context = 200,
                                .windows = 2,
                                .total = 600};
    struct bench_reading reading;
    struct err e = {0};
    struct bench_flight *f = bench_flight_open(&point, &e);
    assert_non_null(f);
    assert_true(bench_flight_reach(f, 200 - bench_half(&point), &e));
    assert_true(bench_flight_measure(f, &reading, &e));
    assert_true(reading.context == 200 && reading.kept == 200);
    assert_true(reading.step > 0 && reading.p10 <= reading.step && reading.step <= reading.p90);
    double token = 2 * bench_token_elements(&model->config);
    assert_true(reading.bytes.kv == 3 * 200 * token);
    assert_true(reading.bytes.weights == 2 * bench_weights(&model->config));
    double small = reading.kv_bytes;
    assert_true(small >= 200 * token && small < 216 * token);
    assert_true(bench_flight_reach(f, 450, &e));
    assert_true(bench_flight_measure(f, &reading, &e));
    assert_true(reading.context == 500 && reading.kept == 500 && reading.kv_bytes > 2 * small);
    bench_flight_close(f);

    point.plan = &raas;
    f = bench_flight_open(&point, &e);
    assert_non_null(f);
    assert_true(bench_flight_reach(f, 100, &e) && bench_flight_measure(f, &reading, &e));
    small = reading.kv_bytes;
    assert_true(bench_flight_reach(f, 450, &e) && bench_flight_measure(f, &reading, &e));
    assert_true(reading.kept <= 64 && reading.kv_bytes <= small * 1.001);
    bench_flight_close(f);
    model_close(model);
}

static void test_bench_flight_refuses_what_cannot_be(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    struct model *model = tiny_open(shape);
    struct plan full = tiny_plan("full");
    struct bench_point point = {.backend = "cpu", .model = model, .plan = &full, .batch = 1};
    static const int contexts[] = {0, 100, 9000, 1 << 20};
    point.windows = 4;
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        struct err e = {0};
        point.context = contexts[i];
        assert_null(bench_flight_open(&point, &e));
        assert_int_equal(e.code, EXIT_USAGE);
        assert_non_null(strstr(e.text, "expected 137 to 8836"));
    }
    struct err e = {0};
    struct bench_reading reading;
    point.context = 300; /* the CPU backend can't pretend */
    assert_false(bench_measure(&point, &reading, NULL, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    model_close(model);
}

/* --- the command ---------------------------------------------------------------------------- */

static void test_bench_command_line(void **state) {
    (void)state;
    CLI_FAILS(EXIT_USAGE, "bench 'tpu': expected cpu, gpu, growth, breakdown, record or mine",
              "bench", "tpu");
    CLI_FAILS(EXIT_USAGE, "nothing to measure", "bench");
    CLI_FAILS(EXIT_USAGE, "--backend must be cpu", "bench", "cpu", "--backend", "cuda");
    CLI_FAILS(EXIT_USAGE, "--batch 1,x", "bench", "gpu", "--batch", "1,x");
    CLI_FAILS(EXIT_USAGE, "--context 0", "bench", "gpu", "--context", "0");
    CLI_FAILS(EXIT_USAGE, "unknown policy 'raass'", "bench", "gpu", "--policy", "raass");
    CLI_FAILS(EXIT_USAGE, "qwen2.5-7b", "bench", "gpu", "--shape", "qwen");
    CLI_FAILS(EXIT_USAGE, "expected one of them", "bench", "gpu", "--suite", "--growth");
    CLI_FAILS(EXIT_USAGE, "belong to --suite", "bench", "gpu", "--peers", "x.csv");
    CLI_FAILS(EXIT_USAGE, "belong to --suite", "bench", "gpu", "--case", "7b_b1_2k");
    CLI_FAILS(EXIT_USAGE, "--jump belongs to --growth", "bench", "gpu", "--jump");
    CLI_FAILS(EXIT_USAGE, "--out belongs to", "bench", "gpu", "--out", "x.csv");
    CLI_FAILS(EXIT_USAGE, "missing.csv", "bench", "gpu", "--draw", "missing.csv");
    CLI_FAILS(EXIT_USAGE, "--suite: expected no", "bench", "gpu", "--suite", "--batch", "8");
    CLI_FAILS(EXIT_USAGE, "--draw: expected no", "bench", "gpu", "--draw", "x", "--policy", "full");
    CLI_FAILS(EXIT_USAGE, "--json and --csv", "bench", "gpu", "--json", "--csv");
    CLI_FAILS(EXIT_USAGE, "unexpected argument", "bench", "gpu", "now");
}

/* Each is said before any device is looked for. */
static void test_bench_gpu_checks_the_command_line_first(void **state) {
    (void)state;
    static const char *const modes[] = {"--suite", "--growth", "--draw=x.csv"};
    static const char *const ignored[] = {"--windows=8", "--kernels", "--json", "--csv"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        for (size_t j = 0; j < sizeof ignored / sizeof *ignored; j++) {
            char says[100];
            snprintf(says, sizeof says, "%.*s: expected no --windows, --kernels, --json or --csv",
                     (int)strcspn(modes[i], "="), modes[i]);
            CLI_FAILS(EXIT_USAGE, says, "bench", "gpu", modes[i], ignored[j]);
        }
    CLI_FAILS(EXIT_USAGE, "--case nope: expected one of 7b_b1_2k, ", "bench", "gpu", "--suite",
              "--case", "nope");
    CLI_FAILS(EXIT_USAGE, "missing.csv", "bench", "gpu", "--suite", "--peers", "missing.csv");
    CLI_FAILS(EXIT_USAGE, "--context 4,5: expected 200 tokens between two", "bench", "gpu",
              "--growth", "--context", "5,4");
    CLI_FAILS(EXIT_USAGE, "context 5: expected 137 to ", "bench", "gpu", "--growth", "--context",
              "5,900");
    CLI_FAILS(EXIT_USAGE, "context 65400: expected 137 to 65308 on qwen2.5-1.5b", "bench", "gpu",
              "--growth", "--context", "2048,65400");
    CLI_FAILS(EXIT_USAGE, "expected one --shape and one --batch", "bench", "gpu", "--growth",
              "--batch", "1,2");
    CLI_FAILS(EXIT_USAGE, "--shape 'x': expected", "bench", "gpu", "--growth", "--shape", "x");
    CLI_FAILS(EXIT_USAGE, "context 100: expected 237 to ", "bench", "gpu", "--context", "100");
    CLI_FAILS(EXIT_USAGE, "--windows 3: expected 4 to 64", "bench", "gpu", "--windows", "3");
}

/* One line, and nothing is written over what was measured where there was a GPU. */
static void test_bench_gpu_without_one(void **state) {
    (void)state;
    struct err e = {0};
    struct stat st;
    if (cuda_device_count(&e)) {
        puts("skipped: there is a GPU");
        skip();
    }
    const char *out = cli_path("none.csv");
    CLI_FAILS(EXIT_ENV, e.text, "bench", "gpu", "--shape", "embedded");
    CLI_FAILS(EXIT_ENV, e.text, "bench", "gpu", "--suite", "--out", out);
    CLI_FAILS(EXIT_ENV, e.text, "bench", "gpu", "--growth", "--out", out);
    assert_int_not_equal(stat(out, &st), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bench_bytes_of_known_models),
        cmocka_unit_test(test_bench_floors_of_known_cases),
        cmocka_unit_test(test_bench_bytes_of_policies),
        cmocka_unit_test(test_bench_quantile_lies_between_values),
        cmocka_unit_test(test_bench_numbers_are_checked),
        cmocka_unit_test(test_bench_flight_holds_what_it_says),
        cmocka_unit_test(test_bench_flight_refuses_what_cannot_be),
        cmocka_unit_test(test_bench_command_line),
        cmocka_unit_test(test_bench_gpu_checks_the_command_line_first),
        cmocka_unit_test(test_bench_gpu_without_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
