/* Sequences join, wait, end and are refused; sampling follows its distribution and its key. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/rng.h"
#include "engine/sampler.h"
#include "tests/tiny.h"

static struct tiny shape;
static struct model *model;
static struct plan full;

static int open_model(void **state) {
    (void)state;
    shape = TINY_DEFAULT;
    model = tiny_open(shape);
    full = tiny_plan("full");
    return 0;
}
static int close_model(void **state) {
    (void)state;
    model_close(model);
    return 0;
}

static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6};
static struct request request_of(int max_new) {
    return (struct request){.ids = prompt,
                            .n_ids = 8,
                            .plan = &full,
                            .max_new = max_new,
                            .ignore_eos = true,
                            .key = 11};
}

static int generate(struct session *session, const struct request *r, int32_t *out,
                    struct event *last) {
    struct event events[64];
    struct err e = {0};
    assert_true(session_add(session, r, &e));
    int n = 0;
    do {
        assert_int_equal(session_step(session, events, &e), 1);
        out[n++] = events[0].id;
    } while (events[0].finish == FINISH_NOT);
    *last = events[0];
    return n;
}

static void test_session_ends_at_the_cap(void **state) {
    (void)state;
    struct session *session = tiny_session(model, false, 1, 2, 100);
    for (int n = 1; n < 20; n += 6) {
        struct request r = request_of(n);
        int32_t ids[64];
        struct event last;
        assert_int_equal(generate(session, &r, ids, &last), n);
        assert_int_equal(last.finish, FINISH_CAP);
        assert_int_equal(last.stats.n_new, n);
        assert_int_equal(last.stats.n_prompt, 8);
        assert_int_equal(last.stats.kept_peak, 8 + n - 1); /* the last id is never fed */
        assert_int_equal(session_active(session), 0);
    }
    session_close(session);
}

/* The end token is whatever this random model says first: then the answer ends there, unless it is
 * ignored or too early. */
static void test_session_ends_at_the_end_token(void **state) {
    (void)state;
    struct session *session = tiny_session(model, false, 1, 1, 100);
    struct request r = request_of(30);
    int32_t ids[64], again[64];
    struct event last;
    generate(session, &r, ids, &last);
    model->config.eos[0] = ids[5];
    int first = 0;
    while (ids[first] != ids[5])
        first++;
    r.ignore_eos = false;
    assert_int_equal(generate(session, &r, again, &last), first + 1);
    assert_int_equal(last.finish, FINISH_ANSWER);
    assert_memory_equal(ids, again, (size_t)(first + 1) * sizeof *ids);
    r.min_new = first + 2;
    int n = generate(session, &r, again, &last);
    assert_true(n >= first + 2);
    for (int i = 0; i <= first + 1; i++)
        assert_int_not_equal(again[i], model->config.eos[0]);
    model->config.eos[0] = 0;
    session_close(session);
}

static void test_session_joins_while_others_decode_and_waits_for_memory(void **state) {
    (void)state;
    struct session_params params = {
        .backend = "cpu", .precision = PRECISION_FP32, .n_threads = 1, .width = 8, .max_total = 64};
    params.kv_bytes = 2 * session_kv_bytes(model, PRECISION_FP32, 37);
    struct err e = {0};
    struct session *session = session_open(model, &params, &e);
    assert_non_null(session);
    struct request r = request_of(30); /* 37 tokens: three pages a head */
    assert_true(session_add(session, &r, &e));
    struct event events[64];
    assert_int_equal(session_step(session, events, &e), 1);
    assert_true(session_add(session, &r, &e));
    assert_false(session_add(session, &r, &e)); /* has to wait */
    assert_int_equal(e.code, 0);
    assert_int_equal(session_active(session), 2);
    struct sequence_stats stats;
    session_drop(session, 0, &stats);
    assert_int_equal(stats.n_new, 1);
    assert_true(session_add(session, &r, &e));
    r.max_new = 57; /* 64 tokens: four pages a head, fits the pool but not beside two others */
    assert_false(session_add(session, &r, &e));
    assert_int_equal(e.code, 0);
    session_close(session);
}

