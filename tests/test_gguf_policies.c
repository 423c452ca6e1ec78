/* Policies on real models: one whose budget covers the whole answer gives the ids of full, and the
 * same policy with less evicts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/chat.h"
#include "engine/session.h"
#include "tests/real.h"

enum { MAX_NEW = 160, COVERS = 320, LITTLE = 64, ROWS = 32 };
static const char question[] =
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
    "May. How many clips did Natalia sell altogether in April and May?\nPlease reason step by "
    "step, and put your final answer within \\boxed{}.";

struct row {
    struct plan plan;
    int32_t ids[MAX_NEW];
    int n;
    struct sequence_stats stats;
};

static struct row *add_row(struct row *rows, int *n, const char *policy, int budget) {
    char text[100];
    struct err e = {0};
    snprintf(text, sizeof text, budget ? "%s:budget=%d" : "%s", policy, budget);
    assert_true(*n < ROWS);
    if (!policy_parse(text, &rows[*n].plan, &e))
        fail_msg("%s", e.text);
    return &rows[(*n)++];
}

/* All in one batch. */
static void answer(const struct model *model, const struct id_list *prompt, struct row *rows,
                   int n) {
    static struct event events[ROWS];
    struct err e = {0};
    struct session_params params = {
        .precision = PRECISION_BF16, .width = n, .max_total = (int)prompt->count + MAX_NEW};
    struct session *session = session_open(model, &params, &e);
    if (!session)
        fail_msg("%s", e.text);
    for (int i = 0; i < n; i++) {
        struct request request = {.ids = prompt->ids,
                                  .n_ids = (int)prompt->count,
                                  .plan = &rows[i].plan,
                                  .max_new = MAX_NEW,
                                  .user = &rows[i]};
        if (!session_add(session, &request, &e))
            fail_msg("%s", e.text);
    }
    for (int k; (k = session_step(session, events, &e)) > 0;)
        for (int i = 0; i < k; i++) {
            struct row *row = events[i].user;
            row->ids[row->n++] = events[i].id;
            row->stats = events[i].stats;
        }
    session_close(session);
}

static void expect_full(const char *name) {
    struct model *model = real_model(name);
    struct id_list prompt = {0};
    struct chat chat;
    struct err e = {0};
    if (!chat_open(model, "auto", &chat, &e) ||
        !chat_encode(model, &chat, question, strlen(question), &prompt, &e))
        fail_msg("%s", e.text);
    struct row *rows = calloc(ROWS, sizeof *rows), *full = rows;
    int n = 0, covering = 0;
    add_row(rows, &n, "full", 0);
    for (const struct policy *const *p = all_policies; *p; p++)
        if ((*p)->has_budget) {
            add_row(rows, &n, (*p)->name, COVERS);
            add_row(rows, &n, (*p)->name, LITTLE);
        }
    assert_true(prompt.count + MAX_NEW <= COVERS);
    answer(model, &prompt, rows, n);
    for (int i = 1; i < n; i++) {
        bool covers = rows[i].plan.budget == COVERS;
        if (!covers) {
            assert_true(rows[i].plan.evict == UNIT_NONE || rows[i].stats.evictions > 0);
            continue;
        }
        covering++;
        assert_int_equal(rows[i].stats.evictions, 0);
        if (rows[i].n != full->n || memcmp(rows[i].ids, full->ids, sizeof full->ids))
            fail_msg("%s: %s with budget %d does not give full's ids", name, rows[i].plan.name,
                     COVERS);
    }
    printf("measured: %s: %d policies with budget %d give the %d ids of full\n", name, covering,
           COVERS, full->n);
    free(rows);
    id_list_free(&prompt);
    model_close(model);
}

static void test_gguf_policies_of_smollm2_that_cover_all_are_full(void **state) {
    (void)state;
    expect_full("smollm2-135m");
}

static void test_gguf_policies_of_qwen_that_cover_all_are_full(void **state) {
    (void)state;
    expect_full("qwen2.5-coder-0.5b");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_policies_of_smollm2_that_cover_all_are_full),
        cmocka_unit_test(test_gguf_policies_of_qwen_that_cover_all_are_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
