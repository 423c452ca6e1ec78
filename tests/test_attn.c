/* Recorded attention against what the engine told, under every kind of policy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "store/attn_half.h"
#include "tests/attn_feed.h"
#include "tests/folder.h"
#include "tests/tiny.h"

enum { LAYERS = FEED_LAYERS, HEADS = FEED_HEADS, KV = FEED_KV, GROUP = FEED_GROUP };

/* What the engine told, dense. */
struct told {
    struct attn_file *file;
    int n;                      /* keys */
    float *prob[LAYERS][HEADS]; /* [n][n], NaN where nothing was told */
    uint8_t *flags[LAYERS][KV]; /* [n][n] */
    int rows;
};

static void look(void *user, const struct attention_row *r) {
    struct told *t = user;
    size_t n = (size_t)t->n;
    uint8_t *flags = t->flags[r->layer][r->kv_head] + (size_t)r->query * n;
    for (int i = 0; i < r->n_resident; i++)
        flags[r->resident[i]] |= ATTN_RESIDENT;
    for (int i = 0; i < r->n; i++)
        flags[r->position[i]] |= ATTN_ATTENDED;
    for (int g = 0; g < GROUP; g++) {
        float *row = t->prob[r->layer][r->kv_head * GROUP + g] + (size_t)r->query * n;
        for (int k = 0; k <= r->query; k++)
            row[k] = 0;
        for (int i = 0; i < r->n; i++)
            row[r->position[i]] = r->prob[g * r->n + i];
    }
    attn_watch(t->file, r);
}

static void told_open(struct told *t, int n) {
    *t = (struct told){.n = n};
    size_t cells = (size_t)n * (size_t)n;
    for (int l = 0; l < LAYERS; l++) {
        for (int h = 0; h < HEADS; h++) {
            t->prob[l][h] = must_alloc(cells * sizeof(float));
            for (size_t i = 0; i < cells; i++)
                t->prob[l][h][i] = NAN;
        }
        for (int h = 0; h < KV; h++)
            t->flags[l][h] = must_zalloc(cells, 1);
    }
}

static void told_close(struct told *t) {
    for (int l = 0; l < LAYERS; l++) {
        for (int h = 0; h < HEADS; h++)
            free(t->prob[l][h]);
        for (int h = 0; h < KV; h++)
            free(t->flags[l][h]);
    }
}

static struct model *model;
static struct folder folder;
static int32_t ids[FEED_MOST];

static int open_group(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    model = tiny_open(shape);
    tiny_ids(&shape, 3, ids, FEED_MOST);
    folder_make(&folder);
    return 0;
}
static int close_group(void **state) {
    (void)state;
    model_close(model);
    folder_remove(&folder);
    return 0;
}

/* Forces `total` ids under a policy, of which p->n_prompt are the prompt; what was told is in t. */
static void record(struct told *t, const char *policy, const struct attn_params *p, int total) {
    struct plan plan = tiny_plan(policy);
    struct session *session = tiny_session(model, false, 2, 1, FEED_MOST);
    struct attn_writer *writer = feed_writer();
    struct request request = tiny_forced(&plan, ids, p->n_prompt, total, NULL);
    t->file = feed_begin(writer, p);
    request.on_attention = look, request.watch_prompt = p->prompt, request.user = t;
    tiny_add(session, &request);
    struct event event;
    struct err e = {0};
    do
        assert_int_equal(session_step(session, &event, &e), 1);
    while (event.finish == FINISH_NOT);
    const struct attn_tokens tokens = {
        .n = total, .n_prompt = p->n_prompt, .id = ids, .text = feed_texts, .gold_step = ids};
    attn_end(t->file, &tokens, feed_notes, 3);
    session_close(session);
    feed_close(writer);
}

/* --- what is in a file ------------------------------------------------------------------------ */

