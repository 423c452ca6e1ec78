/* Recorded attention against what the engine told, under every kind of policy; files that were cut,
 * changed or never finished. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "store/attn.h"
#include "store/attn_half.h"
#include "tests/folder.h"
#include "tests/tiny.h"

enum { LAYERS = 2, HEADS = 4, KV = 2, GROUP = 2, MOST = 1110 };

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
static int32_t ids[MOST];
static char *texts[MOST];
static int32_t all_layers[] = {0, 1}, all_heads[] = {0, 1, 2, 3};

static int open_group(void **state) {
    (void)state;
    struct tiny shape = TINY_DEFAULT;
    model = tiny_open(shape);
    tiny_ids(&shape, 3, ids, MOST);
    for (int i = 0; i < MOST; i++)
        texts[i] = i % 2 ? "\xc3\xa9t" : "a";
    folder_make(&folder);
    return 0;
}
static int close_group(void **state) {
    (void)state;
    model_close(model);
    folder_remove(&folder);
    return 0;
}

static struct attn_params params_of(const char *name, int prompt, int total) {
    return (struct attn_params){.path = folder_path(&folder, name),
                                .full = true,
                                .pooled = true,
                                .residency = true,
                                .n_layers = LAYERS,
                                .n_heads = HEADS,
                                .n_kv_heads = KV,
                                .layers = {2, all_layers},
                                .heads = {4, all_heads},
                                .n_prompt = prompt,
                                .max_keys = total};
}

static const struct attn_note some_notes[] = {
    {"policy", "some", 0}, {"budget", NULL, 64}, {"softmax_scale", NULL, 0.125}};

static void must_begin(struct told *t, struct attn_writer *writer, const struct attn_params *p) {
    struct err e = {0};
    t->file = attn_begin(writer, p, &e);
    if (!t->file)
        fail_msg("%s", e.text);
}

static struct attn_writer *must_writer(void) {
    struct err e = {0};
    struct attn_writer *writer = attn_writer_open(&(struct attn_writer_params){0}, &e);
    if (!writer)
        fail_msg("%s", e.text);
    return writer;
}

static void must_close(struct attn_writer *writer) {
    struct err e = {0};
    if (!attn_writer_close(writer, NULL, &e))
        fail_msg("%s", e.text);
}

static struct attn_reader *must_open(const char *path) {
    struct err e = {0};
    struct attn_reader *reader = attn_open(path, &e);
    if (!reader)
        fail_msg("%s", e.text);
    return reader;
}

/* Forces `total` ids under a policy, of which p->n_prompt are the prompt; what was told is in t. */
static void record(struct told *t, const char *policy, const struct attn_params *p, int total) {
    struct plan plan = tiny_plan(policy);
    struct session *session = tiny_session(model, false, 2, 1, MOST);
    struct attn_writer *writer = must_writer();
    struct request request = tiny_forced(&plan, ids, p->n_prompt, total, NULL);
    must_begin(t, writer, p);
    request.on_attention = look, request.watch_prompt = p->prompt, request.user = t;
    tiny_add(session, &request);
    struct event event;
    struct err e = {0};
    do
        assert_int_equal(session_step(session, &event, &e), 1);
    while (event.finish == FINISH_NOT);
    const struct attn_tokens tokens = {
        .n = total, .n_prompt = p->n_prompt, .id = ids, .text = texts, .gold_step = ids};
    attn_end(t->file, &tokens, some_notes, 3);
    session_close(session);
    must_close(writer);
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
    struct attn_reader *r = must_open(path);
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
        struct attn_params p = params_of("policy.h5", 37, 170);
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
    struct attn_params p = params_of("long.h5", 1000, MOST);
    told_open(&t, MOST);
    record(&t, "raas:budget=64", &p, 1090);
    check_file(p.path, &t);
    told_close(&t);
    p = params_of("prompt.h5", 90, 600);
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
    struct attn_params p = params_of("some.h5", 20, 90);
    p.layers = (struct attn_numbers){1, &layer}, p.heads = (struct attn_numbers){3, heads};
    told_open(&t, 90);
    record(&t, "quest:budget=32", &p, 90);
    check_file(p.path, &t);
    struct attn_reader *r = must_open(p.path);
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
    struct attn_params p = params_of("notes.h5", 5, 30);
    told_open(&t, 30);
    record(&t, "full", &p, 12);
    struct attn_reader *r = must_open(p.path);
    const struct attn_info *i = attn_info(r);
    assert_int_equal(i->tokens.n, 12);
    assert_int_equal(i->tokens.n_prompt, 5);
    assert_int_equal(i->n_steps, 7);
    assert_int_equal(i->first_query, 5);
    for (int k = 0; k < 12; k++) {
        assert_int_equal(i->tokens.id[k], ids[k]);
        assert_int_equal(i->tokens.gold_step[k], ids[k]);
        assert_string_equal(i->tokens.text[k], texts[k]);
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

/* --- damage ----------------------------------------------------------------------------------- */

static void refuse(const char *path, const char *what, size_t at) {
    struct err e = {0};
    struct attn_reader *r = attn_open(path, &e);
    if (r || e.code != EXIT_CONTENT)
        fail_msg("%s at %zu: %s", what, at, r ? "was opened" : e.text);
}

static void test_attn_refuses_any_damage(void **state) {
    (void)state;
    struct told t;
    struct attn_params p = params_of("small.h5", 3, 5);
    struct err e = {0};
    int32_t zero = 0;
    size_t size;
    p.layers = p.heads = (struct attn_numbers){1, &zero};
    p.pooled = false;
    told_open(&t, 5);
    record(&t, "full", &p, 5);
    told_close(&t);
    char *whole = file_read(p.path, 1 << 20, &size, &e);
    assert_non_null(whole);
    char path[100];
    snprintf(path, sizeof path, "%s", folder_path(&folder, "damaged.h5"));
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, whole, size), size);
    for (size_t i = 0; i < size; i++) {
        char flipped = (char)(whole[i] ^ (1 << i % 8));
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)i), 1);
        refuse(path, "a flipped bit", i);
        assert_int_equal(pwrite(fd, &whole[i], 1, (off_t)i), 1);
    }
    attn_close(must_open(path)); /* the test would notice: it is whole again */
    assert_int_equal(pwrite(fd, "", 1, (off_t)size), 1);
    refuse(path, "a byte more", size);
    for (size_t n = size; n-- > 0;) {
        assert_int_equal(ftruncate(fd, (off_t)n), 0);
        refuse(path, "cut", n);
    }
    printf("measured: a file of %zu bytes refused with each byte changed and at each length\n",
           size);
    close(fd);
    free(whole);
    assert_null(attn_open(folder_path(&folder, "none.h5"), &e));
    assert_int_equal(e.code, EXIT_USAGE);
}