/* 16 slots of 32 dims, twice, bounds, 16 positions and columns, a column and a word. */
static void test_session_kv_bytes_count_all_of_a_page(void **state) {
    (void)state;
    enum { FP32 = 4 * 32 * 34 + 136, BF16 = 2 * 32 * 34 + 136, HEADS = 4 };
    assert_int_equal(session_kv_bytes(model, PRECISION_FP32, 17), 2 * HEADS * FP32);
    assert_int_equal(session_kv_bytes(model, PRECISION_BF16, 16), HEADS * BF16);
    struct session_params params = {
        .backend = "cpu", .precision = PRECISION_FP32, .n_threads = 1, .width = 1, .max_total = 64};
    struct err e = {0};
    params.kv_bytes = FP32 - 1;
    assert_null(session_open(model, &params, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    assert_string_equal(e.text, "4487 bytes of KV cache, expected at least the 4488 of a page");
    struct request r = request_of(30); /* 37 tokens: three pages a head */
    for (int spare = -1; spare <= 0; spare++) {
        e.code = 0, params.kv_bytes = (uint64_t)(3 * HEADS * FP32 + spare);
        struct session *session = session_open(model, &params, &e);
        assert_non_null(session);
        assert_int_equal(session_add(session, &r, &e), spare == 0);
        assert_true(spare == 0 || strstr(e.text, "12 KV pages, the pool holds 11"));
        session_close(session);
    }
}

static void test_session_refuses_bad_requests(void **state) {
    (void)state;
    struct session *session = tiny_session(model, false, 1, 1, 40);
    const int32_t wrong[] = {1, 61}, negative[] = {-1};
    struct {
        struct request r;
        const char *says;
    } bad[8];
    for (int i = 0; i < 8; i++)
        bad[i].r = request_of(4);
    bad[0].r.n_ids = 0, bad[0].says = "empty prompt";
    bad[1].r.ids = wrong, bad[1].r.n_ids = 2, bad[1].says = "id 61 at index 1";
    bad[2].r.ids = negative, bad[2].r.n_ids = 1, bad[2].says = "id -1 at index 0";
    bad[3].r.max_new = 0, bad[3].says = "max_new 0";
    bad[4].r.max_new = 34, bad[4].says = "at most 40";
    bad[5].r.sampling.temperature = NAN, bad[5].says = "temperature";
    bad[6].r.sampling.temperature = 1, bad[6].r.sampling.top_p = 0, bad[6].says = "top_p";
    bad[7].r.forced = wrong, bad[7].r.n_forced = 2, bad[7].says = "forced id 61";
    for (int i = 0; i < 8; i++) {
        struct err e = {0};
        assert_false(session_add(session, &bad[i].r, &e));
        assert_int_equal(e.code, EXIT_USAGE);
        assert_non_null(strstr(e.text, bad[i].says));
    }
    session_close(session);
    struct session_params params = {.backend = "tpu", .width = 1, .max_total = 40};
    struct err e = {0};
    assert_null(session_open(model, &params, &e));
    assert_non_null(strstr(e.text, "tpu"));
    e = (struct err){0};
    params = (struct session_params){.width = session_max_width("cpu", &e) + 1, .max_total = 40};
    assert_int_equal(e.code, 0);
    assert_null(session_open(model, &params, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    assert_non_null(strstr(e.text, "expected 1 to 64 sequences in flight on cpu"));
}

/* Address space for some of the page pool stands for a GPU too small for the batch. */
static void test_session_narrows_to_what_memory_holds(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skipped: a sanitizer takes all address space for itself\n");
    skip();
#endif
    struct session_params params = {.n_threads = 1, .width = 60, .max_total = 9000};
    struct err e = {0};
    long total = 0; /* pages of this process */
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld", &total), 1);
    fclose(f);
    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    tight = old;
    tight.rlim_cur = (rlim_t)(total * sysconf(_SC_PAGESIZE)) + (200u << 20); /* 60 take 560 MB */
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
    struct session *session = session_open_fitting(model, &params, &e);
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
    assert_non_null(session);
    assert_int_equal(params.width, 15);
    struct request r = request_of(3);
    for (int i = 0; i < params.width; i++)
        assert_true(session_add(session, &r, &e));
    assert_false(session_add(session, &r, &e));
    assert_int_equal(e.code, 0);
    session_close(session);
}

static void test_session_stops_a_sequence_with_numeric_logits(void **state) {
    (void)state;
    struct tiny broken = TINY_DEFAULT;
    broken.broken = true;
    struct model *bad = tiny_open(broken);
    struct session *session = tiny_session(bad, false, 1, 1, 40);
    struct request r = request_of(10);
    int32_t ids[64];
    struct event last;
    assert_int_equal(generate(session, &r, ids, &last), 1);
    assert_int_equal(last.finish, FINISH_NUMERIC);
    assert_int_equal(last.id, -1);
    assert_int_equal(last.stats.n_new, 0);
    session_close(session);
    model_close(bad);
}

static void test_session_prefill_equals_decode(void **state) {
    (void)state;
    struct session *session = tiny_session(model, false, 2, 1, 200);
    int32_t ids[150], a[64], b[160];
    tiny_ids(&shape, 9, ids, 150);
    struct request r = request_of(20);
    struct event last;
    r.ids = ids, r.n_ids = 150;
    generate(session, &r, a, &last);
    r.n_ids = 1, r.forced = ids + 1, r.n_forced = 149;
    int n = generate(session, &r, b, &last);
    assert_int_equal(n, 150);
    assert_int_equal(b[149], a[0]); /* the id after the last forced one */
    session_close(session);
}

/* --- sampler ---------------------------------------------------------------------------------- */

enum { IDS = 6, DRAWS = 60000 };
static const float logits_under_test[IDS] = {1.0f, 3.0f, 2.0f, 3.0f, -1.0f, 0.5f};

static void expect_frequencies(struct sampling how, const double *expected) {
    struct sampler sampler;
    sampler_init(&sampler, IDS);
    int count[IDS] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        float logits[IDS];
        memcpy(logits, logits_under_test, sizeof logits);
        count[sampler_pick(&sampler, logits, IDS, &how, NULL, 0, rng_key(5, i))]++;
    }
    for (int i = 0; i < IDS; i++) { /* within five standard errors */
        double p = expected[i], error = sqrt(p * (1 - p) / DRAWS);
        assert_true(fabs((double)count[i] / DRAWS - p) <= 5 * error);
    }
    sampler_free(&sampler);
}

static void test_sampler_follows_the_softmax(void **state) {
    (void)state;
    for (float t = 0.5f; t < 3; t *= 2) {
        double p[IDS], sum = 0;
        for (int i = 0; i < IDS; i++)
            sum += p[i] = exp(logits_under_test[i] / t);
        for (int i = 0; i < IDS; i++)
            p[i] /= sum;
        expect_frequencies((struct sampling){t, 1}, p);
    }
}

static void test_sampler_cuts_to_the_nucleus(void **state) {
    (void)state;
    /* softmax: .046 .343 .126 .343 .006 .028: 0.7 needs ids 1, 3 and 2 */
    double p[IDS] = {0}, sum = exp(3) + exp(3) + exp(2);
    p[1] = p[3] = exp(3) / sum, p[2] = exp(2) / sum;
    expect_frequencies((struct sampling){1, 0.77f}, p);
    double one[IDS] = {0, 1, 0, 0, 0, 0}; /* of equals the lower id */
    expect_frequencies((struct sampling){1, 0.01f}, one);
}

static void test_sampler_is_greedy_at_zero_and_never_picks_banned_ids(void **state) {
    (void)state;
    struct sampler sampler;
    sampler_init(&sampler, IDS);
    float logits[IDS];
    struct sampling greedy = {0, 1}, hot = {2, 0.9f};
    memcpy(logits, logits_under_test, sizeof logits);
    assert_int_equal(sampler_pick(&sampler, logits, IDS, &greedy, NULL, 0, 1), 1);
    const int32_t banned[] = {1, 3};
    assert_int_equal(sampler_pick(&sampler, logits, IDS, &greedy, banned, 2, 1), 2);
    for (uint64_t i = 0; i < 1000; i++) {
        memcpy(logits, logits_under_test, sizeof logits);
        int32_t id = sampler_pick(&sampler, logits, IDS, &hot, banned, 2, i);
        assert_true(id != 1 && id != 3);
    }
    logits[0] = INFINITY;
    assert_int_equal(sampler_pick(&sampler, logits, IDS, &greedy, NULL, 0, 1), -1);
    sampler_free(&sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_ends_at_the_cap),
        cmocka_unit_test(test_session_ends_at_the_end_token),
        cmocka_unit_test(test_session_joins_while_others_decode_and_waits_for_memory),
        cmocka_unit_test(test_session_kv_bytes_count_all_of_a_page),
        cmocka_unit_test(test_session_refuses_bad_requests),
        cmocka_unit_test(test_session_narrows_to_what_memory_holds),
        cmocka_unit_test(test_session_stops_a_sequence_with_numeric_logits),
        cmocka_unit_test(test_session_prefill_equals_decode),
        cmocka_unit_test(test_sampler_follows_the_softmax),
        cmocka_unit_test(test_sampler_cuts_to_the_nucleus),
        cmocka_unit_test(test_sampler_is_greedy_at_zero_and_never_picks_banned_ids),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
