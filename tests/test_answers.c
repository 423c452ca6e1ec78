/* Answers that transformers gave with the same weights (Qwen2.5-Coder-1.5B-Instruct, bf16, on a
 * GPU), forced token by token through prefill and decode: the best logit is that of the stored id,
 * but where the two best are almost equal. $RAAS_REPLAY says how, e.g. n=60,backend=cuda. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/option.h"
#include "datasets/dataset.h"
#include "engine/chat.h"
#include "engine/session.h"
#include "tests/grades.h"
#include "tests/real.h"

enum { WIDTH = 64 };
static const double share = 0.995; /* of positions with equal ids, at least */
static const double excused = 0.3; /* a gap of logits that bf16 may close */

struct replay {
    int64_t n;
    int backend, precision;
    char isa[OPTION_STRING_ROOM];
};
static const struct option table[] = {
    {"n", OPTION_INT, offsetof(struct replay, n), 20, 1, 10000, NULL, "answers of each data set"},
    {"backend", OPTION_CHOICE, offsetof(struct replay, backend), 0, 0, 0, BACKENDS, "where"},
    {"precision", OPTION_CHOICE, offsetof(struct replay, precision), PRECISION_BF16, 0, 0,
     PRECISIONS, "of weights and cache"},
    {"isa", OPTION_STRING, offsetof(struct replay, isa), 0, 0, 0, NULL, "of the CPU"},
    OPTION_END};

struct row { /* one stored answer */
    const char *dataset;
    int index; /* line of the data set */
    int32_t *prompt, *ids;
    int n_prompt, n_ids, n_seen, n_equal, vocab;
    double widest; /* gap of the two best logits at a difference */
};

/* Where the stored id is what bf16 made of it: fp32 of the same weights, fed the same ids, prefers
 * ours too, by more than any bf16 should lose (0.318 and 0.212). */
static bool is_known(const struct row *row, int at) {
    static const int known[][2] = {{446, 726}, {206, 561}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(row->dataset, "math500") && row->index == known[i][0] && at == known[i][1])
            return true;
    return false;
}

static void compare(void *user, int position, const float *logits) {
    struct row *row = user;
    int at = position - row->n_prompt + 1, best = 0;
    if (at < 0)
        return;
    float second = -INFINITY;
    for (int i = 1; i < row->vocab; i++)
        if (logits[i] > logits[best])
            second = logits[best], best = i;
        else if (logits[i] > second)
            second = logits[i];
    assert_int_equal(at, row->n_seen++);
    if (best == row->ids[at]) {
        row->n_equal++;
        return;
    }
    double gap = (double)(logits[best] - second);
    if (!is_known(row, at))
        row->widest = gap > row->widest ? gap : row->widest;
    printf("%s %d: id %d is %d, ours %d, the two best logits are %.3f apart, the stored one %.3f\n",
           row->dataset, row->index, at, row->ids[at], best, gap,
           (double)(logits[best] - logits[row->ids[at]]));
}

/* The prompt of a problem is that of the recipe: as many ids as transformers counted. */
static void encode_prompt(const struct model *model, const struct chat *chat,
                          const struct dataset_choice *choice, int expected, struct row *row) {
    struct problem problem = {0};
    struct id_list ids = {0};
    struct err e = {0};
    if (!dataset_get(choice, row->index, &problem, &e) ||
        !chat_encode(model, chat, problem.prompt, strlen(problem.prompt), &ids, &e))
        fail_msg("%s", e.text);
    problem_free(&problem);
    row->prompt = ids.ids, row->n_prompt = (int)ids.count;
    assert_int_equal(row->n_prompt, expected);
}

static void check_text(const struct model *model, const struct row *row, const char *text) {
    struct err e = {0};
    size_t size;
    char *ours = tokenizer_decode(model->tokenizer, row->ids, (size_t)row->n_ids, true, &size, &e);
    assert_non_null(ours);
    assert_string_equal(ours, text);
    free(ours);
}