/* --- disks ------------------------------------------------------------------------------------ */

/* Feeds rows of its own: one layer and KV head after the other, uniform attention. */
static void feed(struct attn_file *file, int from, int to) {
    int32_t position[MOST];
    float prob[GROUP * MOST];
    for (int q = from; q < to; q++)
        for (int l = 0; l < LAYERS; l++)
            for (int kv = 0; kv < KV; kv++) {
                for (int i = 0; i <= q; i++)
                    position[i] = i, prob[i] = prob[i + q + 1] = 1 / (float)(q + 1);
                attn_watch(file, &(struct attention_row){.layer = l,
                                                         .kv_head = kv,
                                                         .group = GROUP,
                                                         .query = q,
                                                         .n = q + 1,
                                                         .position = position,
                                                         .prob = prob,
                                                         .n_resident = q + 1,
                                                         .resident = position});
            }
}

static void end_plain(struct attn_file *file, int n_prompt, int total) {
    attn_end(file,
             &(struct attn_tokens){.n = total, .n_prompt = n_prompt, .id = ids, .text = texts},
             some_notes, 3);
}

/* In a child: files may grow to `limit` bytes. Returns the code that the writer ends with. */
static int record_within(rlim_t limit, const struct attn_params *p) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err e = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
        struct attn_writer *writer = attn_writer_open(&(struct attn_writer_params){0}, &e);
        struct attn_file *file = attn_begin(writer, p, &e);
        if (file) {
            feed(file, p->n_prompt, p->max_keys);
            end_plain(file, p->n_prompt, p->max_keys);
        }
        attn_writer_close(writer, NULL, &e);
        exit(e.code); /* as the program does, with the library's own ending */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status))
        fail_msg("signal %d at a limit of %lu", WTERMSIG(status), (unsigned long)limit);
    return WEXITSTATUS(status);
}

