/* Real models as GGUF files, where they lie in $RAAS_MODELS (../shared/models): greedy ids in fp32
 * are those of transformers on the same numbers, which differ only where the two best logits are
 * almost equal. Golden data: tests/golden/README.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/jsonl.h"
#include "engine/session.h"
#include "tests/real.h"

enum { MAX_ROWS = 32, MAX_IDS = 512 };
static const double excused = 0.02; /* a gap of logits that fp32 sums in another order may close */

struct row { /* one golden answer, and ours */
    struct json_doc *doc;
    int32_t prompt[MAX_IDS], ids[MAX_IDS], got[MAX_IDS];
    int n_prompt, n_ids, n_got;
};

static int read_ids(const struct json *list, int32_t *out) {
    int n = 0;
    for (const struct json *v = json_first(list); v; v = json_next(v)) {
        int64_t id;
        assert_true(n < MAX_IDS && json_integer(v, 0, INT32_MAX, &id));
        out[n++] = (int32_t)id;
    }
    return n;
}

static int read_rows(const char *path, struct row *rows) {
    struct jsonl lines;
    struct err e = {0};
    int n = 0;
    assert_true(jsonl_open(&lines, path, &e));
    for (; n < MAX_ROWS && jsonl_next(&lines, &rows[n].doc, &e); n++) {
        const struct json *row = json_root(rows[n].doc);
        rows[n].n_prompt = read_ids(json_get(row, "prompt"), rows[n].prompt);
        rows[n].n_ids = read_ids(json_get(row, "ids"), rows[n].ids);
    }
    jsonl_close(&lines);
    return n;
}

static void answer(const struct model *model, struct row *rows, int n) {
    struct err e = {0};
    struct plan plan;
    assert_true(policy_parse("full", &plan, &e));
    struct session_params params = {.width = n, .max_total = MAX_IDS};
    struct session *session = session_open(model, &params, &e);
    if (!session)
        fail_msg("%s", e.text);
    for (int i = 0; i < n; i++) {
        struct request request = {.ids = rows[i].prompt,
                                  .n_ids = rows[i].n_prompt,
                                  .plan = &plan,
                                  .max_new = rows[i].n_ids,
                                  .ignore_eos = true,
                                  .user = &rows[i]};
        assert_true(session_add(session, &request, &e));
    }
    struct event events[MAX_ROWS];
    for (int k; (k = session_step(session, events, &e)) > 0;)
        for (int i = 0; i < k; i++) {
            struct row *row = events[i].user;
            row->got[row->n_got++] = events[i].id;
        }
    session_close(session);
}

/* The gap of the two best logits at a place; large where the golden file lists none. */
static double gap_at(const struct row *row, int place) {
    double at, gap;
    const struct json *list = json_get(json_root(row->doc), "close");
    for (const struct json *v = json_first(list); v; v = json_next(v))
        if (json_number(json_first(v), &at) && at == place &&
            json_number(json_next(json_first(v)), &gap))
            return gap;
    return 1;
}

/* Behind the first difference the texts are others, so it alone counts. */
static int compare(const char *name, int place, const struct row *row) {
    assert_int_equal(row->n_got, row->n_ids);
    int k = 0;
    while (k < row->n_ids && row->got[k] == row->ids[k])
        k++;
    if (k == row->n_ids)
        return 0;
    if (gap_at(row, k) >= excused)
        fail_msg("%s: prompt %d: id %d is %d, should be %d", name, place, k, row->got[k],
                 row->ids[k]);
    printf("measured: %s: prompt %d leaves transformers' ids at %d, a gap of %.4f\n", name, place,
           k, gap_at(row, k));
    return 1;
}

static void expect_answers(const char *name) {
    struct model *model = real_model(name);
    char path[200];
    static struct row rows[MAX_ROWS];
    memset(rows, 0, sizeof rows);
    snprintf(path, sizeof path, "tests/golden/gguf/answers-%s.jsonl", name);
    int n = read_rows(path, rows), apart = 0;
    answer(model, rows, n);
    for (int i = 0; i < n; i++)
        apart += compare(name, i, &rows[i]);
    printf("measured: %s: %d of %d greedy answers equal those of transformers\n", name, n - apart,
           n);
    for (int i = 0; i < n; i++)
        json_free(rows[i].doc);
    model_close(model);
}

static void test_gguf_answers_of_smollm2(void **state) {
    (void)state;
    expect_answers("smollm2-135m");
}

static void test_gguf_answers_of_qwen(void **state) {
    (void)state;
    expect_answers("qwen2.5-coder-0.5b");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_answers_of_smollm2),
        cmocka_unit_test(test_gguf_answers_of_qwen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