static int longest(const struct row *rows, int n) {
    int most = 0;
    for (int i = 0; i < n; i++)
        if (rows[i].n_prompt + rows[i].n_ids > most)
            most = rows[i].n_prompt + rows[i].n_ids;
    return most;
}

/* All rows to their ends, as many at once as the session holds. */
static void force(struct session *session, struct row *rows, int n) {
    static struct event events[WIDTH];
    struct plan full;
    struct err e = {0};
    assert_true(policy_parse("full", &full, &e));
    for (int next = 0, told = 1; told > 0 || next < n;) {
        for (bool room = true; room && next < n; next += room) {
            struct row *row = &rows[next];
            struct request request = {.ids = row->prompt,
                                      .n_ids = row->n_prompt,
                                      .plan = &full,
                                      .forced = row->ids,
                                      .n_forced = row->n_ids - 1,
                                      .user = row,
                                      .on_logits = compare};
            room = session_add(session, &request, &e);
            if (!room && e.code)
                fail_msg("%s", e.text);
        }
        told = session_step(session, events, &e);
        if (told < 0)
            fail_msg("%s", e.text);
    }
}

static void replay(const struct replay *how, const struct model *model, struct row *rows, int n) {
    struct err e = {0};
    struct session_params params = {.backend = session_backend(how->backend),
                                    .precision = (enum precision)how->precision,
                                    .isa = *how->isa ? how->isa : NULL,
                                    .width = n < WIDTH ? n : WIDTH,
                                    .max_total = longest(rows, n)};
    struct session *session = session_open_fitting(model, &params, &e);
    if (!session)
        fail_msg("%s", e.text);
    double start = clock_seconds(), widest = 0;
    force(session, rows, n);
    int64_t positions = 0, equal = 0;
    for (int i = 0; i < n; i++) {
        assert_int_equal(rows[i].n_seen, rows[i].n_ids);
        positions += rows[i].n_seen, equal += rows[i].n_equal;
        widest = rows[i].widest > widest ? rows[i].widest : widest;
    }
    printf("measured: %s: %lld of %lld ids of %d stored answers are the best (%.3f %%), widest gap "
           "at a difference %.3f; %s, %.0f s\n",
           rows->dataset, (long long)equal, (long long)positions, n,
           100.0 * (double)equal / (double)positions, widest, session_isa(session),
           clock_seconds() - start);
    session_close(session);
    assert_true((double)equal >= share * (double)positions);
    assert_true(widest < excused);
}

static void expect_answers(const char *dataset) {
    struct replay how;
    struct err e = {0};
    const char *said = getenv("RAAS_REPLAY");
    option_defaults(table, &how);
    if (said && !option_parse(table, &how, "RAAS_REPLAY", said, &e))
        fail_msg("%s", e.text);
    struct model *model = real_model("qwen2.5-coder-1.5b");
    struct answers answers = grades_answers(dataset);
    struct dataset_choice choice = grades_problems(dataset);
    struct chat chat;
    if (!chat_open(model, "auto", &chat, &e))
        fail_msg("%s", e.text);
    int n = how.n < answers.n ? (int)how.n : answers.n;
    struct row *rows = calloc((size_t)n, sizeof *rows);
    for (int i = 0; i < n; i++) {
        rows[i] = (struct row){.dataset = dataset,
                               .index = answers.index[i],
                               .ids = answers.ids[i],
                               .n_ids = answers.n_ids[i],
                               .vocab = model->config.vocab};
        encode_prompt(model, &chat, &choice, answers.prompt_tokens[i], &rows[i]);
        check_text(model, &rows[i], answers.text[i]);
    }
    replay(&how, model, rows, n);
    for (int i = 0; i < n; i++)
        free(rows[i].prompt);
    free(rows);
    free(choice.param);
    answers_free(&answers);
    model_close(model);
}

static void test_answers_gsm8k(void **state) {
    (void)state;
    expect_answers("gsm8k");
}

static void test_answers_math500(void **state) {
    (void)state;
    expect_answers("math500");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_gsm8k),
        cmocka_unit_test(test_answers_math500),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