static void test_attn_full_disks_leave_nothing(void **state) {
    (void)state;
    struct attn_params p = params_of("disk.h5", 20, 400);
    char part[120];
    int failed = 0, code = EXIT_ENV;
    for (rlim_t limit = 512; code; limit += limit / 3) {
        code = record_within(limit, &p);
        assert_true(code == EXIT_OK || code == EXIT_ENV);
        assert_int_equal(access(p.path, F_OK) == 0, code == EXIT_OK);
        snprintf(part, sizeof part, "%s.part", p.path);
        assert_int_not_equal(access(part, F_OK), 0);
        snprintf(part, sizeof part, "%s.raw.part", p.path);
        assert_int_not_equal(access(part, F_OK), 0);
        failed += code != EXIT_OK;
    }
    assert_true(failed > 10);
    attn_close(must_open(p.path));
    struct err e = {0};
    struct attn_writer *writer = must_writer();
    p.n_layers = 2, p.max_keys = 1 << 24;
    assert_null(attn_begin(writer, &p, &e));
    assert_int_equal(e.code, EXIT_ENV);
    assert_non_null(strstr(e.text, "MB are free"));
    must_close(writer);
}

static void test_attn_killed_leaves_no_file(void **state) {
    (void)state;
    for (int round = 0; round < 12; round++) {
        struct attn_params p = params_of("killed.h5", 20, MOST);
        unlink(p.path);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct err e = {0};
            struct attn_writer *writer = attn_writer_open(&(struct attn_writer_params){0}, &e);
            struct attn_file *file = attn_begin(writer, &p, &e);
            feed(file, 20, MOST);
            end_plain(file, 20, MOST);
            attn_writer_close(writer, NULL, &e);
            _exit(0);
        }
        usleep((useconds_t)(4000 * round));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        char part[120];
        struct err e = {0};
        if (access(p.path, F_OK) == 0)
            attn_close(must_open(p.path)); /* it was done by then */
        snprintf(part, sizeof part, "%s.part", p.path);
        if (access(part, F_OK) == 0)
            refuse(part, "a part", (size_t)round);
        snprintf(part, sizeof part, "%s.raw.part", p.path);
        if (access(part, F_OK) == 0)
            refuse(part, "a raw part", (size_t)round);
        (void)e;
    }
}

static void test_attn_abandoned_leaves_nothing(void **state) {
    (void)state;
    struct told t;
    struct attn_params p = params_of("abandoned.h5", 20, 300);
    struct attn_writer *writer = must_writer();
    must_begin(&t, writer, &p);
    feed(t.file, 20, 200);
    attn_abandon(t.file);
    must_begin(&t, writer, &p); /* the same name again */
    feed(t.file, 20, 100);
    end_plain(t.file, 20, 100);
    must_close(writer);
    struct attn_reader *r = must_open(p.path);
    assert_int_equal(attn_info(r)->n_keys, 100);
    attn_close(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attn_holds_what_the_engine_told),
        cmocka_unit_test(test_attn_holds_long_ones),
        cmocka_unit_test(test_attn_holds_the_heads_that_were_chosen),
        cmocka_unit_test(test_attn_tells_tokens_and_notes),
        cmocka_unit_test(test_attn_halves_round_as_the_processor_does),
        cmocka_unit_test(test_attn_refuses_any_damage),
        cmocka_unit_test(test_attn_full_disks_leave_nothing),
        cmocka_unit_test(test_attn_killed_leaves_no_file),
        cmocka_unit_test(test_attn_abandoned_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, open_group, close_group);
}