static void same_map(struct attn_reader *r, const struct told *t, int layer, int head) {
    const struct attn_info *i = attn_info(r);
    size_t n = (size_t)i->n_keys;
    float *map = must_alloc((size_t)i->n_steps * n * sizeof *map);
    uint8_t *flags = must_alloc((size_t)i->n_steps * n);
    struct err e = {0};
    if (!attn_map(r, ATTN_FULL, layer, head, map, &e) ||
        !attn_residency(r, layer, head / GROUP, flags, &e))
        fail_msg("%s", e.text);
    for (int s = 0; s < i->n_steps; s++) {
        int query = i->first_query + s;
        const float *want = t->prob[layer][head] + (size_t)query * (size_t)t->n;
        const uint8_t *held = t->flags[layer][head / GROUP] + (size_t)query * (size_t)t->n;
        double sum = 0;
        for (int k = 0; k < i->n_keys; k++) {
            float got = map[(size_t)s * n + (size_t)k];
            assert_int_equal(flags[(size_t)s * n + (size_t)k], held[k]);
            if (k > query) {
                assert_true(isnan(got));
                continue;
            }
            /* half precision: a relative error of 2^-11, below 2^-14 an absolute one */
            assert_true(fabsf(got - want[k]) <= fmaxf(want[k] * 0x1p-11f, 0x1p-25f));
            assert_true((held[k] & ATTN_ATTENDED) || got == 0);
            sum += (double)got;
        }
        assert_true(fabs(sum - 1) < 0x1p-10);
    }
    free(flags);
    free(map);
}

static void same_pages(struct attn_reader *r, const struct told *t, int layer, int head) {
    const struct attn_info *i = attn_info(r);
    size_t n = (size_t)i->n_pages;
    float *max = must_alloc((size_t)i->n_steps * n * sizeof *max);
    float *sum = must_alloc((size_t)i->n_steps * n * sizeof *sum);
    struct err e = {0};
    assert_true(attn_map(r, ATTN_PAGE_MAX, layer, head, max, &e));
    assert_true(attn_map(r, ATTN_PAGE_SUM, layer, head, sum, &e));
    for (int s = 0; s < i->n_steps; s++) {
        int query = i->first_query + s;
        const float *want = t->prob[layer][head] + (size_t)query * (size_t)t->n;
        for (int p = 0; p < i->n_pages; p++) {
            float most = 0;
            double all = 0;
            for (int k = p * PAGE; k < (p + 1) * PAGE && k <= query; k++)
                most = fmaxf(most, want[k]), all += (double)want[k];
            size_t at = (size_t)s * n + (size_t)p;
            if (p * PAGE > query) {
                assert_true(isnan(max[at]) && isnan(sum[at]));
                continue;
            }
            assert_true(max[at] == most);
            assert_true(fabs((double)sum[at] - all) < 1e-6);
        }
    }
    free(max);
    free(sum);
}

static void same_row(void *user, const struct attention_row *r) {
    struct told *t = user;
    const uint8_t *held = t->flags[r->layer][r->kv_head] + (size_t)r->query * (size_t)t->n;
    int attended = 0, resident = 0;
    for (int k = 0; k <= r->query; k++)
        attended += (held[k] & ATTN_ATTENDED) != 0, resident += (held[k] & ATTN_RESIDENT) != 0;
    assert_int_equal(r->group, GROUP);
    assert_int_equal(r->n, attended);
    assert_int_equal(r->n_resident, resident);
    for (int i = 0; i < r->n; i++) {
        assert_true(held[r->position[i]] & ATTN_ATTENDED);
        assert_true(!i || r->position[i - 1] < r->position[i]);
        for (int g = 0; g < GROUP; g++) {
            float want = t->prob[r->layer][r->kv_head * GROUP + g]
                                [(size_t)r->query * (size_t)t->n + (size_t)r->position[i]];
            assert_true(fabsf(r->prob[g * r->n + i] - want) <= fmaxf(want * 0x1p-11f, 0x1p-25f));
        }
    }
    t->rows++;
}

static void check_file(const char *path, struct told *t) {
    struct err e = {0};
    struct attn_reader *r = feed_open(path);
    const struct attn_info *i = attn_info(r);
    for (int l = 0; l < i->layers.n; l++)
        for (int h = 0; h < i->heads.n; h++) {
            same_map(r, t, i->layers.items[l], i->heads.items[h]);
            same_pages(r, t, i->layers.items[l], i->heads.items[h]);
        }
    t->rows = 0;
    if (i->heads.n == HEADS) {
        assert_true(attn_replay(r, same_row, t, &e));
        assert_int_equal(t->rows, i->layers.n * i->kv_heads.n * i->n_steps);
    }
    attn_close(r);
}

static void test_attn_holds_what_the_engine_told(void **state) {
    (void)state;
    static const char *const policies[] = {"full",           "streaming:budget=64",
                                           "h2o:budget=64",  "quest:budget=64",
                                           "raas:budget=96", "random:budget=64,unit=token"};
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        struct told t;
        struct attn_params p = feed_params(folder_path(&folder, "policy.h5"), 37, 170);
        p.residency = i > 0;
        told_open(&t, 170);
        record(&t, policies[i], &p, 170);
        check_file(p.path, &t);
        told_close(&t);
    }
}

/* More keys than a chunk holds, an end long before the longest, the prompt's queries too. */
static void test_attn_holds_long_ones(void **state) {
    (void)state;
    struct told t;
    struct attn_params p = feed_params(folder_path(&folder, "long.h5"), 1000, FEED_MOST);
    told_open(&t, FEED_MOST);
    record(&t, "raas:budget=64", &p, 1090);
    check_file(p.path, &t);
    told_close(&t);
    p = feed_params(folder_path(&folder, "prompt.h5"), 90, 600);
    p.prompt = true;
    told_open(&t, 600);
    record(&t, "h2o:budget=32", &p, 150);
    check_file(p.path, &t);
    told_close(&t);
}

static void test_attn_holds_the_heads_that_were_chosen(void **state) {
    (void)state;
    struct told t;
    int32_t heads[] = {1, 2, 3}, layer = 1;
    struct attn_params p = feed_params(folder_path(&folder, "some.h5"), 20, 90);
    p.layers = (struct attn_numbers){1, &layer}, p.heads = (struct attn_numbers){3, heads};
    told_open(&t, 90);
    record(&t, "quest:budget=32", &p, 90);
    check_file(p.path, &t);
    struct attn_reader *r = feed_open(p.path);
    struct err e = {0};
    float one;
    assert_int_equal(attn_info(r)->kv_heads.n, 2);
    assert_false(attn_map(r, ATTN_FULL, 1, 0, &one, &e));
    assert_int_equal(e.code, EXIT_USAGE);
    assert_non_null(strstr(e.text, "layer 1, head 0 is not recorded"));
    attn_close(r);
    told_close(&t);
}

static void test_attn_tells_tokens_and_notes(void **state) {
    (void)state;
    struct told t;
    struct attn_params p = feed_params(folder_path(&folder, "notes.h5"), 5, 30);
    told_open(&t, 30);
    record(&t, "full", &p, 12);
    struct attn_reader *r = feed_open(p.path);
    const struct attn_info *i = attn_info(r);
    assert_int_equal(i->tokens.n, 12);
    assert_int_equal(i->tokens.n_prompt, 5);
    assert_int_equal(i->n_steps, 7);
    assert_int_equal(i->first_query, 5);
    for (int k = 0; k < 12; k++) {
        assert_int_equal(i->tokens.id[k], ids[k]);
        assert_int_equal(i->tokens.gold_step[k], ids[k]);
        assert_string_equal(i->tokens.text[k], feed_texts[k]);
    }
    assert_null(i->tokens.gold_lemma);
    char *policy = attn_note(r, "policy"), *budget = attn_note(r, "budget"),
         *scale = attn_note(r, "softmax_scale");
    assert_string_equal(policy, "some");
    assert_string_equal(budget, "64");
    assert_string_equal(scale, "0.125");
    assert_null(attn_note(r, "nothing"));
    free(policy), free(budget), free(scale);
    attn_close(r);
    told_close(&t);
}

static void test_attn_halves_round_as_the_processor_does(void **state) {
    (void)state;
    uint16_t back, fast[37], plain[37];
    float x[37];
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t half = (uint16_t)i;
        half_widen(&half, 1, x);
        half_narrow_plain(x, 1, &back);
        if (!isnan(x[0]))
            assert_int_equal(back, half);
        else
            assert_true(isnan(x[0]) && (back & 0x7c00) == 0x7c00 && (back & 0x3ff));
    }
    for (uint32_t bits = 1; bits < 0x7f800000u; bits += 37 * 40009) {
        for (uint32_t i = 0; i < 37; i++) {
            uint32_t b = bits + i * 40009;
            memcpy(&x[i], &b, sizeof b);
            x[i] = isfinite(x[i]) ? x[i] : 1;
        }
        half_narrow(x, 37, fast);
        half_narrow_plain(x, 37, plain);
        assert_memory_equal(fast, plain, sizeof fast);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attn_holds_what_the_engine_told),
        cmocka_unit_test(test_attn_holds_long_ones),
        cmocka_unit_test(test_attn_holds_the_heads_that_were_chosen),
        cmocka_unit_test(test_attn_tells_tokens_and_notes),
        cmocka_unit_test(test_attn_halves_round_as_the_processor_does),
    };
    return cmocka_run_group_tests(tests, open_group, close_group);
}
